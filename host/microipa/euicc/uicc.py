"""One power-up of the card: logical channels and the commands of TS 102 221, TS 31.102 and GlobalPlatform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from microipa.asn1.tlv import TlvError, parse, tlv
from microipa.euicc import ber_tlv, filesystem, isdr, suci, usim
from microipa.euicc.apdu import MAX_ANSWER, Command, exact
from microipa.euicc.apdu import parse as parse_apdu
from microipa.euicc.chip import Chip
from microipa.euicc.filesystem import Node
from microipa.euicc.isdr import Isdr
from microipa.euicc.nvm import WriteFailed
from microipa.euicc.personalisation import personality
from microipa.euicc.status import (
    CONDITIONS,
    FILE_NOT_FOUND,
    MEMORY_PROBLEM,
    MORE_DATA,
    NO_CHANNEL_LEFT,
    NO_CLASS,
    NO_INSTRUCTION,
    NO_LOGICAL_CHANNEL,
    NOT_FOUND,
    OK,
    SECURITY_STATUS,
    WRONG_DATA,
    WRONG_LENGTH,
    WRONG_P1_P2,
    StatusWord,
)
from microipa.euicc.toolkit import Toolkit

ECASD_AID = bytes.fromhex("A0000005591010FFFFFFFF8900000200")
USIM_AID = bytes.fromhex("A0000000871002")
NAA_AIDS = (USIM_AID, bytes.fromhex("A0000000871004"))  # and ISIM
CHANNELS = range(1, 20)

SELECT, READ_BINARY, READ_RECORD, UPDATE_BINARY, UPDATE_RECORD = 0xA4, 0xB0, 0xB2, 0xD6, 0xDC
STATUS, MANAGE_CHANNEL, GET_RESPONSE, AUTHENTICATE = 0xF2, 0x70, 0xC0, 0x88
TERMINAL_CAPABILITY, TERMINAL_PROFILE, FETCH, TERMINAL_RESPONSE = 0xAA, 0x10, 0x12, 0x14
STORE_DATA, GET_DATA = 0xE2, 0xCA
RETRIEVE_DATA, SET_DATA, GET_IDENTITY = 0xCB, 0xDB, 0x78
FIRST_BLOCK = 0x80  # in P2 of RETRIEVE DATA and SET DATA
# ETSI leaves 8X to these, 0X to the others; GET RESPONSE, MANAGE CHANNEL and GET DATA come in both.
PROPRIETARY = {
    STORE_DATA, STATUS, TERMINAL_CAPABILITY, TERMINAL_PROFILE, FETCH, TERMINAL_RESPONSE, RETRIEVE_DATA, SET_DATA,
    GET_IDENTITY,
}  # fmt: skip
EITHER = {GET_RESPONSE, MANAGE_CHANNEL, GET_DATA}
WITH_ANSWER_LATER = {SELECT, STORE_DATA, AUTHENTICATE}  # case 4: 61xx, then GET RESPONSE

# Files in which a terminal keeps what it learns from the network; others are the operator's.
WRITABLE = {
    0x6F05, 0x6F08, 0x6F09, 0x6F3C, 0x6F42, 0x6F43, 0x6F5B, 0x6F5C, 0x6F73, 0x6F7B, 0x6F7E,
    0x6FC4, 0x6FE3, 0x6FE4, 0x4F01, 0x4F02, 0x4F03, 0x4F04, 0x4F05, 0x2F05,
}  # fmt: skip


@dataclass
class Channel:
    """What is selected on one logical channel, and the answer that waits there for GET RESPONSE."""

    current: Node
    adf: Node | None = None
    application: bytes = b""  # AID of a security domain; empty while the file system is selected
    pending: bytes = b""
    left: bytes = b""  # of the data object that RETRIEVE DATA began to read
    setting: bytes = b""  # of the one that SET DATA has begun to write


class Uicc:
    """Everything between a reset and the next."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._commands: dict[int, Callable[[Channel, Command], bytes]] = {
            SELECT: self._select,
            READ_BINARY: self._read_binary,
            READ_RECORD: self._read_record,
            UPDATE_BINARY: self._update_binary,
            UPDATE_RECORD: self._update_record,
            STATUS: self._status,
            MANAGE_CHANNEL: self._manage_channel,
            AUTHENTICATE: self._authenticate,
            RETRIEVE_DATA: self._retrieve_data,
            SET_DATA: self._set_data,
            GET_IDENTITY: self._get_identity,
            TERMINAL_CAPABILITY: self._terminal_capability,
            TERMINAL_PROFILE: self._terminal_profile,
            FETCH: self._fetch,
            TERMINAL_RESPONSE: self._terminal_response,
            STORE_DATA: self._store_data,
            GET_DATA: self._get_data,
        }
        self._start()

    def _start(self) -> None:
        """Show the profile that is enabled now; channels and sessions are gone."""
        self._chip.end_session()
        self._show_profile()
        self._isdr = Isdr(self._chip)
        self._channels = {0: Channel(self._files.root)}
        self._toolkit = Toolkit(self._chip)

    def _show_profile(self) -> None:
        """Take the files of the profile that is enabled now."""
        profile = self._chip.state.enabled()
        self._iccid = profile.iccid if profile else None
        self._personality = personality(profile)
        self._files = self._personality.files

    def transmit(self, apdu: bytes) -> bytes:
        """One command, answered with data and status word. Raises PowerCut only."""
        try:
            data, sw = self._execute(parse_apdu(apdu))
        except StatusWord as status:
            data, sw = b"", status.sw
        except WriteFailed:
            data, sw = b"", MEMORY_PROBLEM
        answers_wait = any(channel.pending for channel in self._channels.values())
        if sw == OK and not answers_wait and (proactive := self._toolkit.waiting):
            sw = 0x9100 | len(proactive) & 0xFF
        return data + sw.to_bytes(2, "big")

    def _execute(self, command: Command) -> tuple[bytes, int]:
        channel = self._channels.get(command.channel)
        if channel is None:
            raise StatusWord(NO_LOGICAL_CHANNEL)
        if command.ins == GET_RESPONSE:
            return self._get_response(channel, command)
        channel.pending = b""
        run = self._commands.get(command.ins)
        if run is None:
            raise StatusWord(NO_INSTRUCTION)
        if command.ins not in EITHER and command.proprietary != (command.ins in PROPRIETARY):
            raise StatusWord(NO_CLASS)
        data = run(channel, command)
        if data and command.ins in WITH_ANSWER_LATER:
            channel.pending = data
            return b"", 0x6100 | min(len(data), MAX_ANSWER) & 0xFF
        return data, MORE_DATA if channel.left and command.ins == RETRIEVE_DATA else OK

    def _get_response(self, channel: Channel, command: Command) -> tuple[bytes, int]:
        if not channel.pending:
            raise StatusWord(CONDITIONS)
        wanted = command.le or MAX_ANSWER
        if command.le and wanted > len(channel.pending):
            raise StatusWord(0x6C00 | len(channel.pending))
        data, channel.pending = channel.pending[:wanted], channel.pending[wanted:]
        left = min(len(channel.pending), MAX_ANSWER)
        return data, 0x6100 | left & 0xFF if left else OK

    # ---- files and applications

    def _select(self, channel: Channel, command: Command) -> bytes:
        """TS 102 221 clause 11.1.1: by file identifier, parent, AID, path from the MF or from here."""
        start = channel.current.directory
        if command.p1 == 0x04:
            answer = self._select_aid(channel, command.data)
            return b"" if command.p2 & 0x0C == 0x0C else answer
        if command.p1 == 0x00 and len(command.data) in (0, 2):
            fid = int.from_bytes(command.data, "big") if command.data else filesystem.MF
            node = self._files.by_fid(fid, start, channel.adf)
        elif command.p1 == 0x03 and start.parent is not None:
            node = start.parent
        elif command.p1 in (0x08, 0x09) and command.data and len(command.data) % 2 == 0:
            start = self._files.root if command.p1 == 0x08 else start
            node = self._files.by_path(command.data, start, channel.adf)
        else:
            raise StatusWord(WRONG_P1_P2 if command.p1 not in (0x00, 0x03, 0x08, 0x09) else FILE_NOT_FOUND)
        channel.current, channel.application = node, b""
        return b"" if command.p2 & 0x0C == 0x0C else filesystem.fcp(node)

    def _select_aid(self, channel: Channel, aid: bytes) -> bytes:
        if len(aid) < 5:
            raise StatusWord(FILE_NOT_FOUND)
        node = self._files.by_aid(aid)
        if node is not None:
            channel.current, channel.adf, channel.application = node, node, b""
            return filesystem.fcp(node)
        if isdr.AID.startswith(aid):
            channel.application = isdr.AID
            return self._isdr.fci()
        if ECASD_AID.startswith(aid):
            channel.application = ECASD_AID
            return tlv(0x6F, tlv(0x84, ECASD_AID), tlv(0xA5, tlv(0x9F65, b"\xff")))
        raise StatusWord(FILE_NOT_FOUND)

    def _target(self, channel: Channel, sfi: int) -> Node:
        """The file a read or update means: the current one, or the one with a short identifier."""
        if channel.application:
            raise StatusWord(NO_INSTRUCTION)
        if not sfi:
            return channel.current
        channel.current = filesystem.by_sfi(channel.current.directory, sfi)
        return channel.current

    def _binary(self, channel: Channel, command: Command) -> tuple[Node, int]:
        if command.p1 & 0x80:
            return self._target(channel, command.p1 & 0x1F), command.p2
        return self._target(channel, 0), command.p1_p2

    def _read_binary(self, channel: Channel, command: Command) -> bytes:
        node, offset = self._binary(channel, command)
        return filesystem.read_binary(node, offset, command.le)

    def _read_record(self, channel: Channel, command: Command) -> bytes:
        if command.p2 & 0x07 != 0x04:
            raise StatusWord(WRONG_P1_P2)
        return exact(filesystem.read_record(self._target(channel, command.p2 >> 3), command.p1), command.le)

    def _update_binary(self, channel: Channel, command: Command) -> bytes:
        node, offset = self._binary(channel, command)
        return self._write(node, filesystem.update_binary(node, offset, command.data))

    def _update_record(self, channel: Channel, command: Command) -> bytes:
        if command.p2 & 0x07 != 0x04:
            raise StatusWord(WRONG_P1_P2)
        node = self._target(channel, command.p2 >> 3)
        return self._write(node, filesystem.update_record(node, command.p1, command.data))

    def _write(self, node: Node, body: bytes) -> bytes:
        profile = self._chip.state.profile(self._iccid)
        if node.fid not in WRITABLE or profile is None:
            raise StatusWord(SECURITY_STATUS)
        profile.files[node.path] = body
        self._chip.nvm.commit()
        node.body = body
        return b""

    def _retrieve_data(self, channel: Channel, command: Command) -> bytes:
        """TS 102 221 clause 11.3.1: the data object with the tag in the data, in blocks."""
        if command.p2 & FIRST_BLOCK:
            channel.left = ber_tlv.retrieve(self._target(channel, command.p2 & 0x1F), command.data)
        elif not channel.left:
            raise StatusWord(CONDITIONS)
        size = command.le or MAX_ANSWER
        data, channel.left = channel.left[:size], channel.left[size:]
        return data

    def _set_data(self, channel: Channel, command: Command) -> bytes:
        """TS 102 221 clause 11.3.2: a data object, or the tag of one that goes, in blocks."""
        if command.p2 & FIRST_BLOCK:
            self._target(channel, command.p2 & 0x1F)
            channel.setting = b""
        elif not channel.setting:
            raise StatusWord(CONDITIONS)
        content, channel.setting = channel.setting + command.data, b""
        if not content:
            raise StatusWord(WRONG_LENGTH)
        body = ber_tlv.with_object(channel.current, content)
        if body is None:
            channel.setting = content
            return b""
        return self._write(channel.current, body)

    def _get_identity(self, channel: Channel, command: Command) -> bytes:
        """TS 31.102 clause 7.5, in the SUCI context."""
        if channel.application or channel.adf is None or not (channel.adf.aid or b"").startswith(USIM_AID):
            raise StatusWord(CONDITIONS)
        if command.p1_p2 != 0x0001:
            raise StatusWord(WRONG_P1_P2)
        return exact(suci.get_identity(channel.adf), command.le)

    def _status(self, channel: Channel, command: Command) -> bytes:
        """Clause 11.1.2: the current directory's parameters, the current application's name, or nothing."""
        if command.p2 == 0x0C:
            return b""
        if command.p2 == 0x01:
            aid = channel.application or (channel.adf.aid if channel.adf and channel.adf.aid else b"")
            return exact(tlv(0x84, aid), command.le)
        if command.p2:
            raise StatusWord(WRONG_P1_P2)
        return exact(filesystem.fcp(channel.current.directory), command.le)

    def _manage_channel(self, channel: Channel, command: Command) -> bytes:
        """Clause 11.1.17. A channel opened from the basic one begins at the MF, else where its opener is."""
        if command.p1 == 0x80:
            number = command.p2 or command.channel
            if number == 0:
                raise StatusWord(WRONG_P1_P2)
            if self._channels.pop(number, None) is None:
                raise StatusWord(NO_LOGICAL_CHANNEL)
            return b""
        if command.p1 != 0x00 or command.p2 > CHANNELS[-1]:
            raise StatusWord(WRONG_P1_P2)
        free = [number for number in CHANNELS if number not in self._channels]
        number = command.p2 or (free[0] if free else 0)
        if number not in free:
            raise StatusWord(NO_CHANNEL_LEFT)
        if command.p2 == 0:
            exact(b"\x00", command.le)
        opened = Channel(self._files.root)
        if command.channel:
            opened = Channel(channel.current, channel.adf, channel.application)
        self._channels[number] = opened
        return b"" if command.p2 else bytes([number])

    def _authenticate(self, channel: Channel, command: Command) -> bytes:
        """TS 31.102 clause 7.1 in the 3G security context."""
        profile = self._chip.state.profile(self._iccid)
        aka, delta = self._personality.aka, self._personality.delta
        if aka is None or profile is None or channel.adf is None or channel.application:
            raise StatusWord(CONDITIONS)
        if not (channel.adf.aid or b"").startswith(NAA_AIDS):
            raise StatusWord(CONDITIONS)
        if command.p1_p2 != 0x0081:
            raise StatusWord(WRONG_P1_P2)
        data = command.data
        if len(data) != 34:
            raise StatusWord(WRONG_LENGTH)
        if data[0] != 16 or data[17] != 16:
            raise StatusWord(WRONG_DATA)
        answer = usim.authenticate(aka, profile.seq, delta, data[1:17], data[18:])
        self._chip.nvm.commit()
        return answer

    # ---- the terminal

    def _terminal_capability(self, channel: Channel, command: Command) -> bytes:
        """Clause 11.1.19: A9{84 …} announces an IPAd in bit 1; A9{83 …} is what peers sent before."""
        try:
            capability = parse(command.data)
            inside = {item.tag: item.value for item in capability}
        except TlvError:
            raise StatusWord(WRONG_DATA) from None
        if capability.tag != 0xA9:
            raise StatusWord(WRONG_DATA)
        announced = (inside.get(0x84) or b"\x00")[-1] & 0x01 or inside.get(0x83)
        self._chip.ipae_active = self._chip.state.ipae and not announced
        return b""

    def _terminal_profile(self, channel: Channel, command: Command) -> bytes:
        self._chip.terminal_profile = command.data
        return b""

    def _fetch(self, channel: Channel, command: Command) -> bytes:
        return self._toolkit.fetch(command.le)

    def _terminal_response(self, channel: Channel, command: Command) -> bytes:
        """After a REFRESH the terminal sees the profile enabled now; one it cannot carry out is a reset."""
        if self._toolkit.respond(command.data):
            self._start()
        return b""

    # ---- security domains

    def _store_data(self, channel: Channel, command: Command) -> bytes:
        if channel.application != isdr.AID:
            raise StatusWord(NO_INSTRUCTION)
        answer = self._isdr.store_data(command.p1, command.p2, command.data)
        enabled = self._chip.state.enabled()
        if not self._chip.changing and self._iccid != (enabled.iccid if enabled else None):
            self._change_profile()
        return answer

    def _change_profile(self) -> None:
        """Another profile without a REFRESH (SGP.22 clause 5.7.16): channels into the old one close, on the basic
        channel the new MF is selected."""
        self._show_profile()
        self._channels = {n: one for n, one in self._channels.items() if not n or one.application}
        for channel in self._channels.values():
            channel.current, channel.adf = self._files.root, None

    def _get_data(self, channel: Channel, command: Command) -> bytes:
        """The EID, as the ECASD gives it (GSMA SGP.02 and SGP.22)."""
        if channel.application != ECASD_AID:
            raise StatusWord(NO_INSTRUCTION)
        if command.p1_p2 != 0x005A:
            raise StatusWord(NOT_FOUND)
        return exact(tlv(0x5A, self._chip.eid), command.le)
