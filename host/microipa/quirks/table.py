"""The quirks as a table in Markdown: for `microipa lab quirks`, and for the README beside this file."""

from __future__ import annotations

from microipa.quirks import PARTS, QUIRKS
from microipa.quirks.registry import Quirk

BEGIN, END = "<!-- microipa lab quirks -->", "<!-- end -->"


def markdown() -> str:
    """One table for each part of the lab."""
    return "\n\n".join(_part(part, what) for part, what in PARTS.items() if QUIRKS.of(part))


def _part(part: str, what: str) -> str:
    rows = [_row(QUIRKS[name]) for name in QUIRKS.of(part)]
    head = (f"### {what[0].upper()}{what[1:]}", "", "| quirk | what it does | source |", "|---|---|---|")
    return "\n".join((*head, *rows))


def _row(quirk: Quirk) -> str:
    number = f" The number counts {quirk.unit}." if quirk.number is not None else ""
    only = f" Only {', '.join(quirk.families)}." if quirk.families else ""
    return f"| `{quirk.form}` | {quirk.says}{number}{only} | {quirk.source} |"
