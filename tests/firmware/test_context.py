"""The data context and its APN, on the lab's modem of each family (TS 27.007 10.1.1, 10.1.10; the makers' manuals)."""

from __future__ import annotations

from pathlib import Path

import pytest
from family_bench import Bench, Run
from microipa.modem import FAMILIES

ONLINE = """
async def online(apn):
    # As the ladder of the agent does it: the radio goes off for a new APN of the attach only.
    offs = 0
    if await modem.apn_differs(apn):
        offs = 1
        await modem.at.command(b"AT+CFUN=4")
        await modem.define_apn(apn)
    await modem.at.command(b"AT+CFUN=1")
    while not modem.registered():
        await modem.at.command(b"AT+CEREG?")
        await compat.sleep_ms(20)
    await modem.open_context(apn)
    return offs

async def refused(apn):
    try:
        await online(apn)
    except SocketError as error:
        return str(error)
"""
IN_PLACE = ("bg95", "bg77")


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_context_holds_under_the_apn_it_was_opened_with_and_under_no_other(
        family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family, apns=("iot", "iot.other.example")).on() as bench:
        out = await bench.run(micropython, ONLINE + """
print(await modem.has_context())
await online("iot.other.example")
print(await modem.has_context())
modem._apn = "iot"
print(await modem.has_context())
await online("iot")
print(await modem.has_context(), await online("iot"), await modem.has_context())
await modem.at.command(b"AT+CFUN=4")
print(await modem.has_context())
""")
        used = {one.apn for one in bench.modem.packet_data.contexts.values()}
    assert out == ["False", "True", "False", "True 0 True", "False"]
    assert "iot" in used


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_empty_apn_asks_for_the_default_of_the_subscription(
        family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family, apns=("iot",)).on() as bench:
        out = await bench.run(micropython, ONLINE + """
await online("iot")
await modem.at.command(b"AT+CFUN=4")
await online("")
print(await modem.has_context(), await online(""))
""")
        assert "" in {one.apn for one in bench.modem.packet_data.contexts.values() if one.active}
    assert out == ["True 0"]


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_apn_that_the_network_refuses_is_told_with_the_modems_cause_and_the_next_one_works(
        family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family, apns=("iot",)).on() as bench:
        out = await bench.run(micropython, ONLINE + """
print(await refused("wrong"))
print(await modem.has_context())
await online("iot")
print(await modem.has_context())
""")
    assert out[0].startswith("no data connection with APN 'wrong': ")
    assert out[0].endswith("PDN connection refused with ESM cause 27: 'wrong' is not an APN of this subscriber")
    assert out[1:] == ["False", "True"]


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_apn_of_the_attach_is_not_changed_while_the_radio_is_on_and_the_others_are(
        family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family).on() as bench:
        out = await bench.run(micropython, ONLINE + """
await online("iot")
try:
    await modem.open_context("other")
    print("in place", await modem.has_context())
except SocketError as error:
    print(error)
""")
    differs = "the attach has another APN than 'other', define it first"
    assert out == ["in place True" if family in IN_PLACE else differs]


async def test_what_a_network_makes_of_an_apn_is_no_reason_for_another_attach(
        micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, "gm02s").on() as bench:
        context = bench.modem.packet_data.context
        out = await bench.run(micropython, ONLINE + """
print(await online("iot"), await modem.apn_differs("iot"))
print(await modem.apn_differs("io"), await modem.apn_differs("IOT"))
""")
        assert context(1).apn == "iot"
        out += await bench.run(micropython, ONLINE + """
# What the modem shows once it is up: the network's name for it
await modem.at.command(b'AT+CGDCONT=1,"IP","iot.mnc070.mcc901.gprs"')
print(await modem.apn_differs("iot"), await modem.apn_differs("iot.mnc070.mcc901.gprs.x"), await modem.apn_differs(""))
await modem.at.command(b"AT+CFUN=4")
print(await modem.apn_differs(""))
await modem.define_apn("iot")
await modem.at.command(b'AT+CGDCONT=1,"IP","forced.example"')
print(await modem.apn_differs("iot"), await modem.apn_differs("x"))
""")
    assert out == ["1 False", "True False", "False True False", "True", "False True"]


@pytest.mark.parametrize("name", ['a"b', "a\rb", "a%b", "a b", "a,b", "\u00e4", "a\x00"])
@pytest.mark.parametrize("family", ["bg95", "nrf91"])
async def test_names_that_are_no_names_enter_no_command(
        family: str, name: str, micropython: Run, tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(name.encode())
    async with Bench(tmp_path / "lab", family).on() as bench:
        out = await bench.run(micropython, f"""
name = open({str(tmp_path / "name")!r}).read()
dials = modem.udp(name, 1), modem.tcp(name, 1), modem.dtls(name, 1, b"")
for what in (modem.open_context(name), modem.define_apn(name)) + dials:
    try:
        await what
    except SocketError as error:
        print(str(error)[:11])
""")
    assert out == ["not a host "] * 5


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_card_can_be_asked_for_its_apn_before_the_radio_goes_on(
        family: str, micropython: Run, tmp_path: Path) -> None:
    async with Bench(tmp_path, family).on() as bench:
        out = await bench.run(micropython, """
await modem.at.command(b"AT+CFUN=0")
await modem.power_card()
await modem.await_card()
es10 = Es10(Channel(modem.carrier))
await es10.channel.open()
print((await es10.get_eid()).hex(), await modem.imsi() != "")
""")
        assert bench.modem.functionality != 1
    assert out == [f"{bench.folder.eid} True"]
