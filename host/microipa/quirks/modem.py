"""Quirks of modems. What they change: ``microipa.modem.behaviour``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microipa.quirks.registry import NUMBER, Quirk


def _modem(name: str, changes: Mapping[str, object], says: str, source: str, **more: Any) -> Quirk:
    return Quirk(name, "modem", changes, says, source, **more)


QUIRKS = (
    _modem("ccho-bare", {"ccho_prefix": False}, "AT+CCHO answers with the bare session, without +CCHO:.",
           "Fibocom FM350: lpac #179, #445"),
    _modem("long-session-ids", {"long_sessions": True}, "Sessions have 16 hexadecimal digits.",
           "Sierra EM7590: lpac #139"),
    _modem("lower-case-hex", {"upper_hex": False}, "APDUs come in hexadecimal digits of lower case.",
           "micropython.md 2.2"),
    _modem("echo-sticks", {"echo_sticks": True}, "ATE0 answers OK and changes nothing.", "micropython.md 2.2"),
    _modem("urc-inside-response", {"urc_inside_response": '+QIND: "csq",18,99'},
           "An unsolicited line comes between every information response and its OK.", "micropython.md 2.2"),
    _modem("cgla-60", {"cgla_limit": 5 + 60}, "AT+CGLA takes no more than 60 bytes of data.", "Quectel users of lpac"),
    _modem("cgla-120", {"cgla_limit": 5 + 120}, "AT+CGLA takes no more than 120 bytes of data.", "lpac's default"),
    _modem("error-in-load", {"cgla_fails_at": NUMBER}, "One STORE DATA ends in ERROR, before it reached the card.",
           "EC20, EG25: lpac #173, #186", number=20, unit="STORE DATA commands"),
    _modem("error-in-load-after-card", {"cgla_fails_at": NUMBER, "cgla_fails_after_card": True},
           "One STORE DATA ends in ERROR, although the card has carried it out.", "EC20, EG25: lpac #173, #186",
           number=20, unit="STORE DATA commands"),
    _modem("slow-card", {"card_delay_s": NUMBER}, "The card takes long for every command.", "micropython.md 2.2",
           number=2, unit="seconds of the true modem"),
    _modem("endless-line", {"endless_line_at": NUMBER}, "One command is answered with 64 kB without a line end first.",
           "micropython.md 2.2", number=10, unit="commands"),
    _modem("csim-only", {"csim_only": True}, "There is no AT+CCHO, AT+CGLA and AT+CCHC.", "DW5821e: lpac #168"),
    _modem("channels-forbidden", {"channels_forbidden": True}, "AT+CCHO is there and not allowed: +CME ERROR: 3.",
           "openpilot #37979"),
    _modem("wants-upper-hex", {"wants_upper_hex": True}, "Hexadecimal digits of lower case are refused.",
           "Qualcomm: lpac #428"),
    _modem("gets-response", {"gets_response": True}, "The modem itself fetches what 61xx announces.",
           "micropython.md 2.2"),
    _modem("lost-data-urcs", {"lost_data_urcs": True}, "The line that tells of received data never comes.",
           "micropython.md 2.3"),
    _modem("outcome-before-ok", {"outcome_before_ok": True},
           "The line that tells of an opened connection comes before OK.", "SIM7080G: TinyGSM",
           families=("sim7080g", "sim7000", "sara-r5", "sara-r422")),
    _modem("bare-line-feeds", {"bare_line_feeds": True}, "Lines begin and end with a line feed alone.",
           "micropython.md 2.3"),
    _modem("slow-refresh", {"restart_s": NUMBER}, "The card takes long to come back after REFRESH.", "openpilot #37779",
           number=10, unit="seconds of the true modem"),
    _modem("ignores-refresh", {"obeys_refresh": False}, "REFRESH is ignored: the old identity stays until AT+CFUN.",
           "openpilot #37779"),
    _modem("network-grants-own-psm", {"granted_psm": ("00100010", "00100001")},
           "PSM is granted with other timers than asked for.", "battery.md"),
    _modem("no-power-saving", {"power_saving": False}, "The network grants neither PSM nor eDRX.", "battery.md"),
    # Card and radio after AT+CFUN=1
    _modem("sim-busy-after-cfun", {"card_busy_s": NUMBER},
           "After AT+CFUN=1 commands for the card answer +CME ERROR: 14, though AT+CPIN? says READY.",
           "SARA-R422: ubxlib #287; R410: device-os PR 2573", number=5, unit="seconds"),
    _modem("cops-deregistered", {"deregistered": True},
           "After AT+CFUN=1 the modem stays off the network until AT+COPS=0.",
           "R410: device-os PRs 2164, 2177"),
)
