"""Each quirk by name: what a driver meets in modems that are not by the book (micropython.md 2.2)."""

import asyncio

import pytest
from microipa.modem import FAMILIES, UnknownFamily, VirtualModem
from microipa.quirks import QUIRKS, UnknownQuirk
from microipa.radio import Link, Network
from modem_bench import SWITCH, StubCard, bench
from test_modem_card import OPEN, cgla

# What has a test of its own in test_modem_faults.py: the modem wants more than to be asked
NEED_MORE = {"cops-deregistered", "no-sim-at-boot", "boots-radio-off", "mute", "restarts", "busy-after-boot",
             "slow-boot", "slow-after-cfun", "cgreg-only", "no-registration-urcs", "nuls"}
STORE = bytes.fromhex("80E2110003BF2000")


async def test_ccho_bare():
    async with bench(quirks={"ccho-bare"}) as b:
        assert await b.ask(OPEN) == ["1", "OK"]


async def test_long_session_ids():
    async with bench(quirks={"long-session-ids"}) as b:
        session = (await b.ask(OPEN))[0].removeprefix("+CCHO: ")
        assert len(session) == 16
        assert (await b.ask(cgla(session, STORE)))[-1] == "OK"
        assert await b.ask(f"AT+CCHC={session}") == ["OK"]


async def test_lower_case_hex():
    async with bench(quirks={"lower-case-hex"}) as b:
        await b.ask(OPEN)
        assert (await b.ask(cgla(1, SWITCH)))[0] == '+CGLA: 16,"bf3103800100910b"'


async def test_echo_sticks():
    async with bench(quirks={"echo-sticks"}) as b:
        assert await b.ask("ATE0") == ["ATE0", "OK"]


async def test_urc_inside_response():
    async with bench(quirks={"urc-inside-response"}) as b:
        assert await b.ask("AT+CSQ") == ["+CSQ: 18,99", '+QIND: "csq",18,99', "OK"]


@pytest.mark.parametrize("limit", [60, 120])
async def test_cgla_limit(limit):
    async with bench(quirks={f"cgla-{limit}"}) as b:
        await b.ask(OPEN)
        fits = bytes([0x80, 0xE2, 0x11, 0, limit]) + bytes(limit)
        assert (await b.ask(cgla(1, fits)))[-1] == "OK"
        assert await b.ask(cgla(1, fits + b"\0")) == ["ERROR"]


@pytest.mark.parametrize(("quirk", "reached"), [("error-in-load", 24), ("error-in-load-after-card", 25)])
async def test_error_in_load_once(quirk, reached):
    async with bench(quirks={quirk}) as b:
        await b.ask(OPEN)
        results = [(await b.ask(cgla(1, STORE)))[-1] for _ in range(25)]
        assert results == ["OK"] * 19 + ["ERROR"] + ["OK"] * 5
        assert sum(apdu[1] == 0xE2 for apdu in b.card.log) == reached


async def test_slow_card():
    async with bench(quirks={"slow-card"}, speedup=100) as b:
        await b.ask(OPEN)
        begun = asyncio.get_running_loop().time()
        await b.ask(cgla(1, STORE))
        assert asyncio.get_running_loop().time() - begun >= 0.019


async def test_endless_line_once():
    async with bench(quirks={"endless-line"}) as b:
        for _ in range(8):  # ATE0 was the first
            assert await b.ask("AT") == ["OK"]
        await b.terminal.send(b"AT\r")
        garbage = await b.until(b"OK\r\n")
        assert len(garbage) > 60_000
        assert b"\n" not in garbage[:60_000]
        assert await b.ask("AT") == ["OK"]


async def test_ignores_refresh_until_cfun():
    async with bench(StubCard(), quirks={"ignores-refresh"}) as b:
        await b.registered()
        await b.ask(OPEN)
        assert (await b.ask(cgla(1, SWITCH)))[-1] == "OK"
        assert await b.ask("AT+CIMI") == ["901700000000001", "OK"]
        assert not any(apdu[1] == 0x12 for apdu in b.card.log)


def test_wrong_names_are_refused_with_the_right_ones():
    with pytest.raises(UnknownQuirk, match="'sulks'.*near are"):
        VirtualModem(StubCard(), Network(), Link("none"), quirks={"sulks"})
    with pytest.raises(UnknownFamily, match="'hayes'.*bg95"):
        VirtualModem(StubCard(), Network(), Link("none"), family="hayes")
    assert set(FAMILIES) >= {"bg95", "nrf91"}


@pytest.mark.parametrize("quirk", sorted(set(QUIRKS.of("modem")) - NEED_MORE))
async def test_with_any_quirk_the_modem_still_registers(quirk):
    async with bench(quirks={quirk}, speedup=1000) as b:
        await b.registered()
        assert b.modem.registration.stat == 1
