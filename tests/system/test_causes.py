"""Changes that the eIM did not order reach it as stateChangeCause, once, from whatever they come (5.14.5)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from microipa.asn1 import sgp32
from microipa.lab import EMERGENCY_PROFILE, Lab, LabFolder, Preloaded
from microipa.trace import Event, Trace
from scene import QUICK, es10
from switching import NEW, TIMEOUT_S, Device, enabled, introduce, logged

pytestmark = pytest.mark.xdist_group("causes")

APPLICATION = """
    from ipa import application

    async def product():
        {work}
        while True:
            await asyncio.sleep(1)

    working = asyncio.create_task(product())
"""
AGENT = "    await agent.run()\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    asyncio.run(introduce(folder, Preloaded("Emergency", NEW, EMERGENCY_PROFILE)))
    return folder


@pytest.fixture
def device(template: Path, tmp_path: Path) -> Device:
    return Device.copy(template, tmp_path)


def application(lab: Lab, work: str) -> None:
    """Let this run beside the agent."""
    main = lab.board.folder / "main.py"
    text = main.read_text()
    assert AGENT in text
    main.write_text(text.replace(AGENT, APPLICATION.replace("{work}", work) + AGENT))


async def play(lab: Lab) -> None:
    await lab.board.start()
    assert await asyncio.wait_for(lab.board.wait(), TIMEOUT_S) == 0


@pytest.mark.covers("cause.deviceChange")
async def test_5_14_5_another_device_around_the_card_is_told_once(device: Device) -> None:
    async with device.lab() as lab:
        lab.modem.imei = "356938035643809"
        await play(lab)
        await play(lab)
    assert device.causes() == ["deviceChange"]


@pytest.mark.covers("cause.immediateEnableProfile", "es10b.ImmediateEnable.ok")
async def test_5_9_15_a_profile_enabled_at_once_is_told_over_itself(device: Device) -> None:
    async with device.lab() as lab:
        lab.eim.order_package(lab.eid, [("configureImmediateEnable", {"immediateEnableFlag": None})])
        lab.eim.order_download(lab.eid, lab.offer(), needs_proof=False)
        await play(lab)
        assert enabled(lab) == "microipa"
        assert {view.state for view in lab.eim.orders(lab.eid)} == {"done"}
    assert device.causes() == ["immediateEnableProfile"]


@pytest.mark.covers("cause.emergencyProfile", "es10b.EnableEmergencyProfile.ok", "es10b.DisableEmergencyProfile.ok")
async def test_5_9_22_and_5_9_23_an_emergency_interrupts_everything_and_is_told_afterwards(device: Device) -> None:
    device.config |= {"stop_when_idle": False, "poll_interval_s": 1}
    async with device.lab() as lab:
        application(lab, 'await asyncio.sleep(1); await application.emergency(agent, True); print("CALLING"); '
                         'await asyncio.sleep(3); print("CALLED"); await application.emergency(agent, False)')
        await lab.board.start()
        await device.until(logged("CALLING"))
        assert enabled(lab) == "Emergency"
        talk = sum(event.kind == "esipa" for event in device.events)
        await device.until(logged("CALLED"))
        assert sum(event.kind == "esipa" for event in device.events) == talk  # nothing else was done
        await device.until(lambda event: (event.part, event.kind) == ("eim", "state_change"))
        assert enabled(lab) == "Bootstrap"
        assert device.causes() == ["emergencyProfile"]


@pytest.mark.covers("cause.otherEim")
async def test_5_14_5_what_one_eim_switches_the_other_hears_of(tmp_path: Path) -> None:
    second = Preloaded("Second", NEW)
    LabFolder(tmp_path, create=True).card(preloaded=[second])
    causes: list[tuple[str, str]] = []

    def hear(event: Event) -> None:
        if event.kind == "state_change":
            causes.append((event.part, event.fields["cause"]))

    trace = Trace()
    trace.listen(hear)
    async with Lab(tmp_path, radio="none", trace=trace, board_config=QUICK, two_eims=True) as lab:
        configuration = sgp32.decode("EimConfigurationData", lab.eim2.configuration())
        lab.eim.order_package(lab.eid, [("addEim", configuration)])
        lab.eim.order_package(lab.eid, [("enable", {"iccid": second.iccid})])
        await play(lab)
        assert enabled(lab) == "Second"
    assert causes == [("eim2", "otherEim")]


@pytest.mark.covers("cause.reset", "es10b.EuiccMemoryReset.ok")
async def test_3_9_a_memory_reset_by_the_application_is_told_to_the_eim_it_forgot(device: Device) -> None:
    LabFolder(device.folder).card()
    es10(device.folder, "BF650C800A" + b"dp.example".hex())
    device.config |= {"stop_when_idle": False, "poll_interval_s": 1}
    async with device.lab() as lab:
        application(lab, "await asyncio.sleep(1); await application.memory_reset(agent, 2, 5)")
        await lab.board.start()
        await device.until(lambda event: (event.part, event.kind) == ("eim", "state_change"))
    assert device.causes() == ["reset"]


@pytest.mark.covers("cause.local")
async def test_5_14_5_what_the_application_changed_itself_is_told_as_local(device: Device) -> None:
    device.config |= {"stop_when_idle": False, "poll_interval_s": 1}
    async with device.lab() as lab:
        application(lab, "await asyncio.sleep(1); await application.changed(agent)")
        await lab.board.start()
        await device.until(lambda event: (event.part, event.kind) == ("eim", "state_change"))
    assert device.causes() == ["local"]
