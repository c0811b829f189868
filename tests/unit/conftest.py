"""Fixtures: a powered card with the eIM and SM-DP+ it talks to, an eIM with its devices, a virtual board,
the command line."""

from board_bench import board, said
from cli_runner import microipa
from eim_ipa import desk, enrolled, events, ipa
from euicc_peer import dp, eim, pki, terminal

__all__ = ["board", "desk", "dp", "eim", "enrolled", "events", "ipa", "microipa", "pki", "said", "terminal"]
