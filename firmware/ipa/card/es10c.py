"""PSMOs of an eUICC package by ES10c of a consumer card (SGP.32 3.4; SGP.22 5.7).

A card that has a REFRESH before it does nothing else. So enable and disable are judged in their turn, as an IoT
eUICC judges them, and done when all others are.
"""

from ipa import tlv
from ipa.card.channel import StatusError
from ipa.compat import const

_ENABLE = const(0xA3)
_DISABLE = const(0xA4)
_DELETE = const(0xA5)
_LIST_PROFILE_INFO = const(0xBF2D)
_GET_RAT = const(0xA6)
_CONFIGURE_IMMEDIATE_ENABLE = const(0xA7)
_SET_FALLBACK_ATTRIBUTE = const(0xA8)
_UNSET_FALLBACK_ATTRIBUTE = const(0xA9)
_SET_DEFAULT_DP_ADDRESS = const(0xBF65)
_ROLLBACK_FLAG = const(0x05)

_ENABLE_RESULT = const(0x83)
_DISABLE_RESULT = const(0x84)
_DELETE_RESULT = const(0x85)

# Functions of SGP.22
_ENABLE_PROFILE = const(0xBF31)
_DISABLE_PROFILE = const(0xBF32)
_DELETE_PROFILE = const(0xBF33)
_SGP22_SET_DEFAULT_DP_ADDRESS = const(0xBF3F)
_SGP22_GET_RAT = const(0xBF43)
_NOT_IN_SGP22 = (0x9F7B, 0x9F26, 0x9F67)  # a consumer card refuses a list that names one of them

_OK = const(0)
_ICCID_NOT_FOUND = const(1)
_WRONG_STATE = const(2)
_CAT_BUSY = const(5)
_COMMAND_ERROR = const(7)
_ROLLBACK_NOT_AVAILABLE = const(20)
UNDEFINED = const(127)
_DOUBTFUL = (UNDEFINED, _WRONG_STATE)  # refused, or done before: by a command whose answer did not come

_REFRESH = b"\x81\x01\xff"
_NO_REFRESH = b"\x81\x01\x00"
_CHANGE_ONGOING = b"\xbf\x2d\x03\x81\x01\x0b"
_LIST_FAILED = b"\xbf\x2d\x03\x81\x01\x7f"


