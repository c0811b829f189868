"""What stands on a bench: one place for each board, from bench.toml or from the options of the command line.

    [left]                        # the name of the place: of its folder in the run, and of its worker
    board = "walter"              # a name of `microipa board list`, or the path of a board's folder
    port = "rfc2217://rack7:4001" # a device, a pty, or a URL of pyserial; the virtual board needs none
    eim_url = "coaps://eim.example:5684"    # or tether = true, where nobody outside reaches this machine
    bind = "0.0.0.0"              # the eIM listens at this address; without, on loopback
    power_on = "uhubctl -l 1-1 -p 2 -a on"
    power_off = "uhubctl -l 1-1 -p 2 -a off"

All keys are the fields of Place. What a place can do follows from them; the virtual board can do everything.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from microipa.board.known import Board, find_board
from microipa.common.errors import MicroipaError
from microipa.crypto.key_folder import read_certificate
from microipa.hil.supply import words_of
from microipa.net.https_server import LOOPBACK
from microipa.quirks import PARTS, QUIRKS

VIRTUAL = "virtual"
FEATURES = {
    "disposable profile": "a profile with a subscription, which may be loaded, enabled and deleted: profiles",
    "own operator": "a network that lets the subscribers of the bench's own profiles on",
    "own SM-DP+": "profiles made by the bench's own SM-DP+, whose CI the card must trust",
    "coverage control": "operators whose cells can be switched off",
    "radio control": "a link that can be made to lose, double and hold back datagrams",
    "power switch": "a supply that the bench can cut: power_on and power_off",
    "card contacts": "a card whose memory the bench can look into",
    "modem faults": "a modem that fails on demand",
    "SM-DP+ in reach": "a network in which the board reaches the bench's SM-DP+ by itself",
    "heap for direct downloads": "room for TCP, HTTP and JSON: 168K with code in flash, 240K with code in RAM",
    "network between": "a network that the bench can redirect: an eIM out of reach",
}
_HEAP = re.compile(r"([1-9][0-9]*)([KM]?)")
_DIRECT = {"romfs": "168K", "mpy": "240K"}  # that direct downloads want
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class BadBench(MicroipaError):
    """A bench that cannot be: the message names the place, the key and the value."""


@dataclass(frozen=True)
class Place:
    """One board of a bench and what is around it.

    ``modem``: the family, "auto" for the one the board names. ``card``: virtual or real, by default as the board is.
    ``heap``: of a virtual board, MicroPython's -X heapsize. ``form``: mpy, which a board loads into its RAM, or romfs,
    which runs in flash; a virtual board gets a partition for it, and so much more heap as that takes there.
    ``settings``: more for ipa.json. ``quirks``: how the bench's parts differ from the book, see `microipa lab quirks`;
    beside a real board that are its two servers.

    Of real boards: ``eim_url`` is where the board reaches the bench's eIM, coaps://host:port, which somebody forwards
    to ``eim_port`` of this machine at its address ``bind``; or ``tether``: over its serial port, for a bench without a
    public address. ``lab`` is the folder with the keys of that eIM, by default hil-lab/<name>; a card that belongs to
    the eIM needs it as long as it lives. ``ci`` is the certificate of the card's CI (PEM or DER), "" for a card under
    the lab's own. ``profiles``: activation codes of profiles that may be used up and have a subscription.
    ``power_on``, ``power_off``: commands that switch the board's supply.
    """

    name: str
    board: str = VIRTUAL
    port: str = ""
    modem: str = "auto"
    card: str = ""
    heap: str = "192K"
    form: str = "mpy"
    eim_url: str = ""
    eim_port: int = 5684
    tether: bool = False
    bind: str = LOOPBACK
    lab: str = ""
    ci: str = ""
    profiles: tuple[str, ...] = ()
    power_on: str = ""
    power_off: str = ""
    settings: Mapping[str, Any] | None = None
    quirks: tuple[str, ...] = ()

    @property
    def known(self) -> Board:
        return find_board(self.board)

    @property
    def is_virtual(self) -> bool:
        return self.board == VIRTUAL and not self.port

    @property
    def family(self) -> str:
        return self.known.modem if self.modem == "auto" else self.modem

    @property
    def sleeps(self) -> bool:
        """Whether the board sleeps deep between polls, and is woken for the next."""
        return (self.settings or {}).get("sleep") == "deep"

    def lacks(self, feature: str) -> str:
        """Why this place has not what a case needs; "" when it has, as far as the bench file tells. Raises BadBench
        for what no place can have."""
        if feature not in FEATURES:
            raise BadBench(f"a case needs {feature!r}: choose among {', '.join(FEATURES)}")
        if self.tether and feature == "radio control":
            return f"with the tether, datagrams of {self.name} do not use the radio"
        if self.is_virtual:
            is_short = _octets(self.heap) < _octets(_DIRECT[self.form])
            has = set(FEATURES) - ({"heap for direct downloads"} if is_short else set())
        else:
            has = {"own SM-DP+"}  # until the card has been asked: see Station.lacks
            has |= {"disposable profile"} if self.profiles else set()
            has |= {"power switch"} if self.power_on else set()
        return "" if feature in has else self.without(feature)

    def without(self, feature: str) -> str:
        """The reason for which a case is skipped."""
        return f"the bench has no {feature} ({FEATURES[feature]}) at {self.name}"

    def check(self) -> Place:
        """The place with its card told.

        Raises BadBench, UnknownBoard, BadBoard, BadSupply, KeysInvalid, UnknownQuirk.
        """
        where = f"place {self.name}"
        known = self.known
        if not _NAME.fullmatch(self.name):
            raise BadBench(f"{where}: the name is used for a folder: only letters, digits, dots and dashes are allowed")
        if self.board != VIRTUAL and not self.port:
            raise BadBench(f"{where}: which port is {known.name} on? Give port, such as /dev/ttyACM0")
        if "://" in self.port and not re.match(r"(rfc2217|socket|spy|hwgrep|cp2110|alt)://.", self.port):
            raise BadBench(f"{where}: {self.port} is not a URL of pyserial: rfc2217://host:port or socket://host:port")
        card = "virtual" if self.is_virtual else "real"
        if self.card not in ("", "virtual", "real"):
            raise BadBench(f"{where}: card is {self.card!r}, it is virtual or real")
        if self.card not in ("", card):
            raise BadBench(f"{where}: card is {self.card}: the virtual board has a virtual one, others a real one")
        _check_family(where, self.family)
        if self.form not in ("mpy", "romfs"):
            raise BadBench(f"{where}: form is {self.form!r}, it is mpy or romfs")
        if not _HEAP.fullmatch(self.heap):
            raise BadBench(f"{where}: heap is {self.heap!r}, write it as 144K, bytes as on a chip")
        self._check_tether(where)
        for chosen in QUIRKS.choose(self.quirks):
            if not self.is_virtual and chosen.quirk.part not in ("smdpp", "eim"):
                what = PARTS[chosen.quirk.part]
                raise BadBench(f"{where}: {chosen.quirk.name} is a quirk of {what}, which is real at this place")
        if not self.is_virtual:
            self._check_surroundings(where)
            if self.sleeps:
                raise BadBench(f"{where}: sleep is deep in its settings: this suite can wake the virtual board alone")
        return replace(self, card=card)

    def _check_surroundings(self, where: str) -> None:
        """Of a real board."""
        if not (self.eim_url or self.tether):
            raise BadBench(f"{where}: how does {self.known.name} reach the bench's eIM? Give eim_url, or tether")
        if self.eim_url and not _is_coaps(self.eim_url):
            raise BadBench(f"{where}: eim_url is {self.eim_url!r}, write it as coaps://eim.example:5684")
        if not 0 < self.eim_port < 65536:
            raise BadBench(f"{where}: eim_port is {self.eim_port}, a UDP port is 1 to 65535")
        try:
            ipaddress.ip_address(self.bind)
        except ValueError:
            wrong = f"{where}: bind is {self.bind!r}, not an address; 0.0.0.0 means all addresses of this machine"
            raise BadBench(wrong) from None
        if self.ci:
            read_certificate(Path(self.ci))
        if bool(self.power_on) != bool(self.power_off):
            raise BadBench(f"{where}: power_on and power_off must be given together")
        for command in filter(None, (self.power_on, self.power_off)):
            words_of(command)

    def _check_tether(self, where: str) -> None:
        if not self.tether:
            return
        if self.eim_url:
            raise BadBench(f"{where}: tether and eim_url exclude each other: choose one")
        if (self.settings or {}).get("dtls") == "modem":
            raise BadBench(f"{where}: a tether needs DTLS on the board, not in the modem (dtls)")


def read_bench(path: Path) -> list[Place]:
    """The places that a bench file describes. Raises BadBench and what Place.check raises."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadBench(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise BadBench(f"{path} is not TOML: {error}") from None
    if not tables:
        raise BadBench(f"{path} describes no board: begin a place with its name in brackets, such as [left]")
    places = [_place(path, name, table) for name, table in tables.items()]
    real = [place for place in places if not place.is_virtual]
    for key in ("port", "eim_port", "lab"):
        owners: dict[Any, str] = {}
        for place in real:
            value = getattr(place, key)
            if key == "eim_port" and place.tether:  # which takes whatever port is free
                continue
            if value and owners.setdefault(value, place.name) != place.name:
                raise BadBench(f"{path}: {owners[value]} and {place.name} share the {key} {value}: give each its own")
    return places


