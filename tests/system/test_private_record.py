"""The record of a whole session tells no secrets, whatever protocols the device uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from microipa.lab import Lab, LabFolder
from microipa.lab.demo import first_light
from microipa.lab.protocols import Protocols
from microipa.trace import Record, Trace
from scene import QUICK, record

CASES: dict[str, dict[str, Any]] = {
    "through the eIM": {},
    "direct": {"board_config": Protocols(direct=True).settings, "heap": Protocols(direct=True).heap},
    "JSON": {"board_config": Protocols(https=True, json=True).settings, "heap": Protocols(https=True, json=True).heap},
    "DTLS of a BG95": {"family": "bg95", "board_config": {"dtls": "modem"}, "trust": "ca"},
    "DTLS of an nRF91": {"family": "nrf91", "board_config": {"dtls": "modem"}, "trust": "ca"},
    "csim": {"quirks": frozenset({"csim-only"})},
}


@pytest.mark.parametrize("protocols", CASES)
async def test_no_activation_code_no_key_and_no_value_of_aka_is_kept(protocols: str, tmp_path: Path) -> None:
    light = await record(tmp_path, measure_heap=False, **CASES[protocols])
    assert light.outcome.succeeded, light.outcome.orders
    file = Record(tmp_path / "trace.jsonl")
    for event in light.events:
        file.add(event)
    kept = (tmp_path / "trace.jsonl").read_text().lower()
    lab = LabFolder(tmp_path)
    [order] = lab.smdpp.orders()
    challenges = [event.fields["command"][10:] for event in light.of("card", "apdu")
                  if event.fields["command"][2:4] == "88"]  # fmt: skip
    assert len(challenges) > 1
    for secret in challenges:
        assert secret not in kept
    assert order.matching_id
    for secret in (order.matching_id, *(key for one in lab.subscribers() for key in (one.k, one.opc))):
        for form in (secret, secret.encode().hex(), secret.encode().hex().encode().hex()):
            assert form.lower() not in kept
    whole = "".join(json.dumps(event.fields) for event in light.events)
    assert order.matching_id.encode().hex() in whole  # so that there was something to hide


async def test_a_disk_that_is_full_costs_the_record_and_nothing_else(tmp_path: Path, caplog) -> None:
    (tmp_path / "trace.jsonl").symlink_to("/dev/full")
    trace = Trace(tmp_path / "trace.jsonl")
    async with Lab(tmp_path, radio="none", trace=trace, board_config=QUICK, measure_heap=True) as lab:
        outcome = await first_light(lab)
    assert outcome.succeeded, outcome.orders
    assert [record.getMessage() for record in caplog.records if record.name == "microipa.trace.recording"] == [
        f"{tmp_path / 'trace.jsonl'} ends here: No space left on device"
    ]
