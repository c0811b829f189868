"""What a modem has to remember in order to misbehave at the right moment: times since AT+CFUN=1, counts of commands."""

from __future__ import annotations

import asyncio

from microipa.modem.commands import CME_NO_SIM, CommandFailed, Form, Request
from microipa.modem.dialect import Modem

_HOLE = 6  # bytes
_CTS_HIGH_AT = 60  # commands


class Faults:
    """Of one modem. What is to happen once happens once in its life, whatever becomes of its power."""

    def __init__(self, modem: Modem) -> None:
        self._modem = modem
        self._behaviour = modem.behaviour
        self._commands = 0  # since it was made
        self._boots = 0
        self._reads = 0
        self._sent = 0  # bytes
        self._refused_radio = 0
        self._card_back_at = self._all_back_at = self._answers_at = 0.0

    def boots(self) -> None:
        """Power has come."""
        self._boots += 1
        self._all_back_at = _now() + self._behaviour.busy_after_boot_s

    @property
    def has_card(self) -> bool:
        """Whether the modem finds its card at this boot."""
        return self._boots > self._behaviour.boots_without_card

    def radio_on(self) -> None:
        """AT+CFUN=1, or a boot that ends with the radio on."""
        self._card_back_at = _now() + self._behaviour.card_busy_s

    def told_radio_on(self) -> None:
        """AT+CFUN=1 has been obeyed."""
        self._answers_at = _now() + self._behaviour.slow_after_cfun_s

    def refreshed(self) -> None:
        """The card has been reset because it asked for it."""
        self._card_back_at = _now() + self._behaviour.busy_after_refresh_s

    async def before_line(self) -> None:
        """A line of commands has come."""
        behaviour, modem = self._behaviour, self._modem
        self._commands += 1
        if self._commands == behaviour.restarts_at:
            modem.restart()
            await asyncio.Event().wait()  # which takes this command with it
        if self._commands == behaviour.mute_at:
            await asyncio.Event().wait()  # until somebody presses the power key
        if self._commands == _CTS_HIGH_AT and behaviour.cts_high_s:
            modem.hold_line(behaviour.cts_high_s)
        if (left := self._answers_at - _now()) > 0:
            await asyncio.sleep(left)

    async def before(self, request: Request) -> None:
        """A command has come. Raises CommandFailed for one that ends here."""
        behaviour = self._behaviour
        if _now() < self._all_back_at and request.name != "E":
            raise CommandFailed(behaviour.card_busy_error)
        if request.name == "+CFUN" and request.form is Form.SET and request.raw.startswith("1"):
            await self._before_radio_on()

    async def _before_radio_on(self) -> None:
        if self._behaviour.slow_cfun_s:
            await asyncio.sleep(self._behaviour.slow_cfun_s)
        self._refused_radio += 1
        if self._refused_radio <= self._behaviour.refuses_cfun:
            raise CommandFailed

    def check_card(self) -> None:
        """Raises CommandFailed while the card is not to be had for commands of the board."""
        if not self.has_card:
            raise CommandFailed(CME_NO_SIM)
        if _now() < self._card_back_at:
            raise CommandFailed(self._behaviour.card_busy_error)

    def closes_in_read(self) -> bool:
        """Data of a socket goes to the board: whether the line that tells of its end comes before it."""
        self._reads += 1
        return self._reads == self._behaviour.closed_in_read_at

    def on_the_line(self, data: bytes) -> bytes:
        """What of ``data`` arrives at the board."""
        every, before = int(self._behaviour.hole_every), self._sent
        self._sent += len(data)
        if not every or before // every == self._sent // every:
            return data
        cut = every - before % every
        return data[: max(0, cut - _HOLE)] + data[cut:]


def _now() -> float:
    return asyncio.get_running_loop().time()
