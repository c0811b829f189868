"""What a device spends in each state, after the state model of Sørensen et al., "Modelling and Experimental
Validation for Battery Lifetime Estimation in NB-IoT and LTE-M", 2021 (arXiv 2106.13286).

A wake from PSM or an attach leads to the connected state, in which the modem sends, receives and waits. The network
ends it with its inactivity timer, or earlier where the device says that nothing follows (release assistance). The
modem then listens for paging during the active time (T3324) and sleeps in PSM, or goes on listening in eDRX or DRX.
Beside it the microcontroller is awake or asleep and the card works on commands.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from microipa.energy.figures import Figures

Between = Literal["psm", "edrx", "drx"]
Sleep = Literal["none", "light", "deep"]


class Part(StrEnum):
    """Where the charge goes."""

    ATTACH = "attach"
    WAKE = "wake and registration"
    UPDATE = "periodic registration update"
    SENDING = "sending"
    RECEIVING = "receiving"
    WAITING = "connected, waiting"
    TAIL = "connected tail"
    LISTENING = "idle listening"
    EDRX = "eDRX"
    PSM = "PSM"
    CARD = "card"
    AWAKE = "microcontroller awake"
    ASLEEP = "microcontroller asleep"
    SUPPLY = "converter and leaks"
    SELF_DISCHARGE = "self-discharge"


Joules = defaultdict[Part, float]
MODEM = (Part.ATTACH, Part.WAKE, Part.UPDATE, Part.SENDING, Part.RECEIVING, Part.WAITING, Part.TAIL, Part.LISTENING)
"""What the modem does until it sleeps, in this order."""
_BEGINS = {"attach": Part.ATTACH, "wake": Part.WAKE}


@dataclass(frozen=True)
class Traffic:
    """What one thing takes: bytes of whole IP packets, answers waited for, commands to the card, and the radio
    connections, of which ``assisted`` end by release assistance where that is used."""

    up: int
    down: int
    trips: int
    apdus: int = 0
    connections: int = 1
    assisted: int = 1

    def __add__(self, other: Traffic) -> Traffic:
        """Both in the connections of the first."""
        return replace(self, up=self.up + other.up, down=self.down + other.down, trips=self.trips + other.trips,
                       apdus=self.apdus + other.apdus)


@dataclass(frozen=True)
class Settings:
    """How the device is set. ``reattaches``: every connection begins with an attach, as with today's PSM."""

    sleep: Sleep = "deep"
    between: Between = "psm"
    rai: bool = True
    reattaches: bool = False


@dataclass(frozen=True)
class Device:
    """The figures of all its parts."""

    modem: Figures
    chip: Figures
    network: Figures
    rest: Figures


@dataclass
class Spent:
    """Joules and seconds by part; the modem's parts follow one another, card and microcontroller work beside it."""

    joules: Joules = field(default_factory=lambda: defaultdict(float))
    seconds: Joules = field(default_factory=lambda: defaultdict(float))

    def add(self, part: Part, seconds: float, watts: float) -> None:
        self.seconds[part] += seconds
        self.joules[part] += seconds * watts

    @property
    def modem_s(self) -> float:
        """Until the modem sleeps again."""
        return sum(self.seconds[part] for part in MODEM)

    @property
    def modem_j(self) -> float:
        """Of the modem alone."""
        return sum(self.joules[part] for part in MODEM)

    @property
    def total_j(self) -> float:
        return sum(self.joules.values())


def connection(device: Device, settings: Settings, traffic: Traffic, *, attach: bool = False) -> Spent:
    """From waking or attaching until the modem sleeps again."""
    modem, network, rest = device.modem, device.network, device.rest
    begin = "attach" if attach or settings.reattaches else "wake"
    count, assisted = traffic.connections, traffic.assisted if settings.rai else 0
    begins_s = count * modem[f"{begin}_s"]
    up_s, down_s = 8 * traffic.up / network["rate_up"], 8 * traffic.down / network["rate_down"]
    waiting_s = traffic.trips * 2 * network["delay_s"]
    card_s = traffic.apdus * rest["apdu_s"]
    boot_s = device.chip["boot_s"] if settings.sleep == "deep" else 0
    connected_w = modem.watts("connected_drx" if network["connected_drx"] else "connected")
    spent = Spent()
    spent.seconds[_BEGINS[begin]], spent.joules[_BEGINS[begin]] = begins_s, count * modem[f"{begin}_j"]
    spent.add(Part.SENDING, up_s, modem.watts("transmit"))
    spent.add(Part.RECEIVING, down_s, modem.watts("receive"))
    spent.add(Part.WAITING, waiting_s, connected_w)
    tails_s = assisted * network["released_s"] + (count - assisted) * network["inactivity_s"]
    spent.add(Part.TAIL, tails_s, connected_w)
    spent.add(Part.LISTENING, count * _active_s(device, settings), modem.watts("idle"))
    spent.add(Part.CARD, card_s, rest["card_ma"] * rest["card_volts"] / 1000)
    awake_s = boot_s + begins_s + up_s + down_s + waiting_s + card_s + rest["computing_s"]
    spent.add(Part.AWAKE, awake_s, device.chip.watts("awake"))
    return spent


def update(device: Device, settings: Settings) -> Spent:
    """A periodic registration update, which the modem does by itself (TS 24.301 5.5.3)."""
    spent = Spent()
    spent.seconds[Part.UPDATE], spent.joules[Part.UPDATE] = device.modem["wake_s"], device.modem["wake_j"]
    spent.add(Part.LISTENING, _active_s(device, settings), device.modem.watts("idle"))
    return spent


def _active_s(device: Device, settings: Settings) -> float:
    return device.network["active_s"] if settings.between == "psm" else 0


def asleep(device: Device, settings: Settings, modem_s: float, chip_s: float) -> Joules:
    """Joules of so many seconds between connections. With a microcontroller awake, its UART keeps the modem awake
    too, except in PSM."""
    modem, rest = device.modem, device.rest
    joules: Joules = defaultdict(float)
    card_w = rest["card_idle_ma"] * rest["card_volts"] / 1000
    if settings.between == "psm":
        joules[Part.PSM] = modem_s * modem.watts("psm")
    elif settings.sleep == "none":
        joules[Part.LISTENING] = modem_s * modem.watts("awake")
    elif settings.between == "edrx":
        joules[Part.EDRX] = modem_s * modem.watts("edrx")
    else:
        joules[Part.LISTENING] = modem_s * modem.watts("idle")
    if settings.between != "psm":
        joules[Part.CARD] = modem_s * card_w
    state = "awake" if settings.sleep == "none" else settings.sleep
    joules[Part.AWAKE if settings.sleep == "none" else Part.ASLEEP] = chip_s * device.chip.watts(state)
    return joules
