"""The card in a virtual PC/SC reader: the TCP protocol of vsmartcard's vpcd, whose side of the card this is.

Two bytes of length, big-endian, then the message. From the reader: one byte is a control code, more are a command
APDU. From the card: the ATR when asked for it, and the response APDU. Nothing answers the other control codes.
"""

from __future__ import annotations

import asyncio
import socket

from microipa.common import addresses
from microipa.common.errors import MicroipaError
from microipa.euicc.card import CardOff, Euicc

PORT = 35963  # where vpcd listens for its card
OFF, ON, RESET, ATR = 0, 1, 2, 4
NO_DIAGNOSIS = b"\x6f\x00"
CONNECT_TIMEOUT_S = 10.0


class NoReader(MicroipaError):
    """Nobody plays vpcd where the card should be put in, or not by its rules."""


async def serve(card: Euicc, host: str = "127.0.0.1", port: int = PORT) -> None:
    """Put ``card`` into the reader that listens there, until it is pulled out: the reader goes away.

    Raises NoReader, and InUse when the card is in another.
    """
    with card.in_reader():
        await _serve(card, host, port)


async def _serve(card: Euicc, host: str, port: int) -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        raise NoReader(f"no vpcd at {addresses.join(host, port)}: start pcscd with vpcd, then try again") from error
    try:
        line: socket.socket = writer.get_extra_info("socket")
        while message := await _receive(reader, line):
            answer = _answer(card, message)
            if answer is not None:
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
    except ConnectionError:
        pass  # pulled out in the middle of an answer
    finally:
        card.power_off()
        writer.close()


def _acknowledge_at_once(line: socket.socket) -> None:
    """vpcd writes a length and a message apart, and its kernel sends the second when the first is acknowledged.

    Linux waits 40 ms with that. This sends what waits; the wish itself is forgotten with the next answer.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


async def _receive(reader: asyncio.StreamReader, line: socket.socket) -> bytes:
    """One message; empty when the reader went away. Raises NoReader for one that is cut off or empty."""
    try:
        length = int.from_bytes(await reader.readexactly(2), "big")
    except asyncio.IncompleteReadError:
        return b""
    _acknowledge_at_once(line)
    try:
        message = await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise NoReader(f"the reader closed the connection after {len(error.partial)} bytes of {length}") from error
    if not message:
        raise NoReader("the reader sent an empty message, as vpcd does not")
    return message


def _answer(card: Euicc, message: bytes) -> bytes | None:
    if len(message) > 1:
        try:
            return card.transmit(message)
        except CardOff:
            return NO_DIAGNOSIS
    code = message[0]
    if code == OFF:
        card.power_off()
    elif code == ON:
        card.power_on()
    elif code == RESET:
        card.reset()
    elif code == ATR:
        return card.atr
    return None
