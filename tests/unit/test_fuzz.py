"""`make fuzz`: a short run of every target here, and the loop that has to see what goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from fuzz import mutations
from fuzz.run import Outcome, Target, explore, report, try_one
from microipa.asn1.tlv import TlvError, parse, tlv

ROOT = Path(__file__).parents[2]
MESSAGE = tlv(0xBF51, tlv(0xA0, tlv(0x80, b"abc"), tlv(0x81, b"\1")))
MUTATIONS = (mutations.octets, mutations.tlvs, mutations.members, mutations.lines)


def fuzz(*options: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("tests", "tests/unit", "firmware"))
    return subprocess.run(
        [sys.executable, "-m", "fuzz", *options],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}, check=False,
    )  # fmt: skip


def failing(error: BaseException) -> Target:
    def take(message: bytes) -> None:
        raise error

    return Target("failing", (MESSAGE,), mutations.tlvs, (KeyError,), lambda: take)


def test_every_parser_reads_damaged_messages_or_refuses_them_by_name() -> None:
    done = fuzz("--seconds", "2", "--seed", "20261129")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == "0 findings, seed 20261129"


def test_a_target_that_is_unknown_is_refused_with_those_there_are() -> None:
    done = fuzz("--target", "espia")
    assert done.returncode == 2
    assert "no target espia; there are tlv, " in done.stderr


def test_an_error_without_a_name_is_a_finding_with_its_message() -> None:
    outcome = explore(failing(IndexError("here")), seed=1, seconds=0.02)
    assert len(outcome.findings) == 1
    place, (message, trace) = outcome.findings.popitem()
    assert place.startswith("IndexError at test_fuzz.py:")
    assert "IndexError: here" in trace
    outcome.findings[place] = message, trace
    assert f"--target failing --input {message.hex()}" in "\n".join(report(outcome))


def test_an_error_with_a_name_is_none() -> None:
    outcome = explore(failing(KeyError()), seed=1, seconds=0.02)
    assert not outcome.findings
    assert outcome.refused == outcome.messages > 0


def test_too_little_memory_is_a_finding() -> None:
    outcome = Outcome("failing")
    target = failing(MemoryError())
    try_one(target, target.begin(), MESSAGE, outcome)
    assert [place.split()[0] for place in outcome.findings] == ["MemoryError"]


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_seed_damages_alike(mutation: mutations.Mutation) -> None:
    def damaged(seed: int) -> list[bytes]:
        rng = Random(seed)
        return [mutation(rng, MESSAGE) for _ in range(50)]

    assert damaged(1) == damaged(1)
    assert damaged(1) != damaged(2)
    assert any(message != MESSAGE for message in damaged(1))


def test_elements_are_damaged_inside_lengths_that_are_right() -> None:
    rng = Random(1)
    whole = [message for message in (mutations.tlvs(rng, MESSAGE) for _ in range(200)) if parses(message)]
    assert len(whole) > 50
    assert len(set(whole)) > 25


def parses(message: bytes) -> bool:
    try:
        return parse(message).tag == 0xBF51
    except TlvError:
        return False
