"""What stands on a bench: one place for each board, from bench.toml or from the options of the command line.

    [left]                        # the name of the place: of its folder in the run, and of its worker
    board = "walter"              # a name of `microipa board list`, or the path of a board's folder
    port = "rfc2217://rack7:4001" # a device, a pty, or a URL of pyserial; the virtual board needs none
    eim_url = "coaps://eim.example:5684"    # or tether = true, where nobody outside reaches this machine
    has = ["power switch"]        # what cases may need and this place can do: see FEATURES

All keys are the fields of Place. A virtual board with a virtual card has everything.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from microipa.board.known import Board, find_board
from microipa.errors import MicroipaError

VIRTUAL = "virtual"
FEATURES = {
    "disposable profile": "a profile that may be loaded, enabled and deleted",
    "coverage control": "operators whose cells can be switched off",
    "radio control": "a link that can be made to lose, double and hold back datagrams",
    "power switch": "a supply that the bench can cut",
    "card contacts": "a card whose memory the bench can look into",
    "modem faults": "a modem that fails on demand",
    "SM-DP+ in reach": "a network in which the board reaches the bench's SM-DP+ by itself",
    "heap for direct downloads": "room for TCP, HTTP and JSON beside the rest, more than 96wK where all code is in RAM",
    "network between": "a network that the bench can redirect: an eIM out of reach",
}
_HEAP = re.compile(r"[1-9][0-9]*w?[KM]?")
_SMALL = ("96wK", "96K", "128K")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class BadBench(MicroipaError):
    """A bench that cannot be: the message names the place, the key and the value."""


@dataclass(frozen=True)
class Place:
    """One board of a bench and what is around it.

    ``modem``: the family, "auto" for the one the board names. ``card``: virtual or real. ``heap``: of a virtual board,
    MicroPython's -X heapsize. ``eim_url``: where the board reaches the bench's eIM,
    coaps://host:port, which somebody forwards to ``eim_port`` of this machine; or ``tether``: over its serial port, for
    a bench without a public address. ``profiles``: activation codes of
    profiles that may be used up, where the card does not know the bench's own SM-DP+. ``settings``: more for ipa.json.
    """

    name: str
    board: str = VIRTUAL
    port: str = ""
    modem: str = "auto"
    card: str = VIRTUAL
    heap: str = "96wK"
    eim_url: str = ""
    eim_port: int = 5684
    tether: bool = False
    has: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    settings: Mapping[str, Any] | None = None

    @property
    def known(self) -> Board:
        return find_board(self.board)

    @property
    def is_virtual(self) -> bool:
        return self.board == VIRTUAL and not self.port

    @property
    def family(self) -> str:
        return self.known.modem if self.modem == "auto" else self.modem

    def lacks(self, feature: str) -> str:
        """Why this place has not what a case needs; "" when it has. Raises BadBench for what no place can have."""
        if feature not in FEATURES:
            raise BadBench(f"a case needs {feature!r}: choose among {', '.join(FEATURES)}")
        if self.tether and feature == "radio control":
            return f"datagrams meet no radio on the tether of {self.name}"
        if self.is_virtual:
            has = set(FEATURES) - ({"heap for direct downloads"} if self.heap in _SMALL else set())
        else:
            has = {*self.has, *(["disposable profile"] if self.profiles else [])}
        return "" if feature in has else f"the bench has no {feature} ({FEATURES[feature]}) at {self.name}"

    def check(self) -> Place:
        """Itself. Raises BadBench, UnknownBoard, BadBoard."""
        where = f"place {self.name}"
        known = self.known
        if not _NAME.fullmatch(self.name):
            raise BadBench(f"{where}: the name becomes a folder's, so it has letters, digits, dots and dashes")
        if self.board != VIRTUAL and not self.port:
            raise BadBench(f"{where}: which port is {known.name} on? Give port, such as /dev/ttyACM0")
        if "://" in self.port and not re.match(r"(rfc2217|socket|spy|hwgrep|cp2110|alt)://.", self.port):
            raise BadBench(f"{where}: {self.port} is no URL of pyserial: rfc2217://host:port or socket://host:port")
        if self.card not in ("virtual", "real"):
            raise BadBench(f"{where}: card is {self.card!r}, it is virtual or real")
        if self.is_virtual != (self.card == "virtual"):
            raise BadBench(f"{where}: card is {self.card}: the virtual board has a virtual one, others a real one")
        _check_family(where, self.family)
        if not _HEAP.fullmatch(self.heap):
            raise BadBench(f"{where}: heap is {self.heap!r}, write it as 96wK (words) or 256K (bytes)")
        if self.eim_url and (urlsplit(self.eim_url).scheme != "coaps" or not urlsplit(self.eim_url).hostname):
            raise BadBench(f"{where}: eim_url is {self.eim_url!r}, write it as coaps://eim.example:5684")
        if not (self.is_virtual or self.eim_url or self.tether):
            raise BadBench(f"{where}: how does {known.name} reach the bench's eIM? Give eim_url, or tether")
        self._check_tether(where)
        for feature in self.has:
            if feature not in FEATURES:
                raise BadBench(f"{where}: nobody knows {feature!r}, in has there may be {', '.join(FEATURES)}")
        return self

    def _check_tether(self, where: str) -> None:
        if not self.tether:
            return
        if self.eim_url:
            raise BadBench(f"{where}: tether and eim_url exclude each other: datagrams go over the serial port, or not")
        if (self.settings or {}).get("dtls") == "modem":
            raise BadBench(f"{where}: a tether carries what the board's own DTLS makes, not the modem's (dtls)")
        if "radio control" in self.has:
            raise BadBench(f"{where}: a tether has no radio control: its datagrams meet no radio")


def read_bench(path: Path) -> list[Place]:
    """The places that a bench file describes. Raises BadBench, UnknownBoard, BadBoard."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadBench(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise BadBench(f"{path} is not TOML: {error}") from None
    if not tables:
        raise BadBench(f"{path} describes no board: begin a place with a name in brackets, as [left]")
    return [_place(path, name, table) for name, table in tables.items()]


def _place(path: Path, name: str, table: Any) -> Place:
    if not isinstance(table, dict):
        raise BadBench(f"{path}: {name} stands outside of a place: begin one with a name in brackets, as [left]")
    known = {one.name: one for one in fields(Place) if one.name != "name"}
    for key, value in table.items():
        if key not in known:
            raise BadBench(f"{path}: place {name} has no key {key}: there are {', '.join(known)}")
        default = {} if key == "settings" else known[key].default
        wanted = list if isinstance(default, tuple) else type(default)
        assert default is not MISSING
        if type(value) is not wanted:
            raise BadBench(f"{path}: place {name}: {key} is {value!r}, not {wanted.__name__}")
    lists = {key: tuple(map(str, value)) for key, value in table.items() if isinstance(value, list)}
    return Place(name, **{**table, **lists}).check()


def _check_family(where: str, family: str) -> None:
    from microipa.modem.virtual import FAMILIES

    if family not in FAMILIES:
        raise BadBench(f"{where}: there is no modem {family!r}: choose one of {', '.join(FAMILIES)}")
