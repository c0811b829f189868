"""`microipa decode`: every way in, every form out, and one sentence for what cannot be decoded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runner import Microipa
from microipa.saip import ProfileSpec, build

MESSAGE = "bf4f03020101"
TEXT = "GetEimPackageResponse (SGP.32)\n  eimPackageError: noEimPackageAvailable (1)\n"


@pytest.mark.parametrize(
    "words",
    [
        [MESSAGE],
        [MESSAGE.upper()],
        ["bf", "4f", "03", "02", "01", "01"],
        ["bf4 f03\n", " 020101"],
        ["--type", "GetEimPackageResponse", MESSAGE],
    ],
)
def test_hex_in_one_word_or_several_is_decoded_to_text(microipa: Microipa, words: list[str]) -> None:
    assert microipa("decode", *words) == (0, TEXT, "")


@pytest.mark.parametrize("form", [
    "0xbf4f03020101", "BF:4F:03:02:01:01", "0xBF, 0x4F, 0x03, 0x02, 0x01, 0x01", r"\xbf\x4f\x03\x02\x01\x01",
    "{0xbf,0x4f,0x03,0x02,0x01,0x01};", '"bf4f 0302-0101"', "v08DAgEB", "v08DAgEB\n",
])  # fmt: skip
def test_an_object_is_taken_in_the_forms_in_which_tools_print_it(
    microipa: Microipa, tmp_path: Path, form: str
) -> None:
    file = tmp_path / "object.txt"
    file.write_text(form)
    for words, stdin in (([form], b""), (["-"], form.encode()), ([file], b"")):
        assert microipa("decode", *words, stdin=stdin) == (0, TEXT, "")


def test_der_is_read_from_a_file_and_from_stdin(microipa: Microipa, tmp_path: Path) -> None:
    file = tmp_path / "object.der"
    file.write_bytes(bytes.fromhex(MESSAGE))
    assert microipa("decode", file) == (0, TEXT, "")
    assert microipa("decode", "-", stdin=bytes.fromhex(MESSAGE)) == (0, TEXT, "")


def test_hex_is_read_from_stdin(microipa: Microipa) -> None:
    assert microipa("decode", "-", stdin=b"BF4F 0302\r\n0101\n") == (0, TEXT, "")


def test_json_is_for_machines(microipa: Microipa) -> None:
    status, out, err = microipa("decode", "--json", MESSAGE)
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        "type": "GetEimPackageResponse",
        "standard": "SGP.32",
        "value": {"eimPackageError": {"code": 1, "name": "noEimPackageAvailable"}},
    }


def test_reencode_prints_the_der_of_what_was_understood(microipa: Microipa) -> None:
    assert microipa("decode", "--reencode", MESSAGE) == (0, MESSAGE + "\n", "")
    assert microipa("decode", "--reencode", "bf4f810402020001").out == MESSAGE + "\n"


def test_a_type_settles_what_the_tag_leaves_open(microipa: Microipa) -> None:
    status, out, _ = microipa("decode", "--type", "NotificationSentResponse", "bf3003800101")
    assert (status, out.splitlines()[1]) == (0, "  deleteNotificationStatus: nothingToDelete (1)")


@pytest.mark.parametrize(
    ("digits", "type_name"),
    [
        ("bf2e00", "GetEuiccChallengeRequest"),  # ES10
        ("bf3903810101", "InitiateAuthenticationResponseEsipa"),  # ESipa
        ("a205bf4102a000", "RemoteProfileProvisioningResponse"),  # ES9+
        (
            build(ProfileSpec("8999970000000000001", "999700000000001", bytes(16), bytes(16))).hex(),
            "ProfilePackage",
        ),
    ],
)
def test_es10_esipa_and_saip_objects_are_found_by_their_tag(microipa: Microipa, digits: str, type_name: str) -> None:
    status, out, _ = microipa("decode", "--json", digits)
    assert (status, json.loads(out)["type"]) == (0, type_name)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([""], "nothing to decode at offset 0"),
        (["bf4f"], "no length after tag BF4F at offset 2"),
        (["bf4f820012"], "BF4F wants 18 bytes, 0 are there at offset 5"),
        (["bf4f0302010100"], "1 byte after the end of BF4F at offset 6"),
        (["bf70023000"], "no type begins with BF70 at offset 0"),
        (["bf4f020200"], "GetEimPackageResponse.eimPackageError: INTEGER without contents at offset 5"),
        (["zz"], "HEX has 'z' after 0 digits: give 0 to 9 and A to F only"),
        (["bf4"], "HEX has an odd number of digits, 3: give two for each byte"),
        (
            ["--type", "GetEimPackageReq", MESSAGE],
            "no type 'GetEimPackageReq' in SGP.32, SGP.22 or SAIP; did you mean GetEimPackageRequest"
            " or GetEimPackageResponse or EimPackageResult?",
        ),
        (
            ["--type", "GetEimPackageRequest", MESSAGE],
            "GetEimPackageRequest: eidValue (5A) is missing, 02 stands in its place at offset 3",
        ),
        (["--json", "bf4f"], "no length after tag BF4F at offset 2"),
        (["--reencode", "bf4f"], "no length after tag BF4F at offset 2"),
    ],
)
def test_undecodable_input_is_one_sentence_and_exit_status_1(
    microipa: Microipa, words: list[str], sentence: str
) -> None:
    assert microipa("decode", *words) == (1, "", f"microipa: {sentence}\n")


@pytest.mark.parametrize("stdin", [b"", b"\xff\xfe\x00binary", "ⅸ".encode(), b"\0" * 10])
def test_what_is_no_hex_on_stdin_is_one_sentence(microipa: Microipa, stdin: bytes) -> None:
    status, out, err = microipa("decode", "-", stdin=stdin)
    assert (status, out) == (1, "")
    assert err.startswith("microipa: ")
    assert len(err.splitlines()) == 1


def test_the_installed_command_says_the_same_and_shows_no_traceback() -> None:
    command = [Path(sys.executable).with_name("microipa"), "decode"]
    good = subprocess.run([*command, "-"], input=MESSAGE, capture_output=True, text=True, check=False)
    assert (good.returncode, good.stdout, good.stderr) == (0, TEXT, "")
    bad = subprocess.run([*command, "bf4f820012"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == "microipa: BF4F wants 18 bytes, 0 are there at offset 5\n"
