"""The commands that let the serial line sleep."""

from __future__ import annotations

from collections.abc import Mapping

from microipa.modem.commands import CME_INCORRECT_PARAMETERS, CommandFailed, CommandTable, Form, Request
from microipa.modem.dialect import Modem


def allows_sleep(table: CommandTable, name: str, modes: Mapping[str, bool]) -> None:
    """Add a command whose first argument says whether the line may sleep."""

    @table.on(name, Form.SET)
    async def allow(modem: Modem, request: Request) -> None:
        mode = request.text(0)
        if mode not in modes:
            raise CommandFailed(CME_INCORRECT_PARAMETERS)
        modem.line.allow(modes[mode])
