"""ipa.card.channel under MicroPython: STORE DATA chains and their answers (SGP.22 5.7.2, TS 102 221)."""

from __future__ import annotations

import pytest
from board_run import Run

START = """
from ipa.card.channel import Channel
from ipa.modem.at import AtError
from rooms import Carrier, Stream, failing, run
"""


def script(body: str) -> str:
    return START + f"""
async def main():
{body}
run(main())
"""


async def test_sgp32_3_8_2_opening_selects_the_isdr_and_tells_the_terminal_capability(
        micropython: Run) -> None:
    out = await micropython(script("""
    carrier = Carrier(None)
    await Channel(carrier).open()
    print(carrier.aid.hex(), carrier.apdus[0].hex())
"""))
    assert out.split() == ["a0000005591010ffffffff8900000100", "80aa000005a903840101"]


async def test_sgp32_3_8_2_a_modem_that_keeps_the_terminal_capability_to_itself_opens_the_channel_all_the_same(
        micropython: Run) -> None:
    out = await micropython(script("""
    carrier = Carrier(lambda command: b"abc")
    through = carrier.transmit
    async def transmit(apdu):
        if apdu[1] == 0xAA:
            raise AtError(b"AT+CGLA", "+CME ERROR: 4")
        return await through(apdu)
    carrier.transmit = transmit
    channel = Channel(carrier)
    await channel.open()
    print(channel.is_open, bytes(await channel.store(b"\xbf\x2e\x00")))
"""))
    assert out.splitlines()[-1] == "True b'abc'"


async def test_a_command_goes_out_in_numbered_blocks_and_its_answer_comes_by_get_response(
        micropython: Run) -> None:
    out = await micropython(script("""
    command = bytes(i & 255 for i in range(700))
    seen = []
    def answer(whole):
        seen.append(whole)
        return bytes(600)
    carrier = Carrier(answer)
    channel = Channel(carrier)
    got = await channel.store(command[:3], command[3:300], stream=Stream(command[300:]), length=400)
    assert seen == [command] and got == bytes(600)
    for apdu in carrier.apdus:
        print(apdu[:5].hex())
    # The next answer is not mixed with this one.
    carrier._answer = lambda command: b"\\x80\\x00"
    assert await channel.store(b"\\xbf\\x2e\\x00") == b"\\x80\\x00"
"""))
    assert out.split() == ["80e21100ff", "80e21101ff", "80e29102be", "00c0000000", "00c0000000", "00c0000058"]


async def test_a_modem_that_refuses_long_apdus_teaches_a_smaller_segment_without_losing_a_byte(
        micropython: Run) -> None:
    out = await micropython(script("""
    command = bytes(i * 7 & 255 for i in range(1000))
    seen = []
    carrier = Carrier(lambda whole: seen.append(whole) or b"", most=100)
    channel = Channel(carrier)
    await channel.store(command[:10], stream=Stream(command[10:]), length=990)
    assert seen == [command]
    count = len(carrier.apdus)
    await channel.store(command[:100])
    print(carrier.longest, count, len(carrier.apdus) - count)
"""))
    assert out.splitlines() == ["63 16 2"]


async def test_an_error_that_is_not_for_length_leaves_the_card_alone_with_what_it_may_have_got(
        micropython: Run) -> None:
    out = await micropython(script("""
    carrier = Carrier(lambda whole: b"")
    channel = Channel(carrier)
    await channel.store(bytes(100))
    carrier._most = 10
    print(await failing(channel.store(bytes(100))), len(carrier.apdus))
    carrier = Carrier(lambda whole: b"")
    through = carrier.transmit
    async def transmit(apdu):
        if apdu[3] == 1:
            raise AtError(b"AT+CGLA", "ERROR")
        return await through(apdu)
    carrier.transmit = transmit
    print(await failing(Channel(carrier).store(bytes(1000))), len(carrier.apdus))
"""))
    assert out.splitlines() == ["AtError b'AT+CGLA': ERROR 1", "AtError b'AT+CGLA': ERROR 1"]


