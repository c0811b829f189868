"""Making a profile package from a handful of facts, the size an IoT operator would order."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

from microipa.asn1 import saip
from microipa.asn1.tlv import tlv
from microipa.saip.values import (
    SaipError,
    check_iccid,
    check_imsi,
    iccid_to_bytes,
    imsi_to_bytes,
    plmn_to_bytes,
    text_to_bytes,
)

VERSION = (2, 3)  # of the TCA specification: every card in the field reads it
TEMPLATE_MF, TEMPLATE_USIM, TEMPLATE_OPT_USIM = "2.23.143.1.2.1", "2.23.143.1.2.4", "2.23.143.1.2.5"
USIM_AID = bytes.fromhex("A0000000871002FFFFFFFF89")  # TS 101 220: 3GPP, USIM, no country, no provider
USIM_FID = bytes.fromhex("7FF0")  # temporary: names the ADF inside this package only
SECURITY_DOMAIN = {  # GlobalPlatform's load file and module for issuer security domains; MNO-SD of SGP.02
    "applicationLoadPackageAID": bytes.fromhex("A0000001515350"),
    "classAID": bytes.fromhex("A000000151535041"),
    "instanceAID": bytes.fromhex("A000000151000000"),
}
# Services in EF.UST (TS 31.102 clause 4.2.8), 33 is always there.
SERVICES = {"SPN": 19, "reserved, always available": 33, "HPLMNwAcT": 43, "EPS mobility": 85}
ACT_EUTRAN = bytes.fromhex("4000")  # WB-S1 and NB-S1 (TS 31.102 clause 4.2.5)
FILLER_FILE = 8000  # bytes in one of the EFs that make a package larger
MAX_FILLER = 500_000


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


@dataclass(frozen=True)
class ProfileSpec:
    """What makes one subscription.

    ``iccid`` 18 to 20 digits (the check digit of 19 must be right), ``imsi`` 6 to 15 digits with an MNC of
    ``mnc_digits``, ``k`` and ``opc`` 16 bytes for Milenage, ``acc`` access control class 0 to 15 (by default
    the IMSI's last digit, TS 22.011), ``notification_address`` FQDN of the SM-DP+ that wants to know of
    changes, ``filler`` bytes of extra file content.
    """

    iccid: str
    imsi: str
    k: bytes = field(repr=False)
    opc: bytes = field(repr=False)
    name: str = "microipa"
    service_provider: str = "microipa"
    acc: int | None = None
    notification_address: str | None = None
    filler: int = 0
    mnc_digits: int = 2


def build(spec: ProfileSpec) -> bytes:
    """The profile package, DER. The same spec gives the same bytes. Raises SaipError naming the bad input."""
    _check(spec)
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("mf", "mf-header", _mf(spec)),
        ("pukCodes", "puk-Header", {"pukCodes": [{"keyReference": 1, "pukValue": _code(spec, "PUK1")}]}),
        ("pinCodes", "pin-Header", {"pinCodes": ("pinconfig", _pins(spec))}),
        ("usim", "usim-header", _usim(spec)),
        ("opt-usim", "optusim-header", _opt_usim(spec)),
        ("akaParameter", "aka-header", {"algoConfiguration": ("algoParameter", _milenage(spec))}),
        ("securityDomain", "sd-Header", _security_domain(spec)),
        ("end", "end-header", {}),
    ]
    if spec.filler:
        body = {"fileManagementCMD": [_filler(spec)]}
        bodies.insert(-1, ("genericFileManagement", "gfm-header", body))
    package = saip.encode("ProfileElement", ("header", _header(spec)))
    for number, (name, header, body) in enumerate(bodies, 1):
        identified = {header: {"mandated": None, "identification": number}, **body}
        package += saip.encode("ProfileElement", (name, identified))
    return package


def _check(spec: ProfileSpec) -> None:
    check_iccid(spec.iccid)
    check_imsi(spec.imsi)
    for name, key in (("k", spec.k), ("opc", spec.opc)):
        if len(key) != 16:
            raise SaipError(name, None, f"has {len(key)} bytes, Milenage wants 16")
    if spec.acc is not None and not 0 <= spec.acc <= 15:
        raise SaipError("acc", None, f"{spec.acc} is no access control class, 0 to 15 are")
    if spec.mnc_digits not in (2, 3):
        raise SaipError("mnc_digits", None, f"{spec.mnc_digits} digits, an MNC has 2 or 3")
    if not 1 <= len(spec.name) <= 64:
        raise SaipError("name", None, f"has {len(spec.name)} characters, 1 to 64 are allowed")
    if len(text_to_bytes(spec.service_provider)) > 16:
        raise SaipError("service_provider", None, f"{spec.service_provider!r} does not fit in 16 bytes")
    if not 0 <= spec.filler <= MAX_FILLER:
        raise SaipError("filler", None, f"{spec.filler} bytes, 0 to {MAX_FILLER} are allowed")


def _header(spec: ProfileSpec) -> dict[str, Any]:
    return {
        "major-version": VERSION[0],
        "minor-version": VERSION[1],
        "profileType": spec.name,
        "iccid": bytes.fromhex(check_iccid(spec.iccid).ljust(20, "F")),  # here the nibbles are in order
        "eUICC-Mandatory-services": {"usim": None, "milenage": None},
        "eUICC-Mandatory-GFSTEList": [TEMPLATE_MF, TEMPLATE_USIM, TEMPLATE_OPT_USIM],
    }


def _mf(spec: ProfileSpec) -> dict[str, Any]:
    directory = tlv(0x61, tlv(0x4F, USIM_AID) + tlv(0x50, b"USIM"))
    return {
        "templateID": TEMPLATE_MF,
        "mf": [("fileDescriptor", {**_access("directory", "2F06"), "pinStatusTemplateDO": b"\x01\x0a"})],
        "ef-pl": _file("public", b"en", arr="2F06"),
        "ef-iccid": _file("fixed", iccid_to_bytes(spec.iccid), arr="2F06"),
        "ef-dir": _file("public", directory, record=len(directory), arr="2F06"),
        "ef-arr": _arr("2F06"),
    }


def _usim(spec: ProfileSpec) -> dict[str, Any]:
    acc = spec.acc if spec.acc is not None else int(spec.imsi[-1])
    services = bytearray(14)
    for number in SERVICES.values():
        services[(number - 1) // 8] |= 1 << (number - 1) % 8
    adf = {
        "fileID": USIM_FID,
        "dfName": USIM_AID,
        **_access("directory", "2F06"),
        "pinStatusTemplateDO": b"\x01\x0a",
    }
    absent = [("doNotCreate", None)]
    return {
        "templateID": TEMPLATE_USIM,
        "adf-usim": [("fileDescriptor", adf)],
        "ef-imsi": _file("operator", imsi_to_bytes(spec.imsi)),
        "ef-arr": _arr("6F06"),
        "ef-keys": _file("subscriber"),
        "ef-keysPS": _file("subscriber"),
        "ef-hpplmn": _file("operator"),
        "ef-ust": _file("operator", bytes(services)),
        "ef-fdn": absent,  # a telephone's files: nothing on an IoT board reads them
        "ef-sms": absent,
        "ef-smsp": absent,
        "ef-smss": absent,
        "ef-spn": _file("public", b"\x01" + text_to_bytes(spec.service_provider)),
        "ef-est": _file("operator", b"\x00"),
        "ef-start-hfn": _file("subscriber"),
        "ef-threshold": _file("operator"),
        "ef-psloci": _file("subscriber"),
        "ef-acc": _file("operator", (1 << acc).to_bytes(2, "big")),
        "ef-fplmn": _file("subscriber"),
        "ef-loci": _file("subscriber"),
        "ef-ad": _file("public", bytes([0, 0, 0, spec.mnc_digits])),
        "ef-ecc": _file("public", bytes.fromhex("11F2FF00")),  # 112
        "ef-netpar": absent,
        "ef-epsloci": _file("subscriber"),
        "ef-epsnsc": _file("subscriber"),
    }


def _opt_usim(spec: ProfileSpec) -> dict[str, Any]:
    home = plmn_to_bytes(spec.imsi[:3], spec.imsi[3 : 3 + spec.mnc_digits])
    return {
        "templateID": TEMPLATE_OPT_USIM,
        "ef-hplmnwact": _file("operator", home + ACT_EUTRAN),
    }


def _pins(spec: ProfileSpec) -> list[dict[str, Any]]:
    """PIN 1 disabled, so that a board starts alone; ADM 1 for the operator."""
    return [
        {
            "keyReference": 1,
            "pinValue": _code(spec, "PIN1")[:4].ljust(8, b"\xff"),
            "unblockingPINReference": 1,
            "pinAttributes": 6,
        },
        {
            "keyReference": 10,
            "pinValue": _code(spec, "ADM1"),
            "pinAttributes": 3,
            "maxNumOfAttemps-retryNumLeft": 0xAA,
        },
    ]


def _milenage(spec: ProfileSpec) -> dict[str, Any]:
    """Constants and SQN windows are the standard's defaults, which DER leaves out."""
    return {"algorithmID": 1, "algorithmOptions": b"\x01", "key": spec.k, "opc": spec.opc}


def _security_domain(spec: ProfileSpec) -> dict[str, Any]:
    """The operator's security domain, reachable over the air by SCP80 with AES keys in version 01."""
    toolkit = bytes.fromhex("0100000000" + "020116" + "03B20100" + "00")  # MSL 16: CC, enciphered, counter
    keys = [
        {
            "keyUsageQualifier": bytes([usage]),
            "keyIdentifier": bytes([number]),
            "keyVersionNumber": b"\x01",
            "keyComponents": [{"keyType": b"\x88", "keyData": _derive(spec, f"SCP80 {number}", 16)}],
        }
        for number, usage in ((1, 0x18), (2, 0x14), (3, 0x48))
    ]
    instance = {
        **SECURITY_DOMAIN,
        "applicationPrivileges": bytes.fromhex("82DC00"),
        "lifeCycleState": b"\x0f",  # personalised
        "applicationSpecificParametersC9": bytes.fromhex("810280008201F0"),
        "applicationParameters": {"uiccToolkitApplicationSpecificParametersField": toolkit},
    }
    return {"instance": instance, "keyList": keys}


def _filler(spec: ProfileSpec) -> list[tuple[str, Any]]:
    """EFs in a directory of their own; their bytes do not compress, as applets and certificates do not."""
    content = hashlib.shake_128(spec.iccid.encode()).digest(spec.filler)
    folder = {
        "fileDescriptor": b"\x78\x21",
        "fileID": bytes.fromhex("7F4A"),
        **_access("directory", "2F06"),
        "pinStatusTemplateDO": b"\x01\x0a",
    }
    commands: list[tuple[str, Any]] = [
        ("filePath", b""),
        ("createFCP", folder),
        ("filePath", bytes.fromhex("7F4A")),
    ]
    for number, start in enumerate(range(0, len(content), FILLER_FILE), 1):
        part = content[start : start + FILLER_FILE]
        fcp = {
            "fileDescriptor": b"\x41\x21",
            "fileID": bytes([0x6F, number]),
            **_access("public", "2F06"),
            "efFileSize": _minimal(len(part)),
            "shortEFID": b"",
        }
        commands += [("createFCP", fcp), ("fillFileContent", part)]
    return commands


def _file(
    rule: str, content: bytes | None = None, *, record: int | None = None, arr: str = "6F06"
) -> list[tuple[str, Any]]:
    """A file of a template: its access rule and content, for records their length."""
    fcp: dict[str, Any] = _access(rule, arr)
    if record is not None and content is not None:
        fcp["fileDescriptor"] = b"\x42\x21" + record.to_bytes(2, "big")
        fcp["efFileSize"] = _minimal(len(content))
    fill = [("fillFileContent", content)] if content is not None else []
    return [("fileDescriptor", fcp), *fill]


def _arr(fid: str) -> list[tuple[str, Any]]:
    """EF.ARR with every rule."""
    length = max(map(len, RULES.values()))
    return _file("public", b"".join(r.ljust(length, b"\xff") for r in RULES.values()), record=length, arr=fid)


def _access(rule: str, arr: str) -> dict[str, Any]:
    return {"securityAttributesReferenced": bytes.fromhex(arr) + bytes([RULE_NUMBER[rule]])}


def _minimal(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")


def _derive(spec: ProfileSpec, label: str, length: int) -> bytes:
    """Secrets nobody gave, from K: different in each profile, the same whenever it is built."""
    return hmac.digest(spec.k, f"microipa {label}".encode(), "sha256")[:length]


def _code(spec: ProfileSpec, label: str) -> bytes:
    """Eight digits."""
    return f"{int.from_bytes(_derive(spec, label, 8), 'big') % 10**8:08}".encode()
