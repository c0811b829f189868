"""The template iot-minimal: the IoT Minimal Profile of TCA 3.3, PE-IoT in place of PE-MF and PE-USIM.

EF.ICCID, EF.DIR and the ADF come from the header's ICCID and PIX; PINs, PUKs, access rules and all files that
are not named have the values of the card's template, so none of them travels.
"""

from __future__ import annotations

from microipa.saip import blocks
from microipa.saip.blocks import USIM_AID, Body
from microipa.saip.spec import ProfileSpec
from microipa.saip.values import imsi_to_bytes

VERSION = (3, 3)
SERVICES = ("usim", "milenage")
PIX = USIM_AID[5:]


def bodies(spec: ProfileSpec) -> list[Body]:
    """All elements between header and end."""
    files = {
        "ef-imsi": [("fillFileContent", imsi_to_bytes(spec.imsi))],
        "ef-ust": [],
        "ef-acc": [("fillFileContent", spec.access_classes)],
    }
    if spec.mnc_digits == 3:  # two is what the template says
        files["ef-ad"] = [("fillFileContent", b"\x00\x00\x00\x03")]
    return [("iot", files), blocks.milenage(spec), blocks.security_domain(spec), *blocks.filler(spec)]
