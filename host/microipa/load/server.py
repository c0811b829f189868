"""The server under load: `microipa eim serve` as a process, and what CPU and memory it takes with all its workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from microipa.crypto.pki import Credential, Pki

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 30.0
STOP_SECONDS = 30.0
MICROIPA = (sys.executable, "-c", "from microipa.cli.main import main; main()")


@dataclass(frozen=True)
class Server:
    """``ports`` by scheme. CPU time is that of the process ``pid``, its children, and of ``others``, a database's."""

    pid: int
    ports: dict[str, int]
    others: tuple[int, ...] = ()

    def cpu(self) -> float:
        """Seconds of CPU time up to now."""
        return sum(_cpu(pid) for pid in self._all())

    def workers(self) -> list[int]:
        """The processes that it has started."""
        return children(self.pid)

    @staticmethod
    def cpu_of(pid: int) -> float:
        """Seconds of CPU time of one process."""
        return _cpu(pid)

    def memory(self) -> int:
        """Bytes that are resident, without those of a database."""
        return sum(_resident(pid) for pid in _tree(self.pid))

    def _all(self) -> list[int]:
        return [pid for root in (self.pid, *self.others) for pid in _tree(root)]


def write_configuration(folder: Path, pki: Pki, database: str, smdpp: int | None = None) -> Path:
    """An eim.toml with its keys, on loopback ports that the system chooses. The SM-DP+ is at the port ``smdpp``."""
    keys = folder / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    for name, credential in (("signing", pki.eim_signing), ("tls", pki.eim_tls)):
        _write(keys, name, credential)
    (keys / "ci.pem").write_bytes(pki.ci.certificate.public_bytes(Encoding.PEM))
    path = folder / "eim.toml"
    text = f'keys = "keys"\ndatabase = "{database}"\ncoaps = "127.0.0.1:0"\nhttps = "127.0.0.1:0"\n'
    if smdpp:
        text += f'smdp_routes = {{"{pki.smdpp_address}" = "127.0.0.1:{smdpp}"}}\n'
    path.write_text(text)
    return path


def _write(folder: Path, name: str, credential: Credential) -> None:
    key = folder / f"{name}.key"
    key.touch(mode=0o600)
    key.write_bytes(credential.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / f"{name}.pem").write_bytes(credential.certificate.public_bytes(Encoding.PEM))


@contextlib.asynccontextmanager
async def running(config: Path, *options: str, others: tuple[int, ...] = ()) -> AsyncIterator[Server]:
    """Start the server, and stop it by SIGTERM. What it logs goes to serve.log beside ``config``."""
    command = [*MICROIPA, "eim", "serve", "--config", str(config), *options]
    with (config.parent / "serve.log").open("w+b") as log:
        process = await asyncio.create_subprocess_exec(*command, stderr=log)
        try:
            async with asyncio.timeout(START_SECONDS):
                ports: dict[str, int] = {}
                while ports.keys() != {"coaps", "https"}:
                    if process.returncode is not None:
                        raise RuntimeError((config.parent / "serve.log").read_text())
                    await asyncio.sleep(0.05)
                    ports = _ports(config.parent / "serve.log")
            yield Server(process.pid, ports, others)
        finally:
            if process.returncode is None:
                process.terminate()
                await asyncio.wait_for(process.wait(), STOP_SECONDS)


def _ports(log: Path) -> dict[str, int]:
    ports = {}
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            fields = json.loads(line)
            if fields.get("event") == "listening":
                ports[fields["scheme"]] = fields["port"]
    return ports


def children(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    return _tree(pid)[1:]


def lives(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _tree(root: int) -> list[int]:
    """A process and all its descendants."""
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                left += [int(child) for child in (task / "children").read_text().split()]
    return found


def _cpu(pid: int) -> float:
    """User and system time, with that of children that have ended (proc(5), stat 14 to 17)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / TICKS


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
