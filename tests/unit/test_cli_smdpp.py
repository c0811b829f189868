"""`microipa smdpp`: the person at the desk sees and makes the SM-DP+'s orders."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runner import Microipa
from euicc_peer import EID, build, spec
from microipa.lab import LabFolder

OTHER = "89049032000000000000000000000163"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    LabFolder(tmp_path, create=True)
    return tmp_path


def only(microipa: Microipa, lab: Path) -> dict:
    [line] = microipa("smdpp", "orders", "--lab", lab, "--json").out.splitlines()
    return json.loads(line)


def test_an_order_is_printed_as_an_activation_code_and_listed(microipa: Microipa, lab: Path) -> None:
    assert "make one with" in microipa("smdpp", "orders", "--lab", lab).out
    status, code, _ = microipa("smdpp", "order", "--lab", lab)
    assert status == 0
    assert (found := re.fullmatch(r"LPA:1\$smdpp\.microipa\.example\$([A-Z0-9-]{24})\n", code))
    listed = microipa("smdpp", "orders", "--lab", lab).out
    assert f"{found[1][:4]}…" in listed  # its beginning tells it apart
    assert found[1] not in listed
    assert only(microipa, lab)["matching_id"] == found[1]
    assert "released" in listed
    assert "any card" in listed
    desk = LabFolder(lab)
    assert desk.smdpp.orders()[0].iccid in listed
    assert len(desk.subscribers()) == 1  # the network will know it


def test_an_order_has_all_that_the_options_say(microipa: Microipa, lab: Path) -> None:
    file = lab / "p.der"
    file.write_bytes(build(spec(2)))
    options = ("--eid", OTHER, "--matching-id", "ROOM-101", "--confirmation-code", "4711", "--expires", "7d")
    code = microipa("smdpp", "order", file, *options, "--lab", lab).out
    assert code == "LPA:1$smdpp.microipa.example$ROOM-101$$1\n"
    view = only(microipa, lab)
    assert (view["iccid"], view["eid"], view["matching_id"]) == (spec(2).iccid, OTHER, "ROOM-101")
    assert view["confirmation_code"]
    assert view["expires"]
    listed = microipa("smdpp", "orders", "--lab", lab).out
    assert "confirmation code, until 20" in listed
    assert "4711" not in listed


@pytest.mark.parametrize(("option", "smds"), [("--default", None), ("--event", "smds.microipa.example")])
def test_an_order_that_a_card_finds_by_itself_is_for_the_labs_own(microipa: Microipa, lab: Path, option, smds) -> None:
    assert microipa("smdpp", "order", option, "--lab", lab).out.startswith("LPA:1$smdpp.microipa.example$")
    view = only(microipa, lab)
    assert (view["eid"], view["smds_address"], view["matching_id"] == "") == (EID, smds, smds is None)
    assert ("event at" in microipa("smdpp", "orders", "--lab", lab).out) == (smds is not None)


def test_a_profile_in_stock_waits_for_an_operator(microipa: Microipa, lab: Path) -> None:
    iccid = microipa("smdpp", "stock", "--type", "meter", "--lab", lab).out.strip()
    view = only(microipa, lab)
    assert (view["iccid"], view["state"], view["profile_type"]) == (iccid, "available", "meter")


def test_a_cancelled_order_is_not_given_out(microipa: Microipa, lab: Path) -> None:
    microipa("smdpp", "order", "--matching-id", "ROOM-101", "--lab", lab)
    assert "no longer be downloaded" in microipa("smdpp", "cancel", "ROOM-101", "--lab", lab).out
    assert only(microipa, lab)["state"] == "unavailable"
    status, _, err = microipa("smdpp", "cancel", "ROOM-101", "--lab", lab)
    assert status == 1
    assert err == "microipa: 8.2.1/3.3: order ROOM… is unavailable, it cannot be cancelled\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cancel", "X"), "no order with matchingId or ICCID 'X'"),
        (("order", "--eid", "8904"), "'8904' is not an EID: an EID has 32 digits, this has 4 digits"),
        (("order", "--matching-id", "a"), "capital letters"),
        (("order", "--expires", "soon"), "--expires 'soon' is not a time"),
        (("order", "nowhere.der"), "cannot read nowhere.der"),
    ],
)
def test_what_cannot_be_is_one_sentence(microipa: Microipa, lab: Path, words, said) -> None:
    status, out, err = microipa("smdpp", *words, "--lab", lab)
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert said in err
    assert microipa("smdpp", "orders", "--lab", lab, "--json").out == ""


@pytest.mark.parametrize("command", ["order", "stock"])
def test_several_files_are_packages_of_one_profile(microipa: Microipa, lab: Path, command: str) -> None:
    files = [lab / "full.der", lab / "minimal.der"]
    files[0].write_bytes(build(spec(2)))
    files[1].write_bytes(build(replace(spec(2), template="iot-minimal")))
    assert microipa("smdpp", command, *files, "--lab", lab).status == 0
    assert only(microipa, lab)["iccid"] == spec(2).iccid
    files[1].write_bytes(build(spec(3)))
    status, _, err = microipa("smdpp", command, *files, "--lab", lab)
    assert (status, "packages of one order are of one profile" in err) == (1, True)
