"""A sequence diagram that reads on a screen and on paper: a table whose rows each draw their piece of the lanes.

So words wrap as the page is wide, a page of paper ends between two rows, and its head repeats on the next one. Lines
differ by form and not by colour. A row draws with one element, whose style says from which lane to which: report.css
does the rest. A bench's page has tens of thousands of rows, and as drawings of SVG they took a browser half a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from microipa.hil.markup import element
from microipa.hil.sequence import FAILED_HERE, Row, lanes


def diagram(rows: Sequence[Row]) -> Element:
    """The rows of a case, on one clock that begins with them."""
    names = lanes(rows)
    places = {name: number for number, name in enumerate(names)}
    began = rows[0].seconds if rows else 0.0
    head = element(
        "tr",
        element("th", "s"),
        element("th", element("div", *(element("b", name) for name in names))),
        element("th"),
        element("th"),
    )
    body = (_row(row, began, places) for row in rows)
    return element(
        "table", element("thead", head), element("tbody", *body), class_="sequence", style=f"--lanes:{len(names)}"
    )


def _row(row: Row, began: float, places: dict[str, int]) -> Element:
    words = element("td", row.text)
    if row.count > 1:
        amount = f" ×{row.count:,}" + (f", {row.octets:,} bytes" if row.octets else "")
        words.append(element("b", amount))
    elif row.octets:
        words.append(element("span", f", {row.octets:,} bytes"))
    kinds = [name for name, has in (("faint", row.faint), ("loud", row.loud), ("gap", not row.tag),
                                ("mark", row.tag == FAILED_HERE)) if has]
    return element(
        "tr",
        element("td", f"{max(row.seconds - began, 0):.3f}"),
        element("td", _stroke(row, places)),
        element("td", row.tag),
        words,
        class_=" ".join(kinds) or None,
    )


def _stroke(row: Row, places: dict[str, int]) -> Element | None:
    """An arrow from one to the other, or a dot where somebody notes something, or a bar across for the bench."""
    if not row.tag:
        return None
    if not row.source:
        return element("i", class_="bench")
    if not row.target or row.target == row.source:
        return element("i", class_="note", style=f"--from:{places[row.source]}")
    ends = sorted((places[row.source], places[row.target]))
    arrow = "both" if row.answered else "right" if places[row.source] == ends[0] else "left"
    return element("i", class_=f"{arrow} heavy" if row.heavy else arrow, style="--from:{};--to:{}".format(*ends))
