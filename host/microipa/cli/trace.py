"""`microipa trace`: what was recorded, decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from microipa.common.console import out, past


def trace(
    file: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="trace.jsonl of a lab; of a folder all its files in turn.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, decoded.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what is being recorded, until Ctrl-C.")] = False,
    part: Annotated[
        list[str] | None, typer.Option(help="Only what this part tells: board, modem, card, eim, …; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only the last 30s, 10m, 12h, 7d, or from 2026-11-29T14:00 on.")
    ] = None,
    order: Annotated[
        int | None, typer.Option(min=1, help="Only from the delivery of this order of the eIM to its end.")
    ] = None,
    eid: Annotated[str | None, typer.Option(help="Only what concerns the device with this card.")] = None,
) -> None:
    """Decode recorded sessions: ESipa, ES10, APDUs, AT; one line a message, as it is read."""
    from microipa.trace import reading, session

    wanted = reading.Wanted(frozenset(part or ()), past("--since", since), order, eid)
    session.print_session(reading.events(file, follow=follow), out, as_json, wanted, at_once=follow)
