"""Tells an eIM what its operator should know of the device, where SGP.32 has no field for it. Few polls need it.

Over CoAP an option of the range for experiments (RFC 7252 12.2): elective, so that an eIM that does not know it goes
on as if it were not there, safe to forward, and no part of the cache key. Over HTTPS a header field of our own.
"""

from ipa import compat
from ipa.compat import const

_OPTION = const(65020)
_LONGEST = const(120)
_SHORTEST = const(13)  # so that the length takes one octet behind the header
HEADER = b"Microipa-Trouble"


def text():
    """At least 13 characters of printable ASCII."""
    compat.sent = compat.trouble
    message = "".join([char if " " <= char <= "~" else "?" for char in compat.trouble])[:_LONGEST].encode()
    return message + b" " * (_SHORTEST - len(message))


def put_option(buf, used, number):
    """The option into a request whose last option has this number. Returns where it ends."""
    message = text()
    delta = _OPTION - number - 269  # RFC 7252 3.1: two octets more for the number, one more for the length
    buf[used : used + 4] = bytes((0xED, delta >> 8, delta & 0xFF, len(message) - _SHORTEST))
    used += 4
    buf[used : used + len(message)] = message
    return used + len(message)
