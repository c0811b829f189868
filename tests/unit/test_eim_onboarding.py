"""`microipa eim add-devices`: many devices from a file."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from euicc_peer import EID
from microipa.crypto import ec
from microipa.crypto.pki import Pki
from microipa.eim import Eim
from microipa.load.server import write_configuration

OTHER_EID = "89049032000000000000000000000163"


@pytest.fixture
def config(pki: Pki, tmp_path: Path) -> Path:
    return write_configuration(tmp_path / "eim", pki, "eim.sqlite")


@pytest.fixture
def add(microipa, config, tmp_path) -> Callable[[str], tuple[int, str, str]]:
    """`microipa eim add-devices` of a file with this text: status, what it prints, what it complains of."""

    def run(text: str) -> tuple[int, str, str]:
        file = tmp_path / "devices"
        file.write_text(text)
        status, out, err = microipa("eim", "add-devices", file, "--config", config)
        return status, out.strip(), err.replace(str(tmp_path), "").strip()

    return run


def b64(der: bytes) -> str:
    return base64.b64encode(der).decode()


def test_a_table_of_devices_is_taken_and_the_same_once_more_changes_nothing(add, config, pki):
    rows = "".join(f"{number:032d},meter {number},maker,{number}\n" for number in range(300))
    for _ in range(2):
        assert add("eid,label,maker,token\n" + rows) == (0, "300 lines accepted, 0 refused", "")
    devices = Eim(pki, config.parent, es9_routes={}).devices()
    assert len(devices) == 300
    assert (devices[7].label, devices[7].maker, devices[7].association_token) == ("meter 7", "maker", 7)


def test_lines_of_json_bring_certificates_and_keys(add, config, pki):
    card, key = pki.euicc(EID), ec.generate_key()
    spki = b64(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    certificates = {"euicc_certificate": b64(card.der), "eum_certificate": b64(pki.eum.der)}
    lines = [{"eid": EID, **certificates}, {"eid": OTHER_EID, "device_key": spki}]
    assert add("\n".join(map(json.dumps, lines)))[0] == 0
    desk = Eim(pki, config.parent, es9_routes={})
    assert sorted(desk.device(EID).certificates) == ["euicc", "eum"]
    assert desk.device(OTHER_EID).device_key


def test_what_a_device_has_told_and_what_a_line_does_not_tell_stays(add, config, pki):
    add(f"eid,label,token\n{EID},first,5\n")
    add(f"eid,maker,token\n{EID},somebody,6\n")
    view = Eim(pki, config.parent, es9_routes={}).device(EID)
    assert (view.label, view.maker, view.association_token) == ("first", "somebody", 5)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"eid": "8904"}, "'8904' is not an EID: it has 32 digits"),
        ({}, "'' is not an EID"),
        ({"eid": EID, "size": 3}, "there is no field size"),
        ({"eid": EID, "token": -1}, "token is '-1'"),
        ({"eid": EID, "token": True}, "token is 'True'"),
        ({"eid": EID, "label": "\u001b[2J"}, "label is not a text"),
        ({"eid": EID, "device_key": "?"}, "device_key is not base64"),
        ({"eid": EID, "device_key": "AAAA"}, "the device key is not a SubjectPublicKeyInfo"),
        ({"eid": EID, "euicc_certificate": "AAAA"}, "or none"),
        ({"eid": EID, "euicc_certificate": "AAAA", "eum_certificate": "AAAA"}, "certificate"),
        ([], "no JSON object"),
    ],
)
def test_a_line_that_makes_no_device_is_named_and_the_others_are_taken(add, config, pki, line, why):
    status, out, err = add("\n".join(map(json.dumps, [{"eid": OTHER_EID}, line, {"eid": "0" * 32}])))
    assert (status, out) == (1, "2 lines accepted, 1 refused")
    assert err.startswith("/devices:2: ")
    assert why in err
    assert len(Eim(pki, config.parent, es9_routes={}).devices()) == 2


def test_a_line_that_is_nested_too_deep_is_named_and_the_others_are_taken(add):
    status, out, err = add(f'{{"eid": "{OTHER_EID}"}}\n{"[" * 100_000}\n{{"eid": "{"0" * 32}"}}')
    assert (status, out) == (1, "2 lines accepted, 1 refused")
    assert err.startswith("/devices:2: no JSON: ")


def test_certificates_of_another_card_are_refused(add, pki):
    certificates = {"euicc_certificate": b64(pki.euicc(EID).der), "eum_certificate": b64(pki.eum.der)}
    assert f"euicc_certificate belongs to {EID}" in add(json.dumps({"eid": OTHER_EID, **certificates}))[2]


@pytest.mark.parametrize("text", ["label\nx\n", "eid,size\n1,2\n", ""])
def test_a_head_that_names_no_eid_or_what_there_is_not_is_one_sentence_and_exit_status_2(add, text):
    status, out, err = add(text)
    assert (status, out) == (2, "")
    assert "choose among eid, label" in err


def test_a_file_that_is_not_there_is_one_sentence_and_exit_status_2(microipa, config, tmp_path):
    status, _, err = microipa("eim", "add-devices", tmp_path / "nowhere", "--config", config)
    assert (status, len(err.splitlines())) == (2, 1)
