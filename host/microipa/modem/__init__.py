"""A modem that talks AT on a pseudo terminal, with a card in its slot and a radio at its antenna."""

from microipa.modem.sim import Card
from microipa.modem.virtual import FAMILIES, UnknownFamily, VirtualModem

__all__ = ["FAMILIES", "Card", "UnknownFamily", "VirtualModem"]
