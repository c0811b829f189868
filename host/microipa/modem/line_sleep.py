"""A serial line that sleeps: a command allows it, a pin of the board (DTR or RTS) begins and ends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from microipa.modem.commands import CME_INCORRECT_PARAMETERS, CommandFailed, CommandTable, Form, Request

if TYPE_CHECKING:
    from microipa.modem.virtual import VirtualModem


class LineSleep:
    """Of one modem. While the line sleeps, what the board sends is lost, and what the modem has to say as well."""

    def __init__(self) -> None:
        self._allowed = False
        self._until_moved = False
        self._pin = False

    @property
    def asleep(self) -> bool:
        return self._until_moved or self._allowed and self._pin

    def allow(self, allowed: bool, *, until_moved: bool = False) -> None:
        """By a command: from now on, or from now ``until_moved``, whatever the pin says."""
        self._allowed, self._until_moved = allowed, until_moved

    def move(self, may_sleep: bool) -> None:
        """The board moves the pin."""
        if self._pin and not may_sleep:
            self._until_moved = False
        self._pin = may_sleep

    def forget(self) -> None:
        """The modem begins anew. The pin is the board's."""
        self._allowed = self._until_moved = False


def allows_sleep(table: CommandTable, name: str, modes: Mapping[str, bool]) -> None:
    """Add a command whose first argument says whether the line may sleep."""

    @table.on(name, Form.SET)
    async def allow(modem: VirtualModem, request: Request) -> None:
        mode = request.text(0)
        if mode not in modes:
            raise CommandFailed(CME_INCORRECT_PARAMETERS)
        modem.line.allow(modes[mode])
