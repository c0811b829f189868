"""An eIM that acknowledges what it was never sent, as soon as a device listens to it."""

from __future__ import annotations

import asyncio

from microipa.asn1.tlv import parse
from microipa.eim import esipa
from microipa.eim.injector import Injector
from microipa.eim.odd_answers import EVERYTHING


class OddInjector(Injector):
    """Takes every device for one that listens. Orders wait for a poll."""

    def _claims(self, eid: str) -> bool:
        asyncio.get_running_loop().call_soon(self._begin, eid)  # when it has been noted as a listener
        return True

    async def push(self, eid: str) -> bool:
        """Inject the acknowledgement. Raises Unreachable."""
        await self._ask(eid, parse(EVERYTHING)[esipa.ACKNOWLEDGEMENTS].raw)
        return True
