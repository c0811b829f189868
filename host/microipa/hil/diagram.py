"""A sequence diagram that reads on a screen and on paper: a table whose rows each draw their piece of the lanes.

So words wrap as the page is wide, a page of paper ends between two rows, and its head repeats on the next one. Lines
differ by form and not by colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from microipa.hil.markup import element
from microipa.hil.sequence import Row, lanes

_MIDDLE = "0.85em"  # from the top of a row to its arrow: the middle of its first line
_HEAD_PX = 20


def definitions() -> Element:
    """What all diagrams of a page draw with; once a page."""
    head = element(
        "marker", element("path", d="M0,0 L8,4 L0,8 z"), id="head", viewBox="0 0 8 8", refX=8, refY=4,
        markerWidth=8, markerHeight=8, markerUnits="userSpaceOnUse", orient="auto-start-reverse",
    )  # fmt: skip
    return element("svg", element("defs", head), width=0, height=0, aria_hidden="true", class_="defs")


def diagram(rows: Sequence[Row], name: str) -> Element:
    """The rows of a case, on one clock that begins with them. ``name`` is no other diagram's of the page."""
    names = lanes(rows)
    places = {name: f"{100 * (2 * number + 1) / (2 * len(names)):.1f}%" for number, name in enumerate(names)}
    began = rows[0].seconds if rows else 0.0
    lines = (element("line", x1=at, x2=at, y1=0, y2="100%", class_="life") for at in places.values())
    life = element("defs", element("g", *lines, id=f"{name}-life"))
    texts = (element("text", lane, x=at, y=15, class_="lane") for lane, at in places.items())
    head = element(
        "tr",
        element("th", "s", class_="when"),
        element("th", element("svg", life, *texts, height=_HEAD_PX, role="presentation"), class_="lanes"),
        element("th", class_="tag"),
        element("th"),
    )
    body = (_row(row, began, places, f"#{name}-life") for row in rows)
    return element("table", element("thead", head), element("tbody", *body), class_="sequence")


def _row(row: Row, began: float, places: dict[str, str], life: str) -> Element:
    lines = element("use", href=life) if row.tag else None
    drawing = element("svg", lines, *_stroke(row, places), role="img", aria_label=_spoken(row))
    words = element("td", row.text, class_="words")
    if row.count > 1:
        amount = f" ×{row.count:,}" + (f", {row.octets:,} bytes" if row.octets else "")
        words.append(element("b", amount, class_="count"))
    elif row.octets:
        words.append(element("span", f", {row.octets:,} bytes"))
    kinds = [name for name, has in (("faint", row.faint), ("loud", row.loud), ("gap", not row.tag)) if has]
    return element(
        "tr",
        element("td", f"{max(row.seconds - began, 0):.3f}", class_="when"),
        element("td", drawing, class_="lanes"),
        element("td", row.tag, class_="tag"),
        words,
        class_=" ".join(kinds) or None,
    )


def _stroke(row: Row, places: dict[str, str]) -> Iterator[Element]:
    """An arrow from one to the other, or a dot where somebody notes something, or a bar across for the bench."""
    if not row.tag:
        return
    if not row.source:
        yield element("line", x1="2%", x2="98%", y1=_MIDDLE, y2=_MIDDLE, class_="bench")
    elif not row.target or row.target == row.source:
        yield element("circle", cx=places[row.source], cy=_MIDDLE, r=4, class_="loud note" if row.loud else "note")
    else:
        style = "heavy arrow" if row.heavy else "faint arrow" if row.faint else "arrow"
        yield element(
            "line", x1=places[row.source], x2=places[row.target], y1=_MIDDLE, y2=_MIDDLE, class_=style,
            marker_end="url(#head)", marker_start="url(#head)" if row.answered else None,
        )  # fmt: skip


def _spoken(row: Row) -> str:
    if row.target and row.target != row.source:
        return f"{row.source} {'and' if row.answered else 'to'} {row.target}"
    return row.source or "bench"
