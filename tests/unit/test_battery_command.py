"""`microipa battery`: what it prints, and what it says to bad input."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cli_runner import Microipa

WALTER = ("battery", "--board", "walter", "--cell", "19Ah", "--poll", "24h")


def test_it_tells_years_and_where_the_charge_goes(microipa: Microipa) -> None:
    outcome = microipa(*WALTER, "--modem", "nrf91", "--download", "1/year", "--switch", "1/year")
    assert outcome.status == 0
    for words in ("years on 19 Ah at 3.6 V", "where the charge goes", "microcontroller asleep", "PSM",
                  "twice the interval", "today: nothing sleeps", "is a forecast of the model", "are assumed"):
        assert words in outcome.out


def test_settings_that_could_be_better_are_offered(microipa: Microipa) -> None:
    told = json.loads(microipa(*WALTER, "--sleep", "none", "--between", "drx", "--no-rai", "--json").out)
    assert set(told["one_setting_more"]) == {"deep sleep", "PSM", "release assistance (RAI)", "twice the interval"}
    assert all(years > told["years"] for years in told["one_setting_more"].values())


def test_json_has_years_joules_and_sources(microipa: Microipa) -> None:
    told = json.loads(microipa(*WALTER, "--json").out)
    assert told["years"] > 1
    assert told["joules_a_year"]["PSM"] > 0
    assert told["figures"]["modem"]["title"] == "Sequans GM02S"  # Walter's own
    assert "deep sleep 1 µA" in told["figures"]["modem"]["psm_ma"]["source"]
    assert "Nothing here was measured" in told["note"]


def test_own_measurements_change_the_result(microipa: Microipa, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[chip]\ndeep_ma = 5\n")
    before, after = (json.loads(microipa(*WALTER, "--json", *more).out) for more in ((), ("--figures", own)))
    assert after["years"] < before["years"] / 10
    assert after["figures"]["chip"]["deep_ma"] == {"value": 5, "source": "own measurement"}


def test_the_traffic_of_a_bill_changes_the_result(microipa: Microipa, tmp_path: Path) -> None:
    bill = tmp_path / "traffic.json"
    thing = {"up": 10_000, "down": 10_000, "trips": 50}
    bill.write_text(json.dumps({"poll": thing, "package": thing, "download": thing}))
    before, after = (json.loads(microipa(*WALTER, "--json", *more).out) for more in ((), ("--bill", bill)))
    assert after["poll_joules"]["sending"] > 5 * before["poll_joules"]["sending"]


def test_a_day_is_drawn_as_svg(microipa: Microipa, tmp_path: Path) -> None:
    picture = tmp_path / "day.svg"
    assert microipa(*WALTER, "--plot", picture).status == 0
    words = [text.text for text in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert {"one day", "one poll", "1 µA", "100 mA", "24 h"} <= set(words)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (("--modem", "nokia"), "no modem 'nokia' has power figures: there are bg95"),
        (("--board", "toaster"), "no board 'toaster'"),
        (("--board", "portenta-h7-catm1", "--modem", "bg95"), "no chip 'stm32' has power figures"),
        (("--cell", "19"), "--cell '19' is no cell: give its charge with the unit"),
        (("--cell", "0Ah"), "--cell 0Ah is an empty cell"),
        (("--cell", "3Ah@0V"), "--cell 3Ah@0V is an empty cell"),
        (("--poll", "0h"), "--poll 0h is 0 s: give from 1s to 365d"),
        (("--poll", "24"), "--poll '24' is no interval"),
        (("--poll", "400d"), "--poll 400d is 34560000 s"),
        (("--poll", "5s"), "takes longer than there is time"),
        (("--download", "1"), "--download '1' does not tell how often"),
        (("--switch", "-1/year"), "--switch '-1/year' does not tell how often"),
        (("--figures", "/nowhere.toml"), "cannot read /nowhere.toml"),
        (("--bill", "/nowhere.json"), "cannot read /nowhere.json"),
        (("--poll", "5s", "--plot", "/nowhere/day.svg"), "takes longer than there is time"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(microipa: Microipa, changed: tuple[str, ...], says: str) -> None:
    outcome = microipa(*WALTER, *changed)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("microipa: ")
    assert outcome.err.count("\n") == 1
    assert says in outcome.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[modem]\npsm_ma = -1\n", "[modem] psm_ma is -1"),
        ("[modem]\npsm_ma = nan\n", "[modem] psm_ma is nan"),
        ("[modem]\npsm_ma = true\n", "[modem] psm_ma is True"),
        ("[modem]\npsm_ma = 1e300\n", "[modem] psm_ma is 1e+300"),
        (f"[modem]\npsm_ma = 1{'0' * 400}\n", "[modem] psm_ma is 1000"),
        ("x = " + "[" * 5000, "is not TOML"),
        ("[modem]\nvolts = 0\n", "[modem] volts is 0"),
        ("[device]\nefficiency = 90\n", "[device] efficiency is 90: give a number up to 1"),
        ("[modem]\npsm = 1\n", "[modem] has no figure psm"),
        ("[radio]\n", "radio is no table of figures"),
        ("modem = 1\n", "modem is no table of figures"),
        ("[modem\n", "is not TOML"),
        ("\xff", "is not TOML"),
    ],
)
def test_bad_figures_are_one_sentence_and_status_2(microipa: Microipa, tmp_path: Path, text: str, says: str) -> None:
    own = tmp_path / "own.toml"
    own.write_bytes(text.encode("latin-1"))
    outcome = microipa(*WALTER, "--figures", own)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert says in outcome.err


def test_figures_that_are_all_nothing_are_refused(microipa: Microipa, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    zero = {"modem": ("psm_ma", "transmit_ma", "receive_ma", "connected_ma", "idle_ma", "wake_j", "attach_j"),
            "chip": ("awake_ma", "deep_ma"), "device": ("quiescent_ma", "card_ma", "self_discharge")}
    own.write_text("".join(f"[{kind}]\n" + "".join(f"{key} = 0\n" for key in keys) for kind, keys in zero.items()))
    outcome = microipa(*WALTER, "--figures", own)
    assert (outcome.status, outcome.out) == (2, "")
    assert "every figure is 0" in outcome.err


def test_settings_that_leave_no_time_between_polls_are_only_named(microipa: Microipa) -> None:
    often = (*WALTER, "--poll", "30s", "--between", "drx")
    told = json.loads(microipa(*often, "--json").out)
    assert told["years"] > 0
    assert told["from_today"]["today with psm_periodic_s: attaches for each poll"] is None
    assert "polls too often" in microipa(*often).out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"poll": 1}', '{"poll": {"up": 1.5, "down": 1, "trips": 1}}'])
def test_a_file_that_is_no_bill_is_refused(microipa: Microipa, tmp_path: Path, text: str) -> None:
    bill = tmp_path / "traffic.json"
    bill.write_text(text)
    outcome = microipa(*WALTER, "--bill", bill)
    assert outcome.status == 2
    assert "is not the traffic.json that microipa bill writes" in outcome.err
