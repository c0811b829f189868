"""How many places each host has of those that all share, so that none keeps the others out."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import ip_address

IPV6_SITE = 64  # bits of an IPv6 address that one peer may fill the rest of

Address = tuple[str, int]


class Shares:
    """Addresses by host, each host's in the order in which they were added or renewed. No step looks at all of them."""

    def __init__(self) -> None:
        self._of_host: dict[str, dict[Address, None]] = {}
        self._hosts_with: dict[int, dict[str, None]] = defaultdict(dict)
        self.most = 0
        """How many the host has that has most."""

    def of(self, address: Address) -> int:
        """How many its host has."""
        return len(self._of_host.get(host_of(address), ()))

    def oldest_of_busiest(self) -> Address:
        return next(iter(self._of_busiest()))

    def newest_of_busiest(self) -> Address:
        return next(reversed(self._of_busiest()))

    def add(self, address: Address) -> None:
        host = host_of(address)
        addresses = self._of_host.setdefault(host, {})
        addresses[address] = None
        self._moved(host, len(addresses) - 1, len(addresses))

    def renew(self, address: Address) -> None:
        addresses = self._of_host[host_of(address)]
        del addresses[address]
        addresses[address] = None

    def remove(self, address: Address) -> None:
        host = host_of(address)
        addresses = self._of_host[host]
        del addresses[address]
        self._moved(host, len(addresses) + 1, len(addresses))
        if not addresses:
            del self._of_host[host]

    def _of_busiest(self) -> dict[Address, None]:
        return self._of_host[next(iter(self._hosts_with[self.most]))]

    def _moved(self, host: str, before: int, now: int) -> None:
        self._hosts_with[before].pop(host, None)
        if now:
            self._hosts_with[now][host] = None
        for count in (before, now):
            if not self._hosts_with[count]:
                del self._hosts_with[count]
        self.most = max(self.most, now)
        while self.most and self.most not in self._hosts_with:
            self.most -= 1


def host_of(address: Address) -> str:
    """What counts as one host: an IPv4 address, or the network of an IPv6 address."""
    host = address[0]
    return str(int(ip_address(host.partition("%")[0])) >> IPV6_SITE) if ":" in host else host
