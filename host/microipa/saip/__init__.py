"""Profile packages: make them, read them, show them, and the files they put into a card."""

from microipa.saip.build import build
from microipa.saip.checks import Finding
from microipa.saip.elements import Aka, Element
from microipa.saip.files import CardFile
from microipa.saip.metadata import metadata
from microipa.saip.package import ProfilePackage
from microipa.saip.spec import ProfileSpec
from microipa.saip.values import SaipError, iccid_from_bytes, iccid_to_bytes, luhn_digit

__all__ = [
    "Aka",
    "CardFile",
    "Element",
    "Finding",
    "ProfilePackage",
    "ProfileSpec",
    "SaipError",
    "build",
    "iccid_from_bytes",
    "iccid_to_bytes",
    "luhn_digit",
    "metadata",
]
