"""What the templates are built of: files with their access rules, PINs, keys, the security domain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from microipa.asn1.tlv import tlv
from microipa.saip.spec import ProfileSpec

Value = dict[str, Any]
Body = tuple[str, Value]  # a profile element without its header: name, fields
File = list[tuple[str, Any]]

USIM_AID = bytes.fromhex("A0000000871002FFFFFFFF89")  # TS 101 220: 3GPP, USIM, no country, no provider
ADF_FID, ISIM_FID = b"\x7f\xf0", b"\x7f\xf1"  # temporary: they name the ADFs inside a package only
SECURITY_DOMAIN = {  # GlobalPlatform's load file and module for issuer security domains; MNO-SD of SGP.02
    "applicationLoadPackageAID": bytes.fromhex("A0000001515350"),
    "classAID": bytes.fromhex("A000000151535041"),
    "instanceAID": bytes.fromhex("A000000151000000"),
}
ACT_EUTRAN = bytes.fromhex("4000")  # WB-S1 and NB-S1 (TS 31.102 clause 4.2.5)
ALWAYS_AVAILABLE = 33
# The service in EF.UST that says an EF is there (TS 31.102 clause 4.2.8).
SERVICE_OF = {
    "ef-fdn": 2, "ef-ext2": 3, "ef-sdn": 4, "ef-ext3": 5, "ef-bdn": 6, "ef-sms": 10, "ef-smsr": 11, "ef-smsp": 12,
    "ef-ccp2": 14, "ef-cbmi": 15, "ef-cbmir": 16, "ef-gid1": 17, "ef-gid2": 18, "ef-spn": 19, "ef-plmnwact": 20,
    "ef-msisdn": 21, "ef-emlpp": 24, "ef-aaem": 25, "ef-kc": 27, "ef-cbmid": 29, "ef-acl": 35, "ef-dck": 36,
    "ef-cnl": 37, "ef-cpbcch": 39, "ef-invscan": 40, "ef-oplmnwact": 42, "ef-hplmnwact": 43, "ef-pnn": 45,
    "ef-opl": 46, "ef-mbdn": 47, "ef-mwis": 48, "ef-cfis": 49, "ef-spdi": 51, "ef-mmsn": 52, "ef-nia": 56,
    "ef-vgcs": 57, "ef-vbs": 58, "ef-ehplmn": 71, "ef-ehplmnpi": 73, "ef-lrplmnsi": 74, "ef-epsloci": 85,
    "ef-nasconfig": 96, "ef-5gs3gpploci": 122, "ef-5gauthkeys": 123, "ef-suci-calc-info": 124, "ef-uac-aic": 126,
    "ef-opl5g": 129,
}  # fmt: skip
FILLER_FILE = 8000  # bytes in one of the EFs that make a package larger


def _rule(*access: tuple[int, bytes]) -> bytes:
    """An access rule of EF.ARR (TS 102 221 clause 9.2): access mode bytes with the condition for each."""
    return b"".join(tlv(0x80, bytes([mode])) + condition for mode, condition in access)


def _key(reference: int) -> bytes:
    return tlv(0xA4, tlv(0x83, bytes([reference])) + tlv(0x95, b"\x08"))


ALWAYS, NEVER, PIN, ADM = tlv(0x90), tlv(0x97), _key(0x01), _key(0x0A)
# For EFs: 01 read, 02 update, 58 deactivate, activate, delete. For directories: 5E create and delete too.
RULES = {
    "directory": _rule((0x5E, ADM)),
    "public": _rule((0x01, ALWAYS), (0x5A, ADM)),
    "operator": _rule((0x01, PIN), (0x5A, ADM)),
    "subscriber": _rule((0x03, PIN), (0x58, ADM)),
    "fixed": _rule((0x01, ALWAYS), (0x02, NEVER), (0x58, ADM)),
}
RULE_NUMBER = {name: number for number, name in enumerate(RULES, 1)}


def file(
    rule: str, content: bytes | None = None, *, record: int | None = None, size: int | None = None, arr: str = "6F06"
) -> File:
    """A file of a template: its access rule and content; for records their length, ``size`` of the whole."""
    fcp = access(rule, arr)
    if record is not None:
        fcp["fileDescriptor"] = b"\x42\x21" + record.to_bytes(2, "big")
        size = size if content is None else max(size or 0, len(content))
    if size is not None:
        fcp["efFileSize"] = octets(size)
    fill = [("fillFileContent", content)] if content is not None else []
    return [("fileDescriptor", fcp), *fill]


def directory(*pins: int, **fields: Any) -> File:
    """A DF or ADF with ``fields`` of its FCP, and the PINs that its rules name."""
    return [("fileDescriptor", {**fields, **access("directory", "2F06"), "pinStatusTemplateDO": bytes(pins)})]


def arr(fid: str) -> File:
    """EF.ARR with every rule."""
    length = max(map(len, RULES.values()))
    return file("public", b"".join(r.ljust(length, b"\xff") for r in RULES.values()), record=length, arr=fid)


def access(rule: str, arr: str) -> dict[str, Any]:
    return {"securityAttributesReferenced": bytes.fromhex(arr) + bytes([RULE_NUMBER[rule]])}


def octets(number: int) -> bytes:
    """An unsigned number without leading zero octets."""
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")


def service_table(fields: Iterable[str]) -> bytes:
    """EF.UST for the EFs that ``fields`` of profile elements make, at least its 14 bytes."""
    numbers = {SERVICE_OF[field] for field in fields if field in SERVICE_OF} | {ALWAYS_AVAILABLE}
    table = bytearray(max(14, (max(numbers) + 7) // 8))
    for number in numbers:
        table[(number - 1) // 8] |= 1 << (number - 1) % 8
    return bytes(table)


def puk_codes(spec: ProfileSpec, *references: int) -> Body:
    return "pukCodes", {"pukCodes": [{"keyReference": n, "pukValue": spec.code(f"PUK{n}")} for n in references]}


def pin_codes(spec: ProfileSpec) -> Body:
    """PIN 1 disabled, so that a board starts alone; ADM 1 for the operator."""
    pin = {
        "keyReference": 1,
        "pinValue": spec.code("PIN1")[:4].ljust(8, b"\xff"),
        "unblockingPINReference": 1,
        "pinAttributes": 6,
    }
    adm = {
        "keyReference": 10,
        "pinValue": spec.code("ADM1"),
        "pinAttributes": 3,
        "maxNumOfAttemps-retryNumLeft": 0xAA,
    }
    return "pinCodes", {"pinCodes": ("pinconfig", [pin, adm])}


def local_pin(spec: ProfileSpec, application: str) -> Body:
    """The second PIN of one application (TS 102 221 clause 9.5.1)."""
    pin = {
        "keyReference": 129,
        "pinValue": spec.code(f"PIN2 {application}")[:4].ljust(8, b"\xff"),
        "unblockingPINReference": 129,
    }
    return "pinCodes", {"pinCodes": ("pinconfig", [pin])}


def milenage(spec: ProfileSpec) -> Body:
    """Constants and SQN windows are the standard's defaults, which DER leaves out."""
    parameters = {"algorithmID": 1, "algorithmOptions": b"\x01", "key": spec.k, "opc": spec.opc}
    return "akaParameter", {"algoConfiguration": ("algoParameter", parameters)}


