"""The card in the modem: identity, AKA, channels, proactive REFRESH (TS 27.007 8, TS 102 221, TS 102 223)."""

import pytest
from microipa.modem.sim import on_channel
from modem_bench import ISD_R, SWITCH, StubCard, bench

OPEN = f'AT+CCHO="{ISD_R.hex()}"'


def cgla(session, apdu):
    return f'AT+CGLA={session},{2 * len(apdu)},"{apdu.hex().upper()}"'


@pytest.mark.parametrize(("cla", "channel", "expected"), [
    (0x00, 1, 0x01), (0x80, 3, 0x83), (0x81, 2, 0x82), (0x0C, 1, 0x0D),
    (0x00, 4, 0x40), (0x80, 4, 0xC0), (0x80, 19, 0xCF), (0x8C, 5, 0xE1), (0xC1, 2, 0x82), (0xE1, 0, 0x8C),
])
def test_channel_in_cla_ts_102_221_10_1_1(cla, channel, expected):
    assert on_channel(bytes([cla, 0xE2, 0, 0]), channel) == bytes([expected, 0xE2, 0, 0])


async def test_identity_is_read_at_power_on():
    async with bench() as b:
        assert await b.ask("AT+CIMI") == ["901700000000001", "OK"]
        assert await b.ask("AT+QCCID") == ["+QCCID: 8988211000000000000", "OK"]
        assert await b.ask("AT+CPIN?") == ["+CPIN: READY", "OK"]
    assert bytes.fromhex("80AA000004A9028000") in b.card.log
    assert any(apdu[1] == 0x10 for apdu in b.card.log)


async def test_boot_says_ready_only_with_a_profile():
    async with bench(StubCard(imsis=())) as b:
        assert await b.ask("AT+CPIN?") == ["+CME ERROR: 13"]
        assert await b.ask("AT+CIMI") == ["+CME ERROR: 13"]
        assert await b.ask("AT+CEREG?") == ["+CEREG: 0,0", "OK"]
        assert await b.ask(OPEN) == ["+CCHO: 1", "OK"]  # ISD-R is there all the same


async def test_the_card_is_authenticated_and_resynchronised_at_attach():
    card = StubCard()
    card.sqn = 1 << 30
    async with bench(card) as b:
        await b.registered()
    assert sum(apdu[1] == 0x88 for apdu in card.log) == 2


async def test_wrong_keys_are_denied_with_their_cause():
    async with bench(search_s=1, speedup=20, delay_s=0) as b:
        b.network.add_subscriber("901700000000001", bytes(16), bytes(16))
        assert await b.ask("AT+CEREG=3") == ["OK"]
        assert await b.line() == "+CEREG: 3,,,,0,3"
        assert await b.ask("AT+COPS?") == ["+COPS: 0", "OK"]


async def test_apdus_go_to_the_channel_and_come_back_as_they_are():
    async with bench() as b:
        assert await b.ask(OPEN) == ["+CCHO: 1", "OK"]
        assert await b.ask(cgla(1, bytes.fromhex("80E2910003BF2000"))) == ['+CGLA: 6,"089000"', "OK"]
        assert b.card.log[-1][0] == 0x81
        assert await b.ask(cgla(1, bytes.fromhex("00A4040C10") + ISD_R)) == ['+CGLA: 4,"9000"', "OK"]
        assert await b.ask(cgla(1, bytes.fromhex("00A4040010") + ISD_R)) == ['+CGLA: 4,"6104"', "OK"]
        assert await b.ask("AT+CCHC=1") == ["OK"]
        assert await b.ask("AT+CCHC=1") == ["+CME ERROR: 21"]
        assert await b.ask(cgla(1, b"\x80\xe2\x91\x00")) == ["+CME ERROR: 21"]


async def test_csim_sends_the_command_as_it_is():
    async with bench() as b:
        assert await b.ask('AT+CSIM=10,"0070000001"') == ['+CSIM: 6,"019000"', "OK"]
        assert await b.ask('AT+CSIM=8,"00700000"') == ['+CSIM: 6,"029000"', "OK"]


@pytest.mark.parametrize("command", [
    'AT+CGLA=1,8,"80E29100BF"', 'AT+CGLA=1,10,"80E291"', 'AT+CGLA=1,6,"80E291"', 'AT+CGLA=1,7,"80E2910"',
    'AT+CGLA=1,8,"80E2910g"', "AT+CGLA=1", 'AT+CGLA=1,524,"' + "00" * 262 + '"', 'AT+CSIM=4,"0000"',
    'AT+CCHO=""', 'AT+CCHO="A000"', 'AT+CCHO="' + "A0" * 17 + '"',
])
async def test_a_lying_or_impossible_length_is_refused(command):
    async with bench() as b:
        await b.ask(OPEN)
        log = len(b.card.log)
        assert await b.ask(command) == ["+CME ERROR: 50"]
        assert len(b.card.log) == log


