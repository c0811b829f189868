"""How modems, cards, networks, servers and boards of the field differ from the book: one registry of named quirks.

Data alone: each part of the lab turns the names given to it into its own behaviour by ``QUIRKS.behaviour``.
"""

from microipa.quirks import board, card, modem, network, servers
from microipa.quirks.registry import PARTS, Chosen, Quirk, Registry, UnknownQuirk

QUIRKS = Registry((*modem.QUIRKS, *card.QUIRKS, *network.QUIRKS, *servers.QUIRKS, *board.QUIRKS))

__all__ = ["PARTS", "QUIRKS", "Chosen", "Quirk", "Registry", "UnknownQuirk"]
