"""Each driver on a modem that answers what nobody can read: an error of its own kind, never another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from microipa.modem import FAMILIES
from pty_modem import OK, PREAMBLE, PtyModem

Run = Callable[..., Awaitable[str]]

EVERYTHING = """
import asyncio, sys
from ipa import compat
from ipa.modem import driver, power, ModemError
from ipa.modem.scan import networks
compat.log_sink = lambda line: None
AID = bytes.fromhex("A0000005591010FFFFFFFF8900000100")

async def attempt(name, function, *arguments):
    try:
        await asyncio.wait_for(function(*arguments), 0.3)
    except (ModemError, asyncio.TimeoutError):
        pass
    except Exception as error:
        print(name, repr(error))

async def main():
    modem = driver(sys.argv[1])(open(sys.argv[2], "r+b", 0))
    modem.at.start()
    buf = bytearray(1500)
    for turn in range(int(sys.argv[3])):
        for name in ("ask_registration", "clock", "imei", "imsi", "signal", "plmn", "has_context", "close_context"):
            await attempt(name, getattr(modem, name))
        await attempt("apn_differs", modem.apn_differs, "iot")
        await attempt("radio", modem.radio, 1)
        await attempt("networks", networks, modem)
        await attempt("psm", power.psm, modem, 3600, 20)
        await attempt("edrx", power.edrx, modem, 20)
        await attempt("save", power.save, modem, {"psm_periodic_s": 3600, "psm_active_s": 20, "edrx_cycle_s": 20})
        await attempt("udp", modem.udp, "a.example", 1)
        await attempt("send", modem._send, 1, b"x")
        await attempt("receive", modem._receive, 1, buf)
        await attempt("shut", modem._shut, 1)
        await attempt("card", modem.carrier.open, AID)
        modem.carrier._session = b"1"
        await attempt("transmit", modem.carrier.transmit, b"\\x80\\xe2\\x91\\x00\\x03\\xbf\\x3e\\x00")
        await attempt("basic", modem.carrier.basic, b"\\x00\\x70\\x00\\x00\\x01")
    modem.at.stop()

asyncio.run(main())
"""
FIELDS = [b"", b"0", b"1", b"2", b"-1", b"5", b"x", b'"', b'""', b'"recv"', b"99999999999999999999", b"\xff\xfe",
          b'"11111111"', b'"0200"', b"ACTIVE", b"0x10", b"(1,2)", b"9"]


class Garbler:
    """Answers a command by lines that begin as its answer does."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, line: bytes) -> bytes | None:
        if line in PREAMBLE:
            return OK
        name = line[2:]
        for mark in b"=?":
            name = name.partition(bytes([mark]))[0]
        said = b""
        for _ in range(self._random.choice((0, 1, 1, 1, 2))):
            prefix = self._random.choice((name + b": ", name + b": ", name + b":", b"", name + b": 2,"))
            count = self._random.randrange(10)
            said += b"\r\n" + prefix + b",".join(self._random.choice(FIELDS) for _ in range(count)) + b"\r\n"
        return said + self._random.choice((OK, OK, OK, b"\r\n+CME ERROR: x\r\n", b"\r\nERROR\r\n"))


@pytest.mark.parametrize("family", FAMILIES)
async def test_every_answer_that_cannot_be_read_ends_in_an_error_of_the_driver(family: str, micropython: Run) -> None:
    async with PtyModem(Garbler(sum(family.encode()))) as modem:
        async with asyncio.timeout(100):
            out = await micropython(EVERYTHING, family, modem.path, "4")
    assert out == ""
