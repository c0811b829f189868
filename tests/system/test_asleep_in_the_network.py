"""What a network does to a device that sleeps: updates, SMS, lost datagrams, another network; orders still finish."""

from __future__ import annotations

from pathlib import Path

import pytest
from microipa.lab import BOOTSTRAP_OPERATOR
from microipa.radio.rrc import State
from microipa.trace import Event
from switching import Device, logged
from test_sleep import DAY_S, SETTINGS, an_order, asleep, finishes, is_done, polled, slept, woken

ELSEWHERE = "26203"
EXACT = {**SETTINGS, "poll_jitter_percent": 0}
OWN_TIMES = "network-grants-own-psm"
T3412_S = 7200


def attached(event: Event) -> bool:
    return event.kind == "network" and event.fields["event"] == "attach accepted"


async def test_t3412_runs_out_in_sleep_without_waking_the_board_or_losing_the_registration(tmp_path: Path) -> None:
    device = Device(tmp_path, dict(EXACT), quirks=(OWN_TIMES,), options={"skips_sleep": True})
    async with device.lab() as lab:
        await lab.board.start()
        await device.until(slept)
        known, updates = len(device.events), lab.link.rrc.spent.updates
        order = an_order(lab)
        await device.until(woken)
        assert DAY_S // T3412_S - 1 <= lab.link.rrc.spent.updates - updates <= DAY_S // T3412_S
        await finishes(device, lab, order)
        assert len([event for event in device.events[known:] if woken(event)]) == 1
        assert not [event for event in device.events[known:] if attached(event)]


async def test_the_modem_of_a_board_that_sleeps_a_day_is_in_psm_but_for_seconds(tmp_path: Path) -> None:
    async with asleep(tmp_path, poll_jitter_percent=0) as (device, lab):
        before = dict(lab.link.rrc.spent.seconds)
        await device.until(slept)
        after = lab.link.rrc.spent.seconds
        assert after[State.PSM] - before.get(State.PSM, 0) > DAY_S - 120
        assert after[State.CONNECTED] - before.get(State.CONNECTED, 0) < 15


async def test_a_datagram_to_a_modem_in_psm_is_lost_and_the_next_poll_does_the_order(tmp_path: Path) -> None:
    async with asleep(tmp_path) as (device, lab):
        await device.until(woken)
        await device.until(slept)
        arrived: list[bytes] = []
        lab.clock.call_later(DAY_S / 2, lambda: lab.link.send("down", b"late", arrived.append))
        order = an_order(lab)
        await finishes(device, lab, order)
        assert (arrived, lab.link.rrc.spent.undelivered) == ([], 1)


async def test_an_answer_that_comes_when_the_modem_sleeps_already_costs_a_connection_and_no_order(
        tmp_path: Path) -> None:
    """The modem that says nothing in the middle of a poll is woken, and not waited for until CoAP gives up."""
    psm = {**SETTINGS, "sleep": "none", "poll_interval_s": 5, "psm_active_s": 2, "backoff_s": 1}
    device = Device(tmp_path, psm, quirks=("smdpp-slow:4",))
    async with device.lab() as lab:
        await lab.board.start()
        await device.until(polled)
        began = device.events[-1].seconds
        order = lab.eim.order_download(lab.eid, lab.offer())
        await finishes(device, lab, order)
        assert "modem: no answer to AT" in device.log()
        assert device.events[-1].seconds - began < 60
        assert len([event for event in device.events if attached(event)]) == 1


@pytest.mark.parametrize(("after_s", "latest_s"), [(10, 30), (100, T3412_S + 60)])
async def test_an_sms_wakes_the_board_as_soon_as_the_network_reaches_the_modem(
        tmp_path: Path, after_s: int, latest_s: int) -> None:
    """While the modem listens still, T3324, or out of PSM with the next registration update."""
    device = Device(tmp_path, dict(SETTINGS), quirks=(OWN_TIMES,) if after_s > 16 else (),
                    options={"skips_sleep": True})
    async with device.lab() as lab:
        began: list[float] = []
        orders: list[int] = []

        def trigger() -> None:
            orders.append(an_order(lab))
            lab.modem.get_sms()

        def sleeps() -> None:
            began.append(lab.clock.time())
            lab.clock.call_later(after_s, trigger)

        device.when(slept, sleeps)
        await lab.board.start()
        await device.until(woken)
        await finishes(device, lab, orders[0])
        assert lab.clock.time() - began[0] < latest_s
        assert [event.fields["why"] for event in device.events if woken(event)][0] == "pin"


async def test_a_device_that_wakes_in_another_network_does_its_orders_there_and_tells_the_eim_so(
        tmp_path: Path) -> None:
    async with asleep(tmp_path) as (device, lab):
        await device.until(woken)
        await device.until(slept)
        lab.clock.call_later(DAY_S / 2, lambda: lab.network.move(BOOTSTRAP_OPERATOR, ELSEWHERE))
        order = an_order(lab)
        await finishes(device, lab, order)
        assert is_done(lab, order)
        await device.until(slept)
        assert [event for event in device.events if event.kind == "esipa" and "62f230" in str(event.fields)]
        await device.until(logged("the eIM has no"))
