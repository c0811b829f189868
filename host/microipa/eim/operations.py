"""Operations of eUICC packages as people write them: a name and words, ``enable 8999… rollback``.

    enable ICCID [rollback]             addEim FILE
    disable ICCID                       updateEim EIMID [from=FILE] [fqdn=NAME] [counter=NUMBER]
    delete ICCID                        deleteEim EIMID
    listProfileInfo [iccid=ICCID | aid=HEX | class=CLASS] [tags=HEX]
    getRAT                              listEim
    configureImmediateEnable on|off [oid=OID] [address=FQDN]
    setFallbackAttribute ICCID          unsetFallbackAttribute
    setDefaultDpAddress [ADDRESS]

A FILE holds an EimConfigurationData (DER). Names are those of SGP.32 2.11.1.1.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from microipa.asn1 import SchemaError, sgp32
from microipa.eim.packages import ECOS, PSMOS, Operation, PackageInvalid
from microipa.saip import iccid_to_bytes

PROFILE_CLASSES = ("test", "provisioning", "operational")
_NAMES = frozenset(("iccid", "aid", "class", "tags", "oid", "address", "from", "fqdn", "counter"))
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")

Fields = dict[str, Any]


def parse(text: str) -> Operation:
    """One operation from one line, quoted as in a shell. Raises as ``operation``."""
    try:
        name, *words = shlex.split(text) or [""]
    except ValueError as error:
        raise PackageInvalid(f"{text[:64]!r} is not an operation: {error}") from None
    return operation(name, *words)


def operation(name: str, *words: str) -> Operation:
    """One operation. Raises PackageInvalid, SaipError; OSError for a FILE that cannot be read."""
    known = {one.lower(): one for one in sorted(PSMOS | ECOS)}
    if name.lower() not in known:
        raise PackageInvalid(f"{name[:64]!r} is not an operation: they are {', '.join(known.values())}")
    name = known[name.lower()]
    return name, _READERS[name](_Words(name, list(words)))


class _Words:
    """The words behind an operation's name, taken one by one; what is left over is a mistake."""

    def __init__(self, operation: str, words: list[str]) -> None:
        self._operation = operation
        named = [word.partition("=")[0] in _NAMES and "=" in word for word in words]
        self._bare = [word for word, is_named in zip(words, named, strict=True) if not is_named]
        self._named = [word.split("=", 1) for word, is_named in zip(words, named, strict=True) if is_named]

    def refuse(self, reason: str) -> PackageInvalid:
        return PackageInvalid(f"{self._operation}: {reason}")

    def next(self, what: str) -> str:
        if not self._bare:
            raise self.refuse(f"{what} is missing")
        return self._bare.pop(0)

    @property
    def more(self) -> bool:
        return bool(self._bare)

    def has(self, word: str) -> bool:
        found = self._bare[:1] == [word]
        del self._bare[: int(found)]
        return found

    def named(self, name: str) -> str | None:
        found = [value for key, value in self._named if key == name]
        self._named = [pair for pair in self._named if pair[0] != name]
        if len(found) > 1:
            raise self.refuse(f"{name}= is given {len(found)} times")
        return found[0] if found else None

    def end(self, fields: Fields) -> Fields:
        left = [*self._bare, *("=".join(pair) for pair in self._named)]
        if left:
            raise self.refuse(f"{left[0][:64]!r} is not known here")
        return fields


def _nothing(words: _Words) -> Fields:
    return words.end({})


def _profile(words: _Words) -> Fields:
    return words.end({"iccid": iccid_to_bytes(words.next("the ICCID"))})


def _enable(words: _Words) -> Fields:
    fields: Fields = {"iccid": iccid_to_bytes(words.next("the ICCID"))}
    if words.has("rollback"):
        fields["rollbackFlag"] = None
    return words.end(fields)


def _list(words: _Words) -> Fields:
    searches: list[tuple[str, Any]] = []
    if (iccid := words.named("iccid")) is not None:
        searches.append(("iccid", iccid_to_bytes(iccid)))
    if (aid := words.named("aid")) is not None:
        searches.append(("isdpAid", _hex(words, "aid", aid, range(5, 17))))
    if (kind := words.named("class")) is not None:
        if kind not in PROFILE_CLASSES:
            raise words.refuse(f"{kind[:64]!r} is not a profile class: {', '.join(PROFILE_CLASSES)}")
        searches.append(("profileClass", PROFILE_CLASSES.index(kind)))
    if len(searches) > 1:
        raise words.refuse("search by iccid, aid or class, only one of them")
    fields: Fields = {"searchCriteria": searches[0]} if searches else {}
    if (tags := words.named("tags")) is not None:
        fields["tagList"] = _hex(words, "tags", tags, range(1, 65))
    return words.end(fields)


