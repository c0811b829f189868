"""A home network goes away and comes back: the device falls back, tells its eIM, and returns (SGP.32 5.9.20, 5.9.21).

Nobody orders that. It ends well when the home profile is enabled again, was not in between, and the eIM has heard
of both changes with the cause fallback.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from microipa.common.console import Terminal
from microipa.lab import BOOTSTRAP_OPERATOR, FALLBACK_ALLOWED, OPERATOR, Lab, LabFolder, Preloaded, forget_all_but_keys
from microipa.lab.scenarios import _shared
from microipa.radio import preset
from microipa.trace import Event, Trace
from microipa.trace.timeline import Timeline

# So soon because somebody waits; the defaults of the firmware are a day and more.
CONFIG = {"fallback_unregistered_s": 3, "attach_timeout_s": 5, "poll_interval_s": 1, "keep_association_s": 60}

SEARCH_S = 3.0  # strong cells: three searches shall leave room in a minute for what comes of them


def _asks(command: str) -> _shared.Matcher:
    return lambda event: event.kind == "at" and event.fields.get("text", "").startswith(command)


def _listened(event: Event) -> bool:
    """The modem has told which networks it hears."""
    return event.kind == "at" and event.fields["direction"] == "out" and event.fields["text"].startswith("+COPS: (")


async def run(folder: Path, radio: str, console: Terminal) -> int:
    link = replace(preset(radio), search_s=SEARCH_S)
    forget_all_but_keys(folder)
    lifeline = Preloaded("Lifeline", OPERATOR, FALLBACK_ALLOWED)
    LabFolder(folder, create=True).card(preloaded=[lifeline])
    trace = Trace(folder / "trace.jsonl")
    causes: list[str] = []

    def hear(event: Event) -> None:
        if (event.part, event.kind) == ("eim", "state_change"):
            causes.append(event.fields["cause"])

    trace.listen(hear)
    trace.listen(Timeline(console))
    async with Lab(folder, radio=link, trace=trace, board_config=CONFIG) as lab:
        lab.eim.order_package(lab.eid, [("setFallbackAttribute", {"iccid": lifeline.iccid})])
        lab.step(f"the card has a second profile, Lifeline of {OPERATOR}; the eIM orders: fall back to that one")
        await lab.board.start()
        await _shared.until(lab, _shared.says("the eIM has no more"))
        await _shared.until(lab, _asks("AT+CCHC"))  # the card is let go: the poll is over
        moments = {"at home": lab.euicc.profiles()}
        lab.network.set_coverage(BOOTSTRAP_OPERATOR, False)
        lab.step(f"the cells of {BOOTSTRAP_OPERATOR} are switched off; the device cannot be reached")
        await _shared.until(lab, _shared.reported("fallback"))
        moments["home silent"] = lab.euicc.profiles()
        lab.step("the eIM knows that the device has fallen back; after every poll it searches for its home network")
        await _shared.until(lab, _listened)
        lab.network.set_coverage(BOOTSTRAP_OPERATOR, True)
        lab.step(f"the cells of {BOOTSTRAP_OPERATOR} are switched on again")
        await _shared.until(lab, _shared.says("home again"))
        lab.board.kill()
        moments["home again"] = lab.euicc.profiles()
        orders = lab.eim.orders(lab.eid)
    enabled = [_shared.enabled(profiles) for profiles in moments.values()]
    good = enabled == ["Bootstrap", "Lifeline", "Bootstrap"] and causes == ["fallback", "fallback"]
    good = good and {order.state for order in orders} == {"done"}
    _shared.summarise(moments, orders, console, good)
    console.print(f"Changes reported to the eIM that it had not ordered: {', '.join(causes)}")
    return 0 if good else 1
