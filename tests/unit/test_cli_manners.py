"""What every command of `microipa` does alike: help, version, what it loads, how it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from cli_runner import Microipa, microipa  # noqa: F401
from microipa.asn1 import parsed as kept
from microipa.asn1.tlv import parse_all
from microipa.cli.main import app
from microipa.lab import LabFolder

MICROIPA = Path(sys.executable).with_name("microipa")
HEAVY = ("asyncio", "cryptography", "sqlalchemy", "starlette", "uvicorn", "aiocoap", "OpenSSL", "pyparsing",
         "asn1tools", "serial", "mpremote")  # fmt: skip


def loaded(*words: str) -> set[str]:
    """Which of the heavy packages a command loads."""
    program = "import sys\ntry:\n from microipa.cli.entry import main; main()\nexcept SystemExit: pass\n" \
              f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1].replace("'", '"')))


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["order", "--help"], ["lab", "up", "--help"]])
def test_help_loads_nothing_that_takes_long(words: list[str]) -> None:
    assert loaded(*words) == set()


def test_decode_loads_the_codec_alone() -> None:
    loaded("decode", "bf4f03020101")  # makes what is kept between runs
    assert loaded("decode", "bf4f03020101") == set()


def test_version_is_that_of_the_package(microipa: Microipa) -> None:  # noqa: F811
    assert microipa("--version") == (0, f"microipa {version('microipa')}\n", "")


@pytest.mark.parametrize("words", [[], ["orders"], ["order", "eim", "add"], ["board", "check"]])
def test_h_is_help_everywhere(microipa: Microipa, words: list[str]) -> None:  # noqa: F811
    assert microipa(*words, "-h").out == microipa(*words, "--help").out != ""


def test_help_tells_the_exit_statuses(microipa: Microipa) -> None:  # noqa: F811
    told = " ".join(microipa("--help").out.split())
    assert "Exit status" in told
    assert "130" in told


def test_a_shell_can_complete_commands() -> None:
    environment = {**os.environ, "_MICROIPA_COMPLETE": "complete_bash", "COMP_WORDS": "microipa ord", "COMP_CWORD": "1"}
    done = subprocess.run([MICROIPA], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["order", "orders"]


def test_ctrl_c_ends_a_command_with_one_word(tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").write_text('{"t": 1, "part": "lab", "kind": "step", "text": "x"}\n')
    command = [MICROIPA, "trace", "--follow", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.readline()
        running.send_signal(signal.SIGINT)
        assert (running.wait(30), running.stderr.read().strip()) in ((130, "stopped"), (130, ""))


def test_ctrl_c_while_the_command_still_loads_shows_no_traceback() -> None:
    program = "import signal, sys, types\nfrom microipa.cli.entry import main\n" \
              "class Slow:\n def find_spec(self, name, *_):\n" \
              "  if name == 'microipa.cli.main': signal.raise_signal(2)\n" \
              "sys.meta_path.insert(0, Slow())\nmain()"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "stopped\n")


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    row = '{"t": 1, "part": "lab", "kind": "step", "text": "x"}\n'
    (tmp_path / "trace.jsonl").write_text(row * 50_000)
    with subprocess.Popen([MICROIPA, "trace", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.readline()
        running.stdout.close()
        assert (running.wait(30), running.stderr.read()) == (1, b"")


# What is kept of the ASN.1 modules between runs

MODULE = "Small DEFINITIONS IMPLICIT TAGS ::= BEGIN A ::= SEQUENCE { b [0] INTEGER } END\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "small.asn"
    file.write_text(MODULE)
    return file


def files(module: Path) -> list[Path]:
    return list((module.parent / "cache" / "microipa").iterdir())


def test_a_parsed_module_is_kept_for_its_owner_and_taken_from_there(module: Path) -> None:
    first = kept.parsed((module,))
    [file] = files(module)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert kept._read(file) == first == kept.parsed((module,))


def test_a_module_that_has_changed_is_parsed_anew(module: Path) -> None:
    kept.parsed((module,))
    module.write_text(MODULE.replace("b [0]", "c [0]"))
    assert kept.parsed((module,))["Small"]["types"]["A"]["members"][0]["name"] == "c"


@pytest.mark.parametrize("harm", ["others can write it", "half of it", "empty", "not ours"])
def test_what_may_not_be_ours_or_is_damaged_is_not_taken(module: Path, harm: str) -> None:
    first = kept.parsed((module,))
    [file] = files(module)
    content = file.read_bytes()
    if harm == "others can write it":
        file.chmod(0o622)
    else:
        file.write_bytes({"half of it": content[:-20], "empty": b"", "not ours": bytes(32) + content[32:]}[harm])
    assert kept._read(file) is None
    assert kept.parsed((module,)) == first


def test_a_home_that_cannot_be_written_costs_nothing_but_time(module: Path) -> None:
    (module.parent / "cache").write_text("a file")
    assert kept.parsed((module,))["Small"]


# --json

SHOWS = {"battery", "bill", "board check", "board list", "card apdu", "card shell", "decode", "devices", "field",
         "lab quirks", "orders", "pki", "profile check", "profile show", "smdpp orders", "trace"}  # fmt: skip
DOES = {  # something, and says what became of it
    "board restart", "board virtual", "card serve", "demo", "eim add-devices", "eim serve", "enrol", "flash",
    "hil report", "lab up", "modem record", "new product", "order cancel", "order data", "order default-dp",
    "order delete", "order disable", "order download", "order eim add", "order eim configuration", "order eim delete",
    "order eim list", "order eim update", "order enable", "order fallback set", "order fallback unset",
    "order immediate-enable", "order list", "order package", "order rat", "profile build", "smdpp cancel",
    "smdpp order", "smdpp stock",
}  # fmt: skip


def verbs(command, name: str = "") -> dict[str, list]:
    """The options of every verb, by its words."""
    below = getattr(command, "commands", None)
    if below is None:
        return {name: command.params}
    return {words: options for word, one in below.items() for words, options in verbs(one, f"{name} {word}").items()}


def test_verbs_that_show_something_and_no_others_take_json() -> None:
    tree = {words.strip(): options for words, options in verbs(typer.main.get_command(app)).items()}
    jsons = {words: option for words, options in tree.items() for option in options if "--json" in option.opts}
    assert set(tree) == SHOWS | DOES
    assert set(jsons) == SHOWS
    assert all(option.is_flag and "JSON" in option.help for option in jsons.values())


def objects(text: str) -> list[dict]:
    """The JSON objects that ``text`` is, with nothing between them but white space."""
    found, rest = [], text.strip()
    while rest:
        one, end = json.JSONDecoder().raw_decode(rest)
        assert isinstance(one, dict)
        found.append(one)
        rest = rest[end:].lstrip()
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab in which every verb has something to show."""
    folder = tmp_path_factory.mktemp("shown")
    lab = LabFolder(folder / "lab", create=True)
    eid = lab.card().eid
    for words in (["enrol", eid], ["order", "list"], ["smdpp", "order"]):
        subprocess.run([MICROIPA, *words, "--lab", folder / "lab"], check=True, stdout=subprocess.DEVNULL)
    (folder / "trace.jsonl").write_text('{"t": 1, "part": "lab", "kind": "step", "text": "x"}\n')
    subprocess.run([MICROIPA, "profile", "build", folder / "built.der"], check=True, stdout=subprocess.DEVNULL)
    elements = parse_all((folder / "built.der").read_bytes())
    (folder / "endless.der").write_bytes(b"".join(element.raw for element in elements[:-1]))
    return folder


