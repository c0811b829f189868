"""Trusted certificates that mbedTLS does not take as they are. Loaded when one turns up.

The CI of an SM-DP+ has a critical policy, id-rspRole-ci, and mbedTLS refuses whatever has one it does not know. Of an
anchor only name and key count (RFC 5280 6.1.1 d), nobody checks its signature: it is taken without its policies. What
the server itself shows is never touched.
"""

from ipa import tlv
from ipa.compat import DEBUG, log

_CERTIFICATE_POLICIES = b"\x55\x1d\x20"


def take(context, certificate):
    """Give an anchor, DER, to a `tls` context. Returns why that cannot be done, None when it is. Raises TlvError."""
    try:
        context.load_verify_locations(_without_policies(certificate))
    except ValueError as error:
        why = "a trusted certificate that mbedTLS cannot use (%s): is it on P-256?" % error
        log(DEBUG, "trust:", why)
        return why
    return None


def _without_policies(certificate):
    """With all other extensions; the signature no longer fits."""
    fields = [raw for _, _, raw in tlv.items(tlv.find(certificate, 0x30, 0x30))]
    after = [raw for _, _, raw in tlv.items(tlv.find(certificate, 0x30))][1:]
    if not fields or fields[-1][0] != 0xA3:
        return certificate  # of version 1
    kept = [
        raw
        for _, extension, raw in tlv.items(tlv.find(fields.pop(), 0xA3, 0x30))
        if tlv.find(extension, 0x06) != _CERTIFICATE_POLICIES
    ]
    fields.append(tlv.encode(0xA3, tlv.encode(0x30, *kept)))
    return tlv.encode(0x30, tlv.encode(0x30, *fields), *after)
