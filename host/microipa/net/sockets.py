"""Addresses that servers listen at: bound before anything else is begun, or handed over by another process.

The sockets do not block: processes that share one share this too, and a copy takes it over from the original.
"""

from __future__ import annotations

import socket

from microipa.common.errors import MicroipaError

BACKLOG = 1024


class PortTaken(MicroipaError):
    """The port the server should listen on cannot be had."""


def tcp(host: str, port: int) -> socket.socket:
    """A listening socket; the system chooses the port when it is 0. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}") from error
    made.setblocking(False)
    return made


def udp(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket. ``shared``: others of ours may bind the same port, and the system deals peers out among them,
    each to the same one as long as none comes or goes (SO_REUSEPORT). Raises PortTaken.
    """
    made = None
    try:
        (family, kind, number, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        made = socket.socket(family, kind, number)
        made.setblocking(False)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
    except OSError as error:
        if made:
            made.close()
        raise PortTaken(f"cannot listen on {host}:{port} (UDP): {error.strerror}") from error
    return made
