"""The registry of quirks: names and numbers, and what it tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import Microipa
from microipa import quirks
from microipa.modem import FAMILIES
from microipa.modem.behaviour import Behaviour
from microipa.quirks import QUIRKS, UnknownQuirk
from microipa.quirks.table import BEGIN, END, markdown


def test_a_number_behind_the_name_replaces_the_default() -> None:
    assert QUIRKS.behaviour("modem", Behaviour(), ["sim-busy-after-cfun"]).card_busy_s == 5
    assert QUIRKS.behaviour("modem", Behaviour(), ["sim-busy-after-cfun:7.5"]).card_busy_s == 7.5


def test_a_part_takes_no_notice_of_the_quirks_of_others() -> None:
    assert QUIRKS.behaviour("modem", Behaviour(), ["first-dns-fails"]) == Behaviour()


@pytest.mark.parametrize(("name", "says"), [
    ("sim-bussy", "near are sim-busy-after-cfun"),
    ("", "lists all"),
    ("cops-deregistered:2", "takes no number"),
    ("sim-busy-after-cfun:", "is not a number from 0"),
    ("sim-busy-after-cfun:-1", "counts seconds"),
    ("sim-busy-after-cfun:nan", "is not a number"),
    ("sim-busy-after-cfun:1e9", "is not a number"),
])
def test_what_cannot_be_is_refused_in_one_sentence(name: str, says: str) -> None:
    with pytest.raises(UnknownQuirk, match=says) as refused:
        list(QUIRKS.choose([name]))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", QUIRKS)
def test_every_quirk_changes_its_part_and_names_families_that_are_there(name: str) -> None:
    quirk = QUIRKS[name]
    assert quirk.says.endswith(".")
    assert quirk.source
    assert set(quirk.families) <= set(FAMILIES)
    assert (quirk.number is None) == (not quirk.unit)


@pytest.mark.parametrize("command", ["lab up", "field"])
def test_an_unknown_name_ends_a_command_with_status_2_and_near_names(microipa: Microipa, command: str) -> None:
    status, out, err = microipa(*command.split(), "--quirk", "first-dns-fial")
    assert (status, out) == (2, "")
    assert err.startswith("microipa: there is no quirk 'first-dns-fial': near are first-dns-fails")
    assert len(err.splitlines()) == 1


def test_the_list_has_every_quirk_with_its_source(microipa: Microipa) -> None:
    status, out, _ = microipa("lab", "quirks")
    assert status == 0
    for quirk in QUIRKS.values():
        assert f"| `{quirk.form}` | {quirk.says}" in out
        assert quirk.source in out


def test_the_table_of_the_readme_is_that_of_the_code() -> None:
    text = (Path(quirks.__file__).parent / "README.md").read_text()
    assert text.partition(f"{BEGIN}\n")[2].partition(f"\n{END}")[0] == markdown()
