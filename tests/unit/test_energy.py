"""The power model against published measurements, and what it says of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from microipa.energy import targets
from microipa.energy.battery import TODAY, TODAY_PSM, YEAR_S, Cell, Plan, TooBusy, changes, life
from microipa.energy.figures import KEYS, NETWORKS, BadFigures, load, names
from microipa.energy.inputs import work
from microipa.energy.model import Device, Part, Settings, connection, update
from microipa.energy.plot import DAY_S, current
from microipa.energy.targets import EXCHANGE, verdicts
from microipa.radio import PRESETS

D_CELL = Cell(19, 3.6)
DAILY, HOURLY = Plan(86400), Plan(3600)


def device(modem: str = "nrf91", network: str = "nbiot", own: Mapping[str, Mapping[str, float]] = {}) -> Device:
    return targets.device(modem, network, own)


def test_an_exchange_after_psm_takes_the_published_energy() -> None:
    # 0.27 J on NB-IoT with RAI, 0.55 J on LTE-M without: within a quarter
    assert [verdict.met for verdict in targets.checks()] == [True, True]


def test_a_second_connection_of_a_poll_and_a_tail_that_the_network_ends_are_paid_for() -> None:
    once = connection(device(), Settings(), EXCHANGE)
    twice = connection(device(), Settings(), replace(EXCHANGE, connections=2, assisted=1))
    assert twice.joules[Part.WAKE] == 2 * once.joules[Part.WAKE]
    assert twice.seconds[Part.TAIL] == 13


def test_a_network_without_connected_drx_takes_the_energy_of_the_later_measurement() -> None:
    # boaks/zephyr-coaps-client, POWERCONSUMPTION.md, autumn 2022: 0.14 mWh, no active time
    nrf9160 = device(own={"network": {"active_s": 0}})
    assert connection(nrf9160, Settings(rai=True), EXCHANGE).modem_j == pytest.approx(0.504, rel=0.25)


def test_rai_saves_what_was_measured_with_an_inactivity_timer_of_12_s() -> None:
    # S. Røstad, NTNU 2020, figure 5.10: 395.03 mC without, 28.15 mC with RAI, at 3.7 V
    nrf9160 = device()
    saved = (connection(nrf9160, Settings(rai=False), EXCHANGE).modem_j
             - connection(nrf9160, Settings(rai=True), EXCHANGE).modem_j)
    assert saved == pytest.approx((0.39503 - 0.02815) * 3.7, rel=0.1)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KEYS)
def test_every_figure_that_comes_with_microipa_has_a_source(kind: str, network: str) -> None:
    for name in names(kind):
        figures = load(kind, name, network, {})
        assert all(len(figure.source) > 10 and figure.value >= 0 for figure in figures.sources.values())
        assert set(figures) == set(KEYS[kind])


def test_what_a_modem_takes_from_another_is_assumed() -> None:
    figures = load("modem", "bg95", "nbiot", {}).sources
    assert figures["attach_j"].assumed
    assert "as nrf91: S. Røstad" in figures["attach_j"].source
    assert not figures["psm_ma"].assumed


def test_nbiot_is_the_radio_of_the_bill() -> None:
    nbiot, preset = load("network", "nbiot", "nbiot", {}), PRESETS["nbiot"]
    assert (nbiot["rate_up"], nbiot["rate_down"], nbiot["delay_s"]) == (
        preset.rate_up, preset.rate_down, preset.delay_s)


def test_own_measurements_come_before_published_figures() -> None:
    measured = load("modem", "nrf91", "nbiot", {"modem": {"psm_ma": 0.5}})
    assert measured["psm_ma"] == 0.5
    assert measured.sources["psm_ma"].source == "own measurement"


def test_a_part_without_figures_is_named() -> None:
    with pytest.raises(BadFigures, match="tx62.*bg95"):
        load("modem", "tx62", "nbiot", {})
    with pytest.raises(BadFigures, match="awake_ma.*stm32"):
        load("chip", "stm32", "nbiot", {"chip": {"volts": 3.3}})


def test_the_nrf91_is_forecast_to_meet_every_target() -> None:
    assert all(verdict.met for verdict in verdicts("nrf91", work(None)))


def test_the_bg95_misses_but_the_joules_of_the_modem() -> None:
    missed = [verdict.words for verdict in verdicts("bg95", work(None)) if not verdict.met]
    assert missed == ["idle poll, modem ≤ 1.5 J"]


@pytest.mark.parametrize("settings", [TODAY, TODAY_PSM])
def test_a_device_that_never_sleeps_lasts_weeks(settings: Settings) -> None:
    assert 7 / 365 < life(device(), settings, work(None), DAILY, D_CELL).years < 10 * 7 / 365


def test_the_parts_of_a_year_are_all_that_the_cell_gives() -> None:
    lasts = life(device(), Settings(), work(None), DAILY, D_CELL)
    assert sum(lasts.year.values()) * lasts.years == pytest.approx(D_CELL.joules)


def test_self_discharge_alone_ends_a_cell_in_a_hundred_years() -> None:
    nothing = dict.fromkeys(("psm_ma", "wake_j", "transmit_ma", "receive_ma", "connected_ma", "idle_ma"), 0)
    idle = device(own={"modem": nothing, "device": {"quiescent_ma": 0, "card_ma": 0},
                       "chip": {"awake_ma": 0, "deep_ma": 0}})
    assert life(idle, Settings(), work(None), DAILY, D_CELL).years == pytest.approx(100)


@pytest.mark.parametrize("settings", [TODAY, TODAY_PSM, Settings("light", "edrx", rai=False)])
def test_each_change_makes_the_cell_last_longer(settings: Settings) -> None:
    before = life(device(), settings, work(None), DAILY, D_CELL).years
    for what, better, plan in changes(settings, DAILY):
        assert life(device(), better, work(None), plan, D_CELL).years > before, what


def test_psm_updates_the_registration_between_rare_polls() -> None:
    weekly = life(device(), Settings(), work(None), Plan(7 * 86400), D_CELL)
    updates = 6 * YEAR_S / (7 * 86400)
    assert weekly.year[Part.UPDATE] == pytest.approx(updates * update(device(), Settings()).joules[Part.UPDATE])
    assert not life(device(), Settings(), work(None), DAILY, D_CELL).year[Part.UPDATE]


def test_edrx_keeps_card_and_modem_listening() -> None:
    edrx = life(device(), replace(Settings(), between="edrx"), work(None), DAILY, D_CELL)
    assert edrx.year[Part.EDRX] > 0
    assert edrx.year[Part.CARD] > life(device(), Settings(), work(None), DAILY, D_CELL).year[Part.CARD]


@pytest.mark.parametrize("settings", [Settings(), Settings("light", "edrx"), TODAY, TODAY_PSM])
def test_the_current_of_a_day_adds_up_to_what_a_day_takes(settings: Settings) -> None:
    plan = Plan(2700)  # less than T3412
    steps = current(device(), settings, work(None), plan, D_CELL)
    ends = [*(at for at, _ in steps[1:]), DAY_S]
    drawn_j = D_CELL.volts * sum(ampere * (end - at) for (at, ampere), end in zip(steps, ends, strict=True))
    year = life(device(), settings, work(None), plan, D_CELL).year
    day_j = (sum(year.values()) - year[Part.SELF_DISCHARGE]) / 365.25
    assert drawn_j == pytest.approx(day_j, rel=0.01)


def test_a_plan_that_takes_longer_than_the_time_is_refused() -> None:
    with pytest.raises(TooBusy, match="poll or download less often"):
        life(device(), Settings(), work(None), Plan(5), D_CELL)
