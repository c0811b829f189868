"""CoAP messages, the octets of them (RFC 7252 3), and the options of blocks (RFC 7959 2.2, RFC 9177 4.2)."""

from ipa.compat import const, words
from ipa.net import ChannelRefused, NetError

_SERVER_ERROR = const(0xA0)  # 5.xx
_TOO_MANY_REQUESTS = const(0x9D)  # 4.29 (RFC 8516)
_WHY = const(80)  # octets of a diagnosis that are worth a line in the log
_BLOCK2 = const(23)
_BLOCK1 = const(27)
_Q_BLOCK2 = const(31)
_CRITICAL_KNOWN = (_BLOCK2, _BLOCK1, _Q_BLOCK2)


class CoapError(NetError):
    """No body came."""


class CoapTimeout(CoapError):
    """The eIM did not answer in time."""


class CoapMalformed(CoapError):
    """What came is not what RFC 7252 or 7959 let come."""


class CoapRefused(ChannelRefused):
    """A response of class 4 or 5; `code` is its octet, 0x80 for 4.00."""

    def __init__(self, code, why=b""):
        text = "{}.{:02d}".format(code >> 5, code & 0x1F)
        super().__init__("{} {}".format(text, words(why[:_WHY])) if len(why) else text)
        self.code = code
        self.temporary = code >= _SERVER_ERROR or code == _TOO_MANY_REQUESTS


def check(code, payload):
    if code >> 5 != 2:
        raise CoapRefused(code, payload)


def put_header(buf, kind, code, message_id, length):
    buf[0] = 0x40 | kind << 4 | length
    buf[1] = code
    buf[2] = message_id >> 8
    buf[3] = message_id & 0xFF


def put_option(buf, used, delta, value):
    """Options here are shorter than 13 bytes, and never more than 268 after another."""
    if delta < 13:
        buf[used] = delta << 4 | len(value)
    else:
        buf[used] = 0xD0 | len(value)
        used += 1
        buf[used] = delta - 13
    used += 1
    buf[used : used + len(value)] = value
    return used + len(value)


def block_value(number, more, szx):
    value = number << 4 | (8 if more else 0) | szx
    if not value:
        return b""
    return value.to_bytes(1 if value < 0x100 else 2 if value < 0x10000 else 3, "big")


def block_option(options, which):
    """(number, more, szx) of a block option, None without it."""
    value = options.get(which)
    if value is None:
        return None
    if len(value) > 3:
        raise CoapMalformed("block option of {} bytes".format(len(value)))
    number = int.from_bytes(value, "big")
    if number & 7 == 7:
        raise CoapMalformed("block size 7 is reserved")
    return number >> 4, bool(number & 8), number & 7


def parse(view, critical=_CRITICAL_KNOWN):
    """(type, code, message id, token, options, payload) of one message (RFC 7252 3). Raises CoapMalformed.

    `critical` are the critical options the caller understands.
    """
    n = len(view)
    if n < 4 or view[0] >> 6 != 1:
        raise CoapMalformed("no CoAP message")
    pos = 4 + (view[0] & 0x0F)
    if pos > n or pos > 12:
        raise CoapMalformed("token longer than the message")
    token = view[4:pos]
    options = {}
    number = 0
    payload = view[n:]
    while pos < n:
        first = view[pos]
        pos += 1
        if first == 0xFF:
            payload = view[pos:]
            break
        delta, pos = _extended(view, pos, first >> 4)
        length, pos = _extended(view, pos, first & 0x0F)
        if pos + length > n:
            raise CoapMalformed("option longer than the message")
        number += delta
        if number & 1 and number not in critical:
            raise CoapMalformed("critical option {} is unknown".format(number))
        options[number] = bytes(view[pos : pos + length])
        pos += length
    return view[0] >> 4 & 3, view[1], view[2] << 8 | view[3], token, options, payload


def _extended(view, pos, value):
    """Option delta or length from its nibble and the octets behind it (RFC 7252 3.1)."""
    extra = value - 12 if value > 12 else 0
    if value == 15 or pos + extra > len(view):
        raise CoapMalformed("option cut short")
    if extra == 1:
        return view[pos] + 13, pos + 1
    if extra == 2:
        return (view[pos] << 8 | view[pos + 1]) + 269, pos + 2
    return value, pos
