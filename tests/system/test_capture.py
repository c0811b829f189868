"""tshark opens what `microipa trace --pcapng` writes: CoAP and HTTP are decrypted, APDUs and orders are read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="no tshark: apt-get install --no-install-recommends tshark"
)
MICROIPA = Path(sys.executable).with_name("microipa")


def run(*words: object) -> str:
    return subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True, timeout=100).stdout


def tshark(capture: Path, display_filter: str, *words: str) -> str:
    return run("tshark", "-n", "-r", capture, "-Y", display_filter, *words)


@pytest.fixture(scope="module", params=["coaps", "https"])
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("capture")
    run(MICROIPA, "demo", "--radio", "none", "--lab", folder, *(["--https"] if request.param == "https" else []))
    capture = folder / f"{request.param}.pcapng"
    run(MICROIPA, "trace", folder, "--pcapng", capture)
    return capture


def test_all_that_was_encrypted_is_decrypted_and_no_segment_is_missing(capture: Path) -> None:
    assert tshark(capture, "tcp.analysis.lost_segment or tcp.analysis.ack_lost_segment") == ""
    assert tshark(capture, "dtls.record.content_type == 23 and not coap") == ""


def test_the_messages_to_the_eim_are_decrypted(capture: Path) -> None:
    if capture.stem == "coaps":
        paths = tshark(capture, "coap.code == 2", "-T", "fields", "-e", "coap.opt.uri_path_recon").split()
    else:
        paths = tshark(capture, "http.request", "-T", "fields", "-e", "http.request.uri").split()
    assert len(paths) > 8
    assert set(paths) == {"/gsma/rsp2/asn1"}


def test_the_orders_can_be_read_down_to_each_operation(capture: Path) -> None:
    comments = tshark(capture, "frame.interface_id == 1", "-T", "fields", "-e", "frame.comment")
    assert "EuiccPackageRequest, listProfileInfo, enable 89" in comments
    assert "rollbackFlag" in comments


def test_apdus_are_those_of_a_card(capture: Path) -> None:
    instructions = tshark(capture, "gsm_sim", "-T", "fields", "-e", "gsm_sim.apdu.ins").split()
    assert {"0xa4", "0xe2", "0xc0", "0x70", "0x88"} <= set(instructions)
