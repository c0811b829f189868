"""The SM-DP+: download orders and ES9+."""

from microipa.smdpp.refusal import MalformedRequest, Refused, ServerBusy
from microipa.smdpp.service import OrderView, Smdpp
from microipa.smdpp.store import OrderInvalid, OrderState, OrderStateError

__all__ = [
    "MalformedRequest",
    "OrderInvalid",
    "OrderState",
    "OrderStateError",
    "OrderView",
    "Refused",
    "ServerBusy",
    "Smdpp",
]
