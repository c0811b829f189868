"""The board downloads from the SM-DP+ itself, over AT, TCP, TLS, HTTP and JSON, all real (SGP.32 3.2.3.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from microipa import saip
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.pki import Pki
from microipa.eim import DefaultSmdp, Smds
from microipa.eim.store import DELIVERED, Order, Store
from microipa.lab import BOOTSTRAP_OPERATOR, EID, HTTPS_PORT, Lab, LabFolder, new_profile
from microipa.radio import LinkSettings
from microipa.trace import Event, Trace
from scene import QUICK, answered, es10, order

HEAP = "264K"  # the modules of a direct download are compiled on the heap as well: nothing of this is frozen
DOWNLOAD = ["initiateAuthentication", "authenticateClient", "getBoundProfilePackage", "handleNotification"]
NOBODY = ("127.0.0.1", 1)


@dataclass
class Scene:
    """A lab whose board downloads directly, what it has done, and what shall happen in between."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    when: list[tuple[Callable[[Event], bool], Callable[[], None]]] = field(default_factory=list)

    def lab(self, **config: Any) -> Lab:
        trace = Trace()
        trace.listen(self._hear)
        options = {"radio": "none", "heap": HEAP, **self.options}
        config = {**QUICK, "download": "direct", **config}
        return Lab(self.folder, trace=trace, board_config=config, **options)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        for matches, act in list(self.when):
            if matches(event):
                self.when.remove((matches, act))
                act()

    def asked(self) -> list[str]:
        """What the SM-DP+ was asked for and did."""
        return [e.fields["function"] for e in self.events
                if (e.part, e.kind, e.fields.get("outcome")) == ("smdpp", "es9", "ok")]

    def log(self) -> str:
        return "\n".join(e.fields["text"] for e in self.events if (e.part, e.kind) == ("board", "log"))

    def asked_by_eim(self) -> bool:
        return any((e.part, e.kind) == ("eim", "es9") for e in self.events)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def run(lab: Lab, expected: int = 0) -> None:
    await lab.board.start()
    assert await asyncio.wait_for(lab.board.wait(), 60) == expected


def eim_order(lab: Lab) -> tuple[str, str]:
    """State and result of the only download the eIM has ordered."""
    [view] = [view for view in lab.eim.orders() if view.kind == "download"]
    return view.state, view.result or ""


def smdpp_order(lab: Lab) -> tuple[str, str]:
    [view] = lab.smdpp.orders()
    return str(view.state), view.result or ""


def installed(lab: Lab) -> int:
    return len(lab.euicc.profiles()) - 1  # without the bootstrap


def nothing_waits(folder: Path) -> bool:
    return es10(folder, "BF2B00").value == bytes.fromhex("A000")


def profile(filler: int = 0) -> bytes:
    return saip.build(new_profile("Direct", filler=filler))


def log_line(text: str) -> Callable[[Event], bool]:
    return lambda event: event.kind == "log" and text in event.fields["text"]


async def test_3_2_3_1_an_activation_code_is_all_it_takes(scene: Scene) -> None:
    async with scene.lab() as lab:
        lab.eim.order_download(EID, lab.offer(), needs_proof=False)
        await run(lab)
        assert installed(lab) == 1
        assert eim_order(lab)[0] == "done"
        assert smdpp_order(lab) == ("installed", "installed")
    assert scene.asked() == DOWNLOAD
    assert not scene.asked_by_eim()
    assert nothing_waits(scene.folder)


def give_default(folder: Path) -> None:
    """Make the lab's card, and set its default SM-DP+ before it meets the board."""
    LabFolder(folder, create=True).card()
    es10(folder, tlv(0xBF65, tlv(0x80, b"smdpp.microipa.example")).hex())


@pytest.mark.parametrize("path", ["direct", "indirect"])
async def test_3_2_3_the_card_knows_its_default_smdp(path: str, scene: Scene) -> None:
    give_default(scene.folder)
    async with scene.lab(download=path) as lab:
        lab.smdpp.add_profile(profile(), eid=EID)
        lab.eim.order_download(EID, DefaultSmdp())
        await run(lab)
        assert installed(lab) == 1
        assert eim_order(lab)[0] == "done"
    assert scene.asked_by_eim() == (path == "indirect")


