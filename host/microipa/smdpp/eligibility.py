"""May this eUICC have this profile? The eligibility check of SGP.22 clause 3.1.3 step 6 and annex F."""

from __future__ import annotations

from microipa.asn1.tlv import Tlv, parse, parse_all
from microipa.smdpp.answers import children_of, number
from microipa.smdpp.refusal import Refused


def check_eligible(euicc_info2: Tlv, package: bytes, metadata: bytes) -> None:
    """Raises Refused 8.2.5/4.3 for policy rules and format version, 8.1/4.8 for memory.

    ``euicc_info2`` BF22 as signed, ``package`` the unprotected profile package, ``metadata`` BF25.
    """
    _check_policy_rules(euicc_info2, parse(metadata))
    _check_version(euicc_info2, package)
    _check_memory(euicc_info2, package)


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
