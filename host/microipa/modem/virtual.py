"""The virtual modem: a serial line, an interpreter, a card, a registration and sockets, put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable

from microipa.common.errors import MicroipaError
from microipa.modem import nordic_secure, quectel_ssl  # noqa: F401 (they add commands to their families)
from microipa.modem.behaviour import Behaviour
from microipa.modem.cinterion import TX62
from microipa.modem.commands import Request
from microipa.modem.dialect import Dialect, InPsm
from microipa.modem.faults import Faults
from microipa.modem.interpreter import Interpreter
from microipa.modem.nordic import NRF91
from microipa.modem.quectel import BG77, BG95
from microipa.modem.registration import Registration, Stat
from microipa.modem.sequans import GM02S
from microipa.modem.serial import LineSleep, Serial
from microipa.modem.sim import Card, Sim
from microipa.modem.simcom import SIM7000, SIM7080G
from microipa.modem.sleeping import Sleeping, kept
from microipa.modem.sockets import Connection, NoNetwork, PacketData
from microipa.modem.standard import registration_line
from microipa.modem.ublox import SARA_R5, SARA_R422
from microipa.quirks import QUIRKS
from microipa.radio.link import Link
from microipa.radio.network import Network, PdnRefused
from microipa.trace import Trace

FAMILIES = {dialect.name: dialect
            for dialect in (BG95, BG77, SIM7080G, SIM7000, GM02S, SARA_R5, SARA_R422, NRF91, TX62)}

_INS_STORE_DATA = 0xE2
_REPORTS = ("+CREG", "+CGREG", "+CEREG")


class UnknownFamily(MicroipaError):
    """There is no modem family of that name."""


class VirtualModem:
    """A modem with a card in it, on a pseudo terminal at ``path`` between start() and stop()."""

    def __init__(self, card: Card, network: Network, link: Link, *, family: str = "bg95",
                 quirks: Iterable[str] = (), imei: str = "490154203237518",
                 trace: Trace | None = None) -> None:
        """Raises UnknownFamily and UnknownQuirk."""
        if family not in FAMILIES:
            raise UnknownFamily(f"no modem family {family!r}: choose one of {', '.join(FAMILIES)}")
        self.dialect: Dialect = FAMILIES[family]
        self.behaviour = QUIRKS.behaviour("modem", Behaviour(), quirks)
        self.network = network
        self.link = link
        self.imei = imei
        self.path = ""
        self._trace = trace
        self._serial: Serial | None = None
        self._live = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults = Faults(self)
        self.sleeping = Sleeping(self)
        self.line = LineSleep()
        self.sim = Sim(card, self.behaviour, link.settings.wait_s, self._refresh)
        self.registration = Registration(network, link, self.sim,
                                         self._registration_changed, self._network_lost, self._attached)
        self.packet_data = PacketData(network, link, self.registration,
                                      self._data_came,
                                      lambda connection: self.dialect.on_closed(self, connection),
                                      self._context_taken, hangs_at=self.behaviour.open_hangs_at)
        self._store_data = 0
        self._fallen = False
        self.functionality = self.dialect.functionality
        self.nonvolatile: dict[str, str] = {}
        """Settings that outlive a power cut."""
        self._forget()

        self.ring: Callable[[], None] = lambda: None
        """What its ring indicator does on the board."""

    async def start(self) -> None:
        """Make the serial line and press the power key; the modem boots while this returns."""
        self._serial = Serial(self._receive)
        self.path = self._serial.path
        await self.power(True)

    async def stop(self) -> None:
        """Take the power and remove the serial line."""
        await self.power(False)
        if self._serial:
            self._serial.close()
            self._serial = None

    async def power(self, on: bool) -> None:
        """Give or take the supply. Taking it loses whatever was going on, as it would on a bench.

        Raises the error of a background task that died: a fault of the modem must not pass unseen.
        """
        self.sleeping.reset()
        outcomes = await self._halt()
        self.registration.stop()
        self.packet_data.clear(keep_apns=self.behaviour.keeps_contexts)
        self.sim.power_off()
        if self._serial:
            self._serial.drop_output()
        self._forget()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        if on:
            self.background(self._boot())

    def board_sleeps(self, room: int | None) -> None:
        """The board's UART takes so many bytes and no more until it wakes; None: it is awake."""
        if self._serial:
            self._serial.board_sleeps(room)

    def hold_line(self, seconds: float) -> None:
        """Take no more bytes from the board for so long."""
        if self._serial:
            self._serial.hold(seconds)

    async def _halt(self) -> list[BaseException | None]:
        """End everything that goes on beside the network. Returns what came of it."""
        self._live = False
        # AT+CFUN=1,1 switches the power from a task of its own, which must not cancel itself.
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.difference_update(tasks)
        return outcomes

    def respond(self, text: str, data: bytes | None = None, joint: str = "\r\n", tail: str = "\r\n") -> None:
        """An information response of the running command: see Interpreter.respond."""
        if data and self.faults.closes_in_read():
            self._close_before_data()
        self.interpreter.respond(text, data, joint, tail)

    def _close_before_data(self) -> None:
        """The peer's end is told before the data that it sent, and then the connection is gone."""
        connection = next(iter(self.packet_data.connections.values()))
        self.interpreter.interrupting = True
        self.dialect.on_closed(self, connection)
        self.interpreter.interrupting = False
        self.packet_data.close(connection.id)

    def urc(self, text: str, data: bytes | None = None) -> None:
        """An unsolicited line; a modem without power has none, nor has one asleep."""
        if self._live and not self._deaf:
            self.interpreter.urc(text, data)

    def background(self, work: Coroutine[object, object, None]) -> None:
        """Go on with something after the command has been answered, until power goes."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def restart(self) -> None:
        """Boot again once the running command has been answered (AT+CFUN=1,1)."""
        self.background(self.power(True))

    def press_power_key(self) -> None:
        """A modem that is off or does not answer any more boots, one in PSM wakes; a board presses the key of no
        other."""
        if self.sleeping.asleep and self.dialect.in_psm is InPsm.OFF:
            self.sleeping.wake()
        else:
            self.background(self.power(True))

    @property
    def wake_pin(self) -> Callable[[], None] | None:
        """What moving the pin does that wakes the modem; None in families without one."""
        return self.sleeping.wake if self.dialect.in_psm is InPsm.PIN else None

    @property
    def sleep_pin(self) -> Callable[[bool], None] | None:
        """What it does when the board moves the pin that lets the serial line sleep, or keeps it awake; None in
        families without one."""
        return self._move_sleep_pin if self.dialect.line_sleeps else None

    def _move_sleep_pin(self, may_sleep: bool) -> None:
        self.line.move(may_sleep)
        if self.wake_pin and not may_sleep:  # it is the same
            self.wake_pin()

    def get_sms(self) -> None:
        """An SMS is on its way: it comes when the network reaches the modem, which then rings."""

        def come() -> None:
            self.link.rrc.received()
            self.ring()
            self.urc('+CMTI: "ME",0')

        self.link.rrc.reach(come, stored=True)

    def switch_off(self, farewell: str = "") -> None:
        """Lose power once the running command has been answered (AT+QPOWD and its kin)."""

        async def leave() -> None:
            if farewell:
                self.urc(farewell)
            await self.power(False)

        self.background(leave())

    async def open_bearer(self) -> None:
        """Activate the context that comes with the attach, in families that have one."""
        cid = self.dialect.bearer
        if cid is None or self.registration.attachment is None:
            return
        if self.packet_data.context(cid).broken:
            self.packet_data.deactivate(cid)
        with contextlib.suppress(PdnRefused, NoNetwork):  # AT+CGACT? tells
            await self.packet_data.activate(cid)

    async def set_functionality(self, wanted: int) -> None:
        """AT+CFUN (TS 27.007 8.2): 0 nothing, 4 no radio, 1 everything."""
        before = self.functionality
        self.functionality = wanted
        if wanted != 1:
            self.registration.stop()
        if wanted == 0:
            self.sim.power_off()
        elif before == 0:
            await self._card_on()
        elif wanted != before:
            await self.sim.read_identity()
        if wanted == 1 and before != 1:
            self._radio_on()
            self.faults.told_radio_on()

    def store_data_fails(self, apdu: bytes) -> bool:
        """Whether this is the STORE DATA that the quirk of a failing load has chosen."""
        if apdu[1] != _INS_STORE_DATA:
            return False
        self._store_data += 1
        return self._store_data == self.behaviour.cgla_fails_at

    def _forget(self) -> None:
        """Everything that does not outlive a power cut."""
        self.interpreter = Interpreter(self._write, self._execute, self.behaviour,
                                       self.dialect.data_timeout_s, self._trace, self.dialect.prompt,
                                       self.faults.before_line)
        self.interpreter.echo = self.dialect.echo
        self.line.forget()
        self.settings: dict[str, str] = {}
        self.report: dict[str, int] = {}  # what AT+CEREG and its kin were set to
        self.reserved: dict[int, str] = {}  # sockets that have a number and lead nowhere yet
        self.functionality = 0 if self.behaviour.boots_silent else self.dialect.functionality
        self.operator_format = 0
        self.clock_update = self.dialect.clock_update
        self.knows_time = False
        self.last_error = 0
        self.registration.automatic = True
        self.registration.knows_cell = False
        self.registration.only = self.nonvolatile.get("operator") or None

    async def lose_memory(self) -> None:
        """In PSM: the registration stays, and the contexts with it."""
        settings, knows_time, functionality = kept(self.settings), self.knows_time, self.functionality
        await self._halt()
        self.packet_data.sleep()
        if self._serial:
            self._serial.drop_output()
        self._forget()
        self.settings, self.knows_time, self.functionality = settings, knows_time, functionality
        self.registration.knows_cell = True

    def go_on(self) -> None:
        """Awake again after lose_memory()."""
        self._live = True
        self.background(self.interpreter.run())
        if ready := self.nonvolatile.get("greeting", self.dialect.ready):
            self.urc(ready)

    async def _boot(self) -> None:
        self.faults.boots()
        await asyncio.sleep(self.link.settings.wait_s(self.dialect.boot_s) + self.behaviour.boot_delay_s)
        if self.functionality:
            await self._card_on()
        self._live = True
        self.background(self.interpreter.run())
        if ready := self.nonvolatile.get("greeting", self.dialect.ready):
            self.urc(ready)
        if self.sim.imsi:
            self.urc("+CPIN: READY")
        if self.functionality == 1:
            self._radio_on()

    async def _card_on(self) -> None:
        if self.faults.has_card:
            await self.sim.power_on()

    def _radio_on(self) -> None:
        """What follows AT+CFUN=1, and a boot that ends with the radio on."""
        self.faults.radio_on()
        if self.behaviour.deregistered:
            self.registration.automatic = False
        self.registration.start()

    def _attached(self) -> None:
        """The network has let the modem on."""
        self.link.rrc.register()
        attachment, behaviour = self.registration.attachment, self.behaviour
        if behaviour.locks_operator and attachment and "operator" not in self.nonvolatile:
            self.registration.only = self.nonvolatile["operator"] = attachment.operator
        if behaviour.lost_after_s and not self._fallen:
            self._fallen = True
            self.background(self._fall_off())

    async def _fall_off(self) -> None:
        await asyncio.sleep(self.behaviour.lost_after_s)
        self.registration.stop(Stat.UNKNOWN)

    async def _execute(self, request: Request) -> None:
        await self.faults.before(request)
        await self.dialect.commands.find(request)(self, request)

    async def _refresh(self) -> None:
        """The card asked for a reset: off the network, reset, and on again as whoever it is now."""
        self.registration.stop()
        self.urc("+CPIN: NOT READY")
        await self.sim.restart()
        self.faults.refreshed()
        if self.sim.imsi:
            self.urc("+CPIN: READY")
        if self.functionality == 1:
            self.registration.start()

    def _registration_changed(self) -> None:
        for name in _REPORTS:
            if self.report.get(name) and self.behaviour.registration_urcs:
                self.urc(f"{name}: {registration_line(self, name)}")
        if self.registration.stat in (Stat.HOME, Stat.ROAMING):
            self.knows_time = self.network.behaviour.time  # NITZ comes with the attach
            self.background(self.open_bearer())
            if self.knows_time and (told := self.dialect.network_time(self)):
                self.urc(told)

    def _data_came(self, connection: Connection) -> None:
        if not self.behaviour.lost_data_urcs:
            self.dialect.on_data(self, connection)

    def _network_lost(self) -> None:
        for cid in self.packet_data.lose():
            self.dialect.on_context_lost(self, cid)

    def _context_taken(self) -> None:
        """The network has deactivated all contexts, and the registration stays."""
        asyncio.get_running_loop().call_soon(self._network_lost)

    def _receive(self, data: bytes) -> None:
        if self._live and not self._deaf:
            self.sleeping.heard()
            self.interpreter.feed(data)

    @property
    def _deaf(self) -> bool:
        return self.sleeping.asleep or self.line.asleep

    def _write(self, data: bytes) -> None:
        if self._serial and self._live:
            self._serial.write(self.faults.on_the_line(data))

    def _reap(self, task: asyncio.Task[None]) -> None:
        """Forget a task that ended well; one that failed stays until power() raises its error."""
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)
