"""A database with as many devices and orders as wanted, made in seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert

from microipa.crypto.pki import Credential
from microipa.eim.packages import encode_operations
from microipa.eim.store import DOWNLOAD, PACKAGE, QUEUED, Device, DeviceKey, Order, Store

TOKEN = 1
CHUNK = 50_000  # rows of one transaction
OPERATIONS = [("disable", {"iccid": "8949000000000000001"})]


def eid(number: int) -> str:
    """With its check digits (SGP.29 2.2.1)."""
    digits = f"89049032{number:022d}"
    return f"{digits}{98 - int(digits) * 100 % 97:02d}"


class Fleet:
    """``devices`` devices with the key ``key``; the first ``active`` of them are those that work."""

    def __init__(self, database: Path | str, key: Credential, devices: int, active: int) -> None:
        self._store = Store(database)
        self.devices, self._active = devices, active
        self._fill(Device.__table__, ({"eid": eid(n), "token": TOKEN, "counter": 0, "highest_sequence": 0}
                                      for n in range(devices)))
        self._fill(DeviceKey.__table__, ({"eid": eid(n), "spki": key.spki} for n in range(devices)))

    def queue_for_others(self, orders: int) -> None:
        """Orders that nobody fetches meanwhile, spread over the devices that do not work."""
        others = self.devices - self._active
        self._queue(self._active + n % others for n in range(orders if others else 0))

    def queue(self, device: int, orders: int) -> None:
        """Orders for one device."""
        self._queue(device for _ in range(orders))

    def queue_downloads(self, device: int, codes: Iterable[str]) -> None:
        """Downloads with these activation codes."""
        fixed = self._new(DOWNLOAD, "download")
        rows = ({"eid": eid(device), "content": code.encode(), "needs_proof": False, **fixed} for code in codes)
        self._fill(Order.__table__, rows)

    def _queue(self, devices: Iterator[int]) -> None:
        fixed = {"content": encode_operations(OPERATIONS), **self._new(PACKAGE, "disable")}
        self._fill(Order.__table__, ({"eid": eid(n), **fixed} for n in devices))

    @staticmethod
    def _new(kind: str, summary: str) -> dict[str, Any]:
        fixed = {"kind": kind, "summary": summary, "created": time.time()}
        return {**fixed, "state": QUEUED, "deliveries": 0, "refusals": 0}

    def _fill(self, table: Any, rows: Iterator[dict[str, Any]]) -> None:
        assert isinstance(table, Table)
        while chunk := list(islice(rows, CHUNK)):
            with self._store.work() as db:
                db.execute(insert(table), chunk)