async def test_status_words_other_than_9000_end_in_an_error_that_names_the_command(micropython: Run) -> None:
    out = await micropython(script("""
    for sw in (0x6A88, 0x6985, 0x6581):
        print(await failing(Channel(Carrier(lambda command: sw)).store(b"\\xbf\\x2e\\x00")))
    # 91xx is a good answer with a proactive command behind it.
    print(bytes(await Channel(Carrier(lambda command: b"abc", last=b"\\x91\\x0b")).store(b"\\x5a\\x00")))
"""))
    assert out.splitlines() == [
        "StatusError card answered 6A88 to BF2E",
        "StatusError card answered 6985 to BF2E",
        "StatusError card answered 6581 to BF2E",
        "b'abc'",
    ]


async def test_an_error_in_the_middle_of_a_chain_ends_the_chain(micropython: Run) -> None:
    out = await micropython(script("""
    carrier = Carrier(None)
    async def transmit(apdu):
        carrier.apdus.append(bytes(apdu))
        return b"\\x90\\x00" if apdu[3] == 0 else b"\\x6a\\x80"
    carrier.transmit = transmit
    print(await failing(Channel(carrier).store(bytes(1000))), len(carrier.apdus))
"""))
    assert out.strip() == "StatusError card answered 6A80 to 00 2"


async def test_answers_without_status_or_without_end_and_streams_that_end_early_are_named(
        micropython: Run) -> None:
    out = await micropython(script("""
    class Odd:
        def __init__(self, answer):
            self.answer = answer
        async def transmit(self, apdu):
            return self.answer
    for answer in (b"", b"\\x90", b"\\x61\\x05", b"\\x6c\\x05", bytes(256) + b"\\x61\\x00"):
        print(await failing(Channel(Odd(answer)).store(b"\\xbf\\x2e\\x00")))
    ends_early = Channel(Carrier(lambda command: b"")).store(b"\\x86\\x05", stream=Stream(b"abc"), length=5)
    print(await failing(ends_early))
    print(await failing(Channel(Carrier(lambda command: b""), 100).store(b"\\x86", length=25600)))
"""))
    assert out.splitlines() == [
        "CardError answer without a status word",
        "CardError answer without a status word",
        "CardError the answer has no end",
        "CardError the answer has no end",
        "ResponseTooLong more than 8192 bytes",
        "CommandCut 86 ends 2 bytes early",
        "CommandTooLong 86 of 25601 bytes",
    ]


async def test_5_7_2_a_command_has_at_most_256_blocks(micropython: Run) -> None:
    """With 50 bytes at most the modem takes half of each segment of 100."""
    out = await micropython(script("""
    class Counting:
        def __init__(self, most):
            self.most, self.octets = most, 0
        async def transmit(self, apdu):
            if len(apdu) - 5 > self.most:
                raise AtError(b"AT+CGLA", "ERROR")
            self.octets += len(apdu) - 5
            return b"\\x90\\0"
    class Zeros:
        async def readinto(self, view):
            return len(view)
    for most, length in ((100, 25600), (50, 12800), (50, 12801)):
        carrier = Counting(most)
        print(await failing(Channel(carrier, 100).store(b"\\xa0", stream=Zeros(), length=length - 1)), carrier.octets)
"""))
    assert out.splitlines() == [
        "no error but <memoryview> 25600", "no error but <memoryview> 12800",
        "CommandTooLong A0 in segments of 50 12800"]


async def test_a_card_that_refuses_a_command_when_it_comes_again_for_its_answer_is_told_by_its_status_word(
        micropython: Run) -> None:
    out = await micropython(script("""
    answers = [b"\\x90\\0", b"\\x69\\x85", b"\\x6a\\x80"]
    class Forgetful:
        async def transmit(self, apdu):
            return answers.pop(0)
    print(await failing(Channel(Forgetful()).store(b"\\xbf\\x2e\\0", answered=True)), answers)
"""))
    assert out.strip() == "StatusError card answered 6A80 to BF2E []"


