"""Operators whose access points differ: the device takes the new one along with the profile, and the old one back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from microipa.eim.packages import ROLLED_BACK
from microipa.lab import BOOTSTRAP_OPERATOR, FALLBACK_ALLOWED, Lab, Preloaded, scenarios
from microipa.lab.scenarios import access_points
from rich.console import Console
from switching import NEW, TIMEOUT_S, Device, attached_to, enabled, introduce, logged

pytestmark = pytest.mark.xdist_group("access points")

QUICK = {"rollback_window_s": 2, "dtls_timeout_s": 1, "attach_timeout_s": 1}
HOME = f"{BOOTSTRAP_OPERATOR}.example"  # as the network quirk apn-per-operator has it
TABLE = {"default": HOME, f"plmn:{NEW}": f"{NEW}.example"}
WRONG = {"default": HOME, f"plmn:{NEW}": "elsewhere.example"}
FAMILIES = ["bg95", "sim7080g", "gm02s"]  # its own context, its own with URCs, the context of the attach


class Template:
    """A folder to copy: the eIM knows the card, whose second profile is another operator's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profile = Preloaded("New", NEW, FALLBACK_ALLOWED)
        asyncio.run(introduce(folder, self.profile))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("template"))


@pytest.fixture(params=FAMILIES)
def device(template: Template, tmp_path: Path, request: pytest.FixtureRequest) -> Device:
    device = Device.copy(template.folder, tmp_path, apn=TABLE)
    device.family, device.quirks = request.param, ("apn-per-operator",)
    return device


def enable(lab: Lab, template: Template, **body: Any) -> None:
    lab.eim.order_package(lab.eid, [("enable", {"iccid": template.profile.iccid, **body})])


async def play(lab: Lab) -> None:
    await lab.board.start()
    assert await asyncio.wait_for(lab.board.wait(), TIMEOUT_S) == 0


async def test_a_switch_of_operators_takes_the_access_point_of_the_new_profile(
        device: Device, template: Template) -> None:
    async with device.lab() as lab:
        enable(lab, template, rollbackFlag=None)
        await play(lab)
        assert enabled(lab) == "New"
        assert [order.state for order in lab.eim.orders(lab.eid)][-1] == "done"


async def test_3_3_2_a_wrong_access_point_in_the_table_ends_in_rollback_over_the_old_one(
        device: Device, template: Template) -> None:
    device.config |= QUICK | {"apn": WRONG}
    async with device.lab() as lab:
        enable(lab, template, rollbackFlag=None)
        await play(lab)
        assert enabled(lab) == "Bootstrap"
        order = lab.eim.orders(lab.eid)[-1]
        assert (order.state, order.result) == ("failed", f"{ROLLED_BACK}; before: enable: ok")
        assert "no data connection with APN 'elsewhere.example'" in device.log()


async def test_the_demo_has_a_scenario_of_a_switch_and_a_rollback_between_operators_of_other_access_points(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in QUICK.items():
        monkeypatch.setitem(access_points.CONFIG, name, seconds)
    assert await scenarios.run("access-points", tmp_path / "lab", "none", Console(quiet=True)) == 0
    monkeypatch.setitem(access_points.TABLE, f"plmn:{NEW}", "mistaken.example")
    assert await scenarios.run("access-points", tmp_path / "lab", "none", Console(quiet=True)) == 1


async def test_5_9_20_the_fallback_comes_up_over_its_own_access_point(device: Device, template: Template) -> None:
    device.config |= QUICK | {"stop_when_idle": False, "poll_interval_s": 1, "fallback_unregistered_s": 3}
    async with device.lab() as lab:
        lab.eim.order_package(lab.eid, [("setFallbackAttribute", {"iccid": template.profile.iccid})])
        await lab.board.start()
        await device.until(logged("poll: the eIM has no more"))
        lab.network.set_coverage(BOOTSTRAP_OPERATOR, False)
        await device.until(attached_to(NEW))
        await device.until(lambda event: event.kind == "state_change")
        assert enabled(lab) == "New"


async def test_without_any_name_the_network_takes_the_one_of_the_subscription(
        device: Device, template: Template) -> None:
    device.config["apn"] = ""
    async with device.lab() as lab:
        enable(lab, template)
        await play(lab)
        assert enabled(lab) == "New"
        assert not [event for event in device.events if event.kind == "at" and '"iot' in str(event.fields.get("text"))]
