"""What an IPA leaves to its eIM (ipaFeatures, SGP.32 2.11.1.2): download data, ctxParams1, the look at metadata."""

from __future__ import annotations

from microipa.asn1.tlv import Tlv, TlvError, parse, tlv
from microipa.common.errors import MicroipaError
from microipa.eim import answers
from microipa.eim.store import Device

DIRECT = "directRspServerCommunication"
INDIRECT = "indirectRspServerCommunication"
DOWNLOAD_DATA = "eimDownloadDataHandling"
CTX_PARAMS_1 = "eimCtxParams1Generation"
METADATA = "eimProfileMetadataVerification"
MINIMIZE = "minimizeEsipaBytes"

PPR_1, PPR_2 = 0x40, 0x20  # in the first octet of pprIds
ICCID_BYTES, MAC_BYTES = 10, 8


class PprNotAllowed(MicroipaError):
    """The profile has policy rules, and a device without a user cannot consent to them."""


class MetadataMismatch(MicroipaError):
    """The metadata inside a bound profile package is not what the SM-DP+ had shown, or is none."""


def has(device: Device, feature: str) -> bool:
    """Whether the device's IPA said so. What it said counts until it says something else."""
    if device.ipa_capabilities is None:
        return False
    return feature in answers.capabilities(parse(device.ipa_capabilities)).get("ipaFeatures", [])


def ctx_params_1(device: Device, matching_id: str) -> bytes | None:
    """CtxParams1 from what the device told of itself, None when it has not told."""
    if device.device_info is None:
        return None
    matching = tlv(0x80, matching_id.encode()) if matching_id else b""
    return tlv(0xA0, matching, tlv(0xA1, parse(device.device_info).value))


def check_metadata(metadata: bytes) -> None:
    """What an IPA would check of BF25 where nobody can be asked. Raises PprNotAllowed, MetadataMismatch."""
    try:
        fields = parse(metadata)
        complete = len(fields[0x5A].value) == ICCID_BYTES and 0x91 in fields and 0x92 in fields
        rules = fields.get(0x99)
    except TlvError as error:
        raise MetadataMismatch(f"the metadata cannot be read: {error}") from error
    if not complete:
        raise MetadataMismatch("the metadata has no ICCID or no names")
    if rules and len(rules.value) > 1 and rules.value[1] & (PPR_1 | PPR_2):
        raise PprNotAllowed("the profile has policy rules that nobody at the device can consent to")


def check_package(package: Tlv, metadata: bytes) -> None:
    """Whether a BF36 brings the profile that ``metadata`` (BF25) showed. Raises MetadataMismatch."""
    try:
        # StoreMetadata travels in the clear, each segment with its MAC behind it (SGP.22 2.5.3).
        inside = b"".join(segment.value[:-MAC_BYTES] for segment in package[0xA1])
    except TlvError as error:
        raise MetadataMismatch(f"the package cannot be read: {error}") from error
    if inside != metadata:
        raise MetadataMismatch("the package contains another profile than the metadata of the SM-DP+")
