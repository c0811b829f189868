"""The version of a database's tables: new ones are made, older ones are migrated, newer ones are left alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, MetaData, String, Table, inspect
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from microipa.common.errors import MicroipaError

BEFORE = "before 0001"  # of labs from the time before versions
LOCK = 0x6D69_6372  # any number of ours: one process at a time makes or changes tables (pg_advisory_xact_lock)

_ALEMBIC = Path(__file__).with_name("migrations")  # what runs the migrations of every database
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
_log = logging.getLogger(__name__)


class StoreUnusable(MicroipaError):
    """What is there is no database, or was made by a newer version of this program."""


@dataclass(frozen=True)
class Schema:
    """The tables of one kind of database, and the folder of migrations (``0001_why.py``) that lead to them."""

    metadata: MetaData
    migrations: Path

    @property
    def newest(self) -> str:
        """The version of these tables."""
        return max(file.name for file in self.migrations.glob("[0-9]*.py"))[:4]

    def prepare(self, connection: Connection, place: str, reads_only: bool) -> None:
        """Let the database at ``place`` have these tables.

        Raises StoreUnusable for a newer one, and for an older one that can only be read.
        """
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        version = _version_of(connection)
        if version == self.newest:
            return
        if reads_only:
            raise StoreUnusable(
                f"{place} is of an earlier version and cannot be written: use a copy, which will be migrated"
            )
        if version is None:
            self.metadata.create_all(connection)
            _version.create(connection)
            connection.execute(_version.insert().values(version_num=self.newest))
        else:
            self._upgrade(connection, version, place)

    def _upgrade(self, connection: Connection, version: str, place: str) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", _literally(_ALEMBIC))
        config.set_main_option("version_locations", _literally(self.migrations))
        config.set_main_option("path_separator", "newline")
        config.attributes["connection"] = connection
        known = [revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()]
        if version != BEFORE and version not in known:
            raise StoreUnusable(
                f"{place} has version {version} of its tables, this program knows them up to {self.newest}: "
                "use the program that made it, or a newer one"
            )
        try:
            command.upgrade(config, self.newest)
        except DBAPIError as error:
            raise StoreUnusable(
                f"{place} could not be migrated from version {version} to {self.newest} and stays so: {error.orig}"
            ) from error
        _log.warning("%s: tables migrated from version %s to %s", place, version, self.newest)


def _version_of(connection: Connection) -> str | None:
    """None where there are no tables yet."""
    there = inspect(connection).get_table_names()
    if _version.name in there:
        version: str | None = connection.scalar(_version.select())
        return version
    return BEFORE if there else None


def _literally(path: Path) -> str:
    return str(path).replace("%", "%%")  # the configuration expands %(…)s
