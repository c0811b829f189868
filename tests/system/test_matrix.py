"""First light with all protocols: path × transport × binding × compact (SGP.32 3.2.3, 6), nothing shortened but
the radio's delay."""

from __future__ import annotations

import sqlite3
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from microipa.asn1.tlv import parse
from microipa.lab import Lab
from microipa.lab.demo import first_light
from microipa.lab.protocols import Protocols
from microipa.trace import Event, Trace
from scene import QUICK, Recording, es10, record

ALL_LEFT = 0x20 | 0x10 | 0x08  # eimDownloadDataHandling, eimCtxParams1Generation, eimProfileMetadataVerification
ALL = [Protocols(*chosen) for chosen in product((False, True), repeat=4)]
FUNCTIONS = {"bf39": "InitiateAuthentication", "bf3b": "AuthenticateClient", "bf3a": "GetBoundProfilePackage",
             "bf3d": "HandleNotification"}


async def lit(folder: Path, protocols: Protocols, **more: Any) -> Recording:
    return await record(folder, board_config={**protocols.settings, **more}, heap=protocols.heap)


def uplink(recording: Recording) -> dict[str, bytes]:
    """What the board said to the eIM in the download, by function; in the ASN.1 of both bindings."""
    said = [event.fields["message"] for event in recording.of("eim", "esipa", direction="in")]
    return {name: bytes.fromhex(next(message for message in said if message.startswith(tag)))
            for tag, name in FUNCTIONS.items() if any(message.startswith(tag) for message in said)}


def capabilities(recording: Recording) -> tuple[int, int]:
    """ipaFeatures and ipaSupportedProtocols as the board told them, the first octet of each (SGP.32 2.11.1.2)."""
    said = [parse(bytes.fromhex(event.fields["message"])) for event in recording.of("eim", "esipa", direction="in")]
    [told] = [message[0xBF52][0xA0][0xA8] for message in said if message.tag == 0xBF50 and 0xBF52 in message]
    return told[0x80].value[1], told[0x81].value[1]


@pytest.mark.parametrize("protocols", ALL, ids=str)
async def test_first_light_with_all_protocols(protocols: Protocols, tmp_path: Path) -> None:
    light = await lit(tmp_path, protocols)
    assert light.outcome.succeeded, [order.result for order in light.outcome.orders]
    assert es10(tmp_path, "BF2B00").value == bytes.fromhex("A000")  # nothing waits on the card
    log = "\n".join(event.fields["text"] for event in light.of("board", "log"))
    assert ("HTTPS with eim" in log, "DTLS with eim" in log) == (protocols.https, not protocols.https)
    assert "compact: the plain form follows" not in log
    features = 0x40 | 0x80 * protocols.direct | 0x04 * protocols.compact
    assert capabilities(light) == (features, 0x80 if protocols.https else 0x40)
    if not protocols.direct:
        said = uplink(light)
        assert 0xBF20 not in parse(said["InitiateAuthentication"])  # the eIM had asked who the card is
        assert (0xA2 in parse(said["AuthenticateClient"])[0xBF38]) == protocols.compact


@pytest.mark.parametrize("protocols", [Protocols(certified=True), Protocols(https=True, certified=True)], ids=str)
async def test_first_light_where_the_eim_asks_for_a_client_certificate(protocols: Protocols, tmp_path: Path) -> None:
    light = await record(tmp_path, board_config=protocols.settings, heap=protocols.heap, certified=True)
    assert light.outcome.succeeded, [order.result for order in light.outcome.orders]


@pytest.mark.parametrize(
    "protocols", [Protocols(compact=True), Protocols(https=True, json=True, compact=True)], ids=str)
async def test_2_11_1_2_all_that_an_eim_can_do_for_the_device_it_does(protocols: Protocols, tmp_path: Path) -> None:
    """No activation code, no SM-DP+ address, no ctxParams1 and no metadata are on the air."""
    left = dict.fromkeys(("eim_download_data", "eim_ctx_params_1", "eim_metadata"), True)
    light = await lit(tmp_path, protocols, **left)
    assert light.outcome.succeeded
    assert capabilities(light)[0] == 0x40 | ALL_LEFT | 0x04
    told = [parse(bytes.fromhex(event.fields["message"]))
            for event in light.of("eim", "esipa", direction="out") if event.fields["message"]]
    [trigger] = [message[0xBF54] for message in told if message.tag == 0xBF4F and 0xBF54 in message]
    assert [field.tag for field in trigger] == [0x82]
    said = uplink(light)
    assert [field.tag for field in parse(said["InitiateAuthentication"])] == [0x81, 0x82]
    assert [field.tag for field in parse(said["AuthenticateClient"])[0xBF38][0xA2][0xA0]] == [0x84]
    [offer] = [message[0xA0] for message in told if message.tag == 0xBF3B]
    assert 0xBF25 not in offer


async def test_5_14_a_card_that_is_not_as_the_eim_knew_it_is_still_served(tmp_path: Path) -> None:
    """The eIM cannot rebuild the first compact form, gets the plain one, and has learnt the card by then."""
    trace = Trace()
    events: list[Event] = []

    def hear(event: Event) -> None:
        events.append(event)
        if event.kind == "esipa" and event.fields["message"].startswith("bf4f") and "bf54" in event.fields["message"]:
            with sqlite3.connect(tmp_path / "eim.sqlite") as database:
                [(known,)] = database.execute("select euicc_info2 from devices").fetchall()
                outdated = known.replace(b"microipa-lab", b"microipa-old")
                database.execute("update devices set euicc_info2 = ?", (outdated,))

    trace.listen(hear)
    config = {**QUICK, **Protocols(compact=True).settings}
    async with Lab(tmp_path, trace=trace, radio="none", heap=Protocols(compact=True).heap, board_config=config) as lab:
        outcome = await first_light(lab)
    assert outcome.succeeded
    refused = [event.fields["code"] for event in events if (event.part, event.kind) == ("eim", "relay")]
    assert refused == [5]
    said = [event.fields["message"] for event in events if event.kind == "esipa"]
    assert sum(message.startswith("bf3b") and "bf3882" in message[:60] for message in said) == 1  # the plain form
    assert [event for event in events if (event.part, event.kind) == ("eim", "alarm")] == []
