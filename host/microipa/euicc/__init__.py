"""The software eUICC of the lab: an SGP.32 card at APDU level, with its memory in a file."""

from microipa.euicc.card import CardOff, EidMismatch, Euicc, ProfileState
from microipa.euicc.nvm import NvmError, PowerCut

__all__ = ["CardOff", "EidMismatch", "Euicc", "NvmError", "PowerCut", "ProfileState"]
