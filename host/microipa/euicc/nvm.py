"""What a card remembers without power: one snapshot in one file, replaced as a whole or not at all.

A command that succeeds commits once; a command that fails leaves the snapshot as it was. So whatever
happens to the power, the file holds the state before a command or the state after it. The first line of the
file is the SHA-256 of the rest: a card that anything else has written to does not start.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import typing
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from microipa.asn1.tlv import parse_all
from microipa.common.errors import MicroipaError
from microipa.common.file_lock import InUse, lock

CAPACITY = 500_000  # bytes of profiles and notifications this card has room for
MAX_EIMS = 8
MAX_STORED = 64  # results and notifications kept for the eIM; the oldest goes when one more comes


class PowerCut(MicroipaError):
    """The power went away during a write, because a test asked for it (``Euicc.cut_power_after``)."""


class NvmError(MicroipaError):
    """The NVM file is missing, unreadable, or already there where a new card was to be made."""


class WriteFailed(NvmError):
    """The memory did not take a snapshot: what was there before is still there."""


@dataclass
class Profile:
    """One ISD-P. ``metadata`` is the value of BF25, ``package`` the profile elements as they were loaded."""

    iccid: bytes  # 10 bytes, nibbles swapped as in EF.ICCID
    aid: bytes  # of the ISD-P
    metadata: bytes
    package: bytes = field(repr=False)
    enabled: bool = False
    fallback: bool = False
    files: dict[str, bytes] = field(default_factory=dict)  # what the terminal wrote: path → body
    seq: list[int] = field(default_factory=list)  # SEQ accepted last, per IND (TS 33.102 annex C)

    def info(self, tag: int) -> bytes | None:
        """The value of one metadata field, None without it."""
        return next((item.value for item in parse_all(self.metadata) if item.tag == tag), None)

    def flag(self, tag: int) -> bool:
        """A BOOLEAN metadata field, DEFAULT FALSE. Any non-zero byte is TRUE."""
        return any(self.info(tag) or b"")

    @property
    def profile_class(self) -> int:
        """0 test, 1 provisioning, 2 operational (the default)."""
        return int.from_bytes(self.info(0x95) or b"\x02", "big")

    def rule(self, number: int) -> bool:
        """Whether profile policy rule PPR1 or PPR2 is set (bit ``number`` of 99)."""
        return bool(self.rules & 0x80 >> number)

    @property
    def rules(self) -> int:
        """The byte of pprIds: 80 pprUpdateControl, 40 PPR1, 20 PPR2."""
        bits = self.info(0x99) or b"\x00"
        return bits[1] if len(bits) > 1 else 0


@dataclass
class Eim:
    """One associated eIM: its configuration TLVs except counter (83) and token (84)."""

    eim_id: str
    fields: bytes
    counter: int
    token: int | None


@dataclass
class Stored:
    """A result or notification that waits to be fetched and removed. ``kind``: epr, pir or other."""

    seq: int
    kind: str
    event: int  # the byte of notificationEvent: 80 install, 40 enable, 20 disable, 10 delete; 0 for EPRs
    metadata: bytes  # BF2F, empty for EPRs
    raw: bytes


@dataclass
class Rollback:
    """Authorised by an enable with rollbackFlag: where to return, and the result that becomes void then."""

    previous: bytes  # ICCID
    seq: int
    header: bytes  # eimId, counterValue, eimTransactionId TLVs of the result
    results: bytes  # the result elements so far
    token: bytes  # the token TLV the result was signed with


@dataclass
class ImmediateEnable:
    """Configured by PSMO configureImmediateEnable or ES10b.ConfigureImmediateProfileEnabling."""

    flag: bool = False
    smdp_oid: bytes | None = None
    smdp_address: str | None = None


@dataclass
class OneTimeKey:
    """otSK.EUICC.ECKA of an unfinished download, kept so that the same bound package can be loaded again."""

    smdp_oid: str
    private_key: bytes = field(repr=False)


@dataclass
class State:
    """Everything persistent. ``private_key`` is PKCS #8 DER and is read by this package only."""

    eid: str
    kind: str  # iot, consumer or m2m
    private_key: bytes = field(repr=False)
    certificate: bytes
    eum_certificate: bytes
    ci_certificate: bytes
    root_ds: str
    other_cis: list[bytes] = field(default_factory=list)
    """CIs under which servers are trusted besides: DER. The card's own certificate stands under none of them."""
    default_dp: str | None = None
    profiles: list[Profile] = field(default_factory=list)
    eims: list[Eim] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    last_seq: int = 0  # one counter for results and notifications
    last_token: int = 0  # never reset, so that a deleted eIM's packages stay worthless
    last_isdp: int = 0
    immediate_enable: ImmediateEnable = field(default_factory=ImmediateEnable)
    rollback: Rollback | None = None
    fallback_from: bytes | None = None  # ICCID that ReturnFromFallback enables again
    ipae: bool = False  # an IPA of its own is in the card
    iot_minimal: bool = True  # takes the IoT Minimal Profile
    profile_version: bytes = bytes([3, 3, 1])  # the newest version of profile packages it reads
    info_extensions: bytes = b""  # fields at the end of EUICCInfo2 that no standard names yet
    emergency: bool = False
    emergency_from: bytes | None = None  # ICCID that DisableEmergencyProfile enables again
    one_time_key: OneTimeKey | None = None
    crl: bytes = b""  # of the CI, as LoadCRL brought it

    def profile(self, iccid: bytes | None) -> Profile | None:
        return next((profile for profile in self.profiles if profile.iccid == iccid), None)

    def enabled(self) -> Profile | None:
        return next((profile for profile in self.profiles if profile.enabled), None)

    def eim(self, eim_id: str) -> Eim | None:
        return next((eim for eim in self.eims if eim.eim_id == eim_id), None)

    def free(self) -> int:
        """Bytes left for profiles."""
        used = sum(len(profile.package) + len(profile.metadata) for profile in self.profiles)
        return max(0, CAPACITY - used - len(self.crl) - sum(len(item.raw) for item in self.stored))


