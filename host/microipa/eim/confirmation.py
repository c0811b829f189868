"""Confirmation codes, which an order brings and the eIM gives in the device's place (SGP.22 3.1.3, SGP.32 5.14.2).

A trigger has no field for one, so that a download with a code is one through the eIM. Only its hash is kept, as
SGP.22 computes with it, and only until the order ends.
"""

from __future__ import annotations

from hashlib import sha256

from microipa.asn1.tlv import Tlv, tlv
from microipa.common.errors import MicroipaError
from microipa.eim import features
from microipa.eim.sources import Smds, Source
from microipa.eim.store import Device, DownloadSession


class CodeNotGiven(MicroipaError):
    """A confirmation code that would not reach the SM-DP+."""


def hashed(code: str) -> bytes:
    """What is kept of a confirmation code. Raises CodeNotGiven for an empty one."""
    if not code:
        raise CodeNotGiven("an empty confirmation code: leave it out if the SM-DP+ requires none")
    return sha256(code.encode()).digest()


def obstacle(device: Device) -> str | None:
    """Why this device, as far as it is known, downloads past the eIM; None when it does not."""
    if not features.has(device, features.DIRECT):
        return None
    if features.has(device, features.INDIRECT) and features.has(device, features.DOWNLOAD_DATA):
        return None
    return (
        f"the confirmation code cannot be given: {device.eid} downloads directly, and no trigger carries a code; "
        "let the device leave them to the eIM (eimDownloadDataHandling: eim_download_data in its ipa.json) "
        "or download through it at all times (download: indirect)"
    )


def require_way(device: Device, source: Source) -> None:
    """Raises CodeNotGiven."""
    if isinstance(source, Smds):
        raise CodeNotGiven("the confirmation code cannot be given: what an SM-DS names is downloaded directly")
    if why := obstacle(device):
        raise CodeNotGiven(why)


def wanted(smdp_signed_2: Tlv) -> bool:
    """ccRequiredFlag."""
    flag = smdp_signed_2.get(0x01)
    return flag is not None and flag.value != b"\0"


def hash_cc(session: DownloadSession, smdp_signed_2: Tlv) -> bytes:
    """The hashCc of AuthenticateClientResponseEsipa (tag 04), empty when none is wanted or known."""
    code = session.order.confirmation_hash
    if code is None or not wanted(smdp_signed_2):
        return b""
    return tlv(0x04, sha256(code + bytes.fromhex(session.transaction_id)).digest())
