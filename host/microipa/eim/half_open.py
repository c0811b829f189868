"""Handshakes under way: bounded in all, and no address keeps the others out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from microipa.eim.dtls import Address, Association

IPV6_SITE = 64  # bits of an IPv6 address that one peer may fill the rest of


class HalfOpen:
    """Up to ``most`` associations by address, oldest first.

    A handshake lasts as long as its peer's radio needs: on NB-IoT ten seconds and more, in which whoever comes back
    after a power cut comes too. So the old ones stay. When all places are taken, the host that has the most of them
    gives one up, its newest, and is let in no more itself.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._all: dict[Address, Association] = {}
        self._of_host: dict[str, dict[Address, None]] = {}
        self._hosts_with: dict[int, dict[str, None]] = defaultdict(dict)
        self._busiest = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Association]:
        return iter(list(self._all.values()))

    def get(self, address: Address) -> Association | None:
        return self._all.get(address)

    def has_room(self, address: Address) -> bool:
        """Whether one more may come from there, in place of another's newest if need be."""
        return len(self._all) < self._most or len(self._of_host.get(_host(address), ())) + 1 < self._busiest

    def surplus(self) -> Association | None:
        """The one to give up before another comes; None while places are free."""
        if len(self._all) < self._most:
            return None
        host = next(iter(self._hosts_with[self._busiest]))
        return self._all[next(reversed(self._of_host[host]))]

    def add(self, association: Association) -> None:
        host = _host(association.address)
        self._all[association.address] = association
        addresses = self._of_host.setdefault(host, {})
        addresses[association.address] = None
        self._moved(host, len(addresses) - 1, len(addresses))

    def remove(self, association: Association) -> None:
        """Nothing happens when it is not, or not any more, under way."""
        if self._all.get(association.address) is not association:
            return
        del self._all[association.address]
        host = _host(association.address)
        addresses = self._of_host[host]
        del addresses[association.address]
        self._moved(host, len(addresses) + 1, len(addresses))
        if not addresses:
            del self._of_host[host]

    def _moved(self, host: str, before: int, now: int) -> None:
        self._hosts_with[before].pop(host, None)
        if now:
            self._hosts_with[now][host] = None
        for count in (before, now):
            if not self._hosts_with[count]:
                del self._hosts_with[count]
        self._busiest = max(self._busiest, now)
        while self._busiest and self._busiest not in self._hosts_with:
            self._busiest -= 1


def _host(address: Address) -> str:
    """What counts as one host: an IPv4 address, or the network of an IPv6 address."""
    host = address[0]
    return str(int(ip_address(host.partition("%")[0])) >> IPV6_SITE) if ":" in host else host
