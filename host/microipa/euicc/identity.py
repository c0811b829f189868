"""Who the card is and what it can: EID, EUICCInfo, certificates, addresses, rules (ES10a, ES10b)."""

from __future__ import annotations

from microipa.asn1.tlv import Tlv, integer, parse, parse_all, tlv
from microipa.euicc.chip import Chip, Handler, text
from microipa.euicc.profile_elements import services
from microipa.saip.services import capability

SVN = bytes([2, 5, 0])  # SGP.22
SGP32_VERSION = bytes([1, 2, 0])
FIRMWARE_VERSION = bytes([0, 1, 0])
PP_VERSION = bytes(3)  # of no evaluation
RSP_CAPABILITY = bytes([6, 0xC0])  # additionalProfile, crlSupport
SAS_NUMBER = "microipa-lab"
FREE_RAM = 65_536
ALLOWED_RULES = 0x60  # pprIds: PPR1 and PPR2
MAX_ADDRESS = 255  # bytes of an SM-DP+ address that there is room for

INVALID_CI_KEY_ID = 1
PARAMETERS_NOT_AVAILABLE = 1
UNDEFINED = 127


def subject(certificate: bytes) -> bytes:
    """The three fields inside a certificate, for an IMPLICIT tag in place of its 30."""
    return parse(certificate).value


def get_eid(chip: Chip, command: Tlv) -> bytes:
    """ES10b.GetEID: BF3E{5C 01 5A}."""
    wanted = command.get(0x5C)
    if wanted is None or b"\x5a" not in wanted.value:
        raise ValueError("the only data object BF3E has is 5A")
    return tlv(0xBF3E, tlv(0x5A, chip.eid))


def info_1(chip: Chip, command: Tlv) -> bytes:
    """EUICCInfo1."""
    return tlv(0xBF20, tlv(0x82, SVN), *_ci_key_ids(chip))


def info_2(chip: Chip, command: Tlv | None = None) -> bytes:
    """EUICCInfo2, on an IoT card with the fields of SGP.32."""
    resource = (
        integer(0x81, len(chip.state.profiles))
        + tlv(0x82, chip.state.free().to_bytes(4, "big"))
        + tlv(0x83, FREE_RAM.to_bytes(4, "big"))
    )
    return tlv(
        0xBF22,
        tlv(0x81, chip.state.profile_version),
        tlv(0x82, SVN),
        tlv(0x83, FIRMWARE_VERSION),
        tlv(0x84, resource),
        tlv(0x85, capability(services(chip.state))),
        tlv(0x88, RSP_CAPABILITY),
        *_ci_key_ids(chip),
        tlv(0x04, PP_VERSION),
        tlv(0x0C, SAS_NUMBER.encode()),
        _iot_info(chip) if chip.state.kind == "iot" else b"",
        chip.state.info_extensions,
    )


def _ci_key_ids(chip: Chip) -> tuple[bytes, bytes]:
    """euiccCiPKIdListForVerification and euiccCiPKIdListForSigning."""
    trusted = b"".join(tlv(0x04, key_id) for key_id in chip.verification_key_ids)
    return tlv(0xA9, trusted), tlv(0xAA, tlv(0x04, chip.ci_key_id))


def _iot_info(chip: Chip) -> bytes:
    """ipaMode (0 IPAd, 1 IPAe) and iotSpecificInfo: version, ecallSupported, fallbackSupported."""
    mode = integer(0x90, int(chip.ipae_active))
    return mode + tlv(0xB4, tlv(0xA0, tlv(0x04, SGP32_VERSION)), tlv(0x81), tlv(0x82))


def get_certs(chip: Chip, command: Tlv) -> bytes:
    """ES10b.GetCerts."""
    wanted = command.get(0x80)
    if wanted is not None and wanted.value != chip.ci_key_id:
        return tlv(0xBF56, integer(0x81, INVALID_CI_KEY_ID))
    eum, euicc = chip.state.eum_certificate, chip.state.certificate
    return tlv(0xBF56, tlv(0xA0, tlv(0xA5, subject(eum)), tlv(0xA6, subject(euicc))))


def configured_data(chip: Chip, command: Tlv) -> bytes:
    """ES10a.GetEuiccConfiguredData."""
    default = chip.state.default_dp
    return tlv(
        0xBF3C,
        tlv(0x80, default.encode()) if default is not None else b"",
        tlv(0x81, chip.state.root_ds.encode()),
    )


def set_default_dp(chip: Chip, command: Tlv) -> bytes:
    """SetDefaultDpAddress: BF65 of ES10b and the PSMO, BF3F of SGP.22. An empty address removes it."""
    address = command[0x80]
    try:
        if len(address.value) > MAX_ADDRESS:
            raise ValueError("not a name of an SM-DP+")
        chip.state.default_dp = text(address) or None
    except ValueError:
        return tlv(command.tag, integer(0x80, UNDEFINED))
    return tlv(command.tag, integer(0x80, 0))


def rules() -> bytes:
    """RulesAuthorisationTable: any operator may set PPR1 and PPR2, no consent of an end user needed."""
    any_operator = tlv(0x30, tlv(0x80, b"\xee\xee\xee"))
    return tlv(0x30, tlv(0x80, bytes([5, ALLOWED_RULES])), tlv(0xA1, any_operator), tlv(0x82, b"\x00"))


def get_rat(chip: Chip, command: Tlv) -> bytes:
    """ES10b.GetRAT."""
    return tlv(0xBF43, tlv(0xA0, rules()))


def connectivity_parameters(chip: Chip, command: Tlv) -> bytes:
    """ES10b.GetConnectivityParameters: those in the header [7] of the enabled profile's package."""
    profile = chip.state.enabled()
    parameters = parse_all(profile.package)[0].get(0x87) if profile else None
    if parameters is None:
        return tlv(0xBF5F, integer(0x81, PARAMETERS_NOT_AVAILABLE))
    return tlv(0xBF5F, tlv(0xA0, tlv(0x81, parameters.value)))


COMMANDS: dict[int, Handler] = {
    0xBF3E: get_eid,
    0xBF20: info_1,
    0xBF22: info_2,
    0xBF56: get_certs,
    0xBF3C: configured_data,
    0xBF65: set_default_dp,
    0xBF43: get_rat,
    0xBF5F: connectivity_parameters,
}
