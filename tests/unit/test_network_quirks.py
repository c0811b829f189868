"""Quirks of operators and of the way behind them (field.md 1 and 3), as a modem and its board meet them."""

import asyncio

import pytest
from microipa.radio import Link
from microipa.radio.rrc import Assistance, State
from modem_bench import bench

SOON = 0.15  # seconds a quirk lasts here


def now():
    return asyncio.get_running_loop().time()


async def test_slow_first_search_begins_anew_with_the_radio_and_comes_once():
    async with bench(quirks={f"slow-first-search:{SOON}"}) as b:
        await asyncio.sleep(SOON / 2)
        await b.ask("AT+CFUN=4")
        begun = now()
        await b.ask("AT+CFUN=1")
        await b.registered()
        assert now() - begun >= SOON
        await b.ask("AT+CFUN=4")
        assert b.modem.registration.knows_cell
        await b.ask("AT+CFUN=1")
        begun = now()
        await b.registered()
        assert now() - begun < SOON


async def test_slow_search_every_time():
    async with bench(quirks={f"slow-search:{SOON}"}) as b:
        for _ in range(2):
            await b.ask("AT+CFUN=4")
            begun = now()
            await b.ask("AT+CFUN=1")
            await b.registered()
            assert now() - begun >= SOON


async def test_attach_congested_is_tried_again_by_the_modem(monkeypatch):
    async with bench(quirks={"attach-congested:1"}) as b:
        assert (await b.ask("AT+CEREG?"))[0] == "+CEREG: 0,2"
        await b.registered()


async def test_coverage_gap_once():
    async with bench(quirks={"coverage-gap:1"}) as b:
        await b.connected()
        await b.ask("AT+CEREG=1")
        await b.ask('AT+QISENDEX=0,"00"')
        lines = await b.terminal.lines_until("+CEREG: 1")
        assert "+CEREG: 2" in lines


async def test_no_network_time():
    async with bench(quirks={"no-network-time"}) as b:
        await b.registered()
        await b.ask("AT+CTZU=1")
        assert (await b.ask("AT+CCLK?"))[0] == '+CCLK: "80/01/06,00:00:00+00"'


async def test_many_networks_in_one_line():
    async with bench(quirks={"many-networks:30"}) as b:
        line = (await b.ask("AT+COPS=?"))[0]
        assert line.count('"90170"') == 3
        assert len(line) > 640
        assert line.count("(1,") == 31


async def activate(b, apn):
    await b.ask("AT+QIDEACT=1")
    await b.ask(f'AT+QICSGP=1,1,"{apn}"')
    return (await b.ask("AT+QIACT=1"))[-1]


async def test_apn_per_operator_or_the_empty_one():
    async with bench(quirks={"apn-per-operator"}) as b:
        await b.registered()
        assert await activate(b, "iot") == "ERROR"
        assert await activate(b, "90170.example") == "OK"
        assert await activate(b, "") == "OK"


async def test_first_context_fails_after_each_attach():
    async with bench(quirks={"first-context-fails:2"}) as b:
        for _ in range(2):
            await b.ask("AT+CFUN=4")
            await b.ask("AT+CFUN=1")
            await b.registered()
            assert [await activate(b, "iot") for _ in range(3)] == ["ERROR", "ERROR", "OK"]


async def test_first_dns_fails_after_each_attach():
    async with bench(quirks={"first-dns-fails:1"}) as b:
        await b.registered()
        await activate(b, "iot")
        results = []
        for connection in range(2):
            await b.ask(f'AT+QIOPEN=1,{connection},"UDP","echo.example",7,0,0')
            results.append(await b.line())
        assert results == ["+QIOPEN: 0,565", "+QIOPEN: 1,0"]


