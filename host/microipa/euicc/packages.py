"""ES10b.LoadEuiccPackage: verify what an eIM signed, execute it, sign the result (SGP.32 clause 5.9.1)."""

from __future__ import annotations

from collections.abc import Iterator

from microipa.asn1.tlv import Tlv, TlvError, integer, tlv
from microipa.crypto import ec
from microipa.euicc import eims, notifications, operations, profiles
from microipa.euicc.chip import SIGNATURE, Chip, Handler, flag, number, text
from microipa.euicc.nvm import Eim, Rollback, Stored

INVALID_EID, REPLAY, COUNTER_OUT_OF_RANGE, SIZE_OVERFLOW, ECALL_ACTIVE, UNDEFINED = 3, 4, 6, 15, 104, 127
ROLLBACK_OK, ROLLBACK_NOT_ALLOWED, CAT_BUSY, COMMAND_ERROR = 0, 1, 5, 7
MAX_PACKAGE = 32_768  # bytes
MAX_RESULT = 16_384  # bytes of the result list
MAX_CODE = 16  # bytes of a result that is no list
MAX_TRANSACTION_ID = 16

EIM_ID, COUNTER, TRANSACTION_ID, SEQ, EID = 0x80, 0x81, 0x82, 0x83, 0x5A
PSMO_LIST, ECO_LIST = 0xA0, 0xA1


def load(chip: Chip, command: Tlv) -> bytes:
    """The verification ladder, then the operations, then the result, signed and stored."""
    signed, signature = command[0x30], command[SIGNATURE]
    eim_id, transaction_id = text(signed[EIM_ID]), signed.get(TRANSACTION_ID)
    if transaction_id and not 1 <= len(transaction_id.value) <= MAX_TRANSACTION_ID:
        raise ValueError("eimTransactionId has 1 to 16 bytes")
    counter, eid = number(signed[COUNTER]), signed[EID].value

    eim = chip.state.eim(eim_id)
    if eim is None:
        return _unsigned_error(signed, None)
    token = eims.token_tlv(eim.token)
    try:
        ec.verify(eims.public_key(eim), signature.value, signed.raw + token)
    except ec.SignatureInvalid:
        return _unsigned_error(signed, eim.token)
    code = _refusal(chip, eim, counter, eid, len(command.raw))
    if code is not None:
        return _signed_error(chip, signed, token, code)

    eim.counter = counter
    chip.state.rollback = None  # a new package ends the authorisation that an older one gave
    return _execute(chip, signed, token)


def failed(chip: Chip, command: Tlv) -> bytes:
    """The answer to a package that was executed, but that the memory did not take."""
    signed = command[0x30]
    eim = chip.state.eim(text(signed[EIM_ID]))
    return _signed_error(chip, signed, eims.token_tlv(eim.token if eim else None), UNDEFINED)


def _refusal(chip: Chip, eim: Eim, counter: int, eid: bytes, size: int) -> int | None:
    """The code of the signed error, None when the package is to be executed."""
    if eid != chip.eid:
        return INVALID_EID
    if counter > eims.MAX_COUNTER:
        return COUNTER_OUT_OF_RANGE
    if counter <= eim.counter:
        return REPLAY
    if size > MAX_PACKAGE:
        return SIZE_OVERFLOW
    return ECALL_ACTIVE if chip.state.emergency else None


def _execute(chip: Chip, signed: Tlv, token: bytes) -> bytes:
    header = _header(signed)
    run = operations.Run(chip, before=chip.state.enabled())
    results = b"".join(_results(run, signed))
    seq = notifications.next_seq(chip)
    answer = _sign_result(chip, seq, header, results, token)
    if run.rollback and run.before is not None:
        chip.state.rollback = Rollback(run.before.iccid, seq, header, results, token)
    profiles.announce(chip, run.events)
    if chip.state.enabled() is not run.before:
        chip.change_profile(refresh=True)
    return answer


def _results(run: operations.Run, signed: Tlv) -> Iterator[bytes]:
    """One result element after the other, until all is done or an operation cannot be.

    Room for a code is made sure of before an operation runs, so that none runs without telling. Lists may
    turn out too long afterwards: they change nothing.
    """
    package = signed.get(PSMO_LIST) or signed.get(ECO_LIST)
    known = operations.PSMO if package and package.tag == PSMO_LIST else operations.ECO
    room = MAX_RESULT
    try:
        for operation in package.children() if package else ():
            result = known[operation.tag](run, operation) if room >= MAX_CODE else b""
            room -= len(result)
            if room < 0 or not result:
                yield operations.terminated(operations.RESULT_SIZE_OVERFLOW)
                return
            yield result
    except (KeyError, TlvError, ValueError):
        yield operations.terminated(operations.UNKNOWN_OR_DAMAGED)


def roll_back(chip: Chip, command: Tlv) -> bytes:
    """ES10b.ProfileRollback: back to the profile before, a new result in place of the old (clause 5.9.16)."""
    authorised, refresh = chip.state.rollback, flag(command, 0x80)
    if authorised is None:
        return tlv(0xBF58, integer(0x02, ROLLBACK_NOT_ALLOWED))
    previous = chip.state.profile(authorised.previous)
    if previous is None:  # a memory reset has taken it
        return tlv(0xBF58, integer(0x02, COMMAND_ERROR))
    if refresh and chip.cat_busy:
        return tlv(0xBF58, integer(0x02, CAT_BUSY))
    chip.state.rollback = None
    chip.state.stored = [item for item in chip.state.stored if item.seq != authorised.seq]
    events = profiles.switch(chip, previous)
    results = authorised.results + integer(0x8C, ROLLBACK_OK)
    seq = notifications.next_seq(chip)
    result = _sign_result(chip, seq, authorised.header, results, authorised.token)
    profiles.announce(chip, events)
    chip.change_profile(refresh)
    return tlv(0xBF58, integer(0x02, ROLLBACK_OK), result)


def _sign_result(chip: Chip, seq: int, header: bytes, results: bytes, token: bytes) -> bytes:
    """EuiccPackageResultSigned, stored until the eIM has acknowledged it."""
    data = tlv(0x30, header, integer(SEQ, seq), tlv(0x30, results))
    raw = tlv(0xBF51, tlv(0xA0, data, chip.sign(data + token)))
    notifications.store(chip, Stored(seq, "epr", 0, b"", raw))
    return raw


def _header(signed: Tlv) -> bytes:
    """What every signed answer repeats: eimId, counterValue, eimTransactionId."""
    transaction_id = signed.get(TRANSACTION_ID)
    return signed[EIM_ID].raw + signed[COUNTER].raw + (transaction_id.raw if transaction_id else b"")


def _signed_error(chip: Chip, signed: Tlv, token: bytes, code: int) -> bytes:
    data = tlv(0x30, _header(signed), integer(0x02, code))
    return tlv(0xBF51, tlv(0xA1, data, chip.sign(data + token)))


def _unsigned_error(signed: Tlv, token: int | None) -> bytes:
    transaction_id = signed.get(TRANSACTION_ID)
    return tlv(
        0xBF51,
        tlv(
            0xA2,
            signed[EIM_ID].raw,
            transaction_id.raw if transaction_id else b"",
            eims.token_tlv(token) if token is not None else b"",
        ),
    )


COMMANDS: dict[int, Handler] = {0xBF51: load, 0xBF58: roll_back}
