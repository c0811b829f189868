"""First light, step by step as its issue numbers them: everything real, nothing taken on trust."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path

import pytest
from cryptography import x509
from microipa.board.micropython import DEFAULT_HEAP, heap_bytes, word_bytes
from microipa.common.paths import firmware
from microipa.crypto import ec
from microipa.crypto.milenage import Milenage
from microipa.crypto.pki import Pki
from microipa.lab import EID
from microipa.saip import ProfilePackage
from microipa.smdpp import OrderState, Smdpp
from scene import Recording, answered, es10, order, record

pytestmark = pytest.mark.xdist_group("first light")

BITS = 8 * word_bytes()
HEAP = DEFAULT_HEAP


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("lab")
    return asyncio.run(record(folder, board_config={"app_tick_ms": 50}, heap=HEAP))


def test_step_1_the_pki_is_kept_and_reused(light: Recording) -> None:
    pki, again = Pki.open(light.folder / "pki"), Pki.open(light.folder / "pki")
    assert pki.ci.der == again.ci.der
    assert pki.euicc(EID).spki == again.euicc(EID).spki
    policies = {
        credential.certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value[0]
        .policy_identifier.dotted_string
        for credential in (pki.eum, pki.euicc(EID), pki.smdpp_auth, pki.smdpp_pb, pki.smdpp_tls)
    }
    assert len(policies) == 5  # each role has its own
    assert all(policy.startswith("2.23.146.1.2.1.") for policy in policies)
    names = pki.smdpp_tls.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["smdpp.microipa.example"]


def test_step_2_the_smdpp_sold_a_real_profile_package_over_https(light: Recording) -> None:
    [view] = Smdpp(Pki.open(light.folder / "pki"), light.folder).orders()
    assert (view.iccid.rstrip("F"), view.eid, view.state) == (light.outcome.iccid, EID, OrderState.INSTALLED)
    with sqlite3.connect(light.folder / "smdpp.sqlite") as database:
        [(package,)] = database.execute("select package from orders").fetchall()
    profile = ProfilePackage.parse(package)
    assert profile.iccid == light.outcome.iccid
    assert 1000 < len(package) < 4000
    attached = [event.fields["imsi"] for event in light.of("radio", "network", event="attach accepted")]
    assert profile.imsi == attached[-1]
    assert len(Milenage(profile.aka.k, profile.aka.opc).f2(bytes(16))) == 8


def test_step_3_the_eim_keeps_its_orders_in_sqlite(light: Recording) -> None:
    with sqlite3.connect(light.folder / "eim.sqlite") as database:
        states = dict(database.execute("select kind, state from orders").fetchall())
    assert states == {"download": "done", "package": "done", "data": "done"}


def test_step_4_the_card_had_a_bootstrap_profile_and_learnt_the_eim_from_the_board(light: Recording) -> None:
    [bootstrap] = light.outcome.before
    assert (bootstrap.state, bootstrap.name) == ("enabled", "Bootstrap")
    asked = light.place(answered(0xBF55))
    added = light.place(answered(0xBF57))
    assert asked < added < light.place(lambda event: event.kind == "esipa")
    [known] = es10(light.folder, "BF5500").children()[0].children()
    assert known[0x80].value == b"eim.microipa.example"
    assert 0x84 in known  # an association token


def test_step_5_the_board_speaks_at_sets_its_clock_and_uses_dtls(light: Recording) -> None:
    commands = [event.fields.get("text", "") for event in light.of("modem", "at", direction="in")]
    for verb in ("AT+CEREG", "AT+CCLK?", "AT+CCHO", "AT+CGLA", "AT+QICSGP", "AT+QIACT", "AT+QIOPEN", "AT+QISEND",
                 "AT+QIRD"):
        assert any(command.startswith(verb) for command in commands), verb
    log = [event.fields["text"] for event in light.of("board", "log")]
    assert any("network: clock set" in line for line in log)
    first = light.of("radio", "network", event="attach accepted")[0]
    assert first.fields["imsi"].startswith("00101")
    link = light.outcome.bill.link
    assert len(light.of("radio", "datagram")) == link.up.datagrams + link.down.datagrams
    assert sum("DTLS with eim.microipa.example" in line for line in log) == 2  # one before, one after the switch


def test_step_6_the_download_is_authenticated_installed_and_told_to_everyone(light: Recording) -> None:
    calls = [(event.fields["function"], event.fields["outcome"]) for event in light.of("smdpp", "es9")]
    assert calls[:4] == [("initiateAuthentication", "ok"), ("authenticateClient", "ok"),
                         ("getBoundProfilePackage", "ok"), ("handleNotification", "ok")]
    told = light.place(lambda event: event.kind == "esipa" and event.fields["message"].startswith("bf3d"))
    removed = light.place(lambda event: event.kind == "apdu" and event.fields["command"][10:14] == "bf30")
    assert light.place(answered(0xBF37)) < told < light.place(order("download", "done")) < removed


def test_step_6_the_segments_are_protected_and_streamed_by_the_block(light: Recording) -> None:
    loads = [bytes.fromhex(event.fields["command"]) for event in light.of("card", "apdu")
             if event.fields["command"][2:4] == "e2"]
    assert max(len(apdu) for apdu in loads) <= 5 + 255
    with sqlite3.connect(light.folder / "smdpp.sqlite") as database:
        [(package,)] = database.execute("select package from orders").fetchall()
    clear = package[40:56]
    assert all(clear not in apdu for apdu in loads)


def test_step_7_the_switch_is_told_over_the_new_profile_and_then_forgotten(light: Recording) -> None:
    executed = light.place(answered(0xBF51))
    attached = [place for place, event in enumerate(light.events)
                if event.kind == "network" and event.fields.get("event") == "attach accepted"]
    done = light.place(order("package", "done"))
    assert executed < attached[-1] < done
    imsis = [light.events[place].fields["imsi"] for place in attached]
    assert len(set(imsis)) == 2
    [switch] = [view for view in light.outcome.orders if view.kind == "package"]
    assert switch.state == "done"
    assert "enable: ok" in (switch.result or "")
    assert es10(light.folder, "BF2B00").value == bytes.fromhex("A000")  # nothing waits on the card


def test_step_8_the_bill_is_complete(light: Recording) -> None:
    bill, outcome = light.outcome.bill, light.outcome
    assert outcome.succeeded
    assert [profile.state for profile in outcome.after] == ["disabled", "enabled"]
    assert bill.link.up.bytes > bill.link.up.payload_bytes > 1000
    assert bill.link.down.bytes > bill.link.down.payload_bytes > 1000
    assert bill.link.round_trips >= 10
    assert bill.apdus == len(light.of("card", "apdu"))
    assert 50_000 < bill.heap_peak < heap_bytes(HEAP)


def test_an_application_beside_the_assistant_is_never_starved(light: Recording) -> None:
    gaps = [int(found[1]) for event in light.of("board", "log")
            if (found := re.search(r"app: longest gap (\d+) ms", event.fields["text"]))]
    assert gaps
    assert max(gaps) < 500


def test_the_memory_table_of_the_firmware_is_true(light: Recording) -> None:
    [measured] = [found.groups() for event in light.of("board", "log")
                  if (found := re.search(r"heap: peak (\d+) of \d+ bytes, (\d+) of", event.fields["text"]))]
    table = (firmware() / "README.md").read_text()
    for moment, now in zip(("peak", "everything imported"), map(int, measured), strict=True):
        [row] = re.findall(rf"\| {moment}[^|]*\| ([\d,]+) \| ([\d,]+) \|", table)
        told = int(row[BITS == 64].replace(",", ""))
        assert now <= told * 1.05, f"{moment}: {now:,} bytes, the table says {told:,}"
        assert now >= told * 0.9, f"{moment}: {now:,} bytes, lower the figure of the table, {told:,}"


def test_every_signature_is_the_cards_own_and_its_key_never_left(light: Recording) -> None:
    key = Pki.open(light.folder / "pki").euicc(EID).private_key
    secret = key.private_numbers().private_value.to_bytes(32, "big").hex()
    assert all(secret not in event.to_json() for event in light.events)
    assert ec.point(key.public_key()).hex() not in "".join(  # sanity: the public one does travel
        event.to_json() for event in light.of("lab", "step"))


def test_no_secret_stands_in_the_trace(light: Recording, tmp_path: Path) -> None:
    with sqlite3.connect(light.folder / "smdpp.sqlite") as database:
        [(package,)] = database.execute("select package from orders").fetchall()
    profile = ProfilePackage.parse(package)
    text = "".join(event.to_json() for event in light.events)
    assert profile.aka.k.hex() not in text
    assert profile.aka.opc.hex() not in text
