"""An enable that was a mistake: the new operator has no cell here, and the device comes back by itself (SGP.32 3.3.2).

It ends well when the old profile is enabled again and the eIM knows both, that the switch was carried out and
that it was taken back.
"""

from __future__ import annotations

from pathlib import Path

from microipa.common.console import Terminal
from microipa.eim.packages import ROLLED_BACK
from microipa.lab import OPERATOR, Lab, LabFolder, Preloaded, forget_all_but_keys
from microipa.lab.demo import Meter, run_board
from microipa.lab.scenarios import _shared
from microipa.radio import preset
from microipa.trace import Trace
from microipa.trace.timeline import Timeline

CONFIG = {"stop_when_idle": True, "rollback_window_s": 12, "backoff_s": 2}


async def run(folder: Path, radio: str, console: Terminal) -> int:
    link = preset(radio)
    forget_all_but_keys(folder)
    faraway = Preloaded("Faraway", OPERATOR)
    LabFolder(folder, create=True).card(preloaded=[faraway])
    trace = Trace(folder / "trace.jsonl")
    trace.listen(Timeline(console))
    async with Lab(folder, radio=link, trace=trace, board_config=CONFIG) as lab:
        before = lab.euicc.profiles()
        lab.network.set_coverage(OPERATOR, False)
        lab.step(f"the card has a second profile, Faraway, whose operator {OPERATOR} has no cell in reach")
        body = {"iccid": faraway.iccid, "rollbackFlag": None}
        order = lab.eim.order_package(lab.eid, [("enable", body)])
        lab.step("the eIM does not know that and orders: enable it, rollback allowed")
        window = CONFIG["rollback_window_s"]
        lab.step(f"the new profile must reach the eIM within {window} s; the default of the firmware is 10 minutes")
        await run_board(lab, Meter(trace))
        after = lab.euicc.profiles()
        orders = lab.eim.orders(lab.eid)
    outcome = next(view for view in orders if view.id == order)
    back = (_shared.enabled(before), _shared.enabled(after)) == ("Bootstrap", "Bootstrap")
    good = back and (outcome.state, outcome.result) == ("failed", f"{ROLLED_BACK}; before: enable: ok")
    _shared.summarise({"before": before, "after": after}, orders, console, good)
    if good:
        console.print("The switch failed, the device is on the network again, and the eIM knows the reason.")
    return 0 if good else 1
