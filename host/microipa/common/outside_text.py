"""Text that somebody else wrote: names in profiles, addresses, log lines of boards, errors of peers. It is data.

Whatever shows it to people goes through here: terminal, report, log. A line of it stays one line, and nothing in it
moves a cursor, turns the direction of what follows or hides.
"""

from __future__ import annotations

import logging

from microipa.common.activation_codes import shortened_codes


def visible(text: object, limit: int | None = None) -> str:
    r"""One line in which each character can be seen: line ends, ESC, direction marks and their like as ``\x1b``.

    No longer than ``limit`` characters and a note of how many there were. Visible text stays as it is.
    """
    words = _cut(text, limit)
    return words if words.isprintable() else "".join(map(_seen, words))


def visible_lines(text: object, limit: int | None = None) -> str:
    """The same for text that may have several lines, such as a reason with a traceback."""
    lines = _cut(text, limit).replace("\r\n", "\n").split("\n")
    return "\n".join(visible(line.replace("\t", "    ")) for line in lines)


class VisibleFormatter(logging.Formatter):
    """Log records quote what peers sent."""

    def format(self, record: logging.LogRecord) -> str:
        message = visible(record.getMessage())  # a traceback behind it has lines of its own
        line = logging.makeLogRecord(record.__dict__ | {"msg": message, "args": None})
        return shortened_codes(visible_lines(super().format(line)))


def _cut(text: object, limit: int | None) -> str:
    words = str(text)
    return words if limit is None or len(words) <= limit else f"{words[:limit]}… ({len(words):,} characters)"


def _seen(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]
