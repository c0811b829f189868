"""The template ts48-like: what a telephone's profile is, in the mix of elements of GSMA TS.48, about 12 kB.

USIM and ISIM with a local PIN each, 5GS, phone book, remote file management; without the CSIM that TS.48 has.
It authenticates by Milenage, where TS.48 has the test algorithm.
"""

from __future__ import annotations

import hashlib
from typing import Any

from microipa.asn1.tlv import tlv
from microipa.saip import blocks
from microipa.saip.blocks import ACT_EUTRAN, ISIM_FID, USIM_AID, Body, File, access, directory, file
from microipa.saip.full import VERSION, master_file, usim_core
from microipa.saip.spec import ProfileSpec
from microipa.saip.values import plmn_to_bytes

__all__ = ["SERVICES", "VERSION", "bodies"]

SERVICES = ("usim", "isim", "milenage")
ISIM_AID = bytes.fromhex("A0000000871004FFFFFFFF89")
PIN, ADM, LOCAL_PIN = 1, 10, 0x81
RFM_AID = bytes.fromhex("A000000559101000")  # ours: last byte and TAR tell the instances apart
CONTACTS, LOGO = 100, 5200  # entries in the phone book; bytes of the operator's logo
# EFs of PE-OPT-USIM that only have to be there: the template knows their size and content.
PLAIN = (
    "ef-li ef-acmax ef-acm ef-gid1 ef-gid2 ef-msisdn ef-puct ef-cbmi ef-cbmid ef-ext2 ef-ext3 ef-cbmir ef-dck ef-cnl "
    "ef-smsr ef-bdn ef-ext5 ef-ccp2 ef-cmi ef-ici ef-oci ef-ict ef-oct ef-vgcs ef-vgcss ef-vbs ef-vbss ef-emlpp "
    "ef-aaem ef-pnn ef-opl ef-mbdn ef-ext6 ef-mbi ef-mwis ef-cfis ef-ext7 ef-spdi ef-mmsn ef-ext8 ef-mmsicp ef-mmsucp "
    "ef-nia ef-ehplmn ef-ehplmnpi ef-lrplmnsi ef-nasconfig"
)


def bodies(spec: ProfileSpec) -> list[Body]:
    """All elements between header and end."""
    return [
        ("mf", master_file(spec, {"USIM": USIM_AID, "ISIM": ISIM_AID}, PIN, ADM)),
        blocks.puk_codes(spec, PIN, 129),
        blocks.pin_codes(spec),
        ("telecom", _telecom()),
        blocks.local_pin(spec, "TELECOM"),
        ("genericFileManagement", {"fileManagementCMD": [_phone_book(), _logo(spec)]}),
        ("usim", _usim(spec)),
        ("opt-usim", _opt_usim(spec)),
        blocks.local_pin(spec, "USIM"),
        blocks.milenage(spec),
        ("gsm-access", {"df-gsm-access": _folder(), **_plain("ef-kc ef-kcgprs ef-cpbcch ef-invscan")}),
        ("df-5gs", _5gs()),
        ("isim", _isim(spec)),
        ("opt-isim", {"ef-pcscf": file("operator", b"\xff" * 96, record=32), "ef-smss": file("operator")}),
        blocks.local_pin(spec, "ISIM"),
        blocks.milenage(spec),
        blocks.security_domain(spec, 1, 2),
        *(_rfm(number, aid) for number, aid in enumerate((None, USIM_AID, ISIM_AID), 1)),
        *blocks.filler(spec),
    ]


def _folder(**fields: Any) -> File:
    return directory(LOCAL_PIN, PIN, ADM, **fields)


def _plain(names: str) -> dict[str, File]:
    return {name: file("subscriber") for name in names.split()}


def _telecom() -> dict[str, Any]:
    return {
        "df-telecom": _folder(),
        "ef-arr": blocks.arr("6F06"),
        "ef-sume": file("public", tlv(0x85, b"microipa")),
        "df-graphics": _folder(),
        "df-phonebook": _folder(),
        "ef-pbr": file("public", tlv(0xA8, tlv(0xC0, b"\x4f\x3a\x01")), record=7),
        "ef-psc": file("subscriber"),
        "ef-cc": file("subscriber"),
        "ef-puid": file("subscriber"),
    }


