"""The version of an eIM's tables: new ones are made, older ones are taken along, newer ones are left alone."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, MetaData, String, Table, inspect
from sqlalchemy.engine import Connection

from microipa.storage.database import StoreUnusable

MIGRATIONS = Path(__file__).with_name("migrations")
NEWEST = "0007"
BEFORE = "before 0001"  # of labs from the time before versions
LOCK = 0x6D69_6372  # any number of ours: one process at a time makes or changes tables (pg_advisory_xact_lock)

_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def prepare(connection: Connection, metadata: MetaData, place: str, reads_only: bool) -> None:
    """Let the database at ``place`` have these tables.

    Raises StoreUnusable for a newer one, and for an older one that can only be read.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    version = _version_of(connection)
    if version == NEWEST:
        return
    if reads_only:
        raise StoreUnusable(f"{place} is of an earlier version and cannot be written: use a copy, which is taken along")
    if version is None:
        metadata.create_all(connection)
        _version.create(connection)
        connection.execute(_version.insert().values(version_num=NEWEST))
    else:
        _upgrade(connection, version, place)


def _version_of(connection: Connection) -> str | None:
    """None where there are no tables yet."""
    there = inspect(connection)
    if there.has_table(_version.name):
        version: str | None = connection.scalar(_version.select())
        return version
    return BEFORE if there.has_table("orders") else None


def _upgrade(connection: Connection, version: str, place: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    known = [revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()]
    if version != BEFORE and version not in known:
        raise StoreUnusable(
            f"{place} has version {version} of the eIM's tables, this program knows them up to {NEWEST}: "
            "use the program that made it, or a newer one"
        )
    command.upgrade(config, NEWEST)
