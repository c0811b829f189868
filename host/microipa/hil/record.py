"""What a run on a bench leaves behind, for people and for the report: one folder a board.

    run.json           the run: what board, what firmware, which modem and card
    cases.jsonl        one line a case, in the order in which they ended
    cases/<id>.jsonl   what happened in it, REPL, AT, APDUs, ESipa and radio on one clock, as `microipa trace` reads it
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from microipa.common.errors import MicroipaError
from microipa.trace import Event
from microipa.trace.redaction import Redactor

log = logging.getLogger(__name__)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
RUN, CASES, EVENTS = "run.json", "cases.jsonl", "cases"
PASSED, FAILED, ERROR, SKIPPED = "passed", "failed", "error", "skipped"
BAD = (FAILED, ERROR)


class BadRecord(MicroipaError):
    """A folder that should hold the record of a run and does not."""


@dataclass(frozen=True)
class Run:
    """One board of a bench and what was around it. Texts are "" where a bench cannot know.

    ``board`` is its name in the bench, ``kind`` the folder of boards/; ``firmware`` the version that was flashed, named
    by its hash, and ``form`` how (mpy or romfs); ``card`` says "virtual" or "real", ``card_versions`` what
    EUICCInfo2 tells; ``heap`` is MicroPython's -X heapsize, "" on a chip. ``tether``: the datagrams did not travel
    over the modem. ``started`` is ISO 8601 in UTC. ``session`` is the pytest session, the same for all boards of it.
    ``build`` names the source of the firmware, the same for all boards, forms and settings.
    """

    board: str
    kind: str
    micropython: str
    firmware: str
    form: str
    modem: str
    modem_firmware: str
    card: str
    eid: str
    heap: str
    tether: bool
    started: str
    seconds: float = 0.0
    card_versions: dict[str, str] = field(default_factory=dict)
    session: str = ""
    build: str = ""


@dataclass(frozen=True)
class Bill:
    """What a case cost: whole IP packets on the air, APDUs at the card, heap in bytes (0 when not measured).

    A tethered datagram counts as the packet that it would have been.
    """

    datagrams_up: int = 0
    datagrams_down: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    apdus: int = 0
    heap_peak: int = 0
    round_trips: int = 0


@dataclass(frozen=True)
class Case:
    """One case: ``group`` and ``clause`` in words of SGP.33 and SGP.32, ``title`` a sentence.

    ``outcome`` is "error" where not the case failed but what came before or after it. ``reason`` says why it failed or
    was skipped, ``where`` at which line of which file. ``events`` is the path of its events within the run's folder,
    "" for a case that was skipped before it began.
    """

    id: str
    group: str
    clause: str
    title: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0
    bill: Bill = field(default_factory=Bill)
    events: str = ""
    where: str = ""


class Recorder:
    """Writes a run's folder while the run goes on: whatever ends it, what was known by then is on the disk.

    A disk that is full ends the record, with one warning, and not the run.
    """

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder = folder
        self.run = run
        self._ended = False
        (folder / EVENTS).mkdir(parents=True, exist_ok=True)
        for earlier in (folder / EVENTS).glob("*.jsonl"):
            earlier.unlink()
        self._write(CASES, "")
        self._save()

    def add(self, case: Case, events: Iterable[Event] = ()) -> None:
        """Note a case that has ended, with what happened in it as a record may have it (see ``redaction``)."""
        redact = Redactor()
        if rows := [replace(event, fields=redact(event.kind, event.fields)).to_json() + "\n" for event in events]:
            name = f"{EVENTS}/{re.sub('[^A-Za-z0-9_.-]+', '-', case.id)}.jsonl"
            self._write(name, "".join(rows))
            case = replace(case, events=name)
        self._write(CASES, json.dumps(asdict(case)) + "\n", os.O_APPEND)

    def learn(self, **facts: Any) -> None:
        """What is found out of the run later: fields of Run."""
        self.run = replace(self.run, **facts)
        self._save()

    def _save(self) -> None:
        self._write(RUN, json.dumps(asdict(self.run), indent=1) + "\n")

    def _write(self, name: str, text: str, mode: int = os.O_TRUNC) -> None:
        """For its owner alone: addresses, identities and log lines stand in it."""
        if self._ended:
            return
        try:
            descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | mode, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            self._ended = True
            log.warning("the record in %s ends here: %s", self.folder, error.strerror)


def load(folder: Path) -> tuple[Run, list[Case]]:
    """The run in a folder and its cases. Raises BadRecord."""
    try:
        run = Run(**json.loads((folder / RUN).read_text(encoding="utf-8")))
        rows = [json.loads(row) for row in (folder / CASES).read_text(encoding="utf-8").splitlines()]
        return run, [Case(**{**row, "bill": Bill(**row["bill"])}) for row in rows]
    except OSError as error:
        raise BadRecord(f"cannot read {error.filename}: {error.strerror}; give the folder of a run") from None
    except (ValueError, TypeError, KeyError) as error:
        raise BadRecord(f"{folder} is not the record of a run ({error})") from None


def runs(folder: Path) -> list[Path]:
    """The folders of all boards' runs below ``folder``, or that itself. Raises BadRecord when there is none."""
    found = sorted(path.parent for path in folder.rglob(RUN))
    if not found:
        raise BadRecord(f"there is no {RUN} in {folder} or below: give the folder that --run named")
    return found


def runs_of(session: str, folder: Path) -> list[Path]:
    """The folders of the runs that a session of pytest has left in ``folder``; what others left there is theirs."""
    wrote = f'"session": {json.dumps(session)}'
    return sorted(path.parent for path in folder.glob(f"*/{RUN}") if wrote in path.read_text("utf-8", "replace"))
