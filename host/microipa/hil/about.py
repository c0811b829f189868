"""What a run tells of its modem and card: asked of the board, and of the eIM that has asked the card."""

from __future__ import annotations

from microipa.board.repl import BoardFailed, Repl
from microipa.hil.station import Station

_VERSIONS = ("profileVersion", "svn", "euiccFirmwareVer", "ppVersion", "globalplatformVersion", "sasAcreditationNumber")
_ASK = """
import sys
sys.path.insert(0, {version!r})
import asyncio
from board import Board
from ipa.modem import driver
async def _ask():
    board = Board()
    modem = driver({family!r})(board.uart(), board)
    await modem.start()
    return b" ".join(await modem.at.command(b"AT+CGMR", prefix=b"")).decode()
"""


def modem_firmware(station: Station) -> str:
    """The answer to AT+CGMR, or why there is none."""
    with Repl(station.port) as repl:
        try:
            repl.run(_ASK.format(version=station.flashed.version, family=station.place.family))
            return str(repl.value("asyncio.run(_ask())"))
        except BoardFailed as error:
            return f"not told: {error}"


def card_versions(station: Station) -> dict[str, str]:
    """Versions in EUICCInfo2, as far as the eIM has heard it."""
    eim = station.lab.eim
    info = station.loop.call(lambda: eim.device(station.lab.eid).euicc_info2)
    if not isinstance(info, dict):
        return {}
    return {name: str(info[name]) for name in _VERSIONS if name in info}
