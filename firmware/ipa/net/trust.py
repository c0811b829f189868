"""Which TLS server is the right one: under a CA, with this very certificate, or with this very key.

Loaded for a handshake and forgotten after it.
"""

from ipa import tlv
from ipa.compat import DEBUG, const, log, unix_time, utc
from ipa.net import ClockUnset, PeerNotTrusted

try:
    import tls
except ImportError:  # CPython, which only looks at this module
    tls = None

_BASIC_CONSTRAINTS = b"\x55\x1d\x13"
_VALIDITY = const(3)  # as _sequence() counts
_SPKI = const(5)
_X509_FIRST = const(0x2080)  # MBEDTLS_ERR_X509_..., to which the low-level error is added
_X509_LAST = const(0x307F)


class Trust:
    """("ca", certificate...) or ("pin", SubjectPublicKeyInfo), DER.

    Certificates are those of CAs, or one that is the server's own. A pin needs neither clock nor name. The number of a
    role in place of "ca": whoever stands under a CI of SGP.22 needs that role, see `ipa.net.role`.
    """

    def __init__(self, kind, *anchors):
        self._kind = kind
        self._anchors = anchors
        self.accepted = False  # the certificate passed, or the handshake will fail
        self._why = None
        self._role = None

    def prepare(self, context):
        """Let a `tls` context ask for it. Raises ClockUnset, PeerNotTrusted."""
        try:
            if self._kind != "pin" and self._load(context):
                context.verify_mode = tls.CERT_REQUIRED
                self.accepted = True
                if self._kind != "ca":
                    from ipa.net.role import Role

                    self._role = Role(self._kind, self._anchors, _sequence)
                    context.verify_callback = self._role.check
                return
        except tlv.TlvError as error:
            raise PeerNotTrusted("trusted certificate unreadable: %s" % error) from None
        # mbedTLS takes no end entity and no bare key as an anchor. With CERT_OPTIONAL it hands us the
        # certificate whatever it thinks of the chain, and our refusal is final; that the server has the
        # private key is proven by its signature over the key exchange as always.
        context.verify_mode = tls.CERT_OPTIONAL
        context.verify_callback = self._compare

    def refusal(self, error):
        """PeerNotTrusted when that is what an exception of `tls` means, else None. Raises MemoryError."""
        from ipa.net import memory

        memory.check(error)
        if self._role and self._role.why:
            return PeerNotTrusted(self._role.why)
        if isinstance(error, ValueError):  # how it tells what is wrong with a certificate
            return PeerNotTrusted(str(error).strip().replace("\n", "; "))
        if _X509_FIRST <= -(error.errno or 0) <= _X509_LAST:
            return PeerNotTrusted("mbedTLS does not take the server's certificate: %s" % error)
        return PeerNotTrusted(self._why) if self._why else None

    def _load(self, context):
        """Give the anchors to mbedTLS. False when the only one is the server's own certificate."""
        refusal = None
        loaded = False
        for anchor in self._anchors:
            try:
                _check_validity(anchor)
            except PeerNotTrusted as error:
                log(DEBUG, "trust:", error)
                refusal = error
                continue
            if len(self._anchors) == 1 and not _is_ca(anchor):
                return False
            try:
                context.load_verify_locations(bytes(anchor))
            except ValueError:
                from ipa.net.anchor import take  # few need it

                why = take(context, anchor)
                if why:
                    refusal = PeerNotTrusted(why)
                    continue
            loaded = True
        if not loaded:
            raise refusal or PeerNotTrusted("no trusted certificate is configured")
        return True

    def _compare(self, certificate, depth):
        if depth:
            return 0
        wanted = self._anchors[0]
        try:
            self.accepted = wanted == (_sequence(certificate, _SPKI) if self._kind == "pin" else certificate)
            if not self.accepted:
                self._why = "the server has another %s" % ("key" if self._kind == "pin" else "certificate")
        except tlv.TlvError as error:
            self.accepted = False
            self._why = "certificate unreadable: %s" % error
        return 0 if self.accepted else 1


def _sequence(certificate, number):
    """The number-th SEQUENCE in a TBSCertificate: 1 signature, 2 issuer, 3 validity, 4 subject, 5 key."""
    for tag, _, raw in tlv.items(tlv.find(certificate, 0x30, 0x30)):
        if tag == 0x30:
            number -= 1
            if not number:
                return raw
    raise tlv.TlvError("no certificate", 0)


def _is_ca(certificate):
    for _, extension, _ in tlv.items(tlv.find(certificate, 0x30, 0x30, 0xA3, 0x30)):
        if tlv.find(extension, 0x06) == _BASIC_CONSTRAINTS:
            return tlv.find(tlv.find(extension, 0x04), 0x30, 0x01) == b"\xff"
    return False


def _check_validity(certificate):
    """Of the anchor itself: mbedTLS checks the server's dates only when it builds the chain."""
    now = unix_time()
    if now is None:
        raise ClockUnset("the clock is not set, certificates cannot be checked")
    validity = tlv.find(_sequence(certificate, _VALIDITY), 0x30)
    dates = [_date(tag, value) for tag, value, _ in tlv.items(validity)]
    if len(dates) != 2:
        raise tlv.TlvError("no validity", 0)
    if now < dates[0]:
        raise PeerNotTrusted("the trusted certificate is not valid yet")
    if now > dates[1]:
        raise PeerNotTrusted("the trusted certificate has expired")


def _date(tag, value):
    """UTCTime or GeneralizedTime as RFC 5280 4.1.2.5 allows them: to the second, in UTC."""
    text = bytes(value)
    if tag == 0x17:
        text = (b"19" if text[:1] >= b"5" else b"20") + text
    if len(text) != 15 or not text[:14].isdigit() or text[14:] != b"Z":
        raise tlv.TlvError("date unreadable", 0)
    return utc(int(text[:4]), *[int(text[i : i + 2]) for i in (4, 6, 8, 10, 12)])
