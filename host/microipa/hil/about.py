"""What a board's modem and card are: asked through the board, by its own driver, while its program does not run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from microipa.asn1 import sgp32
from microipa.asn1.describe import describe
from microipa.asn1.reader import SchemaError
from microipa.asn1.tlv import TlvError
from microipa.board.check import check
from microipa.board.known import Board
from microipa.board.repl import BoardFailed, BoardLost, Repl
from microipa.errors import MicroipaError
from microipa.saip import iccid_from_bytes

_VERSIONS = ("profileVersion", "svn", "euiccFirmwareVer", "ppVersion", "globalplatformVersion", "sasAcreditationNumber")
_SILENCE_S = 60.0  # the card is reset, and some modems take their time to read it
_LAST_STEP = "EID"  # of the check, before eIM and network
_STATES = {0: "disabled", 1: "enabled"}
_FUNCTIONS = {  # of ES10: tag, what is sent in it, type of the answer
    "eid": (0xBF3E, "5c015a", "GetEuiccDataResponse"),
    "info1": (0xBF20, "", "EUICCInfo1"),
    "info2": (0xBF22, "", "EUICCInfo2"),
    "profiles": (0xBF2D, "5c035a9f70", "ProfileInfoListResponse"),
    "eims": (0xBF55, "", "GetEimConfigurationDataResponse"),
}
_ASK = """
import sys
sys.path.insert(0, {version!r})
import asyncio
from binascii import hexlify, unhexlify
from board import Board
from ipa import compat
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from ipa.modem import driver
compat.log_level = 0
async def _ask():
    board = Board()
    modem = driver({family!r})(board.uart(), board)
    await modem.start()
    print(("modem", b" ".join(await modem.at.command(b"AT+CGMR", prefix=b"")).decode()))
    await modem.carrier.reset()
    channel = Channel(modem.carrier, {segment})
    await channel.open()
    es10 = Es10(channel)
    for name, tag, fields in {functions}:
        print((name, hexlify(await es10.call(tag, unhexlify(fields))).decode()))
    await channel.close()
"""


class CardUnreadable(MicroipaError):
    """The card's answers are not what SGP.32 has them be."""


@dataclass(frozen=True)
class About:
    """``cis``: key identifiers of the CIs under which the card verifies others. ``profiles``: "enabled" or "disabled",
    by ICCID. ``eims``: EimConfigurationData in asn1tools notation, by eimId. ``versions``: those in EUICCInfo2."""

    modem_firmware: str
    eid: str
    cis: tuple[bytes, ...]
    profiles: Mapping[str, str]
    eims: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def enabled(self) -> str:
        """ICCID of the enabled profile, "" without one."""
        return next((iccid for iccid, state in self.profiles.items() if state == "enabled"), "")


def ask(port: str, board: Board, version: str, settings: Mapping[str, Any]) -> About:
    """What board, modem and card tell. ``version``: of the firmware on the board; ``settings``: its ipa.json.

    Raises CheckFailed with the step that fails and what to look at, CardUnreadable, PortError, BoardSilent, BoardLost.
    """
    family = settings.get("modem", "auto")
    functions = [(name, tag, fields.encode()) for name, (tag, fields, _) in _FUNCTIONS.items()]
    code = _ASK.format(version=version, family=board.modem if family == "auto" else family,
                       segment=settings.get("segment", 255), functions=functions)
    with Repl(port) as repl:
        try:
            repl.run(code)
            told = dict(repl.lines("asyncio.run(_ask())", _SILENCE_S))
        except (BoardFailed, BoardLost) as error:
            failed = error
        else:
            return _understood(told)
    with Repl(port) as repl:  # anew: what has failed may still wait for an answer
        _explain(repl, board)
    raise failed


def _explain(repl: Repl, board: Board) -> None:
    """Go the steps of `microipa board check` as far as the card. Raises CheckFailed at the one that fails."""
    for title, _ in check(repl, board, lambda _: None):
        if title == _LAST_STEP:
            return


def _understood(told: Mapping[str, str]) -> About:
    try:
        value = {name: sgp32.decode(kind, bytes.fromhex(told[name])) for name, (_, _, kind) in _FUNCTIONS.items()}
        listed = value["profiles"]
        if listed[0] != "profileInfoListOk":
            raise CardUnreadable(f"the card does not list its profiles ({listed[1]}): reset it, and try again")
        return About(
            modem_firmware=told["modem"],
            eid=value["eid"]["eidValue"].hex(),
            cis=tuple(value["info1"]["euiccCiPKIdListForVerification"]),
            profiles={iccid_from_bytes(one["iccid"]): _STATES[one["profileState"]] for one in listed[1]},
            eims={one["eimId"]: one for one in value["eims"]["eimConfigurationDataList"]},
            versions=_versions(bytes.fromhex(told["info2"])),
        )
    except (KeyError, TlvError, SchemaError) as error:
        raise CardUnreadable(f"the card's answers lack or garble {error}: try another modem or card") from None


def _versions(info2: bytes) -> dict[str, str]:
    said = describe(info2, "EUICCInfo2").json()["value"]
    return {name: str(said[name]) for name in _VERSIONS if name in said}
