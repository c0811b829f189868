"""The certificate of an eIM's signing key under the CAs that the device knows (SGP.32 2.11.1.1.1).

Loaded where an emulated card is given a configuration that holds one.
"""

from ipa import tlv
from ipa.card import p256
from ipa.compat import const

_ISSUER = const(1)  # among the SEQUENCEs of a TBSCertificate
_SUBJECT = const(3)
_HALF = const(32)
_ECDSA_SHA256 = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"


async def is_genuine(certificate, path):
    """Whether its issuer made it, if that is one of the CAs in this file; of others nothing is known here.

    Raises TlvError, p256.BadKey.
    """
    issuer = _sequence(certificate, _ISSUER)
    try:
        with open(path, "rb") as file:
            roots = file.read()
    except OSError:
        return True  # a device that knows none
    known = False
    for _, _, root in tlv.items(roots):
        if _sequence(root, _SUBJECT) == issuer:
            known = True
            if await _is_made_by(certificate, p256.point(p256.certified_key(root))):
                return True
    return not known


async def _is_made_by(certificate, key):
    signed, algorithm, signature = [raw for _, _, raw in tlv.items(tlv.find(certificate, 0x30))]
    if algorithm != _ECDSA_SHA256:
        return False
    # BIT STRING of whole octets: SEQUENCE of r and s
    r, s = [_half(value) for _, value, _ in tlv.items(tlv.find(tlv.find(signature, 0x03)[1:], 0x30))]
    return await p256.verify(key, r + s, signed)


def _half(number):
    octets = bytes(number).lstrip(b"\0")
    return bytes(_HALF - len(octets)) + octets if len(octets) <= _HALF else b""


def _sequence(certificate, place):
    return [raw for tag, _, raw in tlv.items(tlv.find(certificate, 0x30, 0x30)) if tag == 0x30][place]