class Nvm:
    """The file and the state read from it. ``state`` is what the running command sees and changes."""

    def __init__(self, path: Path, snapshot: str) -> None:
        self.path = path
        self._snapshot = snapshot
        self.state: State = _load(snapshot)
        self.writes_left: int | None = None

    @classmethod
    def create(cls, path: Path, state: State) -> Nvm:
        """Write a new card's file, mode 0600. Raises NvmError when there is one."""
        if path.exists():
            raise NvmError(f"{path} already contains a card: open it, or delete it to create a new one")
        path.parent.mkdir(parents=True, exist_ok=True)
        nvm = cls(path, _dump(state))
        nvm._write(nvm._snapshot)
        return nvm

    @classmethod
    def open(cls, path: Path) -> Nvm:
        """Raises NvmError when the file cannot be a card's."""
        try:
            digest, _, snapshot = path.read_text(encoding="utf-8").partition("\n")
            if digest != _digest(snapshot):
                raise ValueError("its content does not fit its checksum")
            return cls(path, snapshot)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise NvmError(f"{path} cannot be read as a card's memory, create a new card: {error}") from error

    def commit(self) -> None:
        """Make the state permanent, in one step. Raises PowerCut, or WriteFailed and goes back to before."""
        snapshot = _dump(self.state)
        if snapshot == self._snapshot:
            return
        try:
            self._write(snapshot)
        except OSError as error:
            self.roll_back()
            raise WriteFailed(f"{self.path} cannot be written: {error}") from error
        self._snapshot = snapshot

    def roll_back(self) -> None:
        """Forget what changed since the last commit."""
        self.state = _load(self._snapshot)

    def _write(self, snapshot: str) -> None:
        """Two writes that a power cut can fall on: the new snapshot beside the old, then the rename."""
        beside = self.path.with_name(self.path.name + ".new")
        data = f"{_digest(snapshot)}\n{snapshot}".encode()
        cut = self._cut()
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data[: len(data) // 2] if cut else data)
            file.flush()
            os.fsync(file.fileno())
        if cut or self._cut():
            raise PowerCut("the power was cut during a write to the card's memory")
        os.replace(beside, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _cut(self) -> bool:
        if self.writes_left is None:
            return False
        self.writes_left -= 1
        return self.writes_left < 0


def in_reader(path: Path, *, reads: bool = False) -> AbstractContextManager[None]:
    """Hold the card whose file this is: of two readers each would undo what the other's card wrote.

    For all processes of this machine. ``reads``: where its file may not be written, it can be read. Raises InUse.
    """
    return lock(path.with_name(path.name + ".lock"), f"the card {path}", reads=reads)


def is_in_reader(path: Path) -> bool:
    """Whether somebody holds this card, such as a lab that runs."""
    try:
        with in_reader(path):
            return False
    except InUse:
        return True


def _digest(snapshot: str) -> str:
    return hashlib.sha256(snapshot.encode()).hexdigest()


def _dump(state: State) -> str:
    return json.dumps(dataclasses.asdict(state), default=bytes.hex)


def _load(snapshot: str) -> State:
    state = _revive(State, json.loads(snapshot))
    assert isinstance(state, State)
    return state


def _revive(kind: Any, value: Any) -> Any:
    """Turn JSON back into ``kind``: dataclasses, lists and dicts of them, bytes from hex."""
    if value is None:
        return None
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return [_revive(arguments[0], item) for item in value]
    if origin is dict:
        return {key: _revive(arguments[1], item) for key, item in value.items()}
    if arguments:  # X | None
        return _revive(arguments[0], value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _revive(hints[name], item) for name, item in value.items()})  # type: ignore[operator]
    return bytes.fromhex(value) if kind is bytes else value
