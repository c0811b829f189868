"""The eIMs a card obeys: AddInitialEim, GetEimConfigurationData, the eCOs (SGP.32 clauses 3.5 and 5.9).

The configuration is kept as the TLVs it came in; only counter and token are the card's own to change.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from microipa.asn1.tlv import Tlv, TlvError, integer, parse, parse_all, tlv
from microipa.common.errors import MicroipaError
from microipa.crypto.certificates import CURVES, UNREADABLE, CertificateInvalid, check_eim_certificate
from microipa.euicc.chip import Chip, Handler, number, text
from microipa.euicc.nvm import MAX_EIMS, Eim

OK, INSUFFICIENT_MEMORY, ALREADY_EXISTS, CI_KEY_UNKNOWN = 0, 1, 2, 3
INVALID_TOKEN, COUNTER_OUT_OF_RANGE, COMMAND_ERROR = 5, 6, 7
NOT_FOUND, LAST_DELETED = 1, 2  # deleteEim, updateEim
ALLOCATE = -1
MAX_COUNTER = 0x7FFF_FFFF
MAX_ID = 128

EIM_ID, ID_TYPE, COUNTER, TOKEN, PUBLIC_KEY, TLS_KEY, CI_KEY_ID = 0x80, 0x82, 0x83, 0x84, 0xA5, 0xA6, 0x88
CERTIFICATE = 0xA1  # in PUBLIC_KEY and TLS_KEY
FIELDS = (EIM_ID, 0x81, ID_TYPE, COUNTER, TOKEN, PUBLIC_KEY, TLS_KEY, 0x87, CI_KEY_ID, 0x89)


class EimRefused(MicroipaError):
    """A configuration that cannot be taken; ``code`` is the result the standard has for it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"eIM configuration refused with result {code}")
        self.code = code


def token_tlv(token: int | None) -> bytes:
    """What is appended to signed data: the token, ``84 01 00`` when the eIM has none (clause 2.11.2)."""
    return integer(TOKEN, token or 0)


def public_key(eim: Eim) -> EllipticCurvePublicKey:
    """The key that signs this eIM's packages."""
    return _signing_key({item.tag: item for item in parse_all(eim.fields)}[PUBLIC_KEY])


def add(chip: Chip, configuration: Tlv) -> Eim:
    """Associate an eIM. Raises EimRefused."""
    fields = _fields(configuration)
    eim_id = _eim_id(fields)
    if chip.state.eim(eim_id):
        raise EimRefused(ALREADY_EXISTS)
    if len(chip.state.eims) >= MAX_EIMS:
        raise EimRefused(INSUFFICIENT_MEMORY)
    if COUNTER not in fields or PUBLIC_KEY not in fields:
        raise EimRefused(COMMAND_ERROR)
    _check(chip, fields)
    token = None
    if TOKEN in fields:
        if number(fields[TOKEN]) != ALLOCATE:
            raise EimRefused(INVALID_TOKEN)
        chip.state.last_token += 1
        token = chip.state.last_token
    eim = Eim(eim_id, _join(fields), number(fields[COUNTER]), token)
    chip.state.eims.append(eim)
    return eim


def update(chip: Chip, configuration: Tlv) -> None:
    """Replace the fields given (clause 3.5.1.3); the token stays. Raises EimRefused."""
    fields = _fields(configuration)
    eim = chip.state.eim(_eim_id(fields))
    if eim is None:
        raise EimRefused(NOT_FOUND)
    _check(chip, fields)
    if COUNTER in fields:
        counter = number(fields[COUNTER])
        if counter < eim.counter and not _brings_new_key(eim, fields):
            raise EimRefused(COUNTER_OUT_OF_RANGE)  # packages of the past could be sent once more
        eim.counter = counter
    eim.fields = _join({item.tag: item for item in parse_all(eim.fields)} | fields)


def _brings_new_key(eim: Eim, fields: dict[int, Tlv]) -> bool:
    return PUBLIC_KEY in fields and _signing_key(fields[PUBLIC_KEY]) != public_key(eim)


def delete(chip: Chip, operation: Tlv) -> int:
    """Returns the result of eCO deleteEim. Raises EimRefused."""
    eim = chip.state.eim(_eim_id(_fields(operation)))
    if eim is None:
        return NOT_FOUND
    chip.state.eims.remove(eim)
    return OK if chip.state.eims else LAST_DELETED


