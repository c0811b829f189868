"""The TLS secrets of a lab's own servers, by which a reader of its datagrams decrypts them (NSS key log format).

Whoever has this file and the trace reads activation codes and profiles, so that it is its owner's alone, and a file
apart from the trace.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

NAME = "tls-keys.log"
_LIMIT = 4 * 1024 * 1024  # bytes; beyond, a lab that starts begins another file


def prepare(path: Path) -> Path:
    """Make the file, for its owner alone; one that has grown large becomes ``tls-keys.1.log``. Raises OSError."""
    if path.exists() and path.stat().st_size > _LIMIT:
        path.replace(_older(path))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)
    return path


def add(path: Path, line: bytes) -> None:
    """Note one secret. The file has to be there: ``prepare`` makes it with its mode. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, line + b"\n")
    finally:
        os.close(descriptor)


def secrets(path: Path) -> dict[str, list[str]]:
    """The lines of the file and of the one before it, by the client's random (64 hex digits)."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in (_older(path), path):
        if file.exists():
            for line in file.read_text("ascii", "replace").splitlines():
                words = line.split()
                if len(words) == 3:
                    found[words[1].lower()].append(line)
    return found


def _older(path: Path) -> Path:
    return path.with_name(f"{path.stem}.1{path.suffix}")
