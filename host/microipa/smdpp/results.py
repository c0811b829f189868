"""Notifications of an eUICC: the result of an installation and the other signed ones, decoded to words."""

from __future__ import annotations

from dataclasses import dataclass

from microipa.asn1.tlv import Tlv, TlvError, number, parse
from microipa.saip import report
from microipa.smdpp.answers import oid_text, signature_value

BPP_COMMANDS = {
    0: "initialiseSecureChannel",
    1: "configureISDP",
    2: "storeMetadata",
    3: "storeMetadata2",
    4: "replaceSessionKeys",
    5: "loadProfileElements",
}
INTERRUPTED = 11
ERROR_REASONS = {
    1: "incorrectInputValues",
    2: "invalidSignature",
    3: "invalidTransactionId",
    4: "unsupportedCrtValues",
    5: "unsupportedRemoteOperationType",
    6: "unsupportedProfileClass",
    7: "scp03tStructureError",
    8: "scp03tSecurityError",
    9: "installFailedDueToIccidAlreadyExistsOnEuicc",
    10: "installFailedDueToInsufficientMemoryForProfile",
    INTERRUPTED: "installFailedDueToInterruption",
    12: "installFailedDueToPEProcessingError",
    13: "installFailedDueToDataMismatch",
    14: "testProfileInstallFailedDueToInvalidNaaKey",
    15: "pprNotAllowed",
    127: "installFailedDueToUnknownError",
}
EVENTS = ("install", "enable", "disable", "delete")


@dataclass(frozen=True)
class NotificationMetadata:
    """BF2F: which notification of which card about which profile."""

    seq_number: int
    event: str
    address: str
    iccid: str | None  # digits

    @classmethod
    def read(cls, field: Tlv) -> NotificationMetadata:
        iccid = field.get(0x5A)
        return cls(
            number(field[0x80]),
            _event(field[0x81]),
            field[0x0C].value.decode("utf-8", "replace"),
            _digits(iccid.value) if iccid else None,
        )


@dataclass(frozen=True)
class InstallationResult:
    """BF37: how the installation of one bound profile package ended."""

    raw: bytes
    data: bytes  # raw BF27, what is signed
    signature: bytes
    transaction_id: bytes
    notification: NotificationMetadata
    smdp_oid: str
    error_reason: int | None  # None: installed
    words: str

    @classmethod
    def read(cls, message: Tlv) -> InstallationResult:
        data = message[0xBF27]
        outcome = data[0xA2].children()
        if len(outcome) != 1 or outcome[0].tag not in (0xA0, 0xA1):
            raise TlvError("finalResult is neither successResult nor errorResult", data[0xA2].offset)
        failed = outcome[0].tag == 0xA1
        return cls(
            message.raw,
            data.raw,
            signature_value(message[0x5F37]),
            data[0x80].value,
            NotificationMetadata.read(data[0xBF2F]),
            oid_text(data[0x06]),
            number(outcome[0][0x81]) if failed else None,
            _failure(outcome[0]) if failed else "installed",
        )


@dataclass(frozen=True)
class OtherNotification:
    """30{BF2F, 5F37, 30 eUICC certificate, 30 EUM certificate}: enable, disable or delete."""

    data: bytes  # raw BF2F, what is signed
    signature: bytes
    euicc_certificate: bytes
    eum_certificate: bytes
    notification: NotificationMetadata

    @classmethod
    def read(cls, message: Tlv) -> OtherNotification:
        children = message.children()
        if [child.tag for child in children[:4]] != [0xBF2F, 0x5F37, 0x30, 0x30]:
            raise TlvError("a signed notification is BF2F, 5F37, 30, 30", message.offset)
        data, signature, euicc, eum = children[:4]
        return cls(data.raw, signature_value(signature), euicc.raw, eum.raw, NotificationMetadata.read(data))


def read_pending_notification(der: bytes) -> InstallationResult | OtherNotification:
    """The CHOICE PendingNotification. Raises TlvError."""
    message = parse(der)
    if message.tag == 0xBF37:
        return InstallationResult.read(message)
    if message.tag == 0x30:
        return OtherNotification.read(message)
    raise TlvError(f"{message.tag:02X} is not a PendingNotification, BF37 and 30 are", 0)


def _failure(error: Tlv) -> str:
    command, reason = number(error[0x80]), number(error[0x81])
    place = BPP_COMMANDS.get(command, f"command {command}")
    words = f"{ERROR_REASONS.get(reason, f'error {reason}')} in {place}"
    response = error.get(0x82)
    details = report.words(response.value) if response else ""
    return f"{words}: {details}" if details else words


def _event(field: Tlv) -> str:
    """The first set bit of NotificationEvent. Some cards spend one byte a bit: 00 01 00 00 is enable."""
    bits = field.value[1:]
    if len(bits) > 1 and max(bits) == 1:
        position = bits.index(1)
    else:
        position = next((i for i in range(len(bits) * 8) if bits[i // 8] & 0x80 >> i % 8), len(EVENTS))
    if position >= len(EVENTS):
        raise TlvError(f"profileManagementOperation {field.value.hex()} names no known event", field.offset)
    return EVENTS[position]


def _digits(iccid: bytes) -> str:
    """Swapped nibbles to digits, padding F removed."""
    return "".join(f"{octet & 0x0F:x}{octet >> 4:x}" for octet in iccid).rstrip("f")
