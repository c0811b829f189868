"""A port for a server that another process starts later, or starts again."""

from __future__ import annotations

import contextlib
import random
import socket


def port_for_later(kind: socket.SocketKind) -> int:
    """A free port of loopback, below those that the system gives to others meanwhile."""
    while True:
        with socket.socket(socket.AF_INET, kind) as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port := random.randrange(10_000, 32_768)))  # noqa: S311 (no secret)
            return port