async def test_3_7_a_card_that_keeps_more_results_than_there_is_room_for_gives_them_one_after_the_other(
        micropython: Run) -> None:
    out = await micropython(script("""
    from ipa import tlv
    from ipa.card.es10 import Es10
    kept = [tlv.encode(0xBF51, bytes((n,)) * 999) for n in range(12)]
    def answer(command):
        if command == bytes.fromhex("bf3003800107"):
            del kept[0]
            return bytes.fromhex("bf3003800100")
        return tlv.encode(0xBF2B, tlv.encode(0xA2, *kept))
    es10 = Es10(Channel(Carrier(answer)))
    while True:
        results = [raw for _, _, raw in tlv.items(await es10.retrieve_results())]
        if not results:
            break
        assert [bytes(raw) for raw in results] == kept[: len(results)]
        print(len(kept), len(results))
        await es10.remove_notification(7)
"""), heapsize="192K")
    pairs = [tuple(map(int, line.split())) for line in out.splitlines() if line[0].isdigit()]
    assert pairs == [(n, min(n, 8)) for n in range(12, 0, -1)]


async def test_3_7_one_result_that_is_too_large_by_itself_does_not_stop_the_device(micropython: Run) -> None:
    out = await micropython(script("""
    from ipa import tlv
    from ipa.card.es10 import Es10
    large = tlv.encode(0xBF51, bytes(19000))
    carrier = Carrier(lambda command: tlv.encode(0xBF2B, tlv.encode(0xA2, large)))
    print(bytes(await Es10(Channel(carrier)).retrieve_results()), len(carrier.apdus))
"""), heapsize="192K")
    # The rest is not asked for: 8192 bytes are 33 answers.
    assert out.splitlines()[-1] == "b'' 34"


@pytest.mark.parametrize(("size", "outcome"), [
    (8192, "no error but 8192"), (8193, "ResponseTooLong more than 8192 bytes")])
async def test_an_answer_has_8192_bytes_at_most(micropython: Run, size: int, outcome: str) -> None:
    out = await micropython(script(f"""
    async def length():
        return len(await Channel(Carrier(lambda command: bytes({size}))).store(b"\\xbf\\x2e\\x00"))
    print(await failing(length()))
"""), heapsize="192K")
    assert out.strip() == outcome


async def test_3_7_results_that_the_heap_has_no_room_for_are_those_that_it_has_room_for(micropython: Run) -> None:
    out = await micropython(script("""
    import gc
    from ipa import tlv
    from ipa.card.es10 import Es10
    kept = [tlv.encode(0xBF51, bytes((n,)) * 500) for n in range(12)]
    answer = tlv.encode(0xBF2B, tlv.encode(0xA2, *kept))
    class Lean:
        # gives its answer without a copy of it
        async def transmit(self, apdu):
            self.at = 0 if apdu[1] == 0xE2 else self.at + 250
            return answer[self.at : self.at + 250] + (b"\\x61\\xfa" if self.at + 250 < len(answer) else b"\\x90\\0")
    assert len(await Es10(Channel(Lean())).retrieve_results()) == len(answer) - 9
    carrier = Lean()
    es10 = Es10(Channel(carrier))
    full = None
    try:
        while True:
            full = full, bytearray(512)
    except MemoryError:
        for _ in range(8):
            full = full[0]
    gc.collect()
    n = len(await es10.retrieve_results())
    full = None
    print(n, 0 < n < len(answer) - 9, "of which the card has told", carrier.at - n < 1000)
"""), heapsize="192K")
    assert out.splitlines()[-1].endswith(" True of which the card has told True")