async def test_an_unknown_application_is_a_sim_failure_and_leaks_no_channel():
    async with bench() as b:
        for _ in range(5):
            assert await b.ask('AT+CCHO="A000000559FFFF"') == ["+CME ERROR: 13"]
        assert b.card.channels == {0}


async def test_channels_run_out():
    async with bench() as b:
        for number in (1, 2, 3):
            assert await b.ask(OPEN) == [f"+CCHO: {number}", "OK"]
        assert await b.ask(OPEN) == ["+CME ERROR: 13"]


@pytest.mark.parametrize("qualifier", [0x09, 0x04])
async def test_refresh_resets_the_card_and_attaches_with_the_new_identity(qualifier):
    async with bench(StubCard(qualifier=qualifier)) as b:
        await b.connected()
        assert await b.ask("AT+CEREG=1") == ["OK"]
        assert await b.ask(OPEN) == ["+CCHO: 1", "OK"]
        answer = await b.ask(cgla(1, SWITCH))
        assert answer == ['+CGLA: 16,"BF3103800100910B"', "OK"]
        assert await b.terminal.lines_until("+CEREG: 1") == [
            "+CEREG: 0", '+QIURC: "pdpdeact",1', "+CPIN: NOT READY", "+CPIN: READY", "+CEREG: 2",
            "+CEREG: 1"]
        assert await b.ask("AT+CIMI") == ["901700000000002", "OK"]
        assert await b.ask(cgla(1, SWITCH)) == ["+CME ERROR: 21"]
    assert b.card.resets == 1
    responses = [apdu for apdu in b.card.log if apdu[1] == 0x14]
    # A UICC reset is answered by the reset alone (TS 102 223 6.4.7).
    assert responses == ([] if qualifier == 4 else [bytes.fromhex("801400000C810301010982028281830100")])


async def test_a_proactive_command_beyond_the_terminal_is_declined_ts_102_223_8_12():
    card = StubCard()
    async with bench(card) as b:
        await b.ask(OPEN)
        original = card.store_data

        def announce(apdu, channel):
            original(apdu, channel)
            card.pending = bytes.fromhex("D009810301210082028102")  # DISPLAY TEXT
            return bytes([0x91, len(card.pending)])

        card.store_data = announce
        assert await b.ask(cgla(1, SWITCH)) == ['+CGLA: 4,"910B"', "OK"]
        assert await b.ask(cgla(1, b"\x80\xca\x00\x00")) == ['+CGLA: 4,"9000"', "OK"]
        assert bytes.fromhex("801400000C810301210082028281830130") in card.log
    assert card.resets == 0


async def test_an_unreadable_proactive_command_is_declined():
    card = StubCard()
    async with bench(card) as b:
        await b.ask(OPEN)
        card.fetch = lambda apdu, channel: b"\xd0\x30\x81\x90\x00"
        await b.ask(cgla(1, SWITCH))
        assert await b.ask("AT+CIMI") == ["901700000000001", "OK"]
    assert any(apdu[1] == 0x14 and apdu[-1] == 0x32 for apdu in card.log)


async def test_cfun_0_takes_the_card_its_power_and_1_reads_it_again():
    async with bench() as b:
        await b.registered()
        assert await b.ask(OPEN) == ["+CCHO: 1", "OK"]
        await b.ask("AT+CEREG=1")
        assert await b.ask("AT+CFUN=0") == ["OK"]
        assert await b.line() == "+CEREG: 0"
        assert not b.card.powered
        assert await b.ask(OPEN) == ["+CME ERROR: 13"]
        b.card.profile = 1
        assert "OK" in await b.ask("AT+CFUN=1")
        await b.terminal.lines_until("+CEREG: 1")
        assert await b.ask("AT+CIMI") == ["901700000000002", "OK"]
        assert await b.ask("AT+CFUN?") == ["+CFUN: 1", "OK"]


async def test_cfun_4_leaves_the_card_on_and_reads_it_again_at_1():
    async with bench() as b:
        await b.registered()
        assert await b.ask("AT+CFUN=4") == ["OK"]
        assert b.card.powered
        assert (await b.ask("AT+CEREG?"))[0].endswith(",0")
        b.card.profile = 1
        assert await b.ask("AT+CFUN=1") == ["OK"]
        assert (await b.ask("AT+CIMI"))[0] == "901700000000002"
        assert b.card.resets == 0


async def test_a_card_that_falls_silent_is_a_sim_failure_until_power_comes_back():
    async with bench() as b:
        await b.ask(OPEN)
        b.card.silent = True
        assert await b.ask(cgla(1, SWITCH)) == ["+CME ERROR: 13"]
        assert await b.ask("AT+CCHC=1") == ["+CME ERROR: 13"]
        b.card.silent = False
        await b.ask("AT+CFUN=0")
        await b.ask("AT+CFUN=1")
        assert await b.ask(OPEN) == ["+CCHO: 1", "OK"]
