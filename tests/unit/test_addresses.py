"""HOST:PORT, where a host may be an IPv6 address in brackets."""

from __future__ import annotations

import socket

import pytest
from microipa.common import addresses
from microipa.net import sockets


@pytest.mark.parametrize(("host", "port", "text"), [
    ("127.0.0.1", 443, "127.0.0.1:443"),
    ("::1", 443, "[::1]:443"),
    ("fe80::1%eth0", 0, "[fe80::1%eth0]:0"),
    ("a.example", 65535, "a.example:65535"),
])
def test_an_ipv6_address_stands_in_brackets(host: str, port: int, text: str) -> None:
    assert addresses.join(host, port) == text
    assert addresses.split(text) == (host, port)


@pytest.mark.parametrize("text", ["", "here", ":443", "[]:443", "here:", "here:65536", "here:-1", "here:٣", "here:1 "])
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        addresses.split(text)


@pytest.mark.skipif(not socket.has_ipv6, reason="has no IPv6")
@pytest.mark.parametrize("taken", [sockets.tcp, sockets.udp])
def test_a_port_that_is_taken_is_named_with_its_address(taken) -> None:  # noqa: ANN001
    with taken("::1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(sockets.PortTaken, match=rf"cannot listen on \[::1\]:{port}"):
            taken("::1", port)