RETICENT = """
    from ipa.card.es10 import Es10
    ANSWER = bytes.fromhex("bf2e128010") + bytes(16)

    class Reticent(Carrier):
        # Says 9000 to a last block without Le, and then what `way` says
        asked = 0
        def __init__(self, way):
            super().__init__(lambda command: b"")
            self.way = way
        async def transmit(self, apdu):
            self.apdus.append(bytes(apdu))
            if apdu[1] == 0xC0:
                return ANSWER + b"\\x90\\x00" if self.way == "get-response" else b"\\x69\\x85"
            if apdu[1] != 0xE2 or apdu[2] == 0x11 or len(apdu) == 5 + apdu[4] or self.way != "le":
                return b"\\x90\\x00"
            if apdu[-1] != len(ANSWER):
                return bytes((0x6C, len(ANSWER)))
            return ANSWER + b"\\x90\\x00"
"""


async def test_7816_4_a_card_that_keeps_its_answer_gives_it_to_get_response(micropython: Run) -> None:
    out = await micropython(script(RETICENT + """
    carrier = Reticent("get-response")
    print((await Es10(Channel(carrier)).get_euicc_challenge()).hex(), len(carrier.apdus))
"""))
    assert out.split() == ["00" * 16, "2"]


async def test_7816_4_a_card_that_answers_only_with_an_expected_length_gets_one_from_then_on(
        micropython: Run) -> None:
    """lpac #118, #159"""
    out = await micropython(script(RETICENT + """
    carrier = Reticent("le")
    channel = Channel(carrier)
    es10 = Es10(channel)
    for _ in range(2):
        print((await es10.get_euicc_challenge()).hex())
        print([apdu.hex() for apdu in carrier.apdus])
        carrier.apdus.clear()
    await channel.store(bytes(300), answered=True)
    print([len(apdu) for apdu in carrier.apdus][:2])
"""))
    once = "80e2910003bf2e0000"
    assert out.splitlines() == [
        "00" * 16, str([once[:-2], "00c0000000", once, once[:-2] + "15"]), "00" * 16, str([once, once[:-2] + "15"]),
        "[260, 51]"]


async def test_a_function_without_an_answer_is_named_and_one_that_has_none_is_not_asked_for_it(
        micropython: Run) -> None:
    out = await micropython(script(RETICENT + """
    carrier = Reticent("never")
    channel = Channel(carrier)
    print(await failing(Es10(channel).get_euicc_challenge()), len(carrier.apdus))
    carrier.apdus.clear()
    print(bytes(await channel.store(bytes.fromhex("860100"))), [apdu.hex() for apdu in carrier.apdus])
"""))
    assert out.splitlines() == ["CardError no answer to BF2E 3", "b'' ['80e2910003860100']"]


async def test_a_function_that_changes_nothing_is_asked_once_more_when_its_answer_was_lost_and_no_other_is(
        micropython: Run) -> None:
    out = await micropython(script("""
    from ipa.card.es10 import Es10
    from ipa.modem.at import AtTimeout
    carrier = Carrier(lambda command: b"\\xbf\\x2e\\x12\\x80\\x10" + bytes(16))
    through = carrier.transmit
    lost = 1
    async def transmit(apdu):
        nonlocal lost
        answer = await through(apdu)
        if lost:
            lost -= 1
            raise AtTimeout("no answer to AT+CGLA")
        return answer
    carrier.transmit = transmit
    es10 = Es10(Channel(carrier))
    print(len(await es10.get_euicc_challenge()), len(carrier.apdus))
    lost = 1
    print(await failing(es10.load_euicc_package(b"")), len(carrier.apdus))
    lost = 2
    print(await failing(es10.get_euicc_challenge()), len(carrier.apdus))
"""))
    assert [line for line in out.splitlines() if not line.startswith("I (")] == [
        "16 3", "AtTimeout no answer to AT+CGLA 4", "AtTimeout no answer to AT+CGLA 6"]
