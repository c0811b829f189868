"""The few facts of a message that belong into one line of a log."""

from __future__ import annotations

from collections.abc import Iterator

from microipa.asn1.reader import Node
from microipa.asn1.words import bit_names, is_certificate, say

_MOST = 8
# How much a fact says: what happens, to what, which one it is, and who is meant when nothing else is known.
_WHAT, _WHOM, _WHICH, _WHO = range(4)
_FIELDS = {
    "iccid": (_WHOM, "{}"),
    "profileState": (_WHOM, "{}"),
    "rollbackFlag": (_WHOM, "rollback"),
    "activationCode": (_WHOM, "{}"),
    "contactDefaultSmdp": (_WHOM, "default SM-DP+"),
    "smdsAddress": (_WHOM, "SM-DS {}"),
    "smdpAddress": (_WHOM, "SM-DP+ {}"),
    "serverAddress": (_WHOM, "server {}"),
    "matchingId": (_WHOM, "matching id {}"),
    "defaultDpAddress": (_WHOM, "{}"),
    "defaultSmdpAddress": (_WHOM, "default SM-DP+ {}"),
    "rootDsAddress": (_WHOM, "root SM-DS {}"),
    "profileName": (_WHOM, "{}"),
    "eimFqdn": (_WHOM, "{}"),
    "eimPackageReceived": (_WHAT, "received"),
    "emptyResponse": (_WHAT, "empty"),
    "addOk": (_WHAT, "ok"),
    "euiccPackageResults": (_WHAT, "eUICC Package Results"),
    "euiccInfo1": (_WHO, "EUICCInfo1"),
    "euiccInfo2": (_WHO, "EUICCInfo2"),
    "deviceInfo": (_WHO, "device information"),
    "tagList": (_WHOM, "tags {}"),
    "resetOptions": (_WHOM, "{}"),
    "ipaeOption": (_WHOM, "{}"),
    "svn": (_WHOM, "SGP.22 {}"),
    "euiccFirmwareVer": (_WHOM, "firmware {}"),
    "extCardResource": (_WHOM, "{}"),
    "euiccConfiguration": (_WHOM, "{}"),
    "notifyStateChange": (_WHAT, "state changed"),
    "counterValue": (_WHICH, "counter {}"),
    "seqNumber": (_WHICH, "sequence number {}"),
    "associationToken": (_WHICH, "token {}"),
    "eimId": (_WHO, "eIM {}"),
    "eidValue": (_WHO, "EID {}"),
    "transactionId": (_WHO, "transaction {}"),
    "eimTransactionId": (_WHO, "transaction {}"),
}
_COUNTED = {
    "notificationList": "notification",
    "notificationsList": "notification",
    "notificationMetadataList": "notification",
    "euiccPackageResultList": "result",
    "sequenceOf86": "segment",
    "rat": "rule",
    "getRATResult": "rule",
}
_OPERATIONS = ("Psmo", "Eco", "EuiccResultData")


def facts(node: Node) -> list[str]:
    """The facts of a message, weightiest first; whom it concerns only when it says nothing else."""
    found = sorted(dict.fromkeys(_facts(node)), key=lambda fact: fact[0])
    if any(weight < _WHO for weight, _ in found):
        found = [fact for fact in found if fact[0] < _WHO]
    texts = [text for _, text in found]
    return texts[:_MOST] + ["…"] * (len(texts) > _MOST)


def _facts(node: Node) -> Iterator[tuple[int, str]]:
    if is_certificate(node) or node.name == "eimIdType":
        return
    if node.name in _FIELDS:
        weight, form = _FIELDS[node.name]
        yield weight, form.format(_word(node)) if "{" in form else form
    elif node.kind.type_name in _OPERATIONS:
        yield _WHAT, _operation(node.children[0])
    elif node.kind.type_name == "ProfilePackage":
        yield _WHAT, f"{len(node.children)} elements"
        yield from _facts(node.children[0])
    elif node.kind.type_name == "ProfileElement":
        yield _WHAT, node.value[0]
        if node.value[0] == "header":
            yield from _facts(node.children[0])
    elif node.kind.type_name == "ProfileInfo":
        known = (child for child in node.children if child.name in ("iccid", "profileState"))
        yield _WHOM, " ".join(map(_word, known))
    elif node.kind.type_name == "EimAcknowledgements":
        yield _WHAT, "acknowledged " + ", ".join(map(_word, node.children))
    elif node.name in _COUNTED:
        yield _WHAT, _count(node)
    elif node.kind.base == "INTEGER" and node.kind.names or node.name == "profileManagementOperation":
        yield _WHAT, _word(node)
    elif node.name == "refreshFlag":
        yield _WHAT, "with REFRESH" if node.value else "without REFRESH"
    elif node.name in ("successResult", "compactSuccessResult"):
        yield _WHAT, "installed"
    else:
        for child in node.children:
            if node.kind.base == "CHOICE" and child.kind.tags and child.kind.tags[0] > 0xFF:
                yield _WHAT, child.kind.type_name
            yield from _facts(child)


def _operation(node: Node) -> str:
    """A PSMO, an eCO or what became of one: its name, then what it is about."""
    name = node.name.removesuffix("Result")
    if node.kind.base == "INTEGER":
        return f"{name} {_word(node)}"
    if node.name in _COUNTED:
        return f"{name} {_count(node)}"
    inner = [text for child in node.children for _, text in _facts(child)]
    return " ".join([name, *inner])


def _count(node: Node) -> str:
    number, noun = len(node.children), _COUNTED[node.name]
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _word(node: Node) -> str:
    if node.kind.base == "INTEGER" and node.kind.names:
        return node.kind.names.get(node.value, str(node.value))
    if node.kind.base == "BIT STRING" and node.kind.names:
        return " + ".join(bit_names(node)) or "none"
    return say(node)
