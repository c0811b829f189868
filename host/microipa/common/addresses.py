"""HOST:PORT as people and files write it: an IPv6 address stands in brackets (RFC 3986 3.2.2)."""

from __future__ import annotations

import re


def join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(text: str) -> tuple[str, int]:
    """The host without brackets, the port from 0 to 65535. Raises ValueError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not re.fullmatch("[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f"{text[:64]} is not HOST:PORT")
    return host, int(port)
