"""What a server's certificate is for (SGP.22 4.5.2). Loaded for direct downloads.

mbedTLS does not look at policies. Under a CI an SM-DP+ has a TLS certificate of its role, and has it from the CI
itself; other issuers know no roles.
"""

from ipa import tlv
from ipa.compat import const

_CI = const(0)
_ROLES = b"\x67\x81\x12\x01\x02\x01"  # 2.23.146.1.2.1
_POLICIES = b"\x55\x1d\x20"
_SPKI = const(5)


class Role:
    """`check` is a verify_callback of `tls`; `why` says what it refused."""

    def __init__(self, role, anchors, sequence):
        """sequence: gives the nth SEQUENCE of a certificate."""
        self._role = role
        self._sequence = sequence
        self._cis = [bytes(sequence(anchor, _SPKI)) for anchor in anchors if _has(anchor, _CI)]
        self._above = 0
        self._under_ci = False
        self.why = None

    def check(self, certificate, depth):
        try:
            if depth:
                self._above += 1
                self._under_ci = self._under_ci or self._sequence(certificate, _SPKI) in self._cis
            elif self._under_ci and (self._above != 1 or not _has(certificate, self._role)):
                self.why = "the server's certificate is for another role"
        except tlv.TlvError as error:
            self.why = "certificate unreadable: %s" % error
        return 1 if self.why else 0


def _has(certificate, role):
    for _, extension, _ in tlv.items(tlv.find(certificate, 0x30, 0x30, 0xA3, 0x30) or b""):
        if tlv.find(extension, 0x06) == _POLICIES:
            for _, policy, _ in tlv.items(tlv.find(tlv.find(extension, 0x04), 0x30)):
                oid = tlv.find(policy, 0x06)
                if len(oid) == len(_ROLES) + 1 and oid[: len(_ROLES)] == _ROLES and oid[-1] == role:
                    return True
    return False