def security_domain(spec: ProfileSpec, *versions: int) -> Body:
    """The operator's security domain, reachable over the air by SCP80 with AES keys in each of ``versions``."""
    toolkit = bytes.fromhex("0100000000" + "020116" + "03B20100" + "00")  # MSL 16: CC, enciphered, counter
    keys = [
        {
            "keyUsageQualifier": bytes([usage]),
            "keyIdentifier": bytes([number]),
            "keyVersionNumber": bytes([version]),
            "keyComponents": [{"keyType": b"\x88", "keyData": spec.secret(f"SCP80 {number} {version}", 16)}],
        }
        for version in versions or (1,)
        for number, usage in ((1, 0x18), (2, 0x14), (3, 0x48))
    ]
    instance = {
        **SECURITY_DOMAIN,
        "applicationPrivileges": bytes.fromhex("82DC00"),
        "lifeCycleState": b"\x0f",  # personalised
        "applicationSpecificParametersC9": bytes.fromhex("810280008201F0"),
        "applicationParameters": {"uiccToolkitApplicationSpecificParametersField": toolkit},
    }
    return "securityDomain", {"instance": instance, "keyList": keys}


def filler(spec: ProfileSpec) -> list[Body]:
    """EFs in a directory of their own; their bytes do not compress, as applets and certificates do not."""
    if not spec.filler:
        return []
    content = hashlib.shake_128(spec.iccid.encode()).digest(spec.filler)
    folder = directory(1, 10, fileDescriptor=b"\x78\x21", fileID=b"\x7f\x4a")[0][1]
    commands: list[tuple[str, Any]] = [("filePath", b""), ("createFCP", folder), ("filePath", b"\x7f\x4a")]
    for number, start in enumerate(range(0, len(content), FILLER_FILE), 1):
        part = content[start : start + FILLER_FILE]
        commands += created(bytes([0x6F, number]), part, access("public", "2F06"))
    return [("genericFileManagement", {"fileManagementCMD": [commands]})]


def created(fid: bytes, content: bytes, rule: dict[str, Any]) -> list[tuple[str, Any]]:
    """Commands that make a transparent EF in the current directory."""
    fcp = {"fileDescriptor": b"\x41\x21", "fileID": fid, **rule, "efFileSize": octets(len(content)), "shortEFID": b""}
    return [("createFCP", fcp), ("fillFileContent", content)]
