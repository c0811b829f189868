"""How real modems differ from the book, as named options. Every quirk is data; the code that obeys it is
one line at the place it concerns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from microipa.errors import MicroipaError


class UnknownQuirk(MicroipaError):
    """There is no quirk of that name."""


@dataclass(frozen=True)
class Behaviour:
    """What a modem does where modems differ; the defaults are those of the book."""

    ccho_prefix: bool = True
    """+CCHO: before the session, as TS 27.007 8.45 has it; some send the bare number."""
    long_sessions: bool = False
    """Session ids of 16 hexadecimal digits instead of the channel number."""
    upper_hex: bool = True
    """Hexadecimal digits in responses are upper case."""
    echo_sticks: bool = False
    """ATE0 answers OK and changes nothing."""
    urc_inside_response: str | None = None
    """This unsolicited line comes between every information response and its OK."""
    cgla_limit: int = 261
    """Longest APDU in bytes that AT+CGLA takes; longer ones end in ERROR."""
    cgla_fails_at: int = 0
    """The how-manieth STORE DATA by AT+CGLA ends in ERROR, once. 0: none."""
    cgla_fails_after_card: bool = False
    """Whether the card has carried out the command that ends in ERROR."""
    card_delay_s: float = 0.0
    """What the card takes for every command, in seconds of the true modem."""
    endless_line_at: int = 0
    """The how-manieth command line is answered with 64 kB without a line end first, once. 0: none."""
    obeys_refresh: bool = True
    """Whether the modem fetches proactive commands; without, it keeps the old identity until AT+CFUN."""


QUIRKS: dict[str, dict[str, object]] = {
    "ccho-bare": {"ccho_prefix": False},
    "long-session-ids": {"long_sessions": True},
    "lower-case-hex": {"upper_hex": False},
    "echo-sticks": {"echo_sticks": True},
    "urc-inside-response": {"urc_inside_response": '+QIND: "csq",18,99'},
    "cgla-60": {"cgla_limit": 5 + 60},
    "cgla-120": {"cgla_limit": 5 + 120},
    "error-in-load": {"cgla_fails_at": 20},
    "error-in-load-after-card": {"cgla_fails_at": 20, "cgla_fails_after_card": True},
    "slow-card": {"card_delay_s": 2.0},
    "endless-line": {"endless_line_at": 10},
    "ignores-refresh": {"obeys_refresh": False},
}


def behaviour(names: Iterable[str]) -> Behaviour:
    """The book's behaviour with these quirks. Raises UnknownQuirk."""
    changed = Behaviour()
    for name in sorted(names):
        if name not in QUIRKS:
            raise UnknownQuirk(f"no modem quirk {name!r}: choose among {', '.join(QUIRKS)}")
        changed = replace(changed, **QUIRKS[name])  # type: ignore[arg-type]
    return changed