async def test_context_lost_in_the_middle_once_and_the_registration_stays():
    async with bench(quirks={"context-lost:2"}) as b:
        await b.connected()
        await b.ask('AT+QISENDEX=0,"00"')
        await b.ask('AT+QISENDEX=0,"00"')
        assert '+QIURC: "pdpdeact",1' in await b.terminal.lines_until("+QIURC: \"pdpdeact")
        assert (await b.ask("AT+CEREG?"))[0] == "+CEREG: 0,1"
        assert await b.ask('AT+QISENDEX=0,"00"') == ["SEND FAIL"]
        await b.ask("AT+QICLOSE=0")
        assert await activate(b, "iot") == "OK"


async def test_first_datagrams_lost_after_each_attach():
    async with bench(quirks={"first-datagrams-lost:2"}) as b:
        await b.connected()
        for octet in ("01", "02", "03"):
            await b.ask(f'AT+QISENDEX=0,"{octet}"')
        assert await asyncio.wait_for(b.echo.got.get(), 5) == b"\x03"


@pytest.mark.parametrize(("quirk", "field", "value"), [
    ("mtu:300", "mtu", 300), ("loss:10", "loss", 0.1), ("duplicates:20", "duplicate", 0.2),
    ("disorder:20", "reorder", 0.2), ("detour:2", "detour_s", 2),
])
def test_the_link_is_worse(quirk, field, value):
    assert getattr(Link("none", quirks=[quirk]).settings, field) == value


async def test_detour_takes_its_time_on_a_link_that_does_not_wait():
    arrived = asyncio.Event()
    begun = now()
    Link("none", quirks=[f"detour:{SOON}"]).send("up", b"1", lambda _: arrived.set())
    await asyncio.wait_for(arrived.wait(), 5)
    assert now() - begun >= SOON


async def asleep(b):
    """Bring the modem into PSM, which takes it a second."""
    await b.registered()
    assert await b.ask('AT+CPSMS=1,,,"00111000","00000001"') == ["OK"]
    slept, falls_asleep = asyncio.Event(), b.link.rrc.on_sleep
    b.link.rrc.on_sleep = lambda: (falls_asleep(), slept.set())
    await asyncio.wait_for(slept.wait(), 10)
    assert b.link.rrc.state is State.PSM


@pytest.mark.parametrize(("quirks", "kept"), [(set(), False), ({"keeps-datagrams"}, True)])
async def test_a_datagram_to_a_device_in_psm_is_lost_where_the_network_does_not_keep_it(quirks, kept):
    async with bench(quirks=quirks) as b:
        await asleep(b)
        came = []
        assert b.link.rrc.reach(lambda: came.append(1)) is kept
        b.link.rrc.wake()
        assert not came
        b.link.rrc.activity()
        assert came == [1] * kept
        assert b.link.rrc.spent.undelivered == (not kept)


@pytest.mark.parametrize(("quirks", "state"), [(set(), State.IDLE), ({"release-assistance-ignored"}, State.CONNECTED)])
async def test_the_last_datagram_ends_the_connection_where_the_network_listens_to_that(quirks, state):
    async with bench(quirks=quirks) as b:
        await b.registered()
        b.link.rrc.sent(Assistance.LAST)
        assert b.link.rrc.state is state


async def test_a_card_without_power_in_psm_forgets_its_channels():
    async with bench(quirks={"card-off-in-psm"}) as b:
        await b.registered()
        assert (await b.ask('AT+CCHO="A0000005591010FFFFFFFF8900000100"'))[-1] == "OK"
        await asleep(b)
        assert not b.card.powered
        b.modem.press_power_key()
        await b.until(b"APP RDY")
        assert b.card.powered
        assert b.card.channels == {0}


async def test_a_modem_without_release_assistance_says_error():
    async with bench(quirks={"no-release-assistance"}) as b:
        await b.connected()
        assert (await b.ask("AT+CNMPSD"))[-1] == "ERROR"
        assert (await b.ask('AT+QISENDEX=0,"00",2'))[-1] == "ERROR"
