"""What goes to databases while a test runs, and how SQLite finds the answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event


@contextmanager
def questions() -> Iterator[list[tuple[str, Any]]]:
    """The statements that go to an eIM's database meanwhile, with their parameters."""
    asked: list[tuple[str, Any]] = []

    def hear(connection, cursor, statement, parameters, context, many) -> None:
        if "eim" in Path(connection.engine.url.database).name:
            asked.append((statement, parameters[0] if many else parameters))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


def scans(path: Path, asked: list[tuple[str, Any]]) -> dict[str, list[str]]:
    """The statements for which SQLite looks at all rows of a table or index, with their plans."""
    found = {}
    with closing(sqlite3.connect(path)) as database:
        for statement, parameters in asked:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")) and "max(" not in statement:  # of an index: its end
                plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
                if any(step.startswith("SCAN") for step in plan):
                    found[statement] = plan
    return found


def sequential_scans(url: str, asked: list[tuple[str, Any]]) -> set[str]:
    """The statements for which PostgreSQL has no index: it looks at all rows though it should rather not."""
    import psycopg

    found = set()
    with psycopg.connect(url) as database:
        database.execute("SET enable_seqscan = off")
        for statement, parameters in asked:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                plan = database.execute(f"EXPLAIN {statement}", parameters).fetchall()
                if any("Seq Scan" in step for (step,) in plan):
                    found.add(statement)
    return found
