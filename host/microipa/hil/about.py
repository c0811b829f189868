"""What a board's modem and card are: asked through the board, by its own driver, while its program does not run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microipa.asn1 import sgp32
from microipa.asn1.describe import describe
from microipa.asn1.reader import SchemaError
from microipa.asn1.tlv import TlvError, parse
from microipa.board.check import check
from microipa.board.known import Board
from microipa.board.package import EIM
from microipa.board.repl import BoardFailed, BoardLost, Repl
from microipa.common.errors import MicroipaError
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
    "addresses": (0xBF3C, "", ""),  # whose other fields differ between SGP.22 and SGP.32
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


class CardUnfit(MicroipaError):
    """A card that a bench cannot work with; the message says what to do."""


class CardUnreadable(MicroipaError):
    """The card's answers are not what SGP.32 has them be."""


@dataclass(frozen=True)
class About:
    """``cis``: key identifiers of the CIs under which the card verifies others. ``profiles``: "enabled" or "disabled",
    by ICCID. ``eims``: EimConfigurationData in asn1tools notation, by eimId. ``versions``: those in EUICCInfo2.
    ``default_smdp``: "" without one."""

    modem_firmware: str
    eid: str
    cis: tuple[bytes, ...]
    profiles: Mapping[str, str]
    eims: Mapping[str, Any]
    versions: Mapping[str, str]
    default_smdp: str = ""

    @property
    def enabled(self) -> str:
        """ICCID of the enabled profile, "" without one."""
        return next((iccid for iccid, state in self.profiles.items() if state == "enabled"), "")

    def check_ci(self, key_id: bytes, name: str) -> None:
        """See that the eIM's CI, that of the certificate ``name``, is one of the card's. Raises CardUnfit."""
        if key_id not in self.cis:
            known = ", ".join(one.hex() for one in self.cis)
            raise CardUnfit(f"the card {self.eid} trusts the CIs {known}, but not that of {name}: give the certificate "
                            "of one of them as ci of the place")

    def check_eim(self, ours: Mapping[str, Any], folder: Path) -> None:
        """See that the card can belong to our eIM, whose EimConfigurationData this is, and whose lab is in ``folder``.
        Raises CardUnfit."""
        theirs = self.eims.get(ours["eimId"])
        key = ours["eimPublicKeyData"]
        if theirs and theirs.get("eimPublicKeyData", key) != key:
            raise CardUnfit(f"the card {self.eid} knows the eIM {ours['eimId']} with another key than {folder} has: "
                            "restore that lab's folder (lab of the place), or use another host in eim_url")
        if self.eims and not theirs:
            raise CardUnfit(f"the card {self.eid} belongs to the eIM {', '.join(self.eims)}: let that eIM order addEim "
                            f"with {folder / EIM}, or use a card without an eIM")

    def check_profiles(self) -> None:
        """See that the board can get onto a network. Raises CardUnfit."""
        if not self.enabled:
            raise CardUnfit(f"the card {self.eid} has no enabled profile, so the board cannot register: enable "
                            "one first, with an LPA or another eIM")


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
        value = {name: sgp32.decode(kind, bytes.fromhex(told[name])) for name, (_, _, kind) in _FUNCTIONS.items()
                 if kind}
        address = parse(bytes.fromhex(told["addresses"])).get(0x80)
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
            default_smdp=address.value.decode() if address else "",
        )
    except (KeyError, UnicodeDecodeError, TlvError, SchemaError) as error:
        raise CardUnreadable(f"the card's answers are incomplete or wrong: {error}: try another one") from None


def _versions(info2: bytes) -> dict[str, str]:
    said = describe(info2, "EUICCInfo2").json()["value"]
    return {name: str(said[name]) for name in _VERSIONS if name in said}
