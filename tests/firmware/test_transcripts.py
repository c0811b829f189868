"""Golden conversations with modems: each driver, in the real MicroPython, says what it said when they were recorded and
understands what the modem answered.

They are made anew by `microipa modem record tests/firmware/transcripts/bg95.at --modem bg95 --port /dev/ttyUSB2`. Those
here are of the lab's modems: nobody has recorded one of a real modem yet.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from microipa.modem import FAMILIES
from microipa.modem.record import take_tour
from microipa.modem.serial import Serial
from microipa.modem.transcript import Player, Transcript

FILES = sorted((Path(__file__).parent / "transcripts").glob("*.at"))
ECHO = ("echo.microipa.example", 7)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_a_driver_has_the_conversation_that_was_recorded(file: Path) -> None:
    transcript = Transcript.read(file)
    expected = [line[2:] for line in transcript.title if line.startswith("= ")]
    line = Serial(lambda data: player.feed(data))
    player = Player(transcript, line.write)
    try:
        status, lines = await take_tour(line.path, file.stem, "iot", ECHO)
    finally:
        line.close()
    assert (status, lines) == (0, expected)
    assert not player.strange
    assert player.finished


def test_every_family_has_a_conversation() -> None:
    assert {file.stem for file in FILES} == set(FAMILIES)
