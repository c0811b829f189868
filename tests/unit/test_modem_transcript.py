"""Transcripts: what is written is what was said, and the player says it again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from microipa.modem.transcript import BadTranscript, Player, Transcript

PIECES = st.sampled_from([b"AT", b"\r", b"\r\n", b"OK", b"> ", b" ", b"\x00\xff", b"+QIRD: 4", b"#", b"\n"])
BYTES = st.binary(max_size=6) | st.lists(PIECES, max_size=8).map(b"".join)


@given(st.lists(st.tuples(BYTES, BYTES), max_size=8))
def test_what_was_written_is_read_again_to_the_byte(spoken: list[tuple[bytes, bytes]]) -> None:
    transcript = Transcript(title=["bg95"])
    for sent, said in spoken:
        if sent:
            transcript.driver(sent)
        if said:
            transcript.modem(said)
    again = Transcript.parse(transcript.text())
    for direction in ("sent", "said"):
        assert b"".join(getattr(turn, direction) for turn in again.turns) == b"".join(
            getattr(turn, direction) for turn in transcript.turns)
    assert again.title == ["bg95"]


def test_bytes_that_are_no_line_stand_there_in_letters_as_well() -> None:
    transcript = Transcript()
    transcript.driver(b"AT+QISEND=0,4\r")
    transcript.modem(b"\r\n> ")
    transcript.driver(b"a|\x00b")
    assert transcript.text() == "> AT+QISEND=0,4\n<< 0d0a 3e20  | ..>.\n>> 617c 0062  | a|.b\n"
    assert Transcript.parse(transcript.text()).turns == transcript.turns


@pytest.mark.parametrize("line", ["AT", ">>> 00", "<< 0g", "? x"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(BadTranscript, match="bg95.at line 2 begins with none of"):
        Transcript.parse(f"# bg95\n{line}\n", "bg95.at")


TALK = """
< RDY
> AT
< OK
> AT+QISEND=0,3
<< 3e20
>> 00 0102
< SEND OK
> AT+CEREG?
< +CEREG: 0,2
< OK
> AT+CEREG?
< +CEREG: 0,1
< OK
"""


def test_the_player_answers_in_order_and_what_is_asked_again_with_the_last_answer() -> None:
    said: list[bytes] = []
    player = Player(Transcript.parse(TALK), said.append)
    assert said == [b"\r\nRDY\r\n"]
    player.feed(b"A")
    player.feed(b"T\rAT+QISEND=0,3\r")
    assert said[1:] == [b"\r\nOK\r\n", b"> "]
    player.feed(b"\r\r\r")  # data of that length, whichever they are
    assert said[-1] == b"\r\nSEND OK\r\n"
    player.feed(b"AT+CEREG?\rAT+CEREG?\rAT+CEREG?\r")
    assert [b"0,1" in text for text in said[-3:]] == [False, True, True]
    assert player.finished
    assert not player.strange


def test_a_line_the_conversation_does_not_have_is_an_error_and_kept() -> None:
    said: list[bytes] = []
    player = Player(Transcript.parse(TALK), said.append)
    player.feed(b"AT+WHAT\rAT\r")
    assert said[1:] == [b"\r\nERROR\r\n", b"\r\nOK\r\n"]
    assert player.strange == [b"AT+WHAT\r"]


@given(st.text())
def test_a_remark_stays_one_line_whatever_a_driver_has_printed(remark: str) -> None:
    text = Transcript(title=[remark]).text()
    assert text.splitlines() == [text.rstrip("\n")]
    assert text.rstrip("\n").isprintable()
    assert Transcript.parse(text).text() == text
