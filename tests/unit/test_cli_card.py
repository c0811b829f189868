"""`microipa card`: APDUs and functions of ES10 by name, on the lab's card and on one in a PC/SC reader."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import sys
import time
from pathlib import Path

import pytest
from cli_runner import Microipa
from microipa.euicc.pcsc import NoReader, PcscCard
from microipa.lab import EID, Lab, LabFolder
from microipa.lab.peers import Peers
from microipa.trace import Trace

HAVE_PCSC = importlib.util.find_spec("smartcard") is not None and shutil.which("pcscd") is not None
needs_pcsc = pytest.mark.skipif(
    not HAVE_PCSC, reason="no PC/SC here: apt install pcscd vsmartcard-vpcd swig libpcsclite-dev; "
                          "pip install 'microipa[pcsc]'; and pcscd must run")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    LabFolder(tmp_path, create=True).card()
    return tmp_path


def test_apdus_go_to_the_card_one_after_the_other(microipa: Microipa, lab: Path) -> None:
    outcome = microipa("card", "apdu", "00A40004023F00", "00C000001A", "--lab", lab)
    assert outcome.status == 0
    first, second = outcome.out.split()
    assert first == "611a"
    assert second.endswith("9000")


def test_functions_of_es10_are_called_by_name(microipa: Microipa, lab: Path) -> None:
    outcome = microipa("card", "shell", "--lab", lab, stdin=b"eid\nprofiles\nquit\ninfo2\n")
    assert outcome.status == 0
    assert f"eidValue: {EID}" in outcome.out
    assert "profileName: Bootstrap" in outcome.out
    assert "EUICCInfo2" not in outcome.out


@pytest.mark.parametrize(("line", "sentence"), [
    ("eidd", "no verb 'eidd': choose among eid, info1"),
    ("enable", "enable: EnableProfile ICCID (a consumer card); 0 arguments are wrong"),
    ("enable 1", "an ICCID has 18 to 20"),
    ("es10 zz", "es10: any request, in hex"),
])
def test_a_wrong_line_is_answered_by_a_sentence_and_the_next_one_is_read(
        microipa: Microipa, lab: Path, line: str, sentence: str) -> None:
    outcome = microipa("card", "shell", "--lab", lab, stdin=f"{line}\neid\n".encode())
    assert sentence in outcome.out
    assert EID in outcome.out


@pytest.mark.parametrize(("words", "sentence"), [
    (("apdu", "0G"), "HEX has 'G' after 1 digits"),
    (("apdu", "00", "--card", "usb:1"), "--card usb:1 is not pcsc:READER"),
    (("shell", "--lab", "nowhere"), "no lab in nowhere"),
])
def test_a_mistake_is_one_sentence(microipa: Microipa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   words: tuple[str, ...], sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = microipa("card", *words)
    assert outcome.status == 1
    assert outcome.err.startswith(f"microipa: {sentence}")


def test_the_card_of_a_lab_that_is_up_is_left_alone(microipa: Microipa, lab: Path) -> None:
    with LabFolder(lab).card().in_reader():
        assert microipa("card", "apdu", "00A40004023F00", "--lab", lab).status != 0


@needs_pcsc
def test_a_reader_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(NoReader, match="reader 'nowhere' is none of|PC/SC does not answer"):
        PcscCard("nowhere")


@needs_pcsc
async def test_a_board_drives_a_card_in_a_pcsc_reader(tmp_path: Path) -> None:
    """The software card goes into vpcd's reader, and comes back through pcscd as a card of a maker would."""
    LabFolder(tmp_path / "maker", create=True)
    serve = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("microipa"), "card", "serve", "--lab", tmp_path / "maker")
    try:
        card = await asyncio.to_thread(_in_reader)
        peers_ci = tmp_path / "maker" / "pki" / "ci.pem"
        config = {"stop_when_idle": True, "poll_interval_s": 1}
        async with Lab(tmp_path / "lab", radio="none", card=card, board_config=config,
                       peers=Peers.given([peers_ci], [], None, []), trace=Trace()) as lab:
            order = lab.eim.order_package(lab.eid, [("listProfileInfo", {})])
            await lab.board.start()
            await asyncio.wait_for(lab.board.wait(), 60)
            assert {view.id: view.state for view in lab.eim.orders()}[order] == "done"
    finally:
        serve.kill()
        await serve.wait()


def _in_reader() -> PcscCard:
    """The card as soon as pcscd has seen it, which looks every second or so. Skips where no pcscd runs."""
    until = time.monotonic() + 15
    while True:
        try:
            return PcscCard("Virtual PCD 00 00")
        except NoReader as error:
            if "is none of" in str(error) or "does pcscd run" in str(error):
                pytest.skip(f"{error}: start pcscd with vpcd")
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
