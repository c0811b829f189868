"""Which package of a profile may this eUICC have? The eligibility check of SGP.22 clause 3.1.3 step 6 and annex F."""

from __future__ import annotations

from collections.abc import Sequence

from microipa.asn1 import saip
from microipa.asn1.tlv import Tlv, number, parse, parse_all
from microipa.saip.services import IOT_MINIMAL, has
from microipa.smdpp.answers import children_of
from microipa.smdpp.refusal import Refused

IOT_SPECIFIC_INFO = 0xB4  # in the EUICCInfo2 of SGP.32 cards only


def choose(euicc_info2: Tlv, packages: Sequence[bytes], metadata: bytes) -> int:
    """The index of the package to give: of those that fit, the smallest to an IoT eUICC, for each byte costs it
    battery, and the first to any other.

    ``euicc_info2`` BF22 as signed, ``packages`` the unprotected profile packages of one profile, ``metadata`` BF25.
    Raises Refused when none fits: 8.2.5/4.3 for policy rules, format version and services, 8.1/4.8 for memory.
    """
    _check_policy_rules(euicc_info2, parse(metadata))
    fitting, refusals = [], []
    for index, package in enumerate(packages):
        try:
            _check_version(euicc_info2, package)
            _check_services(euicc_info2, package)
            _check_memory(euicc_info2, package)
            fitting.append(index)
        except Refused as refused:
            refusals.append(refused)
    if not fitting:
        raise _sum(refusals)
    if IOT_SPECIFIC_INFO in euicc_info2:
        return min(fitting, key=lambda index: len(packages[index]))
    return fitting[0]


def _sum(refusals: list[Refused]) -> Refused:
    """One refusal for all packages, with their codes where they agree."""
    if len(refusals) == 1:
        return refusals[0]
    codes = {(refused.subject_code, refused.reason_code) for refused in refusals}
    subject, reason = codes.pop() if len(codes) == 1 else ("8.2.5", "4.3")
    reasons = "; ".join(refused.message for refused in refusals)
    return Refused(subject, reason, f"none of {len(refusals)} packages fits: {reasons}")


def _check_policy_rules(euicc_info2: Tlv, metadata: Tlv) -> None:
    forbidden, wanted = _bits(euicc_info2.get(0x99)), _bits(metadata.get(0x99))
    clash = [f"PPR{n}" for n in (1, 2) if forbidden & wanted & 0x80 >> n]
    if clash:
        raise Refused("8.2.5", "4.3", f"the profile needs {' and '.join(clash)}, which the eUICC forbids")


def _check_version(euicc_info2: Tlv, package: bytes) -> None:
    """The first element is the ProfileHeader A0, its 80 the major version of the package format."""
    header = parse_all(package)[0]
    needed, supported = number(header[0x80]), euicc_info2[0x81].value
    if supported and supported[0] < needed:
        raise Refused(
            "8.2.5", "4.3", f"the profile package has format version {needed}, the eUICC reads {supported[0]}"
        )


def _check_services(euicc_info2: Tlv, package: bytes) -> None:
    """What the header makes mandatory must be in uiccCapability 85; an eUICC without that is believed to have all
    but the IoT Minimal Profile, which is younger than the field."""
    _, header = saip.decode("ProfileElement", parse_all(package)[0].raw)
    capability = euicc_info2.get(0x85)
    needed = list(header["eUICC-Mandatory-services"]) if capability else []
    if "iotOptions" in header:
        needed.append(IOT_MINIMAL)
    missing = [service for service in needed if not (capability and has(capability.value, service))]
    if missing:
        raise Refused("8.2.5", "4.3", f"the profile package needs {', '.join(missing)}, which the eUICC does not have")


def _check_memory(euicc_info2: Tlv, package: bytes) -> None:
    """extCardResource 84 holds 81 installed applications, 82 free non-volatile and 83 free volatile bytes."""
    resource = euicc_info2.get(0x84)
    for item in children_of(resource.value) if resource else ():
        free = int.from_bytes(item.value, "big")
        if item.tag == 0x82 and free < len(package):
            raise Refused("8.1", "4.8", f"the profile takes {len(package)} bytes, the eUICC has {free} free")


def _bits(field: Tlv | None) -> int:
    """The first eight bits of PprIds: pprUpdateControl, ppr1, ppr2."""
    return field.value[1] if field and len(field.value) > 1 else 0
