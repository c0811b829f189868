"""The air between a modem and the internet: a link that takes its time, a network that checks the card."""

from microipa.radio.link import PRESETS, Counters, Link, LinkSettings, Traffic, UnknownPreset, preset
from microipa.radio.network import (
    AkaAnswer,
    Attachment,
    AttachRefused,
    Network,
    NoCoverage,
    PdnRefused,
    Usim,
)

__all__ = [
    "PRESETS",
    "AkaAnswer",
    "AttachRefused",
    "Attachment",
    "Counters",
    "Link",
    "LinkSettings",
    "Network",
    "NoCoverage",
    "PdnRefused",
    "Traffic",
    "UnknownPreset",
    "Usim",
    "preset",
]
