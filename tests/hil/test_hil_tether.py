"""A place without a public address: datagrams over the serial port, to its own eIM only, and marked in the report."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from microipa.hil.record import load
from microipa.hil.report import PAGE
from microipa.hil.tether import LARGEST, Tether
from microipa.trace.reading import read
from test_hil_suite import hil

EIM = ("eim.example", 5684)
OPEN = "~tA? eim.example 5684"
PING, PONG = "~tA=cGluZw==", b"~tA0.cG9uZw==\n"


class Cable:
    """What the bench types, and what it notes."""

    def __init__(self) -> None:
        self.typed: queue.Queue[bytes] = queue.Queue()
        self.noted: queue.Queue[dict[str, Any]] = queue.Queue()

    def next(self) -> bytes:
        return self.typed.get(timeout=30)

    def note(self, part: str, kind: str, **fields: Any) -> None:
        assert part == "tether"
        self.noted.put({"kind": kind, **fields})


@pytest.fixture
def eim() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.settimeout(30)
        yield end


@pytest.fixture
def cable() -> Cable:
    return Cable()


@pytest.fixture
def tether(cable: Cable, eim: socket.socket) -> Iterator[Tether]:
    """To a board that is given 50 ms to read a line."""
    made = Tether(lambda *name: {EIM: eim.getsockname()}.get(name), cable.typed.put, cable.note, 0.05)
    yield made
    made.close()


def test_a_datagram_goes_to_the_eim_and_its_answer_comes_back(
    tether: Tether, cable: Cable, eim: socket.socket
) -> None:
    assert tether.takes(OPEN)
    assert tether.takes(PING)
    datagram, board = eim.recvfrom(LARGEST)
    eim.sendto(b"pong", board)
    assert (datagram, cable.next()) == (b"ping", PONG)
    kinds = [cable.noted.get(timeout=30) for _ in range(3)]
    assert [one.get("direction") for one in kinds] == [None, "up", "down"]
    assert kinds[2] == {"kind": "datagram", "direction": "down", "bytes": 4, "lost": False, "payload": b"pong"}


@pytest.mark.parametrize("line", [
    "I (12) poll: DTLS with eim.example", "~tilde", "~ta? eim.example 5684", "~tA", "", "~tA= \x1b[2J",
])  # fmt: skip
def test_what_the_board_logs_is_left_to_the_log(tether: Tether, line: str) -> None:
    assert not tether.takes(line)


@pytest.mark.parametrize("line", [
    "~tA? elsewhere.example 5684", "~tA? eim.example 443", "~tA? eim.example", "~tA?", "~tA? 127.0.0.1 22",
    "~tA? eim.example 99999999999",
])  # fmt: skip
def test_nothing_but_the_eim_of_the_place_is_reached(tether: Tether, cable: Cable, line: str) -> None:
    assert tether.takes(line)
    assert tether.takes(PING)
    assert cable.next() == b"~tA!\n"
    assert "is not an eIM of this place" in cable.noted.get_nowait()["text"]
    assert cable.noted.empty()


def test_a_line_that_came_garbled_is_no_datagram(tether: Tether, cable: Cable, eim: socket.socket) -> None:
    for line in (OPEN, "~tA=cGl", "~tA=cG l uZw==", "~tB=cGluZw==", PING):
        assert tether.takes(line)
    assert eim.recv(LARGEST) == b"ping"


def test_a_board_that_reads_nothing_loses_datagrams_and_is_not_run_over(
    tether: Tether, cable: Cable, eim: socket.socket
) -> None:
    tether.takes(OPEN)
    tether.takes(PING)
    _, board = eim.recvfrom(LARGEST)
    eim.sendto(bytes(500), board)
    assert cable.next().startswith(b"~tA0+")
    said = [cable.noted.get(timeout=30) for _ in range(3)]
    assert (said[2]["direction"], said[2]["lost"]) == ("down", True)
    assert cable.typed.empty()
    tether.takes("~tB? eim.example 5684")
    tether.takes(PING.replace("A", "B", 1))
    _, board = eim.recvfrom(LARGEST)
    eim.sendto(b"pong", board)
    assert cable.next() == PONG.replace(b"A", b"B", 1)


def test_a_datagram_larger_than_a_board_takes_is_lost(tether: Tether, cable: Cable, eim: socket.socket) -> None:
    tether.takes(OPEN)
    tether.takes(PING)
    _, board = eim.recvfrom(LARGEST)
    eim.sendto(bytes(LARGEST + 1), board)
    eim.sendto(b"pong", board)
    assert cable.next() == PONG


def test_nothing_is_typed_into_a_board_that_has_closed(tether: Tether, cable: Cable, eim: socket.socket) -> None:
    tether.takes(OPEN)
    tether.takes(PING)
    _, board = eim.recvfrom(LARGEST)
    tether.takes("~tA!")
    eim.sendto(b"pong", board)
    tether.takes("~tB? eim.example 5684")
    tether.close()
    tether.takes("~tC? eim.example 5684")
    assert cable.typed.empty()


def test_a_place_without_a_public_address_is_served_and_its_report_says_so(tmp_path: Path) -> None:
    done = hil(tmp_path, "--run=run", "--tether", "-k", "several_orders or downloaded_and_everyone or comes_whole")
    assert done.returncode == 0, done.stdout
    run, cases = load(tmp_path / "run" / "virtual")
    assert (run.tether, run.heap) == (True, "192K")
    passed = [case for case in cases if case.outcome == "passed"]
    assert [case.id.partition("[")[0] for case in passed] == [
        "test_several_orders_are_carried_out_in_their_order_in_one_poll",
        "test_a_profile_is_downloaded_and_everyone_hears_of_it",
    ]
    for case in passed:
        assert case.bill.datagrams_up >= 5
        events = read((tmp_path / "run" / "virtual" / case.events).read_text(), "")
        carried = {event.part for event in events if event.kind == "datagram"}
        assert carried == {"tether"}  # and none of them by the radio
        assert not [event for event in events if event.kind == "log" and event.fields["text"].startswith("~t")]
    skipped = [case.reason for case in cases if case.outcome == "skipped"]
    assert any("with the tether, datagrams" in reason for reason in skipped), skipped
    page = (tmp_path / "run" / PAGE).read_text(encoding="utf-8")
    assert "TETHERED" in page
    assert "Tethered datagrams up, down" in page
    assert "go over the board's serial port" in page


@contextlib.contextmanager
def rack_of_others(folder: Path) -> Iterator[dict[str, Any]]:
    """A board and what is around it, of somebody else; its network leads nowhere near the bench. What they tell."""
    command = [sys.executable, str(Path(__file__).with_name("rack.py")), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()


def test_a_board_of_others_is_served_where_no_network_leads_to_the_bench(tmp_path: Path) -> None:
    with rack_of_others(tmp_path / "rack") as told:
        keys = [f"{key} = {json.dumps(told[key])}" for key in ("port", "ci", "profiles", "power_on", "power_off")]
        (tmp_path / "bench.toml").write_text("\n".join(["[left]", 'board = "virtual"', "tether = true", *keys]))
        done = hil(tmp_path, "--run=run", "--bench", "bench.toml", "-k", "several_orders")
    assert done.returncode == 0, done.stdout
    run, ended = load(tmp_path / "run" / "left")
    assert (run.tether, run.card) == (True, "real")
    assert [case.outcome for case in ended] == ["passed"]
    assert ended[0].bill.datagrams_up >= 5
