"""What one modem family has of its own, and the modem that its commands work on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Protocol

from microipa.modem.behaviour import Behaviour
from microipa.modem.commands import CommandTable
from microipa.modem.interpreter import Interpreter
from microipa.modem.registration import Registration
from microipa.modem.serial import LineSleep
from microipa.modem.sim import Sim
from microipa.modem.sockets import Connection, PacketData
from microipa.radio.link import Link
from microipa.radio.network import Network


class Contacts(Protocol):
    """How the modem gets on with its card."""

    @property
    def has_card(self) -> bool:
        """Whether it sees one."""

    def check_card(self) -> None:
        """Raises CommandFailed as long as the card is not ready."""


class Modem(Protocol):
    """What the commands of a family work on: ``virtual.VirtualModem``."""

    dialect: Dialect
    behaviour: Behaviour
    network: Network
    link: Link
    imei: str
    line: LineSleep
    sim: Sim
    registration: Registration
    packet_data: PacketData
    interpreter: Interpreter
    nonvolatile: dict[str, str]
    settings: dict[str, str]
    report: dict[str, int]
    reserved: dict[int, str]
    functionality: int
    operator_format: int
    clock_update: int
    knows_time: bool
    last_error: int

    @property
    def faults(self) -> Contacts: ...
    def respond(self, text: str, data: bytes | None = None, joint: str = "\r\n", tail: str = "\r\n") -> None: ...
    def urc(self, text: str, data: bytes | None = None) -> None: ...
    def background(self, work: Coroutine[object, object, None]) -> None: ...
    def restart(self) -> None: ...
    def switch_off(self, farewell: str = "") -> None: ...
    def hold_line(self, seconds: float) -> None: ...
    def go_on(self) -> None: ...
    def store_data_fails(self, apdu: bytes) -> bool: ...
    async def power(self, on: bool) -> None: ...
    async def open_bearer(self) -> None: ...
    async def set_functionality(self, wanted: int) -> None: ...
    async def lose_memory(self) -> None: ...


def standard_network_time(modem: Modem) -> str:
    """+CTZV: the zone, or +CTZE: the zone, summer time and the local time (TS 27.007 8.41)."""
    zone = modem.network.timezone_quarters
    kind = modem.report.get("+CTZR", 0)
    local = modem.network.time() + timedelta(minutes=15 * zone)
    return ["", f'+CTZV: "{zone:+03d}"', f'+CTZE: "{zone:+03d}",0,"{local:%Y/%m/%d,%H:%M:%S}"'][kind]


class InPsm(Enum):
    """What is left of a modem in PSM: nothing, until its power key is pressed, and it boots anew with what it was
    registered as; its memory, until its wake pin is moved; all, so that it answers at any time."""

    OFF = "off"
    PIN = "pin"
    ANSWERS = "answers"


@dataclass(frozen=True)
class Dialect:
    """A modem family: who it is, what it answers to, how it tells of data, of a TCP connection that the
    peer closed, and of a lost context.

    ``ready`` is the line after boot, empty when there is none. ``prompt`` asks for data, ``echo`` and
    ``functionality`` (AT+CFUN) are as after boot, ``clock_update`` is AT+CTZU then, and the clock shows local time in
    the modes of AT+CTZU that ``local_clock`` names. ``bearer`` is the context that comes with the attach, for modems
    that open it by themselves. ``network_time`` is the line that passes on the time the network told, empty when
    nobody asked for it. ``in_psm`` is what is left of it in PSM, ``line_sleeps`` whether a pin lets its serial line
    sleep. Times in seconds of the true modem, except ``data_timeout_s``, which is how long the modem waits, on the
    real clock, for the bytes it has asked for.
    """

    name: str
    maker: str
    model: str
    revision: str
    ready: str
    commands: CommandTable[Modem]
    contexts: range
    on_data: Callable[[Modem, Connection], None]
    on_closed: Callable[[Modem, Connection], None]
    on_context_lost: Callable[[Modem, int], None]
    prompt: str = "> "
    echo: bool = True
    functionality: int = 1
    clock_update: int = 0
    local_clock: frozenset[int] = frozenset({1, 3})
    bearer: int | None = None
    network_time: Callable[[Modem], str] = standard_network_time
    boot_s: float = 2.5
    in_psm: InPsm = InPsm.OFF
    line_sleeps: bool = True
    data_timeout_s: float = 5.0
