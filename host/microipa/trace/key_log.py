"""The TLS secrets of a lab's own servers, by which a reader of its datagrams decrypts them (NSS key log format).

Whoever has this file and the trace reads activation codes and profiles, so that it is its owner's alone, and a file
apart from the trace.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections import defaultdict
from pathlib import Path

log = logging.getLogger(__name__)

NAME = "tls-keys.log"
_LIMIT = 4 * 1024 * 1024  # bytes; beyond, a lab that starts begins another file
_OF_A_CONNECTION = 2048  # bytes that its secrets take at most: TLS 1.3 has five


class KeyLog:
    """The file, for its owner alone. Where it cannot be written any more it ends, with a warning; connections go on."""

    def __init__(self, path: Path) -> None:
        """Make the file; one that has grown large becomes ``tls-keys.1.log``. Raises OSError."""
        if path.exists() and path.stat().st_size > _LIMIT:
            path.replace(_older(path))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
        os.close(descriptor)
        self.path = path
        self._ended = False

    def add(self, line: bytes) -> None:
        """Note one secret."""
        self._append(line + b"\n")

    def has_room(self) -> bool:
        """Whether the secrets of one more connection fit. OpenSSL, which writes those of HTTPS by itself, breaks the
        handshake off where they do not.
        """
        self._append(b"\n" * _OF_A_CONNECTION, stays=False)
        return not self._ended

    def _append(self, data: bytes, stays: bool = True) -> None:
        if self._ended:
            return
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                size = os.fstat(descriptor).st_size
                whole = os.write(descriptor, data) == len(data)
                if not (whole and stays):
                    os.ftruncate(descriptor, size)
                if not whole:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            self._ended = True
            log.warning("%s ends here: %s", self.path, error.strerror)


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
