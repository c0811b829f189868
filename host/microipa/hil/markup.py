"""Elements of a page or an XML file, whose texts may come from anywhere: a board may log what it likes."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

# What XML 1.0 cannot hold, and what turns the direction of the text after it.
_UNPRINTABLE = re.compile(
    "[^\t\n\x20-\x7e\xa0-\u200d\u2010-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
# What stands before a matching id, and its first characters: whoever has an unused one whole has the profile.
_MATCHING_ID = re.compile(r"(\b1\$[^$\s]{1,255}\$|matching id |download (?=[^\s$]+ from ))([^\s$,;)]{1,4})[^\s$,;)]*")
Content = str | Element | None


def clean(text: object, limit: int | None = None) -> str:
    """Text that XML and HTML can hold, no longer than ``limit`` characters and a note of how many there were.

    Of activation codes only the beginning stays: a report is handed on.
    """
    words = str(text)
    if limit is not None and len(words) > limit:
        words = f"{words[:limit]}… ({len(words):,} characters)"
    return _MATCHING_ID.sub(r"\1\2…", _UNPRINTABLE.sub("\ufffd", words.replace("\r\n", "\n")))


def element(tag: str, *content: Content, **attributes: object) -> Element:
    """An element with text and elements in it; None is nothing. Escaped when it is written, by ElementTree.

    ``class_`` is class, ``stroke_width`` is stroke-width; an attribute that is None is left out.
    """
    made = Element(tag, {
        name.rstrip("_").replace("_", "-"): clean(value) for name, value in attributes.items() if value is not None
    })  # fmt: skip
    for part in content:
        if isinstance(part, Element):
            made.append(part)
        elif part is not None and len(made):
            made[-1].tail = (made[-1].tail or "") + clean(part)
        elif part is not None:
            made.text = (made.text or "") + clean(part)
    return made
