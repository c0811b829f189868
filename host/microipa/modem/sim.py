"""The modem's side of the card: start-up, identity, AKA, logical channels, proactive commands.

APDUs go through as they are: GET RESPONSE and 6Cxx are the modem's business on its own channel only, on a
session they are the business of whoever opened it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from microipa.asn1.tlv import TlvError, parse, parse_all, tlv
from microipa.common.errors import MicroipaError
from microipa.modem.behaviour import Behaviour
from microipa.radio.network import AkaAnswer

_MF, _EF_DIR, _EF_ICCID, _EF_IMSI = (bytes.fromhex(fid) for fid in ("3F00", "2F00", "2FE2", "6F07"))
_USIM = bytes.fromhex("A0000000871002")  # RID of 3GPP and the application code of USIM (TS 31.110)
_DIR_RECORDS = 8

# TS 102 221 11.1.19: extended logical channels, nothing about an LPA or an IPA: that is the board's to say
_TERMINAL_CAPABILITY = bytes.fromhex("80AA000004A9028000")
# TS 102 223 5.2: byte 1 profile download, byte 3 MORE TIME and REFRESH
_TERMINAL_PROFILE = bytes.fromhex("8010000003010088")

# TS 102 223 9.4 and 8.6: types of command, 8.12: results
_REFRESH, _MORE_TIME = 0x01, 0x02
_UICC_RESET = 0x04
_RESULT_OK, _RESULT_BEYOND_CAPABILITIES, _RESULT_NOT_UNDERSTOOD = 0x00, 0x30, 0x32
_PROACTIVE_LIMIT = 8  # commands served one after the other before the modem does something else

SW_OK = 0x9000
_OWN_RESPONSE_LIMIT = 4096
_MAX_SESSIONS = 19


class Card(Protocol):
    """What is in the slot: answers APDUs with data and SW1 SW2, ATR on power and reset."""

    def power_on(self) -> bytes: ...

    def power_off(self) -> None: ...

    def reset(self) -> bytes: ...

    def transmit(self, apdu: bytes) -> bytes: ...


class CardSilent(MicroipaError):
    """No card, no power, or a card that stopped answering."""


class ChannelRefused(MicroipaError):
    """The card opens no channel to this application."""


class NoSuchSession(MicroipaError):
    """AT+CGLA or AT+CCHC named a session that is not open."""


@dataclass(frozen=True)
class Identity:
    """Who the card says it is. Empty strings when no profile is enabled."""

    iccid: str = ""
    imsi: str = ""
    usim: bytes = b""


class Sim:
    """A card in the modem's slot."""

    def __init__(self, card: Card, behaviour: Behaviour, wait_s: Callable[[float], float],
                 on_refresh: Callable[[], Awaitable[None]]) -> None:
        """``wait_s`` scales seconds of the true modem; ``on_refresh`` is awaited when the card wants to be
        reset, and calls ``restart``."""
        self._card = card
        self._behaviour = behaviour
        self._wait_s = wait_s
        self._on_refresh = on_refresh
        self._access = asyncio.Lock()
        self._sessions: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving = False
        self._announced: int | None = None  # length of the proactive command that waits, 0 means 256
        self.powered = False
        self.identity = Identity()

    async def power_on(self) -> None:
        """Power the card and read who it is. A card that does not answer leaves an empty identity."""
        await self._activate(self._card.power_on)

    async def restart(self) -> None:
        """Reset the card: channels are gone, its identity is read again."""
        self.identity = Identity()
        if self._behaviour.restart_s:
            await asyncio.sleep(self._wait_s(self._behaviour.restart_s))
        await self._activate(self._card.reset)

    async def read_identity(self) -> None:
        """Read ICCID and IMSI again without a reset."""
        async with self._access:
            self.identity = await self._read_identity() if self.powered else Identity()

    def power_off(self) -> None:
        """Take the card's power at once, whatever it is doing."""
        for task in self._tasks:
            task.cancel()
        self._serving = False
        self._sessions.clear()
        self.identity = Identity()
        if self.powered:
            self.powered = False
            self._card.power_off()

    @property
    def imsi(self) -> str:
        return self.identity.imsi

    async def authenticate(self, rand: bytes, autn: bytes) -> AkaAnswer:
        """AUTHENTICATE in the 3G security context (TS 31.102 7.1.2). Raises CardSilent."""
        async with self._access:
            # AT+CSIM may have moved the basic channel elsewhere.
            await self._own(_select_aid(self.identity.usim))
            data, sw = await self._own(b"\x00\x88\x00\x81\x22\x10" + rand + b"\x10" + autn + b"\x00")
        if sw != SW_OK or len(data) < 2:
            return AkaAnswer()
        value = data[2 : 2 + data[1]]
        return AkaAnswer(res=value) if data[0] == 0xDB else AkaAnswer(auts=value)

    async def transmit(self, apdu: bytes) -> bytes:
        """One APDU as it is (AT+CSIM); data and status word. Raises CardSilent."""
        async with self._access:
            return await self._whole(apdu)

    async def open(self, aid: bytes) -> str:
        """Open a logical channel to an application; the session id. Raises CardSilent, ChannelRefused."""
        async with self._access:
            data, sw = await self._own(bytes.fromhex("0070000001"))
            if sw != SW_OK or len(data) != 1 or len(self._sessions) >= _MAX_SESSIONS:
                raise ChannelRefused(f"MANAGE CHANNEL answered {sw:04X}")
            channel = data[0]
            select = on_channel(b"\x00\xa4\x04\x00" + bytes([len(aid)]) + aid + b"\x00", channel)
            _, sw = await self._own(select)
            if sw != SW_OK and sw >> 8 not in (0x62, 0x63):
                await self._own(bytes([0, 0x70, 0x80, channel]))
                raise ChannelRefused(f"SELECT {aid.hex().upper()} answered {sw:04X}")
        session = secrets.token_hex(8) if self._behaviour.long_sessions else str(channel)
        self._sessions[session] = channel
        return session

    async def exchange(self, session: str, apdu: bytes) -> bytes:
        """One APDU on a session, whose channel goes into CLA. Raises CardSilent, NoSuchSession."""
        async with self._access:
            return await self._whole(on_channel(apdu, self._channel(session)))

    async def close(self, session: str) -> None:
        """Close a session's channel. Raises CardSilent, NoSuchSession."""
        async with self._access:
            channel = self._channel(session)
            del self._sessions[session]
            await self._own(bytes([0, 0x70, 0x80, channel]))

    def _channel(self, session: str) -> int:
        if session not in self._sessions:
            raise NoSuchSession(f"no session {session!r}")
        return self._sessions[session]

    async def _activate(self, activate: Callable[[], bytes]) -> None:
        async with self._access:
            self._sessions.clear()
            self._announced = None
            self.identity = Identity()
            try:
                activate()
                self.powered = True
                await self._own(_TERMINAL_CAPABILITY)
                self.identity = await self._read_identity()
                await self._own(_TERMINAL_PROFILE)
            except MicroipaError:
                self.powered = False

    async def _read_identity(self) -> Identity:
        """ICCID and IMSI (TS 102 221 13.2, TS 31.102 4.2.2); empty without an enabled profile."""
        _, sw = await self._own(_select_file(_MF))
        if sw != SW_OK:
            return Identity()
        iccid = _swapped(await self._read_binary(_EF_ICCID)).rstrip("F")
        usim = await self._find_usim()
        if not usim:
            return Identity(iccid)
        await self._own(_select_aid(usim))
        imsi = await self._read_binary(_EF_IMSI)
        digits = _swapped(imsi[1 : 1 + imsi[0]])[1:].rstrip("F") if imsi else ""
        return Identity(iccid, digits if digits.isdigit() else "", usim)

    async def _find_usim(self) -> bytes:
        """The AID of the USIM out of EF.DIR (TS 102 221 13.1)."""
        await self._own(_select_file(_EF_DIR))
        for record in range(1, _DIR_RECORDS + 1):
            data, sw = await self._own(bytes([0, 0xB2, record, 0x04, 0]))
            if sw != SW_OK:
                break
            try:
                aid = parse_all(data.rstrip(b"\xff"))[0][0x4F].value
            except (TlvError, IndexError):
                continue
            if aid.startswith(_USIM):
                return aid
        return b""

    async def _read_binary(self, file_id: bytes) -> bytes:
        await self._own(_select_file(file_id))
        data, sw = await self._own(bytes.fromhex("00B0000000"))
        return data if sw == SW_OK else b""

    async def _own(self, apdu: bytes) -> tuple[bytes, int]:
        """An APDU of the modem itself: 61xx and 6Cxx are followed. Data and status word. Raises CardSilent.

        91xx counts as success; the pending command is fetched later.
        """
        response = await self._apdu(apdu)
        if response[-2] == 0x6C:
            response = await self._apdu(apdu[:4] + response[-1:])
        data = response[:-2]
        while response[-2] == 0x61 and len(data) < _OWN_RESPONSE_LIMIT:
            response = await self._apdu(bytes([apdu[0], 0xC0, 0, 0, response[-1]]))
            if len(response) == 2:
                break
            data += response[:-2]
        sw = int.from_bytes(response[-2:], "big")
        return data, SW_OK if sw >> 8 == 0x91 else sw

    async def _whole(self, apdu: bytes) -> bytes:
        """An APDU of the board: as it is, or with the answer that 61xx announces (quirk)."""
        response = await self._apdu(apdu)
        if self._behaviour.gets_response and len(response) == 2 and response[0] == 0x61:
            return await self._apdu(bytes([apdu[0], 0xC0, 0, 0, response[-1]]))
        return response

    async def _apdu(self, apdu: bytes) -> bytes:
        """The one way to the card. Raises CardSilent."""
        if self._behaviour.card_delay_s:
            await asyncio.sleep(self._wait_s(self._behaviour.card_delay_s))
        if not self.powered:
            raise CardSilent("the card has no power")
        try:
            response = self._card.transmit(apdu)
        except MicroipaError as gone:
            self.powered = False
            raise CardSilent(f"the card stopped answering: {gone}") from gone
        if len(response) < 2:
            self.powered = False
            raise CardSilent("the card answered without a status word")
        if response[-2] == 0x91 and self._behaviour.obeys_refresh:
            self._announced = response[-1]
            if not self._serving:
                self._serving = True
                task = asyncio.get_running_loop().create_task(self._serve_proactive())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return response

    async def _serve_proactive(self) -> None:
        """FETCH what the card has announced, and do it (TS 102 223 6)."""
        refresh = False
        try:
            async with self._access:
                for _ in range(_PROACTIVE_LIMIT):
                    if self._announced is None or refresh:
                        break
                    length, self._announced = self._announced, None
                    command = await self._apdu(bytes([0x80, 0x12, 0, 0, length]))
                    answer, refresh = _judge(command[:-2])
                    if answer:
                        await self._apdu(answer)
        except CardSilent:
            refresh = False
        self._serving = False
        if refresh:
            await self._on_refresh()


