"""Two operators whose APNs differ: the device takes the new one along with the profile, and the old one back (issue 9).

Each operator takes its own APN alone. A switch goes well by the table of APNs in ipa.json. Then the operator of a third
profile has another APN than the table says, and the device comes back by itself, over the APN of before. It ends well
when the second profile is enabled, the first switch is done, and the eIM knows that the other one was taken back.
"""

from __future__ import annotations

from pathlib import Path

from microipa.common.console import Terminal
from microipa.eim.packages import ROLLED_BACK
from microipa.lab import BOOTSTRAP_OPERATOR, Lab, LabFolder, Preloaded, forget_all_but_keys
from microipa.lab.demo import Meter, run_board
from microipa.lab.scenarios import _shared
from microipa.radio import preset
from microipa.trace import Trace
from microipa.trace.timeline import Timeline

NEW, THIRD = "99970", "99971"
QUIRK = "apn-per-operator"  # each takes <MCC and MNC>.example
TABLE = {
    "default": f"{BOOTSTRAP_OPERATOR}.example",
    f"plmn:{NEW}": f"{NEW}.example",
    f"plmn:{THIRD}": "mistaken.example",
}
CONFIG = {"stop_when_idle": True, "rollback_window_s": 12, "backoff_s": 2, "attach_timeout_s": 5, "apn": TABLE}


async def run(folder: Path, radio: str, console: Terminal) -> int:
    link = preset(radio)
    forget_all_but_keys(folder)
    new, third = Preloaded("New", NEW), Preloaded("Third", THIRD)
    LabFolder(folder, create=True).card(preloaded=[new, third])
    trace = Trace(folder / "trace.jsonl")
    trace.listen(Timeline(console))
    meter = Meter(trace)
    async with Lab(folder, radio=link, trace=trace, board_config=CONFIG, quirks=[QUIRK]) as lab:
        moments = {"before": lab.euicc.profiles()}
        lab.step(f"the operators {BOOTSTRAP_OPERATOR}, {NEW} and {THIRD} accept only their own APN each")
        first = await _switch(lab, new, meter)
        moments["after the first switch"] = lab.euicc.profiles()
        lab.step(f"the table of the device has {TABLE[f'plmn:{THIRD}']} for {THIRD}, which is wrong")
        second = await _switch(lab, third, meter)
        moments["in the end"] = lab.euicc.profiles()
        orders = lab.eim.orders(lab.eid)
    ends = {view.id: (view.state, view.result) for view in orders}
    good = [_shared.enabled(profiles) for profiles in moments.values()] == ["Bootstrap", "New", "New"]
    good = good and ends[first][0] == "done" and ends[second] == ("failed", f"{ROLLED_BACK}; before: enable: ok")
    _shared.summarise(moments, orders, console, good)
    if good:
        console.print("Each operator was reached over its own APN, and the device returned from the wrong one.")
    return 0 if good else 1


async def _switch(lab: Lab, profile: Preloaded, meter: Meter) -> int:
    """Order that this profile is enabled and let the device do it. Returns the order. Raises BoardFailed."""
    order = lab.eim.order_package(lab.eid, [("enable", {"iccid": profile.iccid, "rollbackFlag": None})])
    lab.step(f"the eIM orders: enable the profile of {profile.operator}, rollback allowed")
    await run_board(lab, meter)
    return order