class Psmos:
    """The operations of one package."""

    changes = {}  # of the device's journal
    gone = []

    def __init__(self, es10):
        self._es10 = es10
        self.switch = None  # [function, ICCID in hex] that is still to be done

    async def operate(self, tag, value, raw):
        """The result of one operation, a TLV; None when there is no such operation."""
        iccid = bytes(tlv.find(value, 0x5A) or b"") if raw[0] != 0xBF else b""
        if tag == _ENABLE:
            code = await self._enable(iccid, tlv.find(value, _ROLLBACK_FLAG) is not None)
            return tlv.encode_integer(_ENABLE_RESULT, code)
        if tag == _DISABLE:
            return tlv.encode_integer(_DISABLE_RESULT, await self._disable(iccid))
        if tag == _DELETE:
            return tlv.encode_integer(_DELETE_RESULT, await self._delete(iccid))
        if tag == _LIST_PROFILE_INFO:
            return await self._list(value)
        if tag == _GET_RAT:
            answer = await self._es10.ask(_SGP22_GET_RAT)
            return tlv.encode(_GET_RAT, tlv.find(answer, _SGP22_GET_RAT, 0xA0) or b"")
        if tag == _SET_DEFAULT_DP_ADDRESS:
            code = await self._function(_SGP22_SET_DEFAULT_DP_ADDRESS, value)
            return tlv.encode(tag, tlv.encode_integer(0x80, code))
        if tag == _CONFIGURE_IMMEDIATE_ENABLE:
            return tlv.encode_integer(0x87, _COMMAND_ERROR)
        if tag == _SET_FALLBACK_ATTRIBUTE:  # fallbackNotAllowed
            return tlv.encode_integer(0x8D, _ICCID_NOT_FOUND if await self._enabled(iccid) is None else 2)
        if tag == _UNSET_FALLBACK_ATTRIBUTE:  # noFallbackAttribute
            return tlv.encode_integer(0x8E, 2)
        return None

    async def commit(self):
        """Do what was put off. Returns its code.

        Some cards refuse the ICCID, some the REFRESH: they get the AID of the ISD-P, and then no REFRESH, for which the
        modem is reset later. A card may have done what it refused, so that its profiles are looked at in between.
        """
        iccid = tlv.encode(0x5A, bytes.fromhex(self.switch[1]))
        code = await self._commit(iccid, _REFRESH)
        if code not in _DOUBTFUL:
            return code
        aid = await self._aid()
        for name, refresh in ((aid, _REFRESH), (iccid, _NO_REFRESH), (aid, _NO_REFRESH)):
            if await self.is_done(self.switch):
                return _OK
            code = await self._commit(name, refresh)
            if code not in _DOUBTFUL:
                return code
        return _OK if await self.is_done(self.switch) else code

    async def _commit(self, name, refresh):
        return await self._function(self.switch[0], tlv.encode(0xA0, name), refresh)

    async def _aid(self):
        """The ISD-P of the profile to switch, as the identifier of a function."""
        answer = await self._es10.get_profiles_info(b"\x5a\x4f")
        for _, value, _ in tlv.items(tlv.find(answer, _LIST_PROFILE_INFO, 0xA0)):
            if tlv.find(value, 0x5A) == bytes.fromhex(self.switch[1]):
                return bytes(tlv.find_raw(value, 0x4F) or b"")
        return b""

    async def is_done(self, switch):
        """Has the card done it?"""
        function, iccid = switch
        return await self._enabled(bytes.fromhex(iccid)) == (function == _ENABLE_PROFILE)

    async def _enable(self, iccid, rollback):
        if self.switch is not None and self.switch[0] == _ENABLE_PROFILE:
            return UNDEFINED
        enabled = await self._enabled(iccid)
        if enabled is None:
            return _ICCID_NOT_FOUND
        if enabled:
            return _WRONG_STATE
        if rollback:  # nobody could go back but the card
            return _ROLLBACK_NOT_AVAILABLE
        self.switch = [_ENABLE_PROFILE, iccid.hex()]
        return _OK

    async def _disable(self, iccid):
        if self.switch is not None:
            return UNDEFINED
        enabled = await self._enabled(iccid)
        if enabled is None:
            return _ICCID_NOT_FOUND
        if not enabled:
            return _WRONG_STATE
        self.switch = [_DISABLE_PROFILE, iccid.hex()]
        return _OK

    async def _delete(self, iccid):
        if self.switch == [_ENABLE_PROFILE, iccid.hex()]:
            return _WRONG_STATE
        return await self._function(_DELETE_PROFILE, tlv.encode(0x5A, iccid))

    async def _list(self, value):
        if self.switch is not None:
            return _CHANGE_ONGOING
        wanted = tlv.find(value, 0x5C)
        parts = (value,)
        if wanted is not None:
            parts = (tlv.find_raw(value, 0xA0) or b"", tlv.encode(0x5C, _known(wanted)))
        try:
            return bytes(await self._es10.ask(_LIST_PROFILE_INFO, *parts))
        except StatusError:
            return _LIST_FAILED

    async def _function(self, tag, *parts):
        """Its result, as SGP.32 counts them."""
        try:
            code = tlv.find(await self._es10.call(tag, *parts), tag, 0x80)
        except StatusError:
            return UNDEFINED
        code = UNDEFINED if code is None else tlv.integer(code)
        return code if code <= _CAT_BUSY and code != 4 else UNDEFINED

    async def _enabled(self, iccid):
        """Whether this profile is, None when the card has none of that ICCID."""
        answer = await self._es10.get_profiles_info(b"\x5a\x9f\x70")
        for _, value, _ in tlv.items(tlv.find(answer, _LIST_PROFILE_INFO, 0xA0)):
            if tlv.find(value, 0x5A) == iccid:
                return tlv.find(value, 0x9F70) == b"\x01"
        return None


def settle(results, code):
    """Enable and disable, good so far, have come to this code."""
    for tag, value, _ in tlv.items(results):
        if tag in (_ENABLE_RESULT, _DISABLE_RESULT) and value[0] == _OK:
            value[0] = code


def _known(tags):
    """A tagList without what SGP.22 does not know."""
    out = bytearray()
    pos = 0
    while pos < len(tags):
        size = 2 if tags[pos] & 0x1F == 0x1F else 1
        tag = tags[pos : pos + size]
        if size == 1 or len(tag) < 2 or tag[0] << 8 | tag[1] not in _NOT_IN_SGP22:
            out.extend(tag)
        pos += size
    return out