@pytest.mark.parametrize(("words", "stdin"), [
    ("battery --board walter --cell 19Ah --poll 1h", ""),
    ("board list", ""),
    ("card apdu --lab {}/lab 00A40004023F00 0070000001", ""),
    ("card shell --lab {}/lab", "eid\nhelp\nnothing\nprofiles\n"),
    ("decode bf4f03020101", ""),
    ("devices --lab {}/lab", ""),
    ("lab quirks", ""),
    ("orders --lab {}/lab", ""),
    ("pki --lab {}/lab", ""),
    ("profile check {}/endless.der", ""),
    ("profile show {}/built.der", ""),
    ("smdpp orders --lab {}/lab", ""),
    ("trace {}/trace.jsonl", ""),
])
def test_with_json_nothing_but_json_is_printed(
        microipa: Microipa, shown: Path, words: str, stdin: str) -> None:  # noqa: F811
    assert objects(microipa(*words.format(shown).split(), "--json", stdin=stdin.encode()).out)


@pytest.mark.parametrize("words", [["lab", "quirks"], ["board", "list"]])
def test_json_is_one_object_a_line(microipa: Microipa, words: list[str]) -> None:  # noqa: F811
    rows = microipa(*words, "--json").out.splitlines()
    assert len(rows) > 5
    assert all("name" in json.loads(row) for row in rows)


def test_certificates_and_profile_packages_are_shown_as_json(microipa: Microipa, tmp_path: Path) -> None:  # noqa: F811
    names = [json.loads(row)["certificate"] for row in microipa("pki", "--lab", tmp_path, "--json").out.splitlines()]
    assert "eim_tls" in names
    package = tmp_path / "p.der"
    microipa("profile", "build", package)
    shown = json.loads(microipa("profile", "show", package, "--json").out)
    assert (shown["file"], shown["bytes"]) == (str(package), package.stat().st_size)
    assert shown["tree"]
    assert microipa("profile", "check", package, "--json") == (0, "", "")
