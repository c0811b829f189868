"""The eIM: orders for devices, ESipa, and the way to the SM-DP+."""

from microipa.eim.desk import Eim, UnknownDevice
from microipa.eim.store import OrderView

__all__ = ["Eim", "OrderView", "UnknownDevice"]