async def test_a_trigger_that_comes_again_does_not_fetch_the_next_profile(scene: Scene) -> None:
    """An eIM that has forgotten the end of a download, here because its database is one of before."""
    give_default(scene.folder)
    async with scene.lab() as lab:
        for number in range(2):
            lab.smdpp.add_profile(profile(number), eid=EID)
        download = lab.eim.order_download(EID, DefaultSmdp())
        await run(lab)
        with Store(scene.folder / "eim.sqlite").work() as db:
            db.get_one(Order, download).state = DELIVERED
        noticed = asyncio.Event()
        scene.when.append((log_line("this trigger has been carried out before"), noticed.set))
        await lab.board.start()
        await asyncio.wait_for(noticed.wait(), 60)
        lab.board.kill()
        assert installed(lab) == 1
        assert sorted(str(view.state) for view in lab.smdpp.orders()) == ["installed", "released"]


@pytest.mark.parametrize("address", ["", "smds.microipa.example"])
async def test_sgp22_3_6_2_an_sm_ds_knows_what_waits_for_the_card(address: str, scene: Scene) -> None:
    async with scene.lab() as lab:
        lab.smdpp.add_profile(profile(), eid=EID, smds_address=lab.pki.smds_address)
        await lab.smdpp.deliver()
        assert len(lab.smds.events(EID)) == 1
        lab.eim.order_download(EID, Smds(address))
        await run(lab)
        assert installed(lab) == 1
        assert eim_order(lab)[0] == "done"
        await lab.smdpp.deliver()
        assert not lab.smds.events(EID)
    assert scene.asked() == DOWNLOAD
    assert nothing_waits(scene.folder)


async def test_sgp22_3_6_2_an_sm_ds_without_an_event_ends_the_download(scene: Scene) -> None:
    async with scene.lab() as lab:
        lab.eim.order_download(EID, Smds())
        await run(lab)
        assert eim_order(lab)[0] == "failed"
    assert "the SM-DS smds.microipa.example has nothing for this card" in scene.log()


async def test_an_sm_ds_that_is_not_there_is_asked_again(scene: Scene) -> None:
    async with scene.lab(backoff_max_s=1) as lab:
        lab.eim.order_download(EID, Smds("smds.elsewhere.example"))
        await run(lab)
        assert eim_order(lab)[0] == "failed"
    assert "download: did not reach smds.elsewhere.example: " in scene.log()


async def test_where_downloads_go_through_the_eim_no_sm_ds_is_asked_and_the_order_says_so(scene: Scene) -> None:
    async with scene.lab(download="indirect") as lab:
        lab.eim.order_download(EID, Smds())
        await run(lab)
        state, result = eim_order(lab)
    assert state == "failed"
    assert "only a device with direct download asks an SM-DS" in result
    assert "an SM-DS is asked only where downloads are direct" in scene.log()


async def test_without_the_setting_the_eim_does_it(scene: Scene) -> None:
    async with scene.lab(download="indirect") as lab:
        lab.eim.order_download(EID, lab.offer(), needs_proof=False)
        await run(lab)
        assert eim_order(lab)[0] == "done"
    assert scene.asked_by_eim()
    assert not any("TCP" in e.fields.get("text", "") for e in scene.events if e.part == "modem")


async def test_the_eim_is_told_that_the_device_can(scene: Scene) -> None:
    async with scene.lab() as lab:
        lab.eim.order_download(EID, lab.offer(), needs_proof=False)
        await run(lab)
        [about] = [view for view in lab.eim.orders() if view.kind == "data"]
    assert about.details
    assert about.details["ipaFeatures"] == ["directRspServerCommunication", "indirectRspServerCommunication"]


# refusals: the right reason to the SM-DP+, a word to the eIM, nothing on the card


async def refused(scene: Scene, code: str, lab: Lab) -> str:
    """The board's own words for why it gave the download up."""
    lab.eim.order_download(EID, code, needs_proof=False)
    await run(lab)
    assert installed(lab) == 0
    state, reason = eim_order(lab)
    assert state == "failed"
    told = reason.removeprefix("the device gave up the download: undefinedError; ").partition("; then ")[0]
    assert told != reason
    assert told in scene.log()
    return scene.log()


