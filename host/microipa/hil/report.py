"""A run on a bench as one page of HTML: no scripts, nothing from elsewhere, and made to be printed as well.

``write_reports`` puts the page and JUnit XML beside the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from microipa.hil import junit
from microipa.hil.markup import element
from microipa.hil.overview import boards, front, page_title
from microipa.hil.page import page, text
from microipa.hil.record import BAD, Case, Run, load, runs, runs_of
from microipa.hil.story import Record, article, has_page

NOTHING: Mapping[str, tuple[Run, list[Case]]] = {}
PAGE, JUNIT = "report.html", "junit.xml"


def write_reports(
    folder: Path, html: Path | None = None, xml: Path | None = None, earlier: Path | None = None
) -> tuple[Path, Path]:
    """Write the page and the JUnit file of all boards' runs in ``folder``; beside them unless told where.

    Each board is compared with the one of its name in the folder ``earlier``. Returns their paths. Raises BadRecord,
    OSError.
    """
    before = {known[0].board: known for known in map(load, runs(earlier))} if earlier else {}
    return _write(runs(folder), html or folder / PAGE, xml or folder / JUNIT, before)


def write_session(folder: Path, session: str) -> tuple[Path, ...]:
    """As write_reports, of what one session of pytest has left there; without a board in it, nothing is written."""
    folders = runs_of(session, folder)
    return _write(folders, folder / PAGE, folder / JUNIT) if folders else ()


def _write(
    folders: Sequence[Path], html: Path, xml: Path, earlier: Mapping[str, tuple[Run, list[Case]]] = NOTHING
) -> tuple[Path, Path]:
    records = []
    for number, path in enumerate(folders, 1):
        run, cases = load(path)
        records.append(Record(f"board{number}", path, run, cases, html.parent, earlier.get(run.board)))
    with html.open("w", encoding="utf-8") as file:
        file.writelines(html_page(records))
    xml.write_bytes(junit.document([(record.run, record.cases) for record in records]))
    return html, xml


def html_page(records: Sequence[Record]) -> Iterator[str]:
    """The page in pieces: as many as cases, so that none of them needs the room of all."""
    return page(page_title(records), _body(records))


def _body(records: Sequence[Record]) -> Iterator[str]:
    if len(records) > 1:
        yield text(boards(records))
    for record in records:
        yield '<div class="board">' + text(front(record))
        for number, (group, cases) in enumerate(record.groups().items()):
            ran = [case for case in cases if has_page(case)]
            if not ran:
                continue
            yield f'<section class="group" id="{record.name}-group{number}">' + text(element("h2", group))
            for case in ran:
                yield text(article(record, case, folded=case.outcome not in BAD))
            yield "</section>"
        yield "</div>"
