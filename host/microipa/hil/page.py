"""A page of HTML that needs nothing else: no scripts, nothing from elsewhere, one style for screens and for paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from xml.etree.ElementTree import Element, tostring

from microipa.hil.markup import element

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, body: Iterable[str]) -> Iterator[str]:
    """The page in pieces; those of ``body`` are made by ``text`` or are tags."""
    style = files("microipa.hil").joinpath("report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
    )
    # The style is ours and not escaped, as HTML wants it.
    yield '<!DOCTYPE html>\n<html lang="en">\n' + text(head).replace("</head>", f"<style>\n{style}</style></head>")
    yield "<body>"
    yield from body
    yield "</body></html>\n"


def text(made: Element) -> str:
    """An element as it stands in the page."""
    return tostring(made, encoding="unicode", method="html") + "\n"
