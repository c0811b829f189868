"""The radio link: takes its time, keeps order, loses what it is told to lose, and writes the bill."""

import asyncio
import math
from dataclasses import replace

import pytest
from microipa.radio import PRESETS, Link, LinkSettings, UnknownPreset
from microipa.radio.link import RECEIVE_W, TRANSMIT_W

FAST = LinkSettings(delay_s=0, rate_up=math.inf, rate_down=math.inf, mtu=1500)


async def carry(link, way, payloads):
    """What arrives of ``payloads``, in the order of arrival."""
    arrived = asyncio.Queue()
    for payload in payloads:
        link.send(way, payload, arrived.put_nowait)
    traffic = link.counters.up if way == "up" else link.counters.down
    copies = 2 if link.settings.duplicate == 1 else 1
    async with asyncio.timeout(5):
        return [await arrived.get() for _ in range(copies * (len(payloads) - traffic.lost))]


async def test_datagrams_arrive_in_order_when_nothing_is_set():
    payloads = [bytes([n]) for n in range(200)]
    assert await carry(Link(FAST), "up", payloads) == payloads


async def test_order_is_kept_by_preset_without_waiting():
    payloads = [bytes([n % 256]) * (1 + n % 90) for n in range(100)]
    assert await carry(Link("none"), "down", payloads) == payloads


async def test_delay_and_rate_add_up():
    loop = asyncio.get_running_loop()
    link = Link(replace(FAST, delay_s=0.03, rate_up=8 * 12_800))  # 128 bytes take 10 ms
    begun = loop.time()
    arrivals = asyncio.Queue()
    for _ in range(3):
        link.send("up", bytes(100), lambda _: arrivals.put_nowait(loop.time() - begun))
    async with asyncio.timeout(5):
        times = [await arrivals.get() for _ in range(3)]
    assert times[0] >= 0.0399
    assert times[2] >= 0.0599  # the third waits until the first two have left


async def test_the_two_directions_do_not_wait_for_each_other():
    link = Link(replace(FAST, rate_up=8 * 128))
    link.send("up", bytes(100), lambda _: None)  # one second of airtime
    assert await carry(link, "down", [b"a"]) == [b"a"]
    link.clear()


async def test_loss_follows_the_seed():
    payloads = [bytes([n]) for n in range(100)]
    survivors = []
    for seed in (1, 1, 2):
        link = Link(replace(FAST, loss=0.3, seed=seed))
        arrived = await carry(link, "up", payloads)
        assert 15 < link.counters.up.lost < 45
        survivors.append(arrived)
    assert survivors[0] == survivors[1] != survivors[2]


async def test_reordered_datagrams_arrive_late_but_all():
    payloads = [bytes([n]) for n in range(50)]
    arrived = await carry(Link(replace(FAST, reorder=0.2, seed=3)), "up", payloads)
    assert arrived != payloads
    assert sorted(arrived) == payloads


async def test_duplicates_arrive_twice():
    assert await carry(Link(replace(FAST, duplicate=1)), "up", [b"a", b"b"]) == [b"a", b"a", b"b", b"b"]


async def test_a_packet_larger_than_the_mtu_vanishes_and_is_paid_for():
    link = Link(replace(FAST, mtu=100))
    assert await carry(link, "up", [bytes(73), bytes(72)]) == [bytes(72)]
    assert link.counters.up.lost == 1
    assert link.counters.up.datagrams == 2


async def test_bill_counts_headers_airtime_energy_and_round_trips():
    link = Link("none")
    for way, size in (("up", 100), ("up", 22), ("down", 972), ("up", 22), ("down", 22)):
        link.send(way, bytes(size), lambda _: None)
    up, down = link.counters.up, link.counters.down
    assert (up.datagrams, up.payload_bytes, up.bytes) == (3, 144, 228)
    assert (down.datagrams, down.payload_bytes, down.bytes) == (2, 994, 1050)
    assert up.airtime_s == pytest.approx(228 * 8 / 25_000)
    assert down.airtime_s == pytest.approx(1050 * 8 / 50_000)
    assert link.counters.round_trips == 2
    waiting = 2 * 2 * 0.45
    assert link.counters.energy_mj == pytest.approx(
        1000 * (TRANSMIT_W * up.airtime_s + RECEIVE_W * (down.airtime_s + waiting)))


async def test_speedup_changes_no_figure_of_the_bill():
    links = [Link(preset) for preset in PRESETS]
    for link in links:
        link.send("up", bytes(500), lambda _: None)
        link.send("down", bytes(500), lambda _: None)
        link.clear()
    assert links[0].counters == links[1].counters == links[2].counters


async def test_nbiot_round_trip_is_about_a_second():
    settings = PRESETS["nbiot"]
    airtime = 8 * 128 / settings.rate_up + 8 * 128 / settings.rate_down
    assert 0.8 < 2 * settings.delay_s + airtime < 1.2


async def test_clear_forgets_what_is_in_the_air():
    link = Link(replace(FAST, delay_s=0.01))
    arrived = []
    link.send("up", b"a", arrived.append)
    link.clear()
    assert await carry(link, "up", [b"b"]) == [b"b"]
    assert arrived == []


def test_an_unknown_preset_is_named():
    with pytest.raises(UnknownPreset, match="'fast'.*nbiot"):
        Link("fast")
