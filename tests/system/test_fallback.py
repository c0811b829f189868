"""A home network that is lost for good: the device leaves it, tells its eIM, and comes home (5.9.20, 5.9.21)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from microipa.lab import BOOTSTRAP_OPERATOR, FALLBACK_ALLOWED, Lab, Preloaded
from scene import answered, es10
from switching import NEW, Device, Matcher, attached_to, cut_eim_off, enabled, introduce, listened, logged

pytestmark = pytest.mark.xdist_group("fallback")

HOME, LIFELINE = "Bootstrap", "Lifeline"
SOON = {
    "stop_when_idle": False,
    "poll_interval_s": 1,
    "attach_timeout_s": 3,
    "dtls_timeout_s": 2,
    "fallback_unregistered_s": 3,
    "rollback_window_s": 4,
}


class Template:
    """A folder to copy: home enabled, a profile of another operator that may be the fallback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lifeline = Preloaded(LIFELINE, NEW, FALLBACK_ALLOWED)
        asyncio.run(introduce(folder, self.lifeline))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def device(template: Template, tmp_path: Path) -> Device:
    return Device.copy(template.folder, tmp_path, **SOON)


def caused(cause: str) -> Matcher:
    return lambda event: (event.part, event.kind, event.fields.get("cause")) == ("eim", "state_change", cause)


async def at_home(lab: Lab, device: Device, template: Template) -> None:
    """The board is up and has the fallback attribute set for it."""
    lab.eim.order_package(lab.eid, [("setFallbackAttribute", {"iccid": template.lifeline.iccid})])
    await lab.board.start()
    await device.until(logged("the eIM has no more"))


def home_covered(lab: Lab, yes: bool) -> None:
    lab.network.set_coverage(BOOTSTRAP_OPERATOR, yes)


@pytest.mark.covers(
    "es10b.ExecuteFallbackMechanism.ok", "es10b.ReturnFromFallback.ok", "cause.fallback", "psmo.setFallbackAttribute.ok"
)
async def test_5_9_20_without_registration_it_falls_back_tells_and_returns_when_home_is_heard_again(
    device: Device, template: Template
) -> None:
    async with device.lab() as lab:
        await at_home(lab, device, template)
        home_covered(lab, False)
        await device.until(caused("fallback"))
        assert enabled(lab) == LIFELINE
        await device.until(listened)  # and the eIM is told once
        assert device.causes() == ["fallback"]
        home_covered(lab, True)
        await device.until(caused("fallback"))
        assert enabled(lab) == HOME
        await device.until(logged("home again"))
        assert device.causes() == ["fallback", "fallback"]
        assert "fallback" not in device.journal()


async def test_5_9_20_registered_without_reaching_the_eim_it_falls_back_as_well(
    device: Device, template: Template
) -> None:
    device.config |= {"fallback_polls": 2, "fallback_unregistered_s": 3600}
    async with device.lab() as lab:
        await at_home(lab, device, template)
        put_back = cut_eim_off(lab)
        device.when(attached_to(NEW), put_back)
        await device.until(caused("fallback"))
        assert enabled(lab) == LIFELINE


async def test_5_9_21_a_return_that_does_not_hold_is_taken_back(device: Device, template: Template) -> None:
    device.config["return_after_s"] = 1
    async with device.lab() as lab:
        await at_home(lab, device, template)
        home_covered(lab, False)
        await device.until(caused("fallback"))
        await device.until(answered(0xBF5E))
        await device.until(caused("fallback"))
        assert enabled(lab) == LIFELINE
        assert device.asked(0xBF5D) >= 2
        assert device.journal()["fallback"]["wait"] >= 2  # longer than before


async def test_5_9_20_a_card_that_fell_back_by_itself_is_told_at_boot_and_brought_home(
    device: Device, template: Template
) -> None:
    async with device.lab() as lab:
        await at_home(lab, device, template)
    es10(device.folder, "BF5D03800100")
    async with device.lab() as lab:
        home_covered(lab, False)
        await lab.board.start()
        await device.until(caused("fallback"))
        assert enabled(lab) == LIFELINE
        await device.until(listened)
        home_covered(lab, True)
        await device.until(logged("home again"))
        assert enabled(lab) == HOME


@pytest.mark.covers("es10b.ExecuteFallbackMechanism.fallbackNotAvailable")
async def test_5_9_20_without_a_fallback_profile_the_device_keeps_trying(device: Device, template: Template) -> None:
    async with device.lab() as lab:
        home_covered(lab, False)
        await lab.board.start()
        await device.until(logged("ExecuteFallbackMechanism: the card refused with 6"))
        home_covered(lab, True)
        await device.until(logged("the eIM has no package"))
        assert (enabled(lab), device.causes()) == (HOME, [])


@pytest.mark.parametrize("function", [0xBF5D, 0xBF5E])
async def test_5_9_20_and_5_9_21_a_power_cut_right_after_the_switch_loses_nothing(
    function: int, device: Device, template: Template
) -> None:
    device.config["rollback_window_s"] = 60  # of which the reboot takes its part
    async with device.lab() as lab:
        device.when(answered(function), lab.board.kill)
        await at_home(lab, device, template)
        home_covered(lab, False)
        if function == 0xBF5E:
            await device.until(caused("fallback"))
            await device.until(listened)
            home_covered(lab, True)
        await device.until(lambda event: (event.part, event.kind) == ("board", "power"))
        await lab.board.start()
        await device.until(caused("fallback"))
        assert enabled(lab) == (LIFELINE if function == 0xBF5D else HOME)
