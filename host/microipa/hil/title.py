"""What a case is called in a report: its docstring's first line or, without one, its name as a sentence.

A name says what holds, but cannot spell: the standard's terms are put right and ``card_s`` becomes card's.
"""

from __future__ import annotations

import re

_TERMS = {
    "apdu": "APDU", "apdus": "APDUs", "coap": "CoAP", "dtls": "DTLS", "edrx": "eDRX", "eid": "EID",
    "eim": "eIM", "eims": "eIMs", "euicc": "eUICC", "iccid": "ICCID", "ipa": "IPA", "oid": "OID", "psm": "PSM",
    "smdp": "SM-DP+", "smdpp": "SM-DP+", "smds": "SM-DS", "sim": "SIM", "tls": "TLS",
}  # fmt: skip


def title(name: str, docstring: str | None = None) -> str:
    """The title of a test function."""
    if docstring and docstring.strip():
        return docstring.strip().splitlines()[0].rstrip(".")
    words = [_TERMS.get(word, word) for word in name.removeprefix("test_").split("_")]
    said = re.sub(r" s\b", "'s", " ".join(words))
    first = words[0]
    return said if first in _TERMS.values() else said[:1].upper() + said[1:]
