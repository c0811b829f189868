"""Elements of a page or an XML file, whose texts may come from anywhere: a board may log what it likes."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from microipa.common.activation_codes import shortened_codes
from microipa.common.outside_text import visible, visible_lines

Content = str | Element | None


def clean(text: object, limit: int | None = None) -> str:
    """Text that XML and HTML can hold, no longer than ``limit`` characters and a note of how many there were.

    Of activation codes only the beginning stays: a report is handed on.
    """
    return shortened_codes(visible_lines(text, limit))


def clean_line(text: object, limit: int | None = None) -> str:
    """The same for what is one line: a name, a title, an attribute."""
    return shortened_codes(visible(text, limit))


def element(tag: str, *content: Content, **attributes: object) -> Element:
    """An element with text and elements in it; None is nothing. Escaped when it is written, by ElementTree.

    ``class_`` is class, ``stroke_width`` is stroke-width; an attribute that is None is left out.
    """
    made = Element(tag, {
        name.rstrip("_").replace("_", "-"): clean_line(value) for name, value in attributes.items() if value is not None
    })  # fmt: skip
    for part in content:
        if isinstance(part, Element):
            made.append(part)
        elif part is not None and len(made):
            made[-1].tail = (made[-1].tail or "") + clean(part)
        elif part is not None:
            made.text = (made.text or "") + clean(part)
    return made
