"""An enable sent to a device nobody can reach: it proves the new profile or goes back, whatever happens (3.3.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from microipa.eim.packages import ROLLED_BACK
from microipa.lab import BOOTSTRAP_OPERATOR, Lab, Preloaded
from microipa.saip import ProfilePackage
from scene import answered, es10
from switching import NEW, TIMEOUT_S, Device, Matcher, attached_to, cut_eim_off, enabled, introduce, logged

pytestmark = pytest.mark.xdist_group("rollback")

QUICK_WINDOW = {"rollback_window_s": 2, "dtls_timeout_s": 1, "attach_timeout_s": 1}


class Template:
    """A folder to copy: bootstrap enabled, another profile from the factory, the eIM knows the card."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profile = Preloaded("New", NEW)
        asyncio.run(introduce(folder, self.profile))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def device(template: Template, tmp_path: Path) -> Device:
    return Device.copy(template.folder, tmp_path, **QUICK_WINDOW)


def switch(lab: Lab, template: Template, *, rollback: bool = True) -> None:
    body = {"iccid": template.profile.iccid, **({"rollbackFlag": None} if rollback else {})}
    lab.eim.order_package(lab.eid, [("enable", body)])


def outcome(lab: Lab) -> tuple[str, str]:
    """State and result of the switch at the eIM."""
    view = lab.eim.orders(lab.eid)[-1]
    return view.state, view.result or ""


async def play(lab: Lab) -> None:
    await lab.board.start()
    assert await asyncio.wait_for(lab.board.wait(), TIMEOUT_S) == 0


def no_coverage(lab: Lab, template: Template) -> None:
    lab.network.set_coverage(NEW, False)


def aka_refused(lab: Lab, template: Template) -> None:
    aka = ProfilePackage.parse(template.profile.package).aka
    lab.network.add_subscriber(template.profile.imsi, bytes(16), aka.opc, operator=NEW)


def apn_wrong(lab: Lab, template: Template) -> None:
    aka = ProfilePackage.parse(template.profile.package).aka
    lab.network.add_subscriber(template.profile.imsi, aka.k, aka.opc, operator=NEW, apns=["another.example"])


PITFALLS = {"no coverage": no_coverage, "AKA refused": aka_refused, "APN wrong": apn_wrong}


def gone_back(lab: Lab, device: Device) -> None:
    assert enabled(lab) == "Bootstrap"
    assert outcome(lab) == ("failed", f"{ROLLED_BACK}; before: enable: ok")
    assert device.asked(0xBF58) >= 1
    assert "switch" not in device.journal()
    assert device.causes() == []  # what an eIM ordered itself it learns by the result


@pytest.mark.covers("es10b.ProfileRollback.ok", "result.rollback.ok")
@pytest.mark.parametrize("pitfall", PITFALLS)
async def test_3_3_2_without_connection_the_card_goes_back_and_the_eim_is_told(
    pitfall: str, device: Device, template: Template
) -> None:
    async with device.lab() as lab:
        PITFALLS[pitfall](lab, template)
        switch(lab, template)
        await play(lab)
        gone_back(lab, device)
    assert es10(device.folder, "BF2B04A0028200").value == bytes.fromhex("A200")  # nothing waits on the card


async def test_3_3_2_the_result_of_a_rollback_reaches_the_eim_though_the_card_lists_no_results(
    device: Device, template: Template
) -> None:
    device.quirks = ("no-result-list",)
    async with device.lab() as lab:
        no_coverage(lab, template)
        switch(lab, template)
        await play(lab)
        gone_back(lab, device)
        assert "unlisted" not in device.journal()


async def test_3_3_2_registered_is_not_enough_the_eim_must_be_reached(device: Device, template: Template) -> None:
    async with device.lab() as lab:
        put_back: list[Callable[[], None]] = []
        device.when(attached_to(NEW), lambda: put_back.append(cut_eim_off(lab)))
        device.when(answered(0xBF58), lambda: put_back[0]())
        switch(lab, template)
        await play(lab)
        gone_back(lab, device)


async def test_3_3_2_a_profile_that_proves_itself_within_the_window_stays(device: Device, template: Template) -> None:
    device.config["rollback_window_s"] = 60
    async with device.lab() as lab:
        lab.network.set_coverage(NEW, False)
        device.when(logged("are left for the new profile"), lambda: lab.network.set_coverage(NEW, True))
        switch(lab, template)
        await play(lab)
        assert enabled(lab) == "New"
        assert outcome(lab) == ("done", "enable: ok")
        assert not device.asked(0xBF58)


async def test_3_3_2_without_the_flag_the_device_keeps_trying(device: Device, template: Template) -> None:
    async with device.lab() as lab:
        lab.network.set_coverage(NEW, False)
        switch(lab, template, rollback=False)
        await lab.board.start()
        for _ in range(2):
            await device.until(logged("agent: next try"))
        assert not device.asked(0xBF58)
        lab.network.set_coverage(NEW, True)
        assert await asyncio.wait_for(lab.board.wait(), TIMEOUT_S) == 0
        assert enabled(lab) == "New"
        assert outcome(lab) == ("done", "enable: ok")


@pytest.mark.covers("es10b.ProfileRollback.rollbackNotAllowed")
async def test_5_9_16_a_card_that_has_gone_back_already_says_so_and_the_device_tries_on(
    device: Device, template: Template
) -> None:
    async with device.lab() as lab:
        lab.network.set_coverage(NEW, False)
        device.when(answered(0xBF58), lab.board.kill)
        switch(lab, template)
        await lab.board.start()
        assert await asyncio.wait_for(lab.board.wait(), TIMEOUT_S) == -9
        lab.network.set_coverage(BOOTSTRAP_OPERATOR, False)
        await lab.board.start()
        await device.until(logged("no way back"))
        assert "ProfileRollback: the card refused with 1" in device.log()
        lab.network.set_coverage(BOOTSTRAP_OPERATOR, True)
        assert await asyncio.wait_for(lab.board.wait(), TIMEOUT_S) == 0
        gone_back(lab, device)


CUTS: dict[str, Matcher] = {
    "before the enable": logged("bytes goes to the card"),
    "after the enable": answered(0xBF51),
    "while it attaches again": logged("modem: not registered"),
    "after the rollback, nobody knows": answered(0xBF58),
    "back on the old profile, before the result is told": logged("notify: result"),
}


@pytest.mark.parametrize("moment", CUTS)
async def test_3_3_2_a_power_cut_on_the_way_back_changes_nothing_of_the_end(
    moment: str, device: Device, template: Template
) -> None:
    async with device.lab() as lab:
        lab.network.set_coverage(NEW, False)
        device.when(CUTS[moment], lab.board.kill)
        switch(lab, template)
        await lab.board.start()
        assert await asyncio.wait_for(lab.board.wait(), TIMEOUT_S) == -9
        await play(lab)
        gone_back(lab, device)


async def test_3_3_2_a_board_that_reboots_all_the_time_still_goes_back(device: Device, template: Template) -> None:
    device.config["rollback_window_s"] = 100
    async with device.lab() as lab:
        lab.network.set_coverage(NEW, False)
        switch(lab, template)
        await lab.board.start()
        await device.until(answered(0xBF51))
        for _ in range(4):  # the radio of a new network draws more than the battery gives
            await device.until(logged("modem: searching"))
            lab.board.kill()
            await lab.board.start()
        assert await asyncio.wait_for(lab.board.wait(), TIMEOUT_S) == 0
        gone_back(lab, device)
