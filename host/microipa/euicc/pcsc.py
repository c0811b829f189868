"""A real card in a PC/SC reader, as the card of a lab's modem: power, reset and APDUs (pyscard)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from cryptography import x509

from microipa.asn1.tlv import TlvError, parse
from microipa.common.errors import MicroipaError
from microipa.euicc.es10 import Es10, Es10Error, request
from microipa.trace import Trace


class NoReader(MicroipaError):
    """There is no such PC/SC reader, no card in it, or no PC/SC here at all."""


class NotAnEuicc(MicroipaError):
    """The card in the reader does not say an EID."""


class PcscCard:
    """The card in a reader, which is its own memory: a lab keeps nothing of it."""

    def __init__(self, reader: str, trace: Trace | None = None) -> None:
        """``reader``: its name, a part of it that only one has, or its number. Raises NoReader, NotAnEuicc."""
        self.name, self._connection = _connection(reader)
        self._trace = trace
        self._connected = False
        try:
            self.eid = self._read_eid()
        finally:
            self.power_off()

    @contextlib.contextmanager
    def in_reader(self) -> Iterator[None]:
        """Let go of it at the end."""
        try:
            yield
        finally:
            self.power_off()

    def trust(self, cis: Sequence[x509.Certificate]) -> None:
        """A card of a maker trusts what it trusts."""

    def power_on(self) -> bytes:
        """Returns the ATR. Raises NoReader."""
        from smartcard.scard import SCARD_UNPOWER_CARD

        with _named(self.name):
            if self._connected:
                self._connection.reconnect(disposition=SCARD_UNPOWER_CARD)
            else:
                self._connection.connect()
            self._connected = True
            return bytes(self._connection.getATR())

    def power_off(self) -> None:
        if self._connected:
            self._connected = False
            self._connection.disconnect()

    def reset(self) -> bytes:
        """Warm reset. Returns the ATR. Raises NoReader."""
        from smartcard.scard import SCARD_RESET_CARD

        with _named(self.name):
            self._connection.reconnect(disposition=SCARD_RESET_CARD)
            return bytes(self._connection.getATR())

    def transmit(self, apdu: bytes) -> bytes:
        """Data and status word. Raises NoReader when the card has been pulled out."""
        with _named(self.name):
            data, sw1, sw2 = self._connection.transmit(list(apdu))
        response = bytes([*data, sw1, sw2])
        if self._trace:
            self._trace.record("card", "apdu", command=apdu, response=response)
        return response

    def _read_eid(self) -> str:
        self.power_on()
        try:
            return parse(Es10(self).call(request("eid", [])))[0x5A].value.hex()
        except (Es10Error, TlvError, IndexError) as error:
            raise NotAnEuicc(f"the card in {self.name} gives no EID: {error}") from None


def _connection(reader: str) -> tuple[str, Any]:
    try:
        from smartcard.Exceptions import ListReadersException
        from smartcard.pcsc.PCSCExceptions import EstablishContextException
        from smartcard.System import readers
    except ImportError:
        raise NoReader("PC/SC needs pyscard: pip install 'microipa[pcsc]'") from None
    try:
        found = readers()
    except (ListReadersException, EstablishContextException) as error:
        raise NoReader(f"PC/SC does not answer: is pcscd running? ({error})") from None
    names = [str(one) for one in found]
    matching = [one for number, one in enumerate(found) if reader in (str(one), str(number))] or [
        one for one in found if reader.lower() in str(one).lower()]
    if len(matching) != 1:
        many = "more than one" if matching else "none"
        raise NoReader(f"reader {reader!r} is {many} of: {', '.join(names) or 'there is no reader'}")
    return str(matching[0]), matching[0].createConnection()


@contextlib.contextmanager
def _named(reader: str) -> Iterator[None]:
    from smartcard.Exceptions import SmartcardException

    try:
        yield
    except SmartcardException as error:
        raise NoReader(f"the card in {reader} does not answer: {error}") from None
