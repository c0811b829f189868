"""The power key of the virtual board's modem."""

from __future__ import annotations

import asyncio
from pathlib import Path

from microipa.board.power_key import PowerKey


async def test_each_press_is_told_and_the_board_does_not_wait(tmp_path: Path) -> None:
    presses: asyncio.Queue[str] = asyncio.Queue()
    key = PowerKey(tmp_path / "key", lambda: presses.put_nowait("key"), lambda: presses.put_nowait("pin"),
                   lambda may_sleep: presses.put_nowait("may sleep" if may_sleep else "awake"))
    for _ in range(2):
        key.path.write_bytes(b"1")
        assert await asyncio.wait_for(presses.get(), 5) == "key"
    for octet, said in ((b"w", "pin"), (b"s", "may sleep"), (b"a", "awake")):
        key.path.write_bytes(octet)
        assert await asyncio.wait_for(presses.get(), 5) == said
    key.close()
    assert not (tmp_path / "key").exists()
    assert presses.empty()
