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
    csim_only: bool = False
    """No AT+CCHO, AT+CGLA and AT+CCHC: ERROR."""
    channels_forbidden: bool = False
    """AT+CCHO is there and not allowed: CME ERROR 3."""
    wants_upper_hex: bool = False
    """Digits in lower case are refused with ERROR."""
    gets_response: bool = False
    """The modem fetches what a bare 61xx announces and gives it as the answer; more than that is left to the board."""
    lost_data_urcs: bool = False
    """The line that tells of received data never comes."""
    outcome_before_ok: bool = False
    """The line that tells of an opened connection comes before OK, in families where it comes after."""
    bare_line_feeds: bool = False
    """Lines begin and end with a line feed alone."""
    restart_s: float = 0.0
    """What the card takes to come back after REFRESH, in seconds of the true modem."""
    granted_psm: tuple[str, str] | None = None
    """T3412 extended and T3324 as the network grants them, whatever was asked for."""
    power_saving: bool = True
    """Whether the network grants PSM and eDRX at all."""
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
    "csim-only": {"csim_only": True},
    "channels-forbidden": {"channels_forbidden": True},
    "wants-upper-hex": {"wants_upper_hex": True},
    "gets-response": {"gets_response": True},
    "lost-data-urcs": {"lost_data_urcs": True},
    "outcome-before-ok": {"outcome_before_ok": True},
    "bare-line-feeds": {"bare_line_feeds": True},
    "slow-refresh": {"restart_s": 10.0},
    "ignores-refresh": {"obeys_refresh": False},
    "network-grants-own-psm": {"granted_psm": ("00100010", "00100001")},
    "no-power-saving": {"power_saving": False},
}


def behaviour(names: Iterable[str]) -> Behaviour:
    """The book's behaviour with these quirks. Raises UnknownQuirk."""
    changed = Behaviour()
    for name in sorted(names):
        if name not in QUIRKS:
            raise UnknownQuirk(f"no modem quirk {name!r}: choose among {', '.join(QUIRKS)}")
        changed = replace(changed, **QUIRKS[name])  # type: ignore[arg-type]
    return changed
