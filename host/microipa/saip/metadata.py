"""StoreMetadataRequest: what the eIM and the card's owner see of a profile (SGP.22 clause 5.5.3)."""

from __future__ import annotations

from microipa.asn1.tlv import integer, tlv
from microipa.saip.package import ProfilePackage
from microipa.saip.spec import ProfileSpec
from microipa.saip.values import SaipError, iccid_to_bytes, text_from_bytes

CLASSES = {"test": 0, "provisioning": 1, "operational": 2}
# BIT STRINGs of one event each: install, enable, disable, delete. DER drops trailing zero bits.
EVENTS = tuple(bytes.fromhex(bits) for bits in ("0780", "0640", "0520", "0410"))
MAX_NAME, MAX_PROVIDER = 64, 32  # characters


def metadata(
    source: ProfileSpec | ProfilePackage,
    *,
    name: str | None = None,
    service_provider: str | None = None,
    notification_address: str | None = None,
    profile_class: str = "operational",
) -> bytes:
    """The BF25 for a profile.

    Names come from the spec or, for a package, from header and EF.SPN, unless given. With a
    ``notification_address`` (FQDN) the card tells it of install, enable, disable and delete.

    Raises SaipError.
    """
    if isinstance(source, ProfileSpec):
        name = name or source.name
        service_provider = service_provider or source.service_provider
        notification_address = notification_address or source.notification_address
    else:
        name = name or source.header.get("profileType", "profile")[:MAX_NAME]
        service_provider = service_provider or _provider(source) or name[:MAX_PROVIDER]
    limited = ("name", name, MAX_NAME), ("service_provider", service_provider, MAX_PROVIDER)
    for field, text, limit in limited:
        if len(text) > limit:
            raise SaipError(field, None, f"{text!r} has {len(text)} characters, {limit} are allowed")
    if profile_class not in CLASSES:
        raise SaipError("profile_class", None, f"{profile_class!r} is none of {', '.join(CLASSES)}")
    parts = [
        tlv(0x5A, iccid_to_bytes(source.iccid)),
        tlv(0x91, service_provider.encode()),
        tlv(0x92, name.encode()),
    ]
    if profile_class != "operational":  # the DEFAULT, which DER leaves out
        parts.append(integer(0x95, CLASSES[profile_class]))
    if notification_address:
        address = tlv(0x81, notification_address.encode())
        parts.append(tlv(0xB6, *(tlv(0x30, tlv(0x80, event), address) for event in EVENTS)))
    return tlv(0xBF25, *parts)


def _provider(package: ProfilePackage) -> str:
    """The text of EF.SPN, "" without one."""
    spn = next((file.content for file in package.files().values() if file.name == "EF.SPN"), b"")
    return text_from_bytes(spn[1:])
