"""Addresses that servers listen at: bound before anything else is begun, or handed over by another process.

The sockets do not block: processes that share one share this too, and a copy takes it over from the original.
"""

from __future__ import annotations

import socket

from microipa.common import addresses
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
        raise PortTaken(f"cannot listen on {addresses.join(host, port)}: {error.strerror}") from error
    made.setblocking(False)
    return made


def udp(host: str, port: int) -> socket.socket:
    """A bound socket. Raises PortTaken."""
    return udp_shared(host, port, 1)[0]


def udp_shared(host: str, port: int, number: int) -> tuple[socket.socket, ...]:
    """So many sockets bound to one port. The system deals peers out among them, each to the same one as long as none
    comes or goes (SO_REUSEPORT). Raises PortTaken, also when another server shares the port with its own.
    """
    made: list[socket.socket] = []
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        for _ in range(number):
            one = socket.socket(family, kind, protocol)
            made.append(one)
            one.setblocking(False)
            if one is not made[0]:
                for each in (made[0], one):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(address)  # the first one alone, so that the port is nobody else's
            address = one.getsockname()
    except OSError as error:
        for one in made:
            one.close()
        raise PortTaken(f"cannot listen on {addresses.join(host, port)} (UDP): {error.strerror}") from error
    return tuple(made)
