"""ES12: telling an SM-DS that a profile waits for one of its eUICCs (SGP.22 clauses 3.6.1 and 5.9)."""

from __future__ import annotations

import secrets
from typing import Any

from microipa.net.rsp_client import RspClient, RspRefused, RspUnavailable
from microipa.smdpp.json_binding import header
from microipa.smdpp.refusal import Refused
from microipa.smdpp.store import Order


def event(order: Order, address: str) -> dict[str, Any]:
    """The fields of RegisterEvent; ``address`` is the SM-DP+'s own, to which the SM-DS sends the eUICC."""
    return {
        "eid": order.eid,
        "rspServerAddress": address,
        "eventId": order.matching_id,
        "forwardingIndicator": False,  # the SM-DS is the root: it has nobody to forward to
    }


class Events:
    """Registers events at once, for an operator that waits. ``oid`` and ``address`` are the SM-DP+'s own."""

    def __init__(self, client: RspClient, oid: str, address: str) -> None:
        self._client = client
        self._oid = oid
        self._address = address

    async def register(self, order: Order) -> None:
        """Tell the SM-DS that ``order`` names. Raises Refused 8.9/5.1 and 8.9/4.2."""
        assert order.smds_address
        fields = {"header": header(self._oid, secrets.token_hex(8)), **event(order, self._address)}
        try:
            await self._client.call(order.smds_address, "registerEvent", fields, "es12")
        except RspUnavailable as error:
            raise Refused("8.9", "5.1", f"SM-DS {order.smds_address}: {error}") from error
        except RspRefused as error:
            raise Refused("8.9", "4.2", f"SM-DS {order.smds_address}: {error}") from error