async def test_sgp22_3_1_3_policy_rules_nobody_can_consent_to_cancel_the_session(scene: Scene) -> None:
    async with scene.lab() as lab:
        package = profile()
        own = parse(saip.metadata(saip.ProfilePackage.parse(package)))
        matching_id = lab.smdpp.add_profile(package, metadata=tlv(0xBF25, own.value, tlv(0x99, b"\x05\x40")))
        await refused(scene, lab.smdpp.activation_code(matching_id), lab)
        assert smdpp_order(lab) == ("error", "cancelled by the eUICC: pprNotAllowed")
    assert scene.asked()[:3] == [*DOWNLOAD[:2], "cancelSession"]


async def test_a_confirmation_code_nobody_can_type_cancels_the_session(scene: Scene) -> None:
    async with scene.lab() as lab:
        matching_id = lab.smdpp.add_profile(profile(), confirmation_code="4711")
        await refused(scene, lab.smdpp.activation_code(matching_id), lab)
        assert smdpp_order(lab)[1] == "cancelled by the eUICC: undefinedReason"


async def test_a_confirmation_code_is_given_by_the_eim_to_which_the_download_is_left(scene: Scene) -> None:
    async with scene.lab(eim_download_data=True) as lab:
        matching_id = lab.smdpp.add_profile(profile(), confirmation_code="4711")
        lab.eim.order_download(EID, lab.smdpp.activation_code(matching_id), confirmation_code="4711", needs_proof=False)
        await run(lab)
        assert installed(lab) == 1
        assert eim_order(lab)[0] == "done"
    assert scene.asked_by_eim()


async def test_a_refusal_of_the_smdpp_is_passed_on_in_its_codes(scene: Scene) -> None:
    async with scene.lab() as lab:
        log = await refused(scene, "LPA:1$smdpp.microipa.example$NO-SUCH-ORDER", lab)
    assert "authenticateClient: the SM-DP+ refused with 8.2.6/3.8" in log


async def test_sgp22_3_1_3_the_oid_in_the_activation_code_must_be_the_servers(scene: Scene) -> None:
    async with scene.lab() as lab:
        assert "has another OID than 2.999.11" in await refused(scene, f"{lab.offer()}$2.999.11", lab)
    assert set(scene.asked()) == set(DOWNLOAD[:1])


async def test_sgp22_3_1_3_the_right_oid_is_fine(scene: Scene) -> None:
    async with scene.lab() as lab:
        lab.eim.order_download(EID, f"{lab.offer()}$2.999.10", needs_proof=False)
        await run(lab)
        assert eim_order(lab)[0] == "done"


async def test_a_server_under_no_trusted_root_is_not_talked_to_and_the_download_goes_through_the_eim(
        scene: Scene) -> None:
    scene.options["trust"] = "pin"  # then the card's eIM configuration brings no certificate
    async with scene.lab() as lab:
        lab.eim.order_download(EID, lab.offer(), needs_proof=False)
        await run(lab)
        assert eim_order(lab)[0] == "done"
        assert installed(lab) == 1
    assert "download: through the eIM: no trusted certificate is configured" in scene.log()
    assert scene.asked_by_eim()


async def test_a_server_under_a_root_that_is_added_later_is_talked_to(scene: Scene) -> None:
    scene.options["trust"] = "pin"
    async with scene.lab() as lab:
        (lab.board.folder / "roots.der").write_bytes(lab.pki.eim_tls.der + lab.pki.ci.der)
        lab.eim.order_download(EID, lab.offer(), needs_proof=False)
        await run(lab)
        assert eim_order(lab)[0] == "done"
    assert not scene.asked_by_eim()


# what goes wrong on the way


@pytest.mark.parametrize("moment", [
    pytest.param(answered(0xBF38), id="the card has authenticated the SM-DP+"),
    pytest.param(answered(0xBF37), id="the profile is installed, nobody knows"),
    pytest.param(order("download", "done"), id="the eIM knows, the SM-DP+ does not"),
    pytest.param(lambda event: "order is installed" in event.fields.get("text", ""), id="both know"),
])
async def test_a_power_cut_changes_nothing_of_the_end(
        scene: Scene, moment: Callable[[Event], bool]) -> None:
    async with scene.lab() as lab:
        scene.when.append((moment, lambda: lab.board.kill()))
        lab.eim.order_download(EID, lab.offer(), needs_proof=False)
        await run(lab, expected=-9)
        await run(lab)
        assert installed(lab) == 1
        assert eim_order(lab)[0] == "done"
        assert smdpp_order(lab) == ("installed", "installed")
    assert nothing_waits(scene.folder)


