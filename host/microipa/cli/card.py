"""`microipa card`: the software eUICC for terminals of other makers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from microipa.common.console import (
    LAB,
    BadInput,
    Folder,
    Json,
    errors,
    hex_bytes,
    host_and_port,
    out,
    print_json,
    run_async,
)
from microipa.common.errors import MicroipaError

card_app = typer.Typer(no_args_is_help=True, help="Use the lab's card, or one in a PC/SC reader.")

Which = Annotated[
    str | None,
    typer.Option("--card", metavar="pcsc:READER", help="A card in a PC/SC reader (name, part of it or number)."),
]


def reader_of(card: str | None) -> str:
    """The reader that --card names, "" without the option. Raises BadInput."""
    kind, colon, reader = (card or "").partition(":")
    if card and (kind != "pcsc" or not colon or not reader):
        raise BadInput(f"--card {card[:64]} is not pcsc:READER")
    return reader


@card_app.command()
def serve(
    lab: Folder = LAB,
    vpcd: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address at which vpcd listens.")] = "127.0.0.1:35963",
    card_keys: Annotated[Path | None, typer.Option(help="Folder with keys euicc, eum and ci for a new card.")] = None,
) -> None:
    """Insert the card into vsmartcard's virtual PC/SC reader (vpcd) until vpcd ends.

    Refused while a lab is running in the same folder: a card can be in one reader only.
    """
    from microipa.euicc import vpcd as reader
    from microipa.lab import LabFolder
    from microipa.lab.keys import LabKeys

    host, port = host_and_port("--vpcd", vpcd)
    card = LabFolder(lab, create=True, keys=LabKeys(card=card_keys).over(LabKeys.of(lab))).card()
    out.print(f"card {card.eid} is in the reader at {vpcd}; Ctrl-C removes it")
    run_async(reader.serve(card, host, port))
    out.print("the reader has closed the connection")


@card_app.command()
def apdu(
    commands: Annotated[list[str], typer.Argument(metavar="HEX", help="Command APDUs in hex.")],
    lab: Folder = LAB,
    card: Which = None,
    as_json: Json = False,
) -> None:
    """Reset the card and send it APDUs; print data and status word of each response in hex."""
    sent = [hex_bytes("HEX", command) for command in commands]
    with _powered(lab, card) as contacts:
        for command in sent:
            response = contacts.transmit(command)
            if as_json:
                print_json({"command": command.hex(), "data": response[:-2].hex(), "sw": response[-2:].hex()})
            else:
                print(response.hex())


@card_app.command()
def shell(lab: Folder = LAB, card: Which = None, as_json: Json = False) -> None:
    """Call ES10 functions by name, one a line: `eid`, `profiles`, `info2`, …; `help` lists them."""
    from microipa.asn1.describe import describe
    from microipa.euicc.es10 import VERBS, Es10, request

    with _powered(lab, card) as contacts:
        es10 = Es10(contacts)
        for line in _lines():
            verb, *arguments = line.split()
            if verb == "help":
                for name, (says, _) in VERBS.items():
                    (errors if as_json else out).print(f"{name:14} {says}")
                continue
            try:
                answer = describe(es10.call(request(verb, arguments)))
            except MicroipaError as error:  # also what the card says and nobody understands
                if as_json:
                    print_json({"function": verb, "error": str(error)})
                else:
                    out.print(str(error))
                continue
            if as_json:
                print_json({"function": verb, **answer.json()})
            else:
                out.print(*answer.text().split("\n"), sep="\n")


def _lines() -> Iterator[str]:
    """What somebody types, or a pipe says, until its end or `quit`."""
    asks = sys.stdin.isatty()
    while True:
        try:
            line = (input("es10> ") if asks else input()).strip()
        except EOFError:
            return
        if line == "quit":
            return
        if line:
            yield line


@contextmanager
def _powered(lab: Path, which: str | None) -> Iterator[Any]:
    """The card with power. Raises NoLab, InUse, NoReader, NotAnEuicc."""
    from microipa.euicc.pcsc import PcscCard
    from microipa.lab import LabFolder

    reader = reader_of(which)
    card: Any = PcscCard(reader) if reader else LabFolder(lab).card()
    with card.in_reader() if reader else card.in_reader(reads=True):
        card.power_on()
        try:
            yield card
        finally:
            card.power_off()