def _place(path: Path, name: str, table: Any) -> Place:
    if not isinstance(table, dict):
        raise BadBench(f"{path}: {name} is outside of a place: begin a place with its name in brackets, such as [left]")
    known = {one.name: one for one in fields(Place) if one.name != "name"}
    for key, value in table.items():
        if key not in known:
            raise BadBench(f"{path}: place {name} has no key {key}: choose among {', '.join(known)}")
        default = {} if key == "settings" else known[key].default
        wanted = list if isinstance(default, tuple) else type(default)
        assert default is not MISSING
        if type(value) is not wanted:
            raise BadBench(f"{path}: place {name}: {key} is {value!r}, not {wanted.__name__}")
    lists = {key: tuple(map(str, value)) for key, value in table.items() if isinstance(value, list)}
    return Place(name, **{**table, **lists}).check()


def _octets(heap: str) -> int:
    found = _HEAP.fullmatch(heap)
    assert found, "check() comes first"
    number, unit = found.groups()
    return int(number) * {"": 1, "K": 1024, "M": 1024**2}[unit]


def _is_coaps(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "coaps" and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        return False


def _check_family(where: str, family: str) -> None:
    from microipa.modem.virtual import FAMILIES

    if family not in FAMILIES:
        raise BadBench(f"{where}: there is no modem {family!r}: choose one of {', '.join(FAMILIES)}")
