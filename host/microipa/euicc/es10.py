"""ES10 as a terminal calls it: a logical channel to the ISD-R, STORE DATA in blocks, and functions by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from microipa.asn1 import rsp, sgp32
from microipa.asn1.tlv import tlv
from microipa.common.errors import MicroipaError
from microipa.saip import iccid_to_bytes

ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
BLOCK = 255  # bytes of a STORE DATA command (SGP.22 5.7.2)
_MORE, _LAST = 0x11, 0x91
_GET_RESPONSE = 0xC0


class Contacts(Protocol):
    """A card with power."""

    def transmit(self, apdu: bytes) -> bytes: ...


class Es10Error(MicroipaError):
    """The card answered a status word that is no success, or a verb was used wrongly."""


class Es10:
    """The ISD-R of a card, on a logical channel of its own (SGP.22 5.7.1)."""

    def __init__(self, card: Contacts) -> None:
        """Raises Es10Error where the card opens no channel, or has no ISD-R."""
        self._card = card
        self._channel = self._data(bytes.fromhex("0070000001"), "MANAGE CHANNEL")[0]
        self._data(bytes([self._channel, 0xA4, 0x04, 0x00, len(ISD_R)]) + ISD_R, "SELECT ISD-R: is this a eUICC?")

    def call(self, request: bytes) -> bytes:
        """The answer to a request, both whole objects (BF2D…). Raises Es10Error."""
        answer = b""
        for number, start in enumerate(range(0, len(request), BLOCK)):
            block = request[start : start + BLOCK]
            p1 = _LAST if start + BLOCK >= len(request) else _MORE
            header = bytes([0x80 | self._channel, 0xE2, p1, number & 0xFF, len(block)])
            answer = self._data(header + block, "STORE DATA")
        return answer

    def _data(self, apdu: bytes, what: str) -> bytes:
        response = self._card.transmit(apdu)
        data = bytearray(response[:-2])
        while response[-2] == 0x61:  # so many bytes wait, 0 means 256
            response = self._card.transmit(bytes([apdu[0], _GET_RESPONSE, 0, 0, response[-1]]))
            data += response[:-2]
        if response[-2] not in (0x90, 0x91):
            raise Es10Error(f"the card answered {response[-2:].hex()} to {what}")
        return bytes(data)


def _profile(request: str) -> Callable[[str], bytes]:
    def of(iccid: str) -> bytes:
        identifier: dict[str, Any] = {"profileIdentifier": ("iccid", iccid_to_bytes(iccid))}
        return rsp.encode(request, {**identifier, "refreshFlag": True})

    return of


VERBS: dict[str, tuple[str, Callable[..., bytes]]] = {
    "eid": ("GetEUICCData: the EID", lambda: bytes.fromhex("BF3E035C015A")),
    "info1": ("GetEUICCInfo: EUICCInfo1", lambda: bytes.fromhex("BF2000")),
    "info2": ("GetEUICCInfo: EUICCInfo2", lambda: bytes.fromhex("BF2200")),
    "profiles": ("GetProfilesInfo", lambda: bytes.fromhex("BF2D00")),
    "eims": ("GetEimConfigurationData", lambda: bytes.fromhex("BF5500")),
    "certificates": ("GetCerts", lambda: bytes.fromhex("BF5600")),
    "challenge": ("GetEUICCChallenge", lambda: bytes.fromhex("BF2E00")),
    "addresses": ("GetEuiccConfiguredData: default SM-DP+ and SM-DS", lambda: bytes.fromhex("BF3C00")),
    "rat": ("GetRAT", lambda: bytes.fromhex("BF4300")),
    "connectivity": ("GetConnectivityParameters of the enabled profile", lambda: bytes.fromhex("BF5F00")),
    "notifications": ("ListNotification", lambda: bytes.fromhex("BF2800")),
    "results": ("RetrieveNotificationsList: eUICC package results", lambda: bytes.fromhex("BF2B04A0028200")),
    "enable": ("EnableProfile ICCID (a consumer card)", _profile("EnableProfileRequest")),
    "disable": ("DisableProfile ICCID (a consumer card)", _profile("DisableProfileRequest")),
    "delete": ("DeleteProfile ICCID (a consumer card)",
               lambda iccid: rsp.encode("DeleteProfileRequest", ("iccid", iccid_to_bytes(iccid)))),
    "default-dp": ("SetDefaultDpAddress ADDRESS", lambda address: tlv(0xBF65, tlv(0x80, address.encode()))),
    "rollback": ("ProfileRollback", lambda: sgp32.encode("ProfileRollbackRequest", {"refreshFlag": True})),
    "es10": ("any request, in hex", bytes.fromhex),
}
"""Functions by short names: what each calls, and its request."""


def request(verb: str, arguments: list[str]) -> bytes:
    """The request of a verb. Raises Es10Error."""
    if verb not in VERBS:
        raise Es10Error(f"no verb {verb[:32]!r}: choose among {', '.join(VERBS)}")
    says, make = VERBS[verb]
    try:
        return make(*arguments)
    except TypeError:
        raise Es10Error(f"{verb}: {says}; {len(arguments)} arguments are wrong") from None
    except (ValueError, MicroipaError) as error:
        raise Es10Error(f"{verb}: {says}; {error}") from None
