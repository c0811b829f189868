"""Handshakes under way: bounded in all, and no address keeps the others out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from microipa.eim.shares import Address, Shares

if TYPE_CHECKING:
    from microipa.eim.dtls import Association


class HalfOpen:
    """Up to ``most`` associations by address, oldest first.

    A handshake lasts as long as its peer's radio needs: on NB-IoT ten seconds and more, in which whoever comes back
    after a power cut comes too. So the old ones stay. When all places are taken, the host that has the most of them
    gives one up, its newest, and is let in no more itself.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._all: dict[Address, Association] = {}
        self._shares = Shares()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Association]:
        return iter(list(self._all.values()))

    def get(self, address: Address) -> Association | None:
        return self._all.get(address)

    def has_room(self, address: Address) -> bool:
        """Whether one more may come from there, in place of another's newest if need be."""
        return len(self._all) < self._most or self._shares.of(address) + 1 < self._shares.most

    def surplus(self) -> Association | None:
        """The one to give up before another comes; None while places are free."""
        if len(self._all) < self._most:
            return None
        return self._all[self._shares.newest_of_busiest()]

    def add(self, association: Association) -> None:
        self._all[association.address] = association
        self._shares.add(association.address)

    def remove(self, association: Association) -> None:
        """Nothing happens when it is not, or not any more, under way."""
        if self._all.get(association.address) is association:
            del self._all[association.address]
            self._shares.remove(association.address)