async def test_step_14_an_smdpp_out_of_reach_gets_its_result_another_time(scene: Scene) -> None:
    async with scene.lab() as lab:
        address = lab.pki.smdpp_address, HTTPS_PORT
        reachable = lab.network.resolve(*address)
        assert reachable
        failed = asyncio.Event()
        scene.when.append((answered(0xBF37), lambda: _cut_off(lab)))
        scene.when.append((log_line("stays on the card until next time"), failed.set))
        lab.eim.order_download(EID, lab.offer(), needs_proof=False)
        await lab.board.start()
        await asyncio.wait_for(failed.wait(), 60)
        assert smdpp_order(lab)[0] == "downloaded"
        lab.network.route(*address, reachable)
        assert await asyncio.wait_for(lab.board.wait(), 60) == 0
        assert smdpp_order(lab) == ("installed", "installed")
        assert [e.fields["state"] for e in scene.events if order("download", "done")(e)] == ["done"]
    assert nothing_waits(scene.folder)


def _cut_off(lab: Lab) -> None:
    """The SM-DP+ is gone: no new connection, and the open ones break."""
    lab.network.route(lab.pki.smdpp_address, HTTPS_PORT, NOBODY)
    for connection in lab.modem.packet_data.connections.values():
        if connection.service == "TCP" and connection.transport:
            connection.transport.abort()


async def test_a_network_that_goes_in_the_middle_of_the_profile_means_another_attempt(scene: Scene) -> None:
    blocks = [0]

    def in_the_profile(event: Event) -> bool:
        blocks[0] += event.kind == "apdu" and event.fields["command"][2:6] == "e211"
        return blocks[0] == 40

    async with scene.lab() as lab:
        def stumble() -> None:
            lab.network.set_coverage(BOOTSTRAP_OPERATOR, False)
            asyncio.get_running_loop().call_later(0.3, lab.network.set_coverage, BOOTSTRAP_OPERATOR, True)

        scene.when.append((in_the_profile, stumble))
        lab.eim.order_download(EID, lab.offer(profile(filler=30_000)), needs_proof=False)
        await run(lab)
        assert installed(lab) == 1
        assert eim_order(lab)[0] == "done"
        assert lab.smdpp.orders()[0].attempts == 2


async def test_an_smdpp_that_the_device_never_reaches_is_left_to_the_eim(scene: Scene) -> None:
    async with scene.lab(backoff_max_s=1) as lab:
        lab.network.route(lab.pki.smdpp_address, HTTPS_PORT, NOBODY)
        lab.eim.order_download(EID, lab.offer(), needs_proof=False)
        await run(lab)
        assert installed(lab) == 1
        assert eim_order(lab)[0] == "done"
    assert "download: through the eIM: did not reach smdpp.microipa.example: " in scene.log()
    assert nothing_waits(scene.folder)


async def test_an_smdpp_whose_certificate_mbedtls_does_not_take_is_left_to_the_eim(scene: Scene) -> None:
    scene.options["trust"] = "pin"
    async with scene.lab() as lab:
        (lab.board.folder / "roots.der").write_bytes(Pki.open(scene.folder / "another").ci.der)
        lab.eim.order_download(EID, lab.offer(), needs_proof=False)
        await run(lab)
        assert installed(lab) == 1
        assert eim_order(lab)[0] == "done"
    assert "download: through the eIM: The certificate is not correctly signed by the trusted CA" in scene.log()


async def test_a_link_that_loses_segments_is_slow_and_no_more(scene: Scene) -> None:
    scene.options["radio"] = LinkSettings(speedup=200.0, loss=0.02, seed=1, search_s=0.0)
    async with scene.lab() as lab:
        lab.eim.order_download(EID, lab.offer(profile(filler=8_000)), needs_proof=False)
        await run(lab)
        assert eim_order(lab)[0] == "done"
        assert lab.link.counters.down.lost + lab.link.counters.up.lost > 0


async def test_the_heap_does_not_grow_with_the_profile(tmp_path: Path) -> None:
    peaks = []
    for size in (6_000, 200_000):
        scene = Scene(tmp_path / f"{size:06}", {"measure_heap": True})
        async with scene.lab() as lab:
            lab.eim.order_download(EID, lab.offer(profile(filler=size)), needs_proof=False)
            await run(lab)
            assert eim_order(lab)[0] == "done"
        peaks.append(int(scene.log().split("heap: peak ")[1].split()[0]))
    assert peaks[1] - peaks[0] < 2048
