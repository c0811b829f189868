"""IpaEuiccDataResponse: what an eUICC and its IPA say of themselves (SGP.32 2.11.2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from microipa.asn1 import sgp32
from microipa.asn1.tlv import Tlv, number, parse_all, tlv
from microipa.common.errors import MicroipaError
from microipa.crypto.certificates import verify_euicc_chain
from microipa.crypto.revocation import Issuer
from microipa.eim import words
from microipa.eim.packages import certificate
from microipa.eim.store import Device

INCORRECT_TAG_LIST, UNDEFINED = 1, 127


class DeviceUnproven(MicroipaError):
    """The answer does not show that it comes from the eUICC it should come from."""


@dataclass(frozen=True)
class DataAnswer:
    """BF52 as the IPA sent it. ``error`` is a code of IpaEuiccDataErrorCode."""

    transaction_id: bytes | None
    error: int | None
    fields: Mapping[int, Tlv]

    @classmethod
    def read(cls, message: Tlv) -> DataAnswer:
        """Some IPAs leave out the A0 of the choice (interop). Raises TlvError."""
        inside = message.children()
        if len(inside) == 1 and inside[0].tag == 0xA1:
            error, transaction_id = inside[0], inside[0].get(0x80)
            code = number(error[0x02])
            return cls(transaction_id.value if transaction_id else None, code, {})
        if len(inside) == 1 and inside[0].tag == 0xA0:
            inside = inside[0].children()
        fields = {field.tag: field for field in inside}
        return cls(fields[0x87].value if 0x87 in fields else None, None, fields)

    @property
    def results(self) -> list[Tlv]:
        """Stored eUICC package results, BF51 each."""
        return self.fields[0xA2].children() if 0xA2 in self.fields else []

    @property
    def notifications(self) -> Tlv | None:
        return self.fields.get(0xA0)

    @property
    def has_certificates(self) -> bool:
        return 0xA5 in self.fields and 0xA6 in self.fields

    def require_certificates(self, device: Device) -> None:
        """Raises DeviceUnproven when this eIM would still not know whom the answer is from."""
        if not device.is_proven and not self.has_certificates:
            raise DeviceUnproven(f"{device.eid} sent no certificates")

    def teach(self, device: Device, ci: Issuer, question: bytes) -> tuple[str, dict[str, Any]]:
        """Verify the certificates, then keep in ``device`` what no signature has proved otherwise.

        Nobody signs an answer. Returns words and details. ``question`` are the fields of the request. Raises
        CertificateInvalid, DeviceUnproven, TlvError;
        ``device`` is untouched then.
        """
        learnt = []
        if self.has_certificates:
            eum, euicc = certificate(self.fields[0xA5]), certificate(self.fields[0xA6])
            eid, _ = verify_euicc_chain(euicc, eum, ci)
            if eid != device.eid:
                raise DeviceUnproven(f"the certificate of {eid} was sent as if by {device.eid}")
            if device.euicc_certificate is None or device.proven_token is None:
                device.eum_certificate, device.euicc_certificate = eum, euicc
            learnt.append("certificates verified")
        details: dict[str, Any] = {}
        if b"\x84" in tag_list(question):
            token = self.fields.get(0x84)
            claimed = number(token) if token else 0
            if device.token is None or device.proven_token is None:
                device.token = claimed
            learnt.append(f"association token {claimed}")
            details["associationToken"] = claimed
        if not device.info2_signed:
            device.euicc_info2 = self._raw(0xBF22) or device.euicc_info2
        device.ipa_capabilities = self._raw(0xA8) or device.ipa_capabilities
        device.device_info = self._raw(0xA9) or device.device_info
        if b"\x81" in tag_list(question) and not device.default_signed:
            default = self.fields.get(0x81)
            device.default_smdp = default.value.decode(errors="replace") if default else ""
        return ", ".join(learnt), details | capabilities(self.fields.get(0xA8))

    def as_json(self) -> Any:
        """All of it by the standard's names; IPAs differ in the order of the fields."""
        place = {member.kind.tags[0]: number for number, member in enumerate(sgp32.kind("IpaEuiccData").members)}
        fields = sorted(self.fields.values(), key=lambda field: place.get(field.tag, len(place)))
        return words.as_json(tlv(0x30, *(field.raw for field in fields)), "IpaEuiccData")

    def _raw(self, tag: int) -> bytes | None:
        return self.fields[tag].raw if tag in self.fields else None


def tag_list(question: bytes) -> list[bytes]:
    """The tags that the fields of an IpaEuiccDataRequest ask for."""
    octets, tags = parse_all(question)[0].value, []
    while octets:
        size = 2 if octets[0] & 0x1F == 0x1F else 1
        tags.append(octets[:size])
        octets = octets[size:]
    return tags


def capabilities(ipa_capabilities: Tlv | None) -> dict[str, list[str]]:
    """The names of the bits of IpaCapabilities A8."""
    found = {}
    for tag, name in ((0x80, "ipaFeatures"), (0x81, "ipaSupportedProtocols")):
        field = ipa_capabilities.get(tag) if ipa_capabilities else None
        if field:
            found[name] = words.bits(f"IpaCapabilities.{name}", field.value)
    return found
