"""The eIM: orders for devices, ESipa, and the way to the SM-DP+."""

from microipa.eim.confirmation import CodeNotGiven
from microipa.eim.desk import BadTrust, Eim, UnknownDevice, UnknownOrder
from microipa.eim.devices import DeviceView
from microipa.eim.listeners import Unreachable
from microipa.eim.orders import OrderSettled
from microipa.eim.packages import PackageInvalid
from microipa.eim.sources import ActivationCodeInvalid, DefaultSmdp, Smds, SmdsAddressInvalid
from microipa.eim.store import OrderView

__all__ = [
    "ActivationCodeInvalid",
    "BadTrust",
    "CodeNotGiven",
    "DefaultSmdp",
    "DeviceView",
    "Eim",
    "OrderSettled",
    "OrderView",
    "PackageInvalid",
    "Smds",
    "SmdsAddressInvalid",
    "UnknownDevice",
    "UnknownOrder",
    "Unreachable",
]
