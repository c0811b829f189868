"""Devices from a file, a million of them if need be: CSV with a head, or one JSON object a line.

| field | what it is |
| --- | --- |
| eid | 32 digits; the only one that has to be there |
| label, maker | words of the operator's own |
| token | associationToken of the card for this eIM, 0 when it has none: the device need not be asked for it |
| euicc_certificate, eum_certificate | DER in base64, both or none; verified under the CI of the cards |
| device_key | SubjectPublicKeyInfo (DER in base64, P-256) of a device that signs in place of a consumer card |

The same file again changes nothing; what a line does not tell stays as it was, and so does what a device has told.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite

from microipa.common.errors import MicroipaError
from microipa.crypto.certificates import CertificateInvalid, verify_euicc_chain
from microipa.crypto.revocation import Issuer
from microipa.eim.devices import check_device_key
from microipa.eim.store import Device, DeviceKey, Store
from microipa.storage.unit_of_work import Work, table_of

AT_ONCE = 2000  # lines in one transaction: devices that poll meanwhile do not wait for long
LARGEST_TOKEN = (1 << 31) - 1
FIELDS = ("eid", "label", "maker", "token", "euicc_certificate", "eum_certificate", "device_key")
LONGEST_WORD = 200


class BadFile(MicroipaError):
    """A file of devices that cannot be read at all."""


class BadLine(MicroipaError):
    """A line that makes no device; the others are taken."""


def add_devices(store: Store, path: Path, issuer: Issuer, tell: Callable[[int, str], None]) -> tuple[int, int]:
    """Take what a file tells. ``tell`` hears of each line that is refused, by its number. Returns how many lines were
    taken, and how many refused. Raises BadFile, StoreBusy.
    """
    taken = refused = 0
    lines = _lines(path)
    while chunk := list(islice(lines, AT_ONCE)):
        devices: dict[str, dict[str, Any]] = {}
        for number, line in chunk:
            try:
                device = _device(line, issuer)
            except BadLine as error:
                refused += 1
                tell(number, str(error))
            else:
                taken += 1
                devices[device["eid"]] = device
        with store.work() as db:
            _write(db, list(devices.values()), on_sqlite=store.is_sqlite)
    return taken, refused


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The number of each line, and what it tells by field; a text where it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.read(1)
            file.seek(0)
            if first == "{":
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, _json(line)
                return
            reader = csv.DictReader(file, restkey="more")
            unknown = sorted(set(reader.fieldnames or ()) - set(FIELDS))
            if "eid" not in (reader.fieldnames or ()) or unknown:
                named = ", ".join(unknown) or "no eid"
                raise BadFile(f"{path}: its header names {named}; choose among {', '.join(FIELDS)}")
            for row in reader:
                yield reader.line_num, {name: text for name, text in row.items() if text}
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{path} is neither CSV nor JSON lines in UTF-8: {error}") from None


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"no JSON: {error}"


def _device(line: Any, issuer: Issuer) -> dict[str, Any]:
    """The columns of a device and its key. Raises BadLine."""
    if not isinstance(line, dict):
        raise BadLine(line if isinstance(line, str) else "no JSON object")
    if unknown := sorted(map(str, line.keys() - set(FIELDS))):
        raise BadLine(f"there is no field {unknown[0][:64]}: choose among {', '.join(FIELDS)}")
    eid = str(line.get("eid", ""))
    if not re.fullmatch("[0-9]{32}", eid):
        raise BadLine(f"{eid[:64]!r} is not an EID: it has 32 digits")
    made: dict[str, Any] = {"eid": eid, **{name: _word(line, name) for name in ("label", "maker")}}
    made["token"] = _token(line.get("token"))
    for name in ("euicc_certificate", "eum_certificate", "device_key"):
        made[name] = _der(line, name)
    if (made["euicc_certificate"] is None) != (made["eum_certificate"] is None):
        raise BadLine("give both euicc_certificate and eum_certificate, or none")
    try:
        if made["euicc_certificate"]:
            proved, _ = verify_euicc_chain(made["euicc_certificate"], made["eum_certificate"], issuer)
            if proved != eid:
                raise BadLine(f"euicc_certificate belongs to {proved}")
        if made["device_key"]:
            check_device_key(made["device_key"])
    except (CertificateInvalid, MicroipaError) as error:
        raise BadLine(str(error)) from error
    return made


def _word(line: dict[str, Any], name: str) -> str | None:
    word = line.get(name)
    if word is not None and (not isinstance(word, str) or len(word) > LONGEST_WORD or not word.isprintable()):
        raise BadLine(f"{name} is not a text of up to {LONGEST_WORD} printable characters")
    return word


def _token(given: Any) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not re.fullmatch("[0-9]{1,10}", str(given)) or int(given) > LARGEST_TOKEN:
        raise BadLine(f"token is {str(given)[:64]!r}, not a number up to {LARGEST_TOKEN}")
    return int(given)


def _der(line: dict[str, Any], name: str) -> bytes | None:
    text = line.get(name)
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise BadLine(f"{name} is not base64: {error}") from None


def _write(db: Work, devices: list[dict[str, Any]], *, on_sqlite: bool) -> None:
    """New devices, and what known ones lack."""
    insert: Any = sqlite.insert if on_sqlite else postgresql.insert
    table, keys = table_of(Device), table_of(DeviceKey)
    names = [name for name in FIELDS if name not in ("eid", "device_key")]
    rows = [{"eid": device["eid"], **{name: device[name] for name in names}} for device in sorted(devices, key=_eid)]
    new = insert(table)
    told = {name: func.coalesce(new.excluded[name], table.c[name]) for name in ("label", "maker")}
    learnt = {name: func.coalesce(table.c[name], new.excluded[name]) for name in names if name not in told}
    if rows:
        db.execute(new.on_conflict_do_update(index_elements=["eid"], set_={**told, **learnt}), rows)
    enrolled = [{"eid": device["eid"], "spki": device["device_key"]} for device in devices if device["device_key"]]
    if enrolled:
        new = insert(keys)
        db.execute(new.on_conflict_do_update(index_elements=["eid"], set_={"spki": new.excluded.spki}), enrolled)


def _eid(device: dict[str, Any]) -> str:
    eid: str = device["eid"]
    return eid
