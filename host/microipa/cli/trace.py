"""`microipa trace`: what was recorded, decoded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microipa.common.console import BadInput, out, past, writing
from microipa.common.eid import checked

if TYPE_CHECKING:
    from microipa.trace.reading import Wanted


def trace(
    file: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="trace.jsonl of a lab, or a folder with several traces.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, decoded.")] = False,
    follow: Annotated[bool, typer.Option(
        "--follow", help="Continue with new events while they are recorded, until Ctrl-C.")] = False,
    part: Annotated[
        list[str] | None, typer.Option(help="Only events of this part: board, modem, card, eim, … Repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only events of the last 30s, 10m, 12h, 7d, or since 2026-11-29T14:00.")
    ] = None,
    order: Annotated[
        int | None, typer.Option(min=1, help="Only events from the delivery of this order to its end.")
    ] = None,
    eid: Annotated[
        str | None, typer.Option(callback=checked, help="Only events of the device with this EID.")
    ] = None,
    pcapng: Annotated[
        Path | None,
        typer.Option(help="Write a capture file for Wireshark, which decrypts it with --tls-keys.", dir_okay=False),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write an HTML page with device data and sequence diagrams.", dir_okay=False),
    ] = None,
    tls_keys: Annotated[
        Path | None,
        typer.Option(help="NSS key log for --pcapng; by default tls-keys.log beside the trace.", dir_okay=False),
    ] = None,
) -> None:
    """Decode recorded sessions (ESipa, ES10, APDUs, AT), one line a message."""
    from microipa.trace import reading, session

    wanted = reading.Wanted(frozenset(part or ()), past("--since", since), order, eid)
    if pcapng or html:
        if follow or as_json:
            option = "--pcapng" if pcapng else "--html"
            raise BadInput(f"{option} writes a file: leave out --follow and --json")
        if pcapng:
            _capture(file, pcapng, tls_keys, wanted)
        if html:
            _page(file, html, wanted)
        return
    session.print_session(reading.events(file, follow=follow), out, as_json, wanted, at_once=follow)


def _capture(files: list[Path], output: Path, tls_keys: Path | None, wanted: Wanted) -> None:
    from microipa.trace import key_log, pcapng, reading

    beside = files[-1] if files[-1].is_dir() else files[-1].parent
    if tls_keys and not tls_keys.exists():
        raise BadInput(f"there is no {tls_keys}: give an NSS key log, or leave out --tls-keys")
    secrets = key_log.secrets(tls_keys or beside / key_log.NAME)
    events = reading.events(files)
    with writing(output, private=True) as file:  # with the secrets it holds what was encrypted
        for block in pcapng.capture((event for event in events if wanted(event)), secrets):
            file.write(block)
    encrypted = "" if secrets else "; no TLS keys found, so encrypted messages cannot be read"
    out.print(f"{output} written: wireshark {output}{encrypted}")


def _page(files: list[Path], output: Path, wanted: Wanted) -> None:
    from microipa.hil.trace_page import trace_page
    from microipa.trace import reading

    events = (event for event in reading.events(files) if wanted(event))
    with writing(output, private=True) as file:  # as the trace is
        for piece in trace_page(events, f"Trace {', '.join(map(str, files))}"):
            file.write(piece.encode())
    out.print(f"{output} written")
