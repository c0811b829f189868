"""Loading a bound profile package, as it comes and whole or not at all (SGP.22 clauses 2.5.6, 5.5, 5.7.6).

The IPA sends the package in pieces; where it cuts is of no meaning here. Nothing reaches the card's memory
before the ProfileInstallationResult, which is committed together with the profile.
"""

from __future__ import annotations

from microipa.asn1.tlv import Tlv, TlvError, integer, parse, tlv
from microipa.common.errors import MicroipaError
from microipa.crypto import ec
from microipa.crypto.bsp import Bsp, BspError
from microipa.euicc import identity, notifications
from microipa.euicc.chip import SIGNATURE, Chip, Installed, Session, number, oid_value
from microipa.euicc.nvm import Profile, Stored
from microipa.euicc.personalisation import check
from microipa.euicc.profile_elements import HEADER, ElementRefused, Interpreter, PeStatus, Status, response
from microipa.euicc.status import CONDITIONS, StatusWord
from microipa.saip import SaipError, iccid_from_bytes
from microipa.saip.values import iccid_from_header

# errorReason
INCORRECT_INPUT, INVALID_SIGNATURE, INVALID_TRANSACTION_ID, UNSUPPORTED_CRT = 1, 2, 3, 4
UNSUPPORTED_OPERATION = 5
UNSUPPORTED_CLASS, STRUCTURE_ERROR, SECURITY_ERROR, ICCID_EXISTS, NO_MEMORY = 6, 7, 8, 9, 10
PE_ERROR, DATA_MISMATCH, PPR_NOT_ALLOWED = 12, 13, 15

PACKAGE, SECURE_CHANNEL, ISDP, METADATA, KEYS, ELEMENTS = 0xBF36, 0xBF23, 0xA0, 0xA1, 0xA2, 0xA3
COMMAND_ID = {SECURE_CHANNEL: 0, ISDP: 1, METADATA: 2, KEYS: 4, ELEMENTS: 5}
FOLLOWS = {
    PACKAGE: (SECURE_CHANNEL,),
    SECURE_CHANNEL: (ISDP,),
    ISDP: (METADATA,),
    METADATA: (KEYS, ELEMENTS),
    KEYS: (ELEMENTS,),
    ELEMENTS: (),
}
SEGMENT = {ISDP: 0x87, METADATA: 0x88, KEYS: 0x87, ELEMENTS: 0x86}
MAX_LEAF = 65_280  # what fits in one STORE DATA chain
PIECES = (PACKAGE, ISDP, METADATA, KEYS, ELEMENTS, 0x86, 0x87, 0x88)  # what a chain of a load begins with

INSTALL_OPERATION = 1
KEY_TYPE, KEY_LENGTH = 0x88, 0x10
ISDP_AID = bytes.fromhex("A0000005591010FFFFFFFF890000")
FIRST_ISDP = 0x1000


class LoadError(MicroipaError):
    """Ends the installation with ``reason``; ``pe_status`` goes into the simaResponse."""

    def __init__(self, reason: int, pe_status: Status | None = None) -> None:
        super().__init__(f"installation failed with reason {reason}")
        self.reason = reason
        self.pe_status = pe_status


