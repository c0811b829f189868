"""Fixtures of the card's tests: a powered card, and the eIM and SM-DP+ it talks to."""

from euicc_peer import dp, eim, pki, terminal

__all__ = ["dp", "eim", "pki", "terminal"]
