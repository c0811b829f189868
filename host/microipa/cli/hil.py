"""`microipa hil …`: what people do with runs on a bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from microipa.common.console import out

app = typer.Typer(no_args_is_help=True, help="Make reports of hardware-in-the-loop runs.")


@app.callback()
def hil() -> None:
    """Make reports of hardware-in-the-loop runs."""


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(help="Folder given by --run, or one board's folder in it.")],
    html: Annotated[Path | None, typer.Option(
        help="HTML file, by default report.html in RUN_FOLDER.", dir_okay=False)] = None,
    against: Annotated[
        Path | None, typer.Option(help="Folder of an earlier run, to list what has changed.", file_okay=False)
    ] = None,
    junit: Annotated[Path | None, typer.Option(
        help="JUnit XML file, by default junit.xml in RUN_FOLDER.", dir_okay=False)] = None,
) -> None:
    """Write the report of a run: one page of HTML for people, JUnit XML for machines."""
    from microipa.hil.report import write_reports

    for path in write_reports(run_folder, html, junit, against):
        out.print(str(path))
