"""A run on a bench as one page of HTML: no scripts, nothing from elsewhere, and made to be printed as well.

``write_reports`` puts the page and JUnit XML beside the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from microipa.hil import junit
from microipa.hil.markup import element
from microipa.hil.overview import boards, front, page_title
from microipa.hil.record import FAILED, load, runs, runs_of
from microipa.hil.story import Record, article, has_page

PAGE, JUNIT = "report.html", "junit.xml"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_reports(folder: Path, html: Path | None = None, xml: Path | None = None) -> tuple[Path, Path]:
    """Write the page and the JUnit file of all boards' runs in ``folder``; beside them unless told where.

    Returns their paths. Raises BadRecord, OSError.
    """
    return _write(runs(folder), html or folder / PAGE, xml or folder / JUNIT)


def write_session(folder: Path, session: str) -> tuple[Path, ...]:
    """As write_reports, of what one session of pytest has left there; without a board in it, nothing is written."""
    folders = runs_of(session, folder)
    return _write(folders, folder / PAGE, folder / JUNIT) if folders else ()


def _write(folders: Sequence[Path], html: Path, xml: Path) -> tuple[Path, Path]:
    records = [Record(f"board{number}", path, *load(path)) for number, path in enumerate(folders, 1)]
    with html.open("w", encoding="utf-8") as file:
        file.writelines(html_page(records))
    xml.write_bytes(junit.document([(record.run, record.cases) for record in records]))
    return html, xml


def html_page(records: Sequence[Record]) -> Iterator[str]:
    """The page in pieces: as many as cases, so that none of them needs the room of all."""
    style = files("microipa.hil").joinpath("report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", page_title(records)),
    )
    # The style is ours and not escaped, as HTML wants it.
    yield '<!DOCTYPE html>\n<html lang="en">\n' + _text(head).replace("</head>", f"<style>\n{style}</style></head>")
    yield "<body>"
    if len(records) > 1:
        yield _text(boards(records))
    for record in records:
        yield '<div class="board">' + _text(front(record))
        for number, (group, cases) in enumerate(record.groups().items()):
            ran = [case for case in cases if has_page(case)]
            if not ran:
                continue
            yield f'<section class="group" id="{record.name}-group{number}">' + _text(element("h2", group))
            for case in ran:
                yield _text(article(record, case, folded=len(records) > 1 and case.outcome != FAILED))
            yield "</section>"
        yield "</div>"
    yield "</body></html>\n"


def _text(made: Element) -> str:
    return tostring(made, encoding="unicode", method="html") + "\n"