def _phone_book() -> list[tuple[str, Any]]:
    """EF.ADN below the phone book: names and numbers of the operator's services."""
    entries = b"".join(
        f"Service {number:02}".encode().ljust(14, b"\xff") + b"\x06\x81" + bytes([number]) * 4 + b"\xff" * 8
        for number in range(CONTACTS)
    )
    length = len(entries) // CONTACTS
    fcp = {
        "fileDescriptor": b"\x42\x21" + length.to_bytes(2, "big"),
        "fileID": b"\x4f\x3a",
        **access("subscriber", "6F06"),
        "efFileSize": blocks.octets(len(entries)),
        "shortEFID": b"",
    }
    return [("filePath", b"\x7f\x10\x5f\x3a"), ("createFCP", fcp), ("fillFileContent", entries)]


def _logo(spec: ProfileSpec) -> list[tuple[str, Any]]:
    """An image in DF.GRAPHICS, of bytes that do not compress."""
    image = hashlib.shake_128(spec.service_provider.encode()).digest(LOGO)
    return [("filePath", b"\x7f\x10\x5f\x50"), *blocks.created(b"\x4f\x02", image, access("public", "6F06"))]


def _usim(spec: ProfileSpec) -> dict[str, Any]:
    return usim_core(spec, LOCAL_PIN, PIN, ADM) | {
        "ef-fdn": file("subscriber"),
        "ef-sms": file("subscriber"),
        "ef-smsp": file("subscriber", bytes.fromhex("FD") + b"\xff" * 37, record=38),
        "ef-smss": file("subscriber"),
        "ef-netpar": file("subscriber"),
    }


def _opt_usim(spec: ProfileSpec) -> dict[str, Any]:
    home = plmn_to_bytes(*spec.home) + ACT_EUTRAN
    abroad = b"".join(plmn_to_bytes(f"{mcc}", "01") + ACT_EUTRAN for mcc in range(202, 262))
    numbers = b"".join(f"Help {n}".encode().ljust(10, b"\xff") + b"\x03\x81\x11\xf2" + b"\xff" * 10 for n in range(10))
    apns = b"\x02" + b"".join(tlv(0xDD, bytes([len(name)]) + name) for name in (b"iot", b"internet"))
    return _plain(PLAIN) | {
        "ef-hplmnwact": file("operator", home),
        "ef-oplmnwact": file("operator", abroad, size=len(abroad)),
        "ef-plmnwact": file("subscriber", abroad[:250], size=250),
        "ef-sdn": file("operator", numbers, record=24),
        "ef-acl": file("operator", apns),
    }


def _5gs() -> dict[str, Any]:
    names = "ef-5gs3gpploci ef-5gsn3gpploci ef-5gs3gppnsc ef-5gsn3gppnsc ef-5gauthkeys ef-uac-aic ef-routing-indicator"
    return {"df-df-5gs": _folder(), **_plain(names)}


def _isim(spec: ProfileSpec) -> dict[str, Any]:
    mcc, mnc = spec.home
    domain = f"ims.mnc{mnc:0>3}.mcc{mcc}.3gppnetwork.org"
    identities = (f"{spec.imsi}@{domain}", f"sip:{spec.imsi}@{domain}", domain)
    impi, impu, home = (tlv(0x80, text.encode()) for text in identities)
    return {
        "adf-isim": _folder(fileID=ISIM_FID, dfName=ISIM_AID),
        "ef-impi": file("operator", impi, size=len(impi)),
        "ef-impu": file("operator", impu, record=len(impu)),
        "ef-domain": file("operator", home, size=len(home)),
        "ef-ist": file("operator", b"\x01" + bytes(13)),
        "ef-ad": file("public", bytes(3)),
        "ef-arr": blocks.arr("6F06"),
    }


def _rfm(number: int, application: bytes | None) -> Body:
    """Remote file management of the UICC or of one application (TS 102 226)."""
    fields: dict[str, Any] = {
        "instanceAID": RFM_AID + bytes([number]),
        "tarList": [b"\xb0\x00" + bytes([number])],
        "minimumSecurityLevel": b"\x16",
        "uiccAccessDomain": b"\x00",
        "uiccAdminAccessDomain": b"\x00",
    }
    if application:
        access_domains = {"adfAccessDomain": b"\x00", "adfAdminAccessDomain": b"\x00"}
        fields["adfRFMAccess"] = {"adfAID": application, **access_domains}
    return "rfm", fields
