"""Registration, clock and packet data of a BG95 (TS 27.007 7 and 10; Quectel's TCP/IP application note)."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from microipa.modem.sockets import DATAGRAMS_WAITING
from modem_bench import OPC, K, bench


async def test_cereg_tells_more_the_more_is_asked_for_ts_27_007_10_1_22():
    async with bench() as b:
        await b.registered()
        assert await b.ask("AT+CEREG=1") == ["OK"]
        assert await b.ask("AT+CEREG?") == ["+CEREG: 1,1", "OK"]
        assert await b.ask("AT+CEREG=2") == ["OK"]
        assert await b.ask("AT+CEREG?") == ['+CEREG: 2,1,"2B5D","1A2D101",9', "OK"]
        await b.ask('AT+CEREG=4;+CPSMS=1,,,"00000100","00001111"')
        assert (await b.ask("AT+CEREG?"))[0] == (
            '+CEREG: 4,1,"2B5D","1A2D101",9,,,"00001111","00000100"')


async def test_the_operator_by_number_and_leaving_it():
    async with bench() as b:
        await b.registered()
        assert await b.ask("AT+COPS=3,2") == ["OK"]
        assert await b.ask("AT+COPS?") == ['+COPS: 0,2,"90170",9', "OK"]
        assert await b.ask("AT+CSQ") == ["+CSQ: 18,99", "OK"]
        assert await b.ask("AT+CEREG=0;+COPS=2") == ["OK"]
        assert await b.ask("AT+COPS?") == ["+COPS: 2", "OK"]
        assert await b.ask("AT+CSQ") == ["+CSQ: 99,99", "OK"]
        assert await b.ask("AT+CGATT?") == ["+CGATT: 0", "OK"]


async def test_lost_coverage_deregisters_and_its_return_registers():
    async with bench() as b:
        await b.connected()
        await b.ask("AT+CEREG=1")
        b.network.set_coverage("90170", False)
        assert await b.line() == "+CEREG: 2"
        assert await b.line() == '+QIURC: "pdpdeact",1'
        b.network.set_coverage("90170", True)
        assert await b.line() == "+CEREG: 1"


async def test_the_clock_stands_until_the_network_and_ctzu_set_it():
    async with bench() as b:
        await b.registered()
        assert await b.ask("AT+CCLK?") == ['+CCLK: "80/01/06,00:00:00+00"', "OK"]
        assert await b.ask("AT+CTZU=3") == ["OK"]
        answer = (await b.ask("AT+CCLK?"))[0]
        local = datetime.strptime(answer[8:25], "%y/%m/%d,%H:%M:%S").replace(tzinfo=UTC)
        assert answer[25:] == '+04"'
        assert abs(local - timedelta(hours=1) - datetime.now(UTC)) < timedelta(seconds=3)
        await b.ask("AT+CTZU=1")
        gmt = datetime.strptime((await b.ask("AT+CCLK?"))[0][8:25], "%y/%m/%d,%H:%M:%S").replace(tzinfo=UTC)
        assert abs(gmt - datetime.now(UTC)) < timedelta(seconds=3)


async def test_qlts_gives_gmt_and_local_time():
    async with bench() as b:
        await b.registered()
        for mode, hours in ((1, 0), (2, 1)):
            answer = (await b.ask(f"AT+QLTS={mode}"))[0]
            time = datetime.strptime(answer[8:27], "%Y/%m/%d,%H:%M:%S").replace(tzinfo=UTC)
            assert abs(time - timedelta(hours=hours) - datetime.now(UTC)) < timedelta(seconds=3)
            assert answer[27:] == '+04,0"'


async def test_a_datagram_that_is_on_its_way_arrives_although_its_connection_is_closed():
    async with bench(delay_s=2.0, speedup=10) as b:
        await b.connected()
        assert "SEND OK" in await b.ask('AT+QISENDEX=0,"3432206b5768"')
        assert await b.ask("AT+QICLOSE=0") == ["OK"]
        assert await asyncio.wait_for(b.echo.got.get(), 5) == b"42 kWh"


async def test_no_time_before_the_network():
    async with bench() as b:
        b.network.set_coverage("90170", False)
        await b.modem.power(True)
        await b.until(b"APP RDY\r\n")
        await b.ask("ATE0")
        b.terminal.bytes.clear()
        assert await b.ask("AT+QLTS=2") == ['+QLTS: ""', "OK"]
        assert await b.ask("AT+CTZU=3;+CCLK?") == ['+CCLK: "80/01/06,00:00:00+00"', "OK"]


async def test_a_context_needs_the_network_and_an_apn_it_allows():
    async with bench() as b:
        await b.ask("AT+COPS=2")
        assert await b.ask("AT+QIACT=1") == ["+CME ERROR: 30"]
        b.network.add_subscriber("901700000000001", K, OPC, apns=["iot"])
        await b.ask("AT+COPS=0")
        await b.registered()
        assert await b.ask('AT+QICSGP=1,1,"wrong"') == ["OK"]
        assert await b.ask("AT+QIACT=1") == ["ERROR"]
        assert await b.ask("AT+QIGETERROR") == ["+QIGETERROR: 561,open PDP context failed", "OK"]
        await b.ask('AT+QICSGP=1,1,"iot","","",0')
        assert await b.ask("AT+QIACT=1") == ["OK"]
        assert (await b.ask("AT+QIACT?"))[0].startswith('+QIACT: 1,1,1,"10.')


async def test_a_connection_without_a_context_fails_with_561():
    async with bench() as b:
        await b.registered()
        assert await b.ask('AT+QIOPEN=1,0,"UDP","echo.example",7,0,0') == ["OK"]
        assert await b.line() == "+QIOPEN: 0,561"


@pytest.mark.parametrize(("arguments", "error"), [
    ('1,0,"UDP","echo.example",7,0,0', 563), ('1,1,"UDP","nobody.example",7', 565),
    ('1,1,"UDP SERVICE","echo.example",7', 555), ('1,1,"TCP","echo.example",8', 566),
    ('2,1,"UDP","echo.example",7', 561),
])
async def test_a_connection_fails_by_number(arguments, error):
    async with bench() as b:
        await b.connected()
        assert await b.ask(f"AT+QIOPEN={arguments}") == ["OK"]
        assert await b.line() == f"+QIOPEN: {arguments[2]},{error}"


@pytest.mark.parametrize("arguments", [
    '0,0,"UDP","e",7', '17,0,"UDP","e",7', '1,12,"UDP","e",7', '1,0,"UDP","",7', '1,0,"UDP","e",0',
    '1,0,"UDP","e",65536', '1,0,"UDP","e"', '1,0,"UDP","e",7,0,2',
])
async def test_a_connection_with_wrong_arguments_is_refused_at_once(arguments):
    async with bench() as b:
        assert await b.ask(f"AT+QIOPEN={arguments}") == ["+CME ERROR: 50"]


async def came_back(b, count):
    async with asyncio.timeout(5):
        while len(b.modem.packet_data.connections[0].waiting) < count:
            await b.ask("AT")


async def test_binary_datagrams_go_out_and_come_back_one_by_one():
    payloads = [bytes(range(256)) * 4, b"\r\nOK\r\n", b"> \x1a\x1b"]
    async with bench() as b:
        await b.connected()
        for payload in payloads:
            await b.terminal.send(b"AT+QISEND=0,%d\r" % len(payload))
            await b.until(b"> ")
            await b.terminal.send(payload)
            await b.until(b"SEND OK\r\n")
            assert await asyncio.wait_for(b.echo.got.get(), 5) == payload
        await came_back(b, len(payloads))
        for payload in payloads:
            await b.terminal.send(b"AT+QIRD=0,1500\r")
            head = b"+QIRD: %d\r\n" % len(payload)
            await b.until(head)
            assert await b.terminal.exactly(len(payload)) == payload
            assert await b.terminal.exactly(8) == b"\r\n\r\nOK\r\n"
        assert await b.ask("AT+QIRD=0,1500") == ["+QIRD: 0", "OK"]
        total = sum(map(len, payloads))
        assert await b.ask("AT+QIRD=0,0") == [f"+QIRD: {total},{total},0", "OK"]
        assert await b.ask("AT+QISEND=0,0") == [f"+QISEND: {total},{total},0", "OK"]
        assert b.link.counters.up.payload_bytes >= total


async def test_the_recv_urc_comes_once_until_the_buffer_was_read():
    async with bench() as b:
        await b.connected()
        urcs = [urc for _ in range(3) for urc in await b.bounce(b"\x00\xff")]
        assert urcs == ['+QIURC: "recv",0']
        for _ in range(3):
            assert (await b.ask("AT+QIRD=0"))[0] == "+QIRD: 2"
        assert await b.ask("AT+QIRD=0") == ["+QIRD: 0", "OK"]
        assert await b.bounce(b"\x00\xff") == ['+QIURC: "recv",0']


async def test_push_mode_gives_data_with_the_urc():
    async with bench() as b:
        await b.connected(connection=3, mode=1)
        await b.terminal.send(b'AT+QISENDEX=3,"414243"\r')
        assert (await b.until(b"ABC\r\n")).endswith(b'\r\n+QIURC: "recv",3,3\r\nABC\r\n')


async def test_a_read_shorter_than_the_datagram_loses_the_rest():
    async with bench() as b:
        await b.connected()
        await b.bounce(b"ABCD")
        assert (await b.ask("AT+QIRD=0,2"))[:2] == ["+QIRD: 2", "AB"]
        assert await b.ask("AT+QIRD=0,2") == ["+QIRD: 0", "OK"]


@pytest.mark.parametrize(("command", "result"), [
    ("AT+QISEND=0,1461", "+CME ERROR: 50"), ("AT+QISEND=1,5", "ERROR"), ("AT+QISEND=0", "+CME ERROR: 50"),
    ("AT+QIRD=5", "ERROR"), ("AT+QIRD=0,1501", "+CME ERROR: 50"), ('AT+QISENDEX=0,"0"', "+CME ERROR: 50"),
    ('AT+QISENDEX=0,"' + "00" * 513 + '"', "+CME ERROR: 50"),
])
async def test_what_a_bg95_refuses(command, result):
    async with bench() as b:
        await b.connected()
        assert await b.ask(command) == [result]


async def test_data_before_the_prompt_is_lost():
    async with bench() as b:
        await b.connected()
        await b.terminal.send(b"AT+QISEND=0,3\rxyz")
        await b.until(b"> ")
        await b.terminal.send(b"abc")
        assert await b.line() == "SEND OK"
        assert await asyncio.wait_for(b.echo.got.get(), 5) == b"abc"


async def test_data_that_does_not_come_ends_in_error(monkeypatch):
    async with bench() as b:
        await b.connected()
        monkeypatch.setattr(b.modem.interpreter, "_data_timeout_s", 0.05)
        await b.terminal.send(b"AT+QISEND=0,100\r")
        await b.until(b"> ")
        await b.terminal.send(b"too little")
        assert await b.line() == "ERROR"
        assert await b.ask("AT") == ["OK"]


async def test_closing_frees_the_number():
    async with bench() as b:
        await b.connected()
        assert (await b.ask("AT+QISTATE?"))[0] == '+QISTATE: 0,"UDP","echo.example",7,0,2,1,0,0,"uart1"'
        assert await b.ask("AT+QICLOSE=0") == ["OK"]
        assert await b.ask("AT+QICLOSE=0") == ["OK"]
        assert await b.ask("AT+QISTATE?") == ["OK"]


async def test_a_lost_context_is_deactivated_before_it_is_used_again():
    async with bench() as b:
        await b.connected()
        await b.ask("AT+CEREG=1")
        b.network.set_coverage("90170", False)
        await b.terminal.lines_until('+QIURC: "pdpdeact",1')
        b.network.set_coverage("90170", True)
        await b.terminal.lines_until("+CEREG: 1")
        assert await b.ask("AT+QISEND=0,5") == ["ERROR"]
        assert await b.ask('AT+QISENDEX=0,"00"') == ["SEND FAIL"]
        assert await b.ask("AT+QIACT=1") == ["ERROR"]
        assert await b.ask("AT+QIDEACT=1") == ["OK"]
        await b.connected()


async def test_an_address_that_nobody_has_is_silent():
    async with bench() as b:
        await b.connected()
        assert await b.ask('AT+QIOPEN=1,1,"UDP","192.0.2.1",7') == ["OK"]
        assert await b.line() == "+QIOPEN: 1,0"
        assert await b.ask('AT+QISENDEX=1,"00"') == ["SEND OK"]


async def test_a_slow_reader_loses_datagrams_and_the_modem_stays_well():
    async with bench() as b:
        await b.connected()
        for _ in range(DATAGRAMS_WAITING + 4):
            await b.bounce(b"\x00")
        for _ in range(DATAGRAMS_WAITING):
            assert (await b.ask("AT+QIRD=0"))[0] == "+QIRD: 1"
        assert await b.ask("AT+QIRD=0") == ["+QIRD: 0", "OK"]
