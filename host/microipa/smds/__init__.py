"""The SM-DS: where a card finds out which SM-DP+ has a profile for it."""

from microipa.smds.service import Event, Smds

__all__ = ["Event", "Smds"]
