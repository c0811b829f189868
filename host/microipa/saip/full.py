"""The template iot: a Full Profile of version 2.3, which every card in the field reads, the size IoT needs."""

from __future__ import annotations

from typing import Any

from microipa.asn1.tlv import tlv
from microipa.saip import blocks
from microipa.saip.blocks import ACT_EUTRAN, ADF_FID, USIM_AID, Body, File, directory, file
from microipa.saip.spec import ProfileSpec
from microipa.saip.values import iccid_to_bytes, imsi_to_bytes, plmn_to_bytes, text_to_bytes

VERSION = (2, 3)
SERVICES = ("usim", "milenage")


def bodies(spec: ProfileSpec) -> list[Body]:
    """All elements between header and end."""
    return [
        ("mf", master_file(spec, {"USIM": USIM_AID}, 1, 10)),
        blocks.puk_codes(spec, 1),
        blocks.pin_codes(spec),
        ("usim", _usim(spec)),
        ("opt-usim", {"ef-hplmnwact": file("operator", plmn_to_bytes(*spec.home) + ACT_EUTRAN)}),
        blocks.milenage(spec),
        blocks.security_domain(spec),
        *blocks.filler(spec),
    ]


def master_file(spec: ProfileSpec, applications: dict[str, bytes], *pins: int) -> dict[str, Any]:
    """PE-MF; ``applications``: label and AID of those in EF.DIR."""
    entries = [tlv(0x61, tlv(0x4F, aid) + tlv(0x50, label.encode())) for label, aid in applications.items()]
    length = max(map(len, entries))
    listed = b"".join(entry.ljust(length, b"\xff") for entry in entries)
    return {
        "mf": directory(*pins),
        "ef-pl": file("public", b"en", arr="2F06"),
        "ef-iccid": file("fixed", iccid_to_bytes(spec.iccid), arr="2F06"),
        "ef-dir": file("public", listed, record=length, arr="2F06"),
        "ef-arr": blocks.arr("2F06"),
    }


def usim_core(spec: ProfileSpec, *pins: int) -> dict[str, Any]:
    """The files of PE-USIM that every profile has. EF.UST is filled in when all files are known."""
    return {
        "adf-usim": directory(*pins, fileID=ADF_FID, dfName=USIM_AID),
        "ef-imsi": file("operator", imsi_to_bytes(spec.imsi)),
        "ef-arr": blocks.arr("6F06"),
        "ef-keys": file("subscriber"),
        "ef-keysPS": file("subscriber"),
        "ef-hpplmn": file("operator"),
        "ef-ust": file("operator"),
        "ef-spn": file("public", b"\x01" + text_to_bytes(spec.service_provider)),
        "ef-est": file("operator", b"\x00"),
        "ef-start-hfn": file("subscriber"),
        "ef-threshold": file("operator"),
        "ef-psloci": file("subscriber"),
        "ef-acc": file("operator", spec.access_classes),
        "ef-fplmn": file("subscriber"),
        "ef-loci": file("subscriber"),
        "ef-ad": file("public", bytes([0, 0, 0, spec.mnc_digits])),
        "ef-ecc": file("public", bytes.fromhex("11F2FF00")),  # 112
        "ef-epsloci": file("subscriber"),
        "ef-epsnsc": file("subscriber"),
    }


def _usim(spec: ProfileSpec) -> dict[str, Any]:
    absent: File = [("doNotCreate", None)]
    telephone = ("ef-fdn", "ef-sms", "ef-smsp", "ef-smss", "ef-netpar")  # nothing on an IoT board reads them
    return usim_core(spec, 1, 10) | dict.fromkeys(telephone, absent)
