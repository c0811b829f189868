"""`microipa board check`: checks a board step by step, from the USB port to the eIM."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from microipa.board.flash import LARGEST_KEPT, ROM, check_board, check_fit, is_whole, kind, versions
from microipa.board.known import Board
from microipa.board.needs import FORMS, HELPERS_BYTES, Form, needed_on, protocols_of
from microipa.board.package import SETTINGS
from microipa.board.repl import BoardFailed, Repl
from microipa.common import paths
from microipa.common.errors import MicroipaError

FROZEN = ".frozen"
"""Where MicroPython's sys.path has the modules that are a part of its image."""
_HOME_OF = """
def _home_of(name):
    import sys
    try:
        path = getattr(__import__(name), "__file__", None)
    except ImportError:
        return ""
    sys.modules.pop(name)
    try:
        os.stat(path or "/none")
    except OSError:
        return ".frozen"
    return path
"""
# The __file__ of a frozen module is its path in the image, as of one in the current folder; but no file has that name.
_MARGIN_S = 60.0
_ATTACH_S = 3600.0


class CheckFailed(MicroipaError):
    """A step did not go well; the message is what is wrong and what to look at."""


@dataclass(frozen=True)
class Step:
    """A step by its name on the board, what it is in words, and what to look at when it fails."""

    name: str
    title: str
    advice: str


STEPS = [
    Step("firmware", "firmware", "flash it: microipa flash --board …"),
    Step("uart", "UART opens", "look at board.py: pins and UART number, and whether something else has them"),
    Step("at", "modem answers AT", "look at ipa/modem: the driver does not fit this modem's firmware"),
    Step("sim", "SIM present", "look at the slot and the card's contacts"),
    Step("euicc", "SIM is an eUICC", "look at the modem's APDU commands"),
    Step("eid", "EID", "the card's ISD-R gives an unexpected answer: keep the trace, and ask the card's manufacturer"),
    Step("eim", "eIM known", "give one: microipa flash --eim eim.der"),
    Step("network", "registration", "look at antenna, coverage, bands, the APN in ipa.json, and whether the profile "
                                    "is enabled and has a subscription"),
    Step("clock", "clock", "certificates cannot be checked without it: ask the operator for NITZ, or let the eIM "
                           "be known by its key"),
    Step("socket", "socket to the eIM", "look at the eIM's name in the card's configuration, at DNS, and at what "
                                        "the APN lets through"),
    Step("secured", "DTLS or TLS with the eIM", "look at the eIM: does it run, does a firewall let its port "
                                                "through, is its certificate the one the card's configuration trusts"),
]

ADVICE = {
    "silent": "look at the modem's supply and power key (board.py, modem_power), at TX and RX, which may be swapped, "
              "and at the baud rate",
    "garbage": "look at the baud rate: board.py and the modem (AT+IPR) must have the same; then at ground and levels",
    "no-ok": "something that is no modem, or one that is busy, is on this UART: look at its number and pins",
    "data-mode": "something opened a data connection and did not close it (ATD, PPP, a transparent socket); it is "
                 "closed now: reset the modem, and run the check again",
    "no-sim": "put a card in, look at slot and contacts; some slots want the modem's power off and on",
    "pin": "the card wants a PIN: switch that off, an IoT device has nobody to enter it",
    "not-euicc": "this card has no ISD-R, so it is no eUICC, or the modem lets nobody open a channel to it: try the "
                 "card elsewhere, and AT+CCHO or AT+CSIM by hand",
}


def check(repl: Repl, board: Board, begin: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Go from step to step: the title of each that went well and what was seen; ``begin`` gets it before.

    Raises CheckFailed at the first that does not, WrongBoard, BoardUnfit and BoardLost. The board is left at its REPL.
    """
    begin("MicroPython")
    found = kind(repl)
    check_board(found, board, repl.port)
    yield "MicroPython", f"{found.release} on {found.platform}"
    begin("capabilities")
    check_fit(found, board.modem)
    yield "capabilities", "DTLS, SHA-256" if found.dtls else "SHA-256; no DTLS, which is left to the modem"
    begin("heap")
    repl.run(_HOME_OF)
    home = str(repl.value("_home_of('ipa')"))
    running = "".join(versions(repl)[:1])
    form = _form(running, home)
    yield "heap", _heap(repl, board, found.heap_free_on_chip, form, running)
    begin(STEPS[0].title)
    if not (running == ROM or is_whole(repl, running) if running else home):
        raise CheckFailed(
            f"firmware: the board has no complete version of the assistant: microipa flash --board {board.name}")
    repl.run((paths.tools() / "board_check.py").read_text(encoding="utf-8"))
    for step in STEPS:
        begin(step.title)
        seen = _do(repl, step)
        if step.name == "firmware":
            seen = _where(running, home)
        yield step.title, seen


def _form(running: str, home: str) -> Form:
    """The form of the code that runs: of the version ``running``, else of the package at ``home``."""
    if running == ROM or not running and home.startswith(f"{ROM}/"):
        return "romfs"
    return "frozen" if not running and home == FROZEN else "mpy"


def _where(running: str, home: str) -> str:
    """In words. Which of two runs cannot be asked: a frozen main.py goes before one in the file system."""
    if running:
        return running + ("; there is a frozen one besides: a frozen main.py runs that" if home == FROZEN else "")
    return "frozen" if home == FROZEN else f"copied by hand, {home}"


def _heap(repl: Repl, board: Board, free: int, form: Form, running: str) -> str:
    """Whether the heap will do for the code that is there, in its form, and the protocols in its settings.

    Raises CheckFailed.
    """
    settings = repl.value(f"_read({f'{running}/{SETTINGS}' if running else SETTINGS!r}, {LARGEST_KEPT})")
    try:
        protocols = protocols_of(json.loads(settings or b"{}"))
    except (ValueError, AttributeError):
        protocols = protocols_of({})  # what is wrong with them is told where they are used
    needed = needed_on(board, form, protocols)
    free += HELPERS_BYTES
    told = f"{free // 1024} KiB free, {needed // 1024} needed ({form}, {protocols})"
    if free < needed:
        left = FORMS[FORMS.index(form) + 1:]
        others = ", ".join(f"{other} needs {needed_on(board, other, protocols) // 1024}" for other in left)
        advice = f"choose another form of the code ({others}), or" if others else "it is the smallest form: choose"
        raise CheckFailed(f"heap: {told}: {advice} a build with PSRAM")
    return told


def _do(repl: Repl, step: Step) -> str:
    silence_s = _MARGIN_S + (_ATTACH_S if step.name == "network" else 0)
    try:
        wrong, text = repl.lines(f"_step({step.name!r})", silence_s)[-1]
    except BoardFailed as error:
        raise CheckFailed(f"{step.title}: {error}: {step.advice}") from None
    if wrong:
        raise CheckFailed(f"{step.title}: {text}: {ADVICE.get(wrong, step.advice)}")
    return str(text)
