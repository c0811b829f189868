"""AT command syntax as data: what a line asks for, which handler answers, which errors it may raise."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from microipa.common.errors import MicroipaError


class Answering(Protocol):
    """A modem as far as any command needs it."""

    settings: dict[str, str]

    def respond(self, text: str) -> None: ...


M = TypeVar("M", bound=Answering)
Handler = Callable[[M, "Request"], Awaitable[None]]

# 3GPP TS 27.007 9.2, the codes this modem uses
CME_NOT_ALLOWED = 3
CME_NOT_SUPPORTED = 4
CME_NO_SIM = 10
CME_SIM_FAILURE = 13
CME_SIM_BUSY = 14
CME_INVALID_INDEX = 21
CME_NO_SERVICE = 30
CME_INCORRECT_PARAMETERS = 50

CME_TEXT = {
    CME_NOT_ALLOWED: "operation not allowed",
    CME_NOT_SUPPORTED: "operation not supported",
    CME_NO_SIM: "SIM not inserted",
    CME_SIM_FAILURE: "SIM failure",
    CME_SIM_BUSY: "SIM busy",
    CME_INVALID_INDEX: "invalid index",
    CME_NO_SERVICE: "no network service",
    CME_INCORRECT_PARAMETERS: "Incorrect parameters",
}


class CommandFailed(MicroipaError):
    """A command ends with an error: ``+CME ERROR`` when ``cme`` is given and AT+CMEE allows, else ERROR."""

    def __init__(self, cme: int | None = None) -> None:
        super().__init__("ERROR" if cme is None else f"+CME ERROR: {cme} ({CME_TEXT[cme]})")
        self.cme = cme


class Form(Enum):
    """The four forms of an extended command (TS 27.007 4.2, V.250 5.4)."""

    RUN = ""
    READ = "?"
    TEST = "=?"
    SET = "="


@dataclass(frozen=True)
class Request:
    """One command of a line: ``name`` in upper case without AT (``+CSQ``, ``E``), its form and arguments.

    An argument is text without its quotes, or None when left out; ``raw`` is all of them as written.
    """

    name: str
    form: Form
    arguments: tuple[str | None, ...] = ()
    raw: str = ""

    def text(self, index: int, default: str | None = None) -> str:
        """An argument as text. Raises CommandFailed when it is missing and has no default."""
        value = self.arguments[index] if index < len(self.arguments) else None
        if value is None:
            value = default
        if value is None:
            raise CommandFailed(CME_INCORRECT_PARAMETERS)
        return value

    def number(self, index: int, low: int, high: int, default: int | None = None) -> int:
        """An argument as a number in a range. Raises CommandFailed."""
        text = self.text(index, None if default is None else str(default))
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
            raise CommandFailed(CME_INCORRECT_PARAMETERS)
        return int(text)

    def octets(self, index: int, limit: int) -> bytes:
        """An argument as bytes written in hexadecimal. Raises CommandFailed."""
        text = self.text(index)
        if len(text) > 2 * limit or not re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", text):
            raise CommandFailed(CME_INCORRECT_PARAMETERS)
        return bytes.fromhex(text)


class CommandTable(Generic[M]):
    """Handlers by command and form. A dialect starts from another's table and adds or replaces."""

    def __init__(self, base: CommandTable[M] | None = None) -> None:
        self._handlers: dict[tuple[str, Form], Handler[M]] = dict(base._handlers) if base else {}

    def on(self, name: str, *forms: Form) -> Callable[[Handler[M]], Handler[M]]:
        """Decorate the handler of ``name`` in these forms."""

        def register(handler: Handler[M]) -> Handler[M]:
            for form in forms:
                self._handlers[name, form] = handler
            return handler

        return register

    def constant(self, name: str, form: Form, *lines: str) -> None:
        """Answer with fixed lines, and OK."""

        async def answer(modem: M, _: Request) -> None:
            for line in lines:
                modem.respond(line)

        self._handlers[name, form] = answer

    def stored(self, name: str, default: str = "") -> None:
        """A setting that is only kept and told again: set it, read it, lose it when power goes."""

        async def keep(modem: M, request: Request) -> None:
            modem.settings[name] = request.raw

        async def tell(modem: M, _: Request) -> None:
            modem.respond(f"{name}: {modem.settings.get(name, default)}")

        self._handlers[name, Form.SET] = keep
        self._handlers[name, Form.READ] = tell

    def find(self, request: Request) -> Handler[M]:
        """The handler for a request; a test of a command that can be set succeeds without text, as in most
        modems. Raises CommandFailed for what the modem does not know."""
        handler = self._handlers.get((request.name, request.form))
        if handler is None and request.form is Form.TEST and self.knows(request.name):
            handler = _nothing
        if handler is None:
            raise CommandFailed
        return handler

    def knows(self, name: str) -> bool:
        return any((name, form) in self._handlers for form in Form)


async def _nothing(_modem: Answering, _request: Request) -> None:
    """OK and no more."""


_BASIC = re.compile(r"(&?[A-Z])([0-9]{0,3})", re.IGNORECASE)
_EXTENDED = re.compile(r"([+$%#^][A-Z][A-Z0-9_/-]*)(=\?|\?|=|)", re.IGNORECASE)
_ARGUMENT = re.compile(r'\s*(?:"([^"]*)"|([^",]*))\s*(,|$)')


def parse_line(line: str) -> Iterator[Request]:
    """The commands of one line after its AT (V.250 5.2.1): basic ones run on, extended ones end with ';'.

    Raises CommandFailed at the first thing that is no command; those before it have been yielded, so they
    are carried out, as in a real modem.
    """
    position = 0
    while position < len(line):
        if line[position] in " ;":
            position += 1
            continue
        extended = _EXTENDED.match(line, position)
        if extended:
            end = _end_of_command(line, extended.end())
            tail = line[extended.end() : end]
            form = Form(extended[2])
            if tail.strip() and form is not Form.SET:
                raise CommandFailed
            arguments = _split(tail) if form is Form.SET else ()
            yield Request(extended[1].upper(), form, arguments, tail)
            position = end
            continue
        basic = _BASIC.match(line, position)
        if not basic:
            raise CommandFailed
        yield Request(basic[1].upper(), Form.RUN, (basic[2],) if basic[2] else ())
        position = basic.end()


def _end_of_command(line: str, start: int) -> int:
    quoted = False
    for position in range(start, len(line)):
        if line[position] == '"':
            quoted = not quoted
        elif line[position] == ";" and not quoted:
            return position
    return len(line)


def _split(text: str) -> tuple[str | None, ...]:
    """Arguments between commas; quotes protect commas and are taken off. Raises CommandFailed."""
    arguments: list[str | None] = []
    position = 0
    while True:
        argument = _ARGUMENT.match(text, position)
        if not argument:
            raise CommandFailed(CME_INCORRECT_PARAMETERS)
        quoted, bare = argument[1], argument[2]
        arguments.append(quoted if quoted is not None else bare.strip() or None)
        if not argument[3]:
            return tuple(arguments)
        position = argument.end()