class Loader:
    """One installation. ``feed`` it the package's bytes until it answers with the result."""

    def __init__(self, chip: Chip) -> None:
        session = chip.session
        if session is None or session.one_time_key is None:
            raise StatusWord(CONDITIONS)
        self._chip = chip
        self._session: Session = session
        self._buffer = b""
        self._open: list[list[int]] = []  # [tag, bytes left] from BF36 inwards
        self._part = PACKAGE  # the part begun last
        self._bsp: Bsp | None = None
        self._plain = b""  # of the part, as far as it is deciphered
        self._metadata = b""
        self._iccid: bytes | None = None
        self._interpreter = Interpreter(chip.state)
        self._loaded = 0  # bytes of the elements taken
        self._package = b""  # when all are there
        self._seq: list[int] = []

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes. Returns the ProfileInstallationResult when done or failed, else nothing.

        Raises StatusWord when the session it belongs to is over.
        """
        if self._chip.session is not self._session:  # cancelled, or another one has begun
            raise StatusWord(CONDITIONS)
        self._buffer += data
        try:
            while self._step():
                pass
        except LoadError as error:
            return self._result(error)
        except (BspError, ec.SignatureInvalid):
            return self._result(LoadError(SECURITY_ERROR))
        except (TlvError, ValueError, ec.PointInvalid):
            return self._result(LoadError(INCORRECT_INPUT))
        if not self._open or any(left for _, left in self._open):
            return b""
        return self._result(None if self._part == ELEMENTS else LoadError(STRUCTURE_ERROR))

    def _step(self) -> bool:
        """Take one header or leaf off the buffer. False when it has not come whole yet."""
        try:
            head = _head(self._buffer)
        except TlvError:
            raise LoadError(STRUCTURE_ERROR) from None
        if head is None:
            return False
        tag, header, length = head
        container = tag == PACKAGE or tag in SEGMENT
        if not container and length > MAX_LEAF:
            raise LoadError(STRUCTURE_ERROR)
        size = header + (0 if container else length)
        if len(self._buffer) < size:
            return False
        raw, self._buffer = self._buffer[:size], self._buffer[size:]
        self._enter(tag, header + length)
        if container:
            self._open.append([tag, length])
        elif tag == SECURE_CHANNEL:
            self._initialise(parse(raw))
        else:
            self._segment(tag, raw)
        while len(self._open) > 1 and not self._open[-1][1]:
            self._close(self._open.pop()[0])
        return True

    def _enter(self, tag: int, size: int) -> None:
        """Check that ``tag`` may come here and fits into what is open."""
        if not self._open:
            if tag != PACKAGE:
                raise LoadError(STRUCTURE_ERROR)
            return
        inside = self._open[-1]
        expected = FOLLOWS[self._part] if inside[0] == PACKAGE else (SEGMENT[inside[0]],)
        if tag not in expected:
            raise LoadError(STRUCTURE_ERROR)
        if inside[0] == PACKAGE:
            self._part = tag
        if size > inside[1]:
            raise LoadError(STRUCTURE_ERROR)
        inside[1] -= size

    def _initialise(self, command: Tlv) -> None:
        """InitialiseSecureChannel, clause 5.5.1: the signature binds both one-time keys to this session."""
        session = self._session
        operation, transaction_id, crt, point, signature = (
            command[0x82], command[0x80], command[0xA6], command[0x5F49], command[SIGNATURE],
        )  # fmt: skip
        assert session.one_time_key is not None
        assert session.smdp_key is not None
        if number(operation) != INSTALL_OPERATION:
            raise LoadError(UNSUPPORTED_OPERATION)
        if transaction_id.value != session.transaction_id:
            raise LoadError(INVALID_TRANSACTION_ID)
        if crt[0x80].value != bytes([KEY_TYPE]) or crt[0x81].value != bytes([KEY_LENGTH]):
            raise LoadError(UNSUPPORTED_CRT)
        own = tlv(0x5F49, ec.point(session.one_time_key.public_key()))
        try:
            signed = operation.raw + transaction_id.raw + crt.raw + point.raw + own
            ec.verify(session.smdp_key, signature.value, signed)
        except ec.SignatureInvalid:
            raise LoadError(INVALID_SIGNATURE) from None
        secret = ec.ecdh(session.one_time_key, point.value)
        self._bsp = Bsp.from_secret(secret, crt[0x84].value, self._chip.eid, KEY_TYPE, KEY_LENGTH)

    def _segment(self, tag: int, raw: bytes) -> None:
        assert self._bsp is not None  # FOLLOWS lets no segment in before InitialiseSecureChannel
        self._plain += self._bsp.open_mac(raw) if tag == 0x88 else self._bsp.open_encrypted(raw)
        if self._part == ELEMENTS:
            self._take_elements()
        elif len(self._plain) > MAX_LEAF:
            raise LoadError(STRUCTURE_ERROR)

    def _close(self, part: int) -> None:
        """A part has come to its end: act on what it held."""
        plain, self._plain = self._plain, b""
        if part == ISDP:
            if parse(plain).tag != 0xBF24:
                raise LoadError(INCORRECT_INPUT)
        elif part == METADATA:
            self._store_metadata(parse(plain))
        elif part == KEYS:
            keys = parse(plain)
            self._bsp = Bsp(keys[0x80].value, keys[0x81].value, keys[0x82].value)
        else:
            self._check_package(plain)

    def _check_package(self, rest: bytes) -> None:
        """All elements are there: they must make a card."""
        if rest:
            status = Status(PeStatus.INVALID_REQUEST_FORMAT, self._interpreter.identification, 0)
            raise LoadError(PE_ERROR, status)
        try:
            package = self._interpreter.finish()
            self._seq = check(package)
        except ElementRefused as refused:
            raise LoadError(PE_ERROR, refused.status) from None
        except SaipError:
            raise LoadError(PE_ERROR, Status(PeStatus.BAD_VALUES, offset=0)) from None
        self._package = package.der

    def _store_metadata(self, metadata: Tlv) -> None:
        """StoreMetadata, clause 5.5.3."""
        iccid = metadata[0x5A].value
        candidate = Profile(iccid, b"", metadata.value, b"")
        if metadata.tag != 0xBF25 or len(iccid) != 10 or 0x91 not in metadata or 0x92 not in metadata:
            raise LoadError(INCORRECT_INPUT)
        if candidate.profile_class > 2:
            raise LoadError(UNSUPPORTED_CLASS)
        if candidate.rules & ~identity.ALLOWED_RULES:
            raise LoadError(PPR_NOT_ALLOWED)
        if self._chip.state.profile(iccid) is not None:
            raise LoadError(ICCID_EXISTS)
        notifications.check_configuration(candidate)
        self._metadata, self._iccid = metadata.value, iccid

    def _take_elements(self) -> None:
        """Cut whole profile elements off the plain stream and have each interpreted."""
        try:
            while (head := _head(self._plain)) and len(self._plain) >= head[1] + head[2]:
                size = head[1] + head[2]
                element, self._plain = self._plain[:size], self._plain[size:]
                self._interpreter.take(element)
                self._loaded += size
                if head[0] == HEADER:
                    self._check_iccid(parse(element))
        except ElementRefused as refused:
            raise LoadError(PE_ERROR, refused.status) from None
        except TlvError:
            raise LoadError(PE_ERROR, Status(PeStatus.INVALID_REQUEST_FORMAT, offset=0)) from None
        if self._loaded + len(self._plain) + len(self._metadata) > self._chip.state.free():
            status = Status(PeStatus.NOT_ENOUGH_MEMORY, self._interpreter.identification, 0)
            raise LoadError(NO_MEMORY, status)

    def _check_iccid(self, header: Tlv) -> None:
        """The ProfileHeader names the profile as the metadata did."""
        if iccid_from_header(header[0x83].value) != iccid_from_bytes(self._iccid or b""):
            raise LoadError(DATA_MISMATCH)

    def _result(self, error: LoadError | None) -> bytes:
        """The ProfileInstallationResult, signed and stored, with the profile itself when all went well."""
        chip, session = self._chip, self._session
        assert session.transaction_id is not None
        seq = notifications.next_seq(chip)
        about = notifications.metadata(seq, notifications.INSTALL, session.smdp_address, self._iccid)
        profile = self._install() if error is None else None
        data = tlv(
            0xBF27,
            tlv(0x80, session.transaction_id),
            about,
            tlv(0x06, oid_value(session.smdp_oid)),
            tlv(0xA2, self._success(profile) if profile else self._failure(error)),
        )
        raw = tlv(0xBF37, data, chip.sign(data))
        notifications.store(chip, Stored(seq, "pir", notifications.INSTALL, about, raw))
        if profile is not None:
            notifications.emit(chip, profile, notifications.INSTALL, besides=session.smdp_address)
            chip.installed = Installed(profile.iccid, session.smdp_oid, session.smdp_address)
        chip.session = None
        return raw

    def _install(self) -> Profile:
        state = self._chip.state
        assert self._iccid is not None
        aid = isdp_aid(state.last_isdp)
        profile = Profile(self._iccid, aid, self._metadata, self._package, seq=self._seq)
        state.last_isdp += 1
        state.profiles.append(profile)
        state.one_time_key = None
        return profile

    def _success(self, profile: Profile) -> bytes:
        statuses = [*self._interpreter.warnings, Status(PeStatus.OK)]
        return tlv(0xA0, tlv(0x4F, profile.aid), tlv(0x04, response(statuses, aborted=False)))

    def _failure(self, error: LoadError | None) -> bytes:
        assert error is not None
        sima = b""
        if error.pe_status is not None:
            statuses = [*self._interpreter.warnings, error.pe_status]
            sima = tlv(0x82, response(statuses, aborted=True))
        return tlv(0xA1, integer(0x80, COMMAND_ID.get(self._part, 0)), integer(0x81, error.reason), sima)


def isdp_aid(number: int) -> bytes:
    """The AID of the ISD-P made ``number``th on this card, from 0."""
    return ISDP_AID + (FIRST_ISDP + number).to_bytes(2, "big")


def _head(data: bytes) -> tuple[int, int, int] | None:
    """(tag, header bytes, value bytes) of the TLV that ``data`` begins with, None while it is cut short.

    Raises TlvError for a header that no DER has.
    """
    end = 1
    if data and data[0] & 0x1F == 0x1F:
        while len(data) > end and data[end] & 0x80:
            end += 1
        end += 1
    if end > 3 or (len(data) > end and data[end] > 0x83) or data[end : end + 1] == b"\x80":
        raise TlvError("a header that no DER has", 0)
    octets = data[end] & 0x7F if len(data) > end and data[end] & 0x80 else 0
    if len(data) < end + 1 + octets:
        return None
    length = int.from_bytes(data[end + 1 : end + 1 + octets], "big") if octets else data[end]
    return int.from_bytes(data[:end], "big"), end + 1 + octets, length
