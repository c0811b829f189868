"""Whether the modem is on a network: searches, attaches with the card, notices when the cell is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum

from microipa.modem.sim import CardSilent
from microipa.radio.link import Link
from microipa.radio.network import CAUSE_CONGESTION, Attachment, AttachRefused, Network, NoCoverage, Usim


class Stat(IntEnum):
    """<stat> of AT+CEREG (TS 27.007 10.1.22)."""

    NOT_REGISTERED = 0
    HOME = 1
    SEARCHING = 2
    DENIED = 3
    UNKNOWN = 4
    ROAMING = 5


class Registration:
    """Keeps a device on the network while it runs."""

    def __init__(self, network: Network, link: Link, usim: Usim, on_change: Callable[[], None],
                 on_lost: Callable[[], None], on_attached: Callable[[], None]) -> None:
        """``on_change`` is called when ``stat`` has changed, ``on_lost`` when the network went away."""
        self._on_attached = on_attached
        self._network = network
        self._link = link
        self._usim = usim
        self._on_change = on_change
        self._on_lost = on_lost
        self._task: asyncio.Task[None] | None = None
        self.stat = Stat.NOT_REGISTERED
        self.attachment: Attachment | None = None
        self.automatic = True
        """Off: the modem has been told to stay off the network (AT+COPS=2)."""
        self.only: str | None = None
        """The operator it has been told to take, and no other (AT+COPS=1)."""
        self.knows_cell = False
        """A cell has been found since the modem has power."""
        self.cause: int | None = None
        """EMM cause of the last refusal (TS 24.301 9.9.3.9)."""

    def start(self) -> None:
        """Switch the radio on. Without an IMSI there is nothing to search for."""
        self.stop()
        if self._usim.imsi and self.automatic:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self, stat: Stat = Stat.NOT_REGISTERED) -> None:
        """Leave the network and switch the radio off."""
        if self._task:
            self._task.cancel()
            self._task = None
        self._leave(stat)

    async def _run(self) -> None:
        while True:
            self._become(Stat.SEARCHING)
            await asyncio.sleep(self._search_s())
            try:
                attachment = await self._network.attach(self._usim, self.only)
            except NoCoverage:
                await self._network.coverage_change()
                continue
            except (AttachRefused, CardSilent) as refusal:
                if isinstance(refusal, AttachRefused) and refusal.cause == CAUSE_CONGESTION:
                    await asyncio.sleep(self._network.behaviour.retry_s)
                    continue
                # A refused card is not tried again until it, or the radio, has been switched.
                self.cause = refusal.cause if isinstance(refusal, AttachRefused) else None
                self._become(Stat.DENIED)
                return
            self.cause = None
            self.knows_cell = True
            self.attachment = attachment
            self._become(Stat.ROAMING if attachment.roaming else Stat.HOME)
            self._on_attached()
            while self._network.covers(attachment.operator):
                await self._network.coverage_change()
                await self._link.rrc.awake.wait()
            self._leave(Stat.SEARCHING)

    def _search_s(self) -> float:
        network, link = self._network.behaviour, self._link.settings
        first = 0 if self.knows_cell else network.first_search_s
        return first or network.search_s or link.wait_s(link.search_s)

    def _leave(self, stat: Stat) -> None:
        attached, self.attachment = self.attachment is not None, None
        self._become(stat)
        if attached:
            self._link.clear()
            self._on_lost()

    def _become(self, stat: Stat) -> None:
        if stat is not self.stat:
            self.stat = stat
            self._on_change()