def list_ids(chip: Chip) -> bytes:
    """The list of eCO listEim: A0{30{80 eimId, 82 eimIdType?}*}."""
    entries = []
    for eim in chip.state.eims:
        wanted = [item.raw for item in parse_all(eim.fields) if item.tag in (EIM_ID, ID_TYPE)]
        entries.append(tlv(0x30, *wanted))
    return tlv(0xA0, *entries)


def add_initial(chip: Chip, command: Tlv) -> bytes:
    """ES10b.AddInitialEim: only while there is no eIM, all of the list or nothing."""
    if chip.state.eims:
        return tlv(0xBF57, integer(0x81, ALREADY_EXISTS))
    last_token = chip.state.last_token
    try:
        added = [add(chip, configuration) for configuration in command[0xA0]]
    except EimRefused as refused:
        chip.state.eims, chip.state.last_token = [], last_token
        return tlv(0xBF57, integer(0x81, refused.code))
    tokens = [tlv(0x05) if eim.token is None else token_tlv(eim.token) for eim in added]
    return tlv(0xBF57, tlv(0xA0, *tokens))


def get_configuration(chip: Chip, command: Tlv) -> bytes:
    """ES10b.GetEimConfigurationData: all eIMs or the one searched for, with token, without counter."""
    criteria = command.get(0xA0)
    wanted = text(criteria[EIM_ID]) if criteria else None
    found = [eim for eim in chip.state.eims if wanted in (None, eim.eim_id)]
    return tlv(0xBF55, tlv(0xA0, *(_configuration(eim) for eim in found)))


def _configuration(eim: Eim) -> bytes:
    fields = {item.tag: item.raw for item in parse_all(eim.fields)}
    if eim.token is not None:
        fields[TOKEN] = token_tlv(eim.token)
    return tlv(0x30, *(fields[tag] for tag in FIELDS if tag in fields))


def _fields(configuration: Tlv) -> dict[int, Tlv]:
    """The known fields; others are extensions and skipped."""
    try:
        return {item.tag: item for item in configuration if item.tag in FIELDS}
    except TlvError:
        raise EimRefused(COMMAND_ERROR) from None


def _join(fields: dict[int, Tlv]) -> bytes:
    return b"".join(fields[tag].raw for tag in FIELDS if tag in fields and tag not in (COUNTER, TOKEN))


def _eim_id(fields: dict[int, Tlv]) -> str:
    try:
        eim_id = text(fields[EIM_ID])
    except (KeyError, ValueError):
        raise EimRefused(COMMAND_ERROR) from None
    if not 1 <= len(eim_id) <= MAX_ID:
        raise EimRefused(COMMAND_ERROR)
    return eim_id


def _check(chip: Chip, fields: dict[int, Tlv]) -> None:
    if COUNTER in fields and not 0 <= number(fields[COUNTER]) <= MAX_COUNTER:
        raise EimRefused(COUNTER_OUT_OF_RANGE)
    if CI_KEY_ID in fields and fields[CI_KEY_ID].value != chip.ci_key_id:
        raise EimRefused(CI_KEY_UNKNOWN)
    try:
        if PUBLIC_KEY in fields:
            _signing_key(fields[PUBLIC_KEY])
            if parse(fields[PUBLIC_KEY].value).tag == CERTIFICATE:
                check_eim_certificate(_whole(fields[PUBLIC_KEY]), chip.issuer)
        if TLS_KEY in fields:
            _key(fields[TLS_KEY])
    except (TlvError, CertificateInvalid, *UNREADABLE):
        raise EimRefused(COMMAND_ERROR) from None


def _signing_key(data: Tlv) -> EllipticCurvePublicKey:
    """eimPublicKeyData. Raises TlvError or one of UNREADABLE."""
    key = _key(data)
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise ValueError(f"an eIM signs with a key on {' or '.join(CURVES)}")
    return key


def _key(data: Tlv) -> object:
    """The key in {A0 SubjectPublicKeyInfo | A1 Certificate}."""
    whole, certified = _whole(data), parse(data.value).tag == CERTIFICATE
    return x509.load_der_x509_certificate(whole).public_key() if certified else load_der_public_key(whole)


def _whole(data: Tlv) -> bytes:
    """What stands under A0 or A1, DER: without or, from some peers, with its 30."""
    choice = parse(data.value)
    inner = choice.children()
    return inner[0].raw if len(inner) == 1 and inner[0].tag == 0x30 else tlv(0x30, choice.value)


COMMANDS: dict[int, Handler] = {0xBF57: add_initial, 0xBF55: get_configuration}
