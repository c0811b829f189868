"""`microipa card`: the software eUICC for terminals of other makers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from microipa.common.console import LAB, Folder, host_and_port, out, run_async

card_app = typer.Typer(no_args_is_help=True, help="Let a terminal of another maker use the lab's card.")


@card_app.command()
def serve(
    lab: Folder = LAB,
    vpcd: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where vpcd listens.")] = "127.0.0.1:35963",
    card_keys: Annotated[Path | None, typer.Option(help="Folder with euicc, eum and ci, for a new card.")] = None,
) -> None:
    """Put the card into vsmartcard's virtual PC/SC reader, until that goes away.

    Not while a lab is up in the same folder, which is refused: a card is in one reader.
    """
    from microipa.euicc import vpcd as reader
    from microipa.lab import LabFolder
    from microipa.lab.keys import LabKeys

    host, port = host_and_port("--vpcd", vpcd)
    card = LabFolder(lab, create=True, keys=LabKeys(card=card_keys).over(LabKeys.of(lab))).card()
    out.print(f"card {card.eid} goes into the reader at {vpcd}; Ctrl-C pulls it out")
    run_async(reader.serve(card, host, port))
    out.print("the reader is gone")