def _immediate_enable(words: _Words) -> Fields:
    state = words.next("on or off")
    if state not in ("on", "off"):
        raise words.refuse(f"{state[:64]!r} is neither on nor off")
    fields: Fields = {"immediateEnableFlag": None} if state == "on" else {}
    if (oid := words.named("oid")) is not None:
        if not _OID.fullmatch(oid):
            raise words.refuse(f"{oid[:64]!r} is not an object identifier such as 2.999.10")
        fields["defaultSmdpOid"] = oid
    if (address := words.named("address")) is not None:
        fields["defaultSmdpAddress"] = _address(words, address)
    return words.end(fields)


def _default_dp(words: _Words) -> Fields:
    """Without an address the card is to forget the one it has (SGP.22 5.7.4)."""
    address = words.next("the address") if words.more else ""
    return words.end({"defaultDpAddress": _address(words, address) if address else ""})


def _eim_id(words: _Words) -> str:
    eim_id = words.next("the eimId")
    if not 1 <= len(eim_id) <= 128:
        raise words.refuse(f"the eimId has {len(eim_id)} characters, 1 to 128 are allowed")
    return eim_id


def _delete_eim(words: _Words) -> Fields:
    return words.end({"eimId": _eim_id(words)})


def _add_eim(words: _Words) -> Fields:
    fields = configuration(Path(words.next("the file with the EimConfigurationData")))
    for needed in ("counterValue", "eimPublicKeyData"):
        if needed not in fields:
            raise words.refuse(f"the configuration of {fields['eimId']} has no {needed}")
    return words.end(fields)


def _update_eim(words: _Words) -> Fields:
    """What stands in a file may be the whole configuration: the counter goes its own way, the token is ignored."""
    fields: Fields = {"eimId": _eim_id(words)}
    if (file := words.named("from")) is not None:
        kept = configuration(Path(file))
        fields |= {name: kept[name] for name in kept if name not in ("eimId", "counterValue", "associationToken")}
    if (fqdn := words.named("fqdn")) is not None:
        fields["eimFqdn"] = _address(words, fqdn)
    if (counter := words.named("counter")) is not None:
        if not re.fullmatch("[0-9]{1,10}", counter, re.ASCII):
            raise words.refuse(f"{counter[:64]!r} is not a counter: it is a number from 0 on")
        fields["counterValue"] = int(counter)
    if len(fields) == 1:
        raise words.refuse("give what is to change: from=FILE, fqdn=NAME or counter=NUMBER")
    return words.end(fields)


def configuration(file: Path) -> Fields:
    """The EimConfigurationData (DER) in a file. Raises PackageInvalid, OSError."""
    try:
        fields: Fields = sgp32.decode("EimConfigurationData", file.read_bytes())
    except SchemaError as error:
        raise PackageInvalid(f"{file} is not an EimConfigurationData in DER: {error}") from None
    return fields


def _hex(words: _Words, name: str, text: str, sizes: range) -> bytes:
    if not re.fullmatch("([0-9A-Fa-f]{2})+", text, re.ASCII) or len(text) // 2 not in sizes:
        raise words.refuse(f"{name}={text[:64]} is not {sizes[0]} to {sizes[-1]} bytes in hex")
    return bytes.fromhex(text)


def _address(words: _Words, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?", text, re.ASCII):
        raise words.refuse(f"{text[:64]!r} is not a host name")
    return text


_READERS: dict[str, Callable[[_Words], Fields]] = {
    "enable": _enable,
    "disable": _profile,
    "delete": _profile,
    "listProfileInfo": _list,
    "getRAT": _nothing,
    "configureImmediateEnable": _immediate_enable,
    "setFallbackAttribute": _profile,
    "unsetFallbackAttribute": _nothing,
    "setDefaultDpAddress": _default_dp,
    "addEim": _add_eim,
    "deleteEim": _delete_eim,
    "updateEim": _update_eim,
    "listEim": _nothing,
}
