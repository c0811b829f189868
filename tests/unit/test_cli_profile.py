"""`microipa profile`: what is asked for is built, shown without secrets, weighed and checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_runner import Microipa
from microipa.asn1.tlv import parse_all
from microipa.saip import ProfilePackage
from saip_packages import TS48_NAMES, built, ts48_package, without

K = "000102030405060708090a0b0c0d0e0f"
FACTS = ("--iccid", "8990170000000000008", "--imsi", "901700000000015", "--k", K, "--opc", "ab" * 16)


def make(microipa: Microipa, folder: Path, *words: str) -> Path:
    file = folder / "profile.der"
    status, _, err = microipa("profile", "build", file, *FACTS, *words)
    assert (status, err) == (0, "")
    return file


@pytest.mark.parametrize("template", ["iot", "iot-minimal", "ts48-like"])
def test_each_template_is_built_and_stands_a_check(microipa: Microipa, tmp_path: Path, template: str) -> None:
    file = make(microipa, tmp_path, "--template", template)
    assert ProfilePackage.parse(file.read_bytes()).imsi == "901700000000015"
    assert microipa("profile", "check", file) == (0, "no findings\n", "")
    shown = microipa("profile", "show", file).out
    assert "ICCID: 8990170000000000008" in shown
    assert not re.search(f"{K}|{'ab' * 16}", shown, re.IGNORECASE)
    assert ("opt-iot" in shown, "iot #1" in shown) == (False, template == "iot-minimal")


def test_a_package_holds_keys_so_only_its_owner_can_read_it(microipa: Microipa, tmp_path: Path) -> None:
    (tmp_path / "profile.der").write_bytes(b"")  # one that was there before
    assert make(microipa, tmp_path).stat().st_mode & 0o777 == 0o600


def test_files_are_given_by_name_or_path(microipa: Microipa, tmp_path: Path) -> None:
    file = make(microipa, tmp_path, "--template", "iot-minimal", "--file", "EF.SPN=0147", "--file", "7FF0/6FE3=")
    shown = microipa("profile", "show", file).out
    assert "opt-iot #2" in shown
    assert "3F00/7FF0/6F46  EF.SPN  transparent 17  'G'" in shown
    assert "3F00/7FF0/6FE3  EF.EPSLOCI  transparent 18" in shown


@pytest.mark.parametrize(("apn", "told"), [("iot.example", "470C03696F74076578616D706C65"), ("", "4700")])
def test_an_apn_stands_in_the_header_as_a_network_access_name(
        microipa: Microipa, tmp_path: Path, apn: str, told: str) -> None:
    """TS 102 223 8.70, which the card gives to the device (SGP.32 5.9.24)."""
    file = make(microipa, tmp_path, "--apn", apn)
    assert parse_all(file.read_bytes())[0][0x87].value.hex().upper() == told
    assert microipa("profile", "check", file) == (0, "no findings\n", "")
    assert told in microipa("profile", "show", file).out.upper()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--template", "sim"], "template: 'sim' is none of iot, iot-minimal, ts48-like"),
        (["--file", "EF.SPN"], "--file 'EF.SPN' is not EF=HEX, as in EF.SPN=01746573740A or 7FF0/6F61="),
        (["--file", "EF.SPN=0"], "--file EF.SPN has an odd number of digits, 1: give two for each byte"),
        (["--apn", "a b"], "apn: 'a b' is none: labels of letters, digits and - with . between them"),
        (["--file", "EF.XYZ=00"], "EF.XYZ: is not a file this template knows: say EF.SPN, or 7FF0/6F46"),
    ],
)
def test_a_wish_that_cannot_be_is_one_sentence(microipa: Microipa, tmp_path: Path, words: list, sentence: str) -> None:
    status, out, err = microipa("profile", "build", tmp_path / "p.der", *words)
    assert (status, out, err) == (1, "", f"microipa: {sentence}\n")
    assert not (tmp_path / "p.der").exists()


def test_check_ends_with_1_when_a_finding_is_an_error(microipa: Microipa, tmp_path: Path) -> None:
    file = tmp_path / "broken.der"
    file.write_bytes(without("securityDomain"))
    status, out, _ = microipa("profile", "check", file)
    assert status == 1
    assert out == "error   no-security-domain: securityDomain is missing: the operator has no key to the profile\n"


def test_check_ends_with_0_when_there_are_warnings_only(microipa: Microipa, tmp_path: Path) -> None:
    file = tmp_path / "ts48.der"
    file.write_bytes(ts48_package(TS48_NAMES[0]))
    status, out, _ = microipa("profile", "check", file)
    assert status == 0
    assert [line.split(":")[0].split() for line in out.splitlines()] == [
        ["warning", "missing-service"],
        ["warning", "test-algorithm"],
    ]


def test_check_of_what_is_no_package_is_one_sentence(microipa: Microipa, tmp_path: Path) -> None:
    file = tmp_path / "other.der"
    file.write_bytes(b"\x30\x00")
    status, out, err = microipa("profile", "check", file)
    assert (status, out) == (1, "")
    assert err.startswith(f"microipa: {file} is not a profile package in DER: ")


def test_show_weighs_packages_beside_the_first(microipa: Microipa, tmp_path: Path) -> None:
    full, minimal = tmp_path / "full.der", tmp_path / "minimal.der"
    full.write_bytes(built("iot"))
    minimal.write_bytes(built("iot-minimal"))
    one, two = microipa("profile", "show", "--sizes", full, minimal).out.splitlines()
    bound = int(re.fullmatch(rf"{full}: {len(built('iot'))} bytes, 9 elements, (\d+) bound", one)[1])
    beside = re.fullmatch(
        rf"{minimal}: {len(built('iot-minimal'))} bytes, 5 elements, (\d+) bound, (-\d+) \((\d+)%\)", two
    )
    assert int(beside[1]) - bound == int(beside[2])
    assert int(beside[3]) == round(100 * int(beside[1]) / bound)