def on_channel(apdu: bytes, channel: int) -> bytes:
    """``apdu`` with a logical channel in CLA (TS 102 221 10.1.1): 0 to 3 in two bits, 4 to 19 in four."""
    cla = apdu[0]
    secured = cla & 0x20 if cla & 0x40 else cla & 0x0C
    if channel < 4:
        cla = (cla & 0x80) | (0x0C if secured else 0) | channel
    else:
        cla = (cla & 0x80) | 0x40 | (0x20 if secured else 0) | (channel - 4)
    return bytes([cla]) + apdu[1:]


def _judge(command: bytes) -> tuple[bytes, bool]:
    """TERMINAL RESPONSE to a proactive command (empty when there is none), and whether it asks for a reset.

    A REFRESH with UICC reset is answered by the reset itself (TS 102 223 6.4.7).
    """
    try:
        details = next(part.value for part in parse(command).children() if part.tag & 0x7F == 0x01)
        number, kind, qualifier = details
    except (TlvError, StopIteration, ValueError):
        return _terminal_response(b"\x00\x00\x00", _RESULT_NOT_UNDERSTOOD), False
    if kind == _REFRESH and qualifier == _UICC_RESET:
        return b"", True
    if kind not in (_REFRESH, _MORE_TIME):
        return _terminal_response(details, _RESULT_BEYOND_CAPABILITIES), False
    return _terminal_response(bytes([number, kind, qualifier]), _RESULT_OK), kind == _REFRESH


def _terminal_response(details: bytes, result: int) -> bytes:
    # Device identities: from the terminal (82) to the UICC (81), TS 102 223 8.7
    body = tlv(0x81, details) + tlv(0x82, b"\x82\x81") + tlv(0x83, bytes([result]))
    return bytes([0x80, 0x14, 0, 0, len(body)]) + body


def _select_file(file_id: bytes) -> bytes:
    return b"\x00\xa4\x00\x0c\x02" + file_id


def _select_aid(aid: bytes) -> bytes:
    return b"\x00\xa4\x04\x0c" + bytes([len(aid)]) + aid


def _swapped(data: bytes) -> str:
    """Digits of nibble-swapped BCD, fillers as F."""
    return "".join(f"{octet & 15:X}{octet >> 4:X}" for octet in data)
