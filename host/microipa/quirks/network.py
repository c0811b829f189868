"""Quirks of operators and of the internet behind them. What they change: ``microipa.radio.behaviour``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microipa.quirks.registry import NUMBER, Quirk


def _network(name: str, changes: Mapping[str, object], says: str, source: str, **more: Any) -> Quirk:
    return Quirk(name, "network", changes, says, source, **more)


QUIRKS = (
    # On and off the network
    _network("slow-first-search", {"first_search_s": NUMBER},
             "The search for the first cell takes a long time, and starts again whenever the radio is switched off.",
             "zephyr #33923, DevZone 78351, walter-arduino #18", number=200, unit="seconds"),
    _network("slow-search", {"search_s": NUMBER},
             "Every search for a cell takes a long time.", "zephyr #33923", number=60,
             unit="seconds"),
    _network("attach-congested", {"attach_refusals": NUMBER},
             "The first attempts to attach are refused for congestion, and the modem tries again by itself.",
             "TS 24.301, cause 22; magma #7958", number=3, unit="attempts"),
    _network("coverage-gap", {"gap_at": NUMBER}, "Once, coverage is lost for three seconds while data are sent.",
             "field.md 5", number=20, unit="datagrams"),
    _network("no-network-time", {"time": False}, "The network does not send the time (NITZ).", "field.md 1"),
    _network("many-networks", {"others": NUMBER},
             "AT+COPS=? finds many networks and returns them in one line.", "memory32.md",
             number=30, unit="networks"),
    # Data contexts and names
    _network("apn-per-operator", {"own_apn": True},
             "Each operator accepts only its own APN, <MCC and MNC>.example, or the empty one, which is its default.",
             "TinyGSM #421, ubxlib #25, kura PR 5350"),
    _network("first-context-fails", {"context_failures": NUMBER},
             "After each attach the first activations of a data context are refused.", "NB-IoT: californium #1792",
             number=1, unit="activations"),
    _network("context-lost", {"context_lost_at": NUMBER},
             "Once after each attach the network deactivates the data context while data are sent.", "field.md 5",
             number=15, unit="datagrams"),
    _network("first-dns-fails", {"dns_failures": NUMBER}, "After each attach the first DNS queries fail.",
             "NB-IoT: californium #1792", number=1, unit="questions"),
    # Sleep
    _network("release-assistance-ignored", {"release_assistance": False},
             "A connection ends only by its inactivity timer, whatever the device requests.", "battery.md"),
    _network("keeps-datagrams", {"buffers": True},
             "Datagrams for a device in PSM are kept until it is back; other networks lose them.",
             "TS 23.401 4.3.17.7, high latency communication"),
    # The way of datagrams
    _network("first-datagrams-lost", {"datagrams_lost": NUMBER},
             "After each attach the first datagrams from the device are lost.",
             "NB-IoT: californium #1792", number=2, unit="datagrams"),
    _network("mtu", {"mtu": NUMBER}, "Larger IP packets are dropped without any error.", "field.md 3", number=300,
             unit="bytes"),
    _network("loss", {"loss": NUMBER}, "Datagrams are lost.", "field.md 5", number=10, unit="per cent"),
    _network("duplicates", {"duplicates": NUMBER},
             "Datagrams are duplicated.", "field.md 5", number=20, unit="per cent"),
    _network("disorder", {"disorder": NUMBER},
             "Datagrams are delayed and arrive after later ones.", "field.md 5", number=20,
             unit="per cent"),
    _network("detour", {"delay_s": NUMBER},
             "Datagrams need a long time in each direction, in addition to the radio link.", "micropython.md 1.4",
             number=2, unit="seconds"),
)
