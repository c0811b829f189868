"""Was it want of memory that made TLS or a file fail? Then that is the error, and no other. Loaded for that."""

import gc

from ipa.compat import const

_ENOMEM = const(12)
# The errors of mbedTLS for an allocation that failed: of SSL, PK, ECP, X.509, MD; added to those, of MPI, ASN.1
_HIGH = (0x7F00, 0x3F80, 0x4D80, 0x2880, 0x5180)
_LOW = (0x10, 0x6A)
_SHORT = const(6144)  # bytes free, with which mbedTLS does not come to the end of a signature


def check(error):
    """Raise MemoryError where `error`, an exception of `tls`, or the heap as it is says that memory was short.

    mbedTLS that cannot allocate in the middle of a check says that a certificate is not correctly signed.
    """
    check_code(error)
    gc.collect()
    if hasattr(gc, "mem_free") and gc.mem_free() < _SHORT:
        raise MemoryError("%s, with %d bytes free" % (error, gc.mem_free()))


def check_code(error):
    """The same for any OSError, by its errno alone."""
    code = getattr(error, "errno", None)
    if isinstance(code, int):
        low = code < 0 and (-code & 0xFF80 in _HIGH or -code & 0x7F in _LOW)
        if code == _ENOMEM or low:
            raise MemoryError(str(error))
