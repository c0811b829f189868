"""What a device does when the power goes, from its beginning to an end that can be told right from wrong."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from microipa.lab import BOOTSTRAP_OPERATOR, FALLBACK_ALLOWED, Lab, LabFolder, Preloaded, new_profile
from microipa.lab.demo import queue_orders
from microipa.saip import build
from switching import NEW, Device, enabled, introduce, listened

_QUICK = {"rollback_window_s": 20, "dtls_timeout_s": 2, "attach_timeout_s": 2}
_EMULATION = {"emulation": True}
_SOON = {"stop_when_idle": False, "poll_interval_s": 1, "attach_timeout_s": 3, "dtls_timeout_s": 2,
         "fallback_unregistered_s": 3, "rollback_window_s": 60}

_DEEP = {"sleep": "deep", "stop_when_idle": False, "psm_periodic_s": 345600}


class Wrong(AssertionError):
    """A flow that did not end as it must; the message says what is wrong."""


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Wrong(f"{what}: {found}, not {wanted}")


@dataclass(frozen=True)
class Flow:
    """``prepare`` makes the folder that every run of the flow copies. ``begin`` queues orders and arms the network.
    ``ended`` is asked until it is true, then ``check`` raises Wrong where something is. ``lab`` are options of Lab."""

    name: str
    begin: Callable[[Device, Lab], None]
    check: Callable[[Lab], None]
    ended: Callable[[Lab], bool]
    prepare: Callable[[Path], Awaitable[None]]
    config: dict[str, Any] = field(default_factory=dict)
    lab: dict[str, Any] = field(default_factory=dict)
    warm: bool = False
    """Whether the board has polled before, so that it finds a modem that is registered."""


def settled(lab: Lab) -> bool:
    """Every order has come to its end, and nothing waits on the card."""
    orders = lab.eim.orders()
    return bool(orders) and all(order.state in ("done", "failed", "expired") for order in orders)


async def _new(folder: Path) -> None:
    LabFolder(folder, create=True)


def _with(name: str, *attributes: bytes) -> Callable[[Path], Awaitable[None]]:
    async def prepare(folder: Path) -> None:
        await introduce(folder, Preloaded(name, NEW, *attributes))

    return prepare


def _iccid(lab: Lab, name: str) -> str:
    return next(profile.iccid for profile in lab.euicc.profiles() if profile.name == name)


def _states(lab: Lab) -> list[str]:
    return [order.state for order in lab.eim.orders(lab.eid)]


def _first_light(_: Device, lab: Lab) -> None:
    queue_orders(lab)


def _download_and_enable(_: Device, lab: Lab) -> None:
    """Without rollback, which an emulation has not."""
    queue_orders(lab, rollback=False)


def _downloaded(lab: Lab) -> None:
    expect("orders", set(_states(lab)), {"done"})
    expect("profiles", [one.state for one in lab.euicc.profiles()], ["disabled", "enabled"])
    expect("SM-DP+ orders", [str(view.state) for view in lab.smdpp.orders()], ["installed"])


def _order_packages(_: Device, lab: Lab) -> None:
    iccid = _iccid(lab, "New")
    lab.eim.order_package(lab.eid, [("listProfileInfo", {})])
    lab.eim.order_package(lab.eid, [("delete", {"iccid": iccid})])
    lab.eim.order_data(lab.eid)


def _deleted(lab: Lab) -> None:
    expect("orders", set(_states(lab)), {"done"})
    expect("profiles", [one.name for one in lab.euicc.profiles()], ["Bootstrap"])


def _order_switch(_: Device, lab: Lab) -> None:
    lab.eim.order_package(lab.eid, [("enable", {"iccid": _iccid(lab, "New"), "rollbackFlag": None})])


def _order_switch_in_sleep(device: Device, lab: Lab) -> None:
    device.when(lambda event: (event.part, event.kind) == ("board", "sleep"), lambda: _order_switch(device, lab))


def _switched(lab: Lab) -> None:
    expect("enabled profile", enabled(lab), "New")
    expect("orders", _states(lab)[-1], "done")


def _order_switch_without_coverage(device: Device, lab: Lab) -> None:
    lab.network.set_coverage(NEW, False)
    _order_switch(device, lab)


def _rolled_back(lab: Lab) -> None:
    expect("enabled profile", enabled(lab), "Bootstrap")
    expect("orders", _states(lab)[-1], "failed")


def _lose_home(device: Device, lab: Lab) -> None:
    lab.eim.order_package(lab.eid, [("setFallbackAttribute", {"iccid": _iccid(lab, "New")})])
    device.when(lambda event: event.kind == "order" and event.fields["state"] == "done",
                lambda: lab.network.set_coverage(BOOTSTRAP_OPERATOR, False))


def _fell_back(lab: Lab) -> bool:
    return enabled(lab) == "New" and lab.eim.device(lab.eid).state_change == "fallback"


def _lose_home_for_a_while(device: Device, lab: Lab) -> None:
    _lose_home(device, lab)

    journal = lab.board.folder / "ipa.journal"

    def cover() -> None:
        # Only a home network that the device has once not heard is a reason to return when it is heard again.
        if '"gone": true' in journal.read_text():
            lab.network.set_coverage(BOOTSTRAP_OPERATOR, True)
        else:
            device.when(listened, cover)

    device.when(lambda event: event.kind == "state_change", lambda: device.when(listened, cover))


def _home_again(lab: Lab) -> bool:
    journal = lab.board.folder / "ipa.journal"
    return (enabled(lab) == "Bootstrap" and lab.network.covers(BOOTSTRAP_OPERATOR)
            and '"fallback"' not in journal.read_text() and lab.eim.device(lab.eid).state_change == "fallback")


async def _emulated(folder: Path) -> None:
    """A consumer card whose device the eIM knows by the key that it has made."""
    LabFolder(folder, create=True)
    options: dict[str, Any] = {"card": {"kind": "consumer"}, "heap": "216K"}
    async with Lab(folder, radio="none", board_config={**_EMULATION, "stop_when_idle": True}, **options) as lab:
        await lab.board.start()
        await asyncio.wait_for(lab.board.wait(), 60)
        lab.eim.add_device(lab.eid, device_key=(lab.board.folder / "ipa.journal.card.pub").read_bytes())


def _emulated_downloaded(lab: Lab) -> None:
    """An emulated card has no memory of its own for half a package. It either ends what it had begun to switch, or says
    in its result that it was interrupted, and stays on the profile that it had."""
    (package,) = (order for order in lab.eim.orders() if order.kind == "package")
    if package.state != "failed":
        _downloaded(lab)
        return
    expect("result says why", "processingTerminated: interruption" in str(package.result), True)
    expect("profiles", [one.state for one in lab.euicc.profiles()], ["enabled", "disabled"])


def _enable_at_once(_: Device, lab: Lab) -> None:
    lab.eim.order_package(lab.eid, [("configureImmediateEnable", {"immediateEnableFlag": None})])
    lab.eim.order_download(lab.eid, lab.offer(build(new_profile("First Light"))), needs_proof=False)


def _enabled_at_once(lab: Lab) -> None:
    expect("orders", set(_states(lab)), {"done"})
    expect("profiles", [one.state for one in lab.euicc.profiles()], ["disabled", "disabled", "enabled"])


FLOWS = [
    Flow("download and enable", _first_light, _downloaded, settled, _new),
    Flow("direct download and enable", _first_light, _downloaded, settled, _new,
         {"download": "direct"}, {"heap": "264K"}),
    Flow("list, delete, data request", _order_packages, _deleted, settled, _with("New")),
    Flow("switch", _order_switch, _switched, settled, _with("New"), _QUICK | {"rollback_window_s": 60}),
    Flow("rollback", _order_switch_without_coverage, _rolled_back, settled, _with("New"), _QUICK),
    Flow("fallback", _lose_home, lambda lab: expect("enabled profile", enabled(lab), "New"), _fell_back,
         _with("New", FALLBACK_ALLOWED), _SOON),
    Flow("return from fallback", _lose_home_for_a_while,
         lambda lab: expect("enabled profile", enabled(lab), "Bootstrap"), _home_again,
         _with("New", FALLBACK_ALLOWED), _SOON),
    Flow("download and enable, emulated card", _download_and_enable, _emulated_downloaded, settled, _emulated,
         _EMULATION, {"heap": "240K", "card": {"kind": "consumer"}}),
    Flow("switch at a warm wake", _order_switch, _switched, settled, _with("New"), _QUICK | {"rollback_window_s": 60},
         warm=True),
    Flow("switch ordered during deep sleep", _order_switch_in_sleep, _switched,
         lambda lab: enabled(lab) == "New" and settled(lab), _with("New"), _DEEP,
         {"skips_sleep": True}),
    Flow("download enabled at once", _enable_at_once, _enabled_at_once, settled, _with("New")),
]


def template(flow: Flow, folder: Path) -> Path:
    """The folder that the flow's runs copy, made when it is not there."""
    made = folder / flow.name.replace(" ", "-").replace(",", "")
    if not made.exists():
        part = made.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        asyncio.run(flow.prepare(part))
        part.rename(made)
    return made
