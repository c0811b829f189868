"""`lab up --trust-ci … --route … --without …`: servers of another maker join a lab by their certificates alone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from microipa.common.console import BadInput
from microipa.crypto.key_folder import KeysInvalid
from microipa.crypto.pki import Pki
from microipa.lab import Lab, LabFolder
from microipa.lab.peers import Peers
from microipa.trace import Trace
from scene import QUICK


class Maker:
    """Somebody else's servers: a lab's folder with a PKI of its own, of which we get certificates."""

    def __init__(self, folder: Path, cards_ci: Path) -> None:
        peers = Peers.given([cards_ci], [], None, [])
        self.folder = LabFolder(folder, create=True, card_ci=peers.cis[0], peers=peers)
        self.ci = folder / "pki" / "ci.pem"
        self.eim = folder / "eim.der"
        self.eim.write_bytes(self.folder.eim.configuration("ca"))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    LabFolder(tmp_path / "lab", create=True)
    return tmp_path / "lab"


@pytest.fixture
def maker(tmp_path: Path, ours: Path) -> Maker:
    return Maker(tmp_path / "other", ours / "pki" / "ci.pem")


@pytest.mark.parametrize("download", ["indirect", "direct"])
async def test_a_profile_comes_from_an_sm_dp_of_another_maker_under_its_own_ci(
        ours: Path, maker: Maker, download: str) -> None:
    async with AsyncExitStack() as running:
        port = await running.enter_async_context(maker.folder.smdpp.serve())
        peers = Peers.given([maker.ci], [f"{maker.folder.smdpp.address}=127.0.0.1:{port}"], None, ["smdpp"])
        config = {**QUICK, "download": download}
        lab = await running.enter_async_context(
            Lab(ours, radio="none", heap="264K", board_config=config, peers=peers, trace=Trace()))
        package = lab.profile()
        matching_id = maker.folder.smdpp.add_profile(package, eid=lab.eid)
        number = lab.eim.order_download(lab.eid, maker.folder.smdpp.activation_code(matching_id), needs_proof=False)
        before = len(lab.euicc.profiles())
        await lab.board.start()
        await asyncio.wait_for(lab.board.wait(), 60)
        view = next(view for view in lab.eim.orders() if view.id == number)
        assert view.state == "done", view.result
        assert len(lab.euicc.profiles()) == before + 1
        assert [order.state for order in maker.folder.smdpp.orders()] == ["installed"]


async def test_profiles_come_from_sm_dps_of_two_makers_each_under_its_own_ci(
        ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makers = []
    for name in ("one", "two"):
        monkeypatch.setattr(Pki, "smdpp_address", f"smdpp.{name}.example")
        makers.append(Maker(tmp_path / name, ours / "pki" / "ci.pem"))
    monkeypatch.undo()
    async with AsyncExitStack() as running:
        routes = []
        for maker in makers:
            port = await running.enter_async_context(maker.folder.smdpp.serve())
            routes.append(f"{maker.folder.smdpp.address}=127.0.0.1:{port}")
        peers = Peers.given([maker.ci for maker in makers], routes, None, ["smdpp"])
        lab = await running.enter_async_context(
            Lab(ours, radio="none", board_config=QUICK, peers=peers, trace=Trace()))
        for maker in makers:
            matching_id = maker.folder.smdpp.add_profile(lab.profile(), eid=lab.eid)
            code = maker.folder.smdpp.activation_code(matching_id)
            lab.eim.order_download(lab.eid, code, needs_proof=False)
        before = len(lab.euicc.profiles())
        await lab.board.start()
        await asyncio.wait_for(lab.board.wait(), 60)
        assert len(lab.euicc.profiles()) == before + 2
        assert [[order.state for order in maker.folder.smdpp.orders()] for maker in makers] == [["installed"]] * 2


async def test_a_board_obeys_an_eim_of_another_maker_when_ours_stays_away(ours: Path, maker: Maker) -> None:
    async with AsyncExitStack() as running:
        port = await running.enter_async_context(maker.folder.eim.serve())
        route = f"{maker.folder.eim.fqdn}:5684=127.0.0.1:{port}"
        peers = Peers.given([maker.ci], [route], maker.eim, ["eim"])
        lab = await running.enter_async_context(
            Lab(ours, radio="none", board_config=QUICK, peers=peers, trace=Trace()))
        order = maker.folder.eim.order_package(lab.eid, [("listProfileInfo", {})])
        await lab.board.start()
        await asyncio.wait_for(lab.board.wait(), 60)
        view = next(view for view in maker.folder.eim.orders() if view.id == order)
        assert view.deliveries >= 1


def test_a_card_names_all_cis_that_it_trusts_and_its_own_for_signing(ours: Path, maker: Maker) -> None:
    card = LabFolder(ours, peers=Peers.given([maker.ci], [], None, [])).card()
    card.trust(Peers.given([maker.ci], [], None, []).cis)
    lists = [card_info(card)[tag] for tag in (0xA9, 0xAA)]
    assert [len(keys.children()) for keys in lists] == [2, 1]
    card.trust([])
    assert len(card_info(card)[0xA9].children()) == 1


def card_info(card):  # noqa: ANN001, ANN201
    from microipa.asn1.tlv import parse
    from microipa.euicc.chip import Chip
    from microipa.euicc.identity import info_1
    from microipa.euicc.nvm import Nvm

    return parse(info_1(Chip(Nvm.open(card._path)), parse(bytes.fromhex("BF2000"))))


def test_a_route_may_lead_to_an_ipv6_address_in_brackets() -> None:
    peers = Peers.given([], ["a.example:443=[::1]:8443"], None, [])
    assert peers.routes == ((("a.example", 443), ("::1", 8443)),)


@pytest.mark.parametrize(("given", "sentence"), [
    ({"route": ["nonsense"]}, "--route nonsense is not HOST=IP:PORT"),
    ({"route": ["a.example=127.0.0.1"]}, "--route 127.0.0.1 is not HOST:PORT"),
    ({"without": ["smds"]}, "--without smds: choose one of smdpp, eim"),
    ({"without": ["eim"]}, "--without eim: give the board another one by --eim FILE"),
])
def test_a_wrong_option_is_named(given: dict[str, list[str]], sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        Peers.given([], given.get("route", []), None, given.get("without", []))
    assert str(refused.value).startswith(sentence)


def test_a_ci_that_is_no_certificate_and_an_eim_that_is_no_configuration_are_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\x30\x05nonsense")
    with pytest.raises(KeysInvalid, match="file"):
        Peers.given([file], [], None, [])
    with pytest.raises(BadInput, match="is not an EimConfigurationData in DER"):
        Peers.given([], [], file, [])
