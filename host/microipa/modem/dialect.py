"""What one modem family has of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

from microipa.modem.commands import CommandTable
from microipa.modem.sockets import Connection

if TYPE_CHECKING:
    from microipa.modem.virtual import VirtualModem


def standard_network_time(modem: VirtualModem) -> str:
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
    commands: CommandTable
    contexts: range
    on_data: Callable[[VirtualModem, Connection], None]
    on_closed: Callable[[VirtualModem, Connection], None]
    on_context_lost: Callable[[VirtualModem, int], None]
    prompt: str = "> "
    echo: bool = True
    functionality: int = 1
    clock_update: int = 0
    local_clock: frozenset[int] = frozenset({1, 3})
    bearer: int | None = None
    network_time: Callable[[VirtualModem], str] = standard_network_time
    boot_s: float = 2.5
    in_psm: InPsm = InPsm.OFF
    line_sleeps: bool = True
    data_timeout_s: float = 5.0
