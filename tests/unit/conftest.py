"""Fixtures of the card's tests: a powered card, and the eIM and SM-DP+ it talks to; and of the eIM's."""

from eim_ipa import desk, enrolled, events, ipa
from euicc_peer import dp, eim, pki, terminal

__all__ = ["desk", "dp", "eim", "enrolled", "events", "ipa", "pki", "terminal"]
