"""The servers of a bench, as somebody works with them who sits at their consoles: eIM and SM-DP+."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from microipa.asn1 import sgp32
from microipa.asn1.tlv import parse, tlv
from microipa.eim import OrderView, esipa, words
from microipa.eim.store import Store
from microipa.hil import forgery
from microipa.hil.moments import BoardStuck, answered
from microipa.hil.station import Offer, Station
from microipa.lab import COAPS_PORT, OPERATOR, new_profile
from microipa.saip import ProfilePackage, build, metadata
from microipa.trace import Event

_NOWHERE = ("127.0.0.1", 9)


class EimDesk:
    """The bench's eIM, with this board as its device."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._eim = station.lab.eim

    @property
    def eid(self) -> str:
        return self._station.eid

    @property
    def name(self) -> str:
        """Its eimId."""
        return self._eim.fqdn

    def package(self, *operations: tuple[str, Mapping[str, Any]]) -> int:
        """Queue an eUICC package; the order's number."""
        return self._do(lambda: self._eim.order_package(self.eid, list(operations)))

    def download(self, code: str) -> int:
        """Queue the download of an offer, which is for this board's EID alone; the order's number."""
        return self._do(lambda: self._eim.order_download(self.eid, code, needs_proof=False))

    def ask(self, *names: str) -> int:
        """Queue a question for IpaEuiccData."""
        return self._do(lambda: self._eim.order_data(self.eid, names))

    def order(self, number: int) -> OrderView:
        return next(view for view in self._do(lambda: self._eim.orders(self.eid)) if view.id == number)

    def outcome(self, number: int) -> tuple[str, str]:
        """State of an order and its result in words."""
        view = self.order(number)
        return view.state, view.result or ""

    def cancel_what_waits(self) -> None:
        for view in self._do(lambda: self._eim.orders(self.eid)):
            if view.state in ("queued", "delivered"):
                self._do(lambda number=view.id: self._eim.cancel(number))  # type: ignore[misc]

    def device(self) -> Any:
        """What it knows of the device: DeviceView."""
        return self._do(lambda: self._eim.device(self.eid))

    def alarms(self) -> list[str]:
        """What it has refused to believe, in this case."""
        return [e.fields["text"] for e in self._station.events if (e.part, e.kind) == ("eim", "alarm")]

    def messages(self, of: str = "eim") -> list[str]:
        """The ESipa messages of this case: in from the device, out to it, with their tag. ``of`` eim2: the stranger."""
        self._station.settled()
        esipa = [e for e in self._station.events if (e.part, e.kind) == (of, "esipa") and e.fields["message"]]
        return [f"{e.fields['direction']} {parse(bytes.fromhex(e.fields['message'])).tag:X}" for e in esipa]

    def refusals(self) -> list[str]:
        """What the card has said of packages that it did not accept, in this case: euiccPackageErrorUnsigned where it
        cannot know whose they are, the code of its signed error otherwise."""
        self._station.settled()
        return [word for e in self._station.events if (e.part, e.kind) == ("eim", "esipa")
                for word in _refusals(e.fields["message"])]

    def forge(self, number: int, *operations: tuple[str, Mapping[str, Any]]) -> None:
        """Let others' operations be delivered first in the place of an order's, signed with a key that is not its."""
        forgery.forge(self._store, number, self._eim.fqdn, operations, self._station.lab.pki.smdpp_auth)

    def replay(self, number: int) -> None:
        """Let a package be delivered once more that was carried out."""
        forgery.replay(self._store, number)

    @property
    def _store(self) -> Store:
        return Store(self._station.lab.folder / "eim.sqlite")

    def causes(self) -> list[str]:
        """The stateChangeCauses that the device has told in this case."""
        return [e.fields["cause"] for e in self._station.events if (e.part, e.kind) == ("eim", "state_change")]

    def stranger(self) -> Callable[[], None]:
        """Put another eIM, with a certificate of its own, at its address. Returns what puts it back."""
        lab = self._station.whole
        theirs, ours = (lab.network.resolve(name, COAPS_PORT) for name in (lab.eim2.fqdn, self._eim.fqdn))
        assert theirs
        assert ours
        self._do(lambda: lab.network.route(self._eim.fqdn, COAPS_PORT, theirs))
        return self._station.until_tidy(lambda: self._do(lambda: lab.network.route(self._eim.fqdn, COAPS_PORT, ours)))

    def configuration(self) -> dict[str, Any]:
        """EimConfigurationData by which a card knows it."""
        decoded: dict[str, Any] = sgp32.decode("EimConfigurationData", self._eim.configuration("pin"))
        return decoded

    def hide(self) -> Callable[[], None]:
        """Let datagrams to it go nowhere. Returns what puts it back, in the lab's thread or any other."""
        network, host = self._station.whole.network, self._eim.fqdn
        address = network.resolve(host, COAPS_PORT)
        assert address
        self._do(lambda: network.route(host, COAPS_PORT, _NOWHERE))
        return self._station.until_tidy(lambda: network.route(host, COAPS_PORT, address))

    def _do(self, work: Callable[[], Any]) -> Any:
        return self._station.loop.call(work)


def _refusals(message: str) -> list[str]:
    """In an ESipa message (hex): of the EuiccPackageResult in ProvideEimPackageResult."""
    provided = parse(bytes.fromhex(message)) if message else None
    if provided is None or provided.tag != esipa.PROVIDE_EIM_PACKAGE_RESULT:
        return []
    found = []
    for result in provided:
        if result.tag == esipa.EUICC_PACKAGE:
            kind, value = sgp32.decode("EuiccPackageResult", result.raw)
            if kind == "euiccPackageErrorSigned":
                code = value["euiccPackageErrorDataSigned"]["euiccPackageErrorCode"]
                found.append(words.name("EuiccPackageErrorCode", code))
            elif kind == "euiccPackageErrorUnsigned":
                found.append(kind)
    return found


class SmdppCounter:
    """The bench's SM-DP+."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def offer(self, name: str = "HIL", *, filler: int = 0, attributes: Sequence[bytes] = (), **more: Any) -> Offer:
        """A fresh profile for this board. ``attributes``: TLVs for its metadata; ``more``: of Smdpp.add_profile."""
        lab = self._station.lab
        spec = new_profile(name, OPERATOR, filler=filler)
        package = build(spec)

        def put() -> str:
            lab.enrol(package, OPERATOR)
            if self._station.virtual:
                self._station.whole.admit_subscribers()
            own = parse(metadata(ProfilePackage.parse(package), notification_address=lab.smdpp.address)).value
            return lab.smdpp.add_profile(
                package, eid=self._station.eid, metadata=tlv(0xBF25, own, *attributes), **more
            )

        code = lab.smdpp.activation_code(self._station.loop.call(put))
        return Offer(code, spec.iccid, spec.imsi)

    def outcome(self, offer: Offer) -> tuple[str, str]:
        """State and result of the profile's order."""
        views = self._station.loop.call(self._station.lab.smdpp.orders)
        view = next(view for view in views if view.iccid.rstrip("F") == offer.iccid)
        return str(view.state), view.result or ""

    def asked(self) -> list[str]:
        """The ES9+ functions that it was asked for in this case and did."""
        return [e.fields["function"] for e in self._station.events
                if (e.part, e.kind, e.fields.get("outcome")) == ("smdpp", "es9", "ok")]

    def until(self, state: str, offer: Offer, timeout_s: float = 30.0) -> None:
        """Wait for a state of the profile's order: the eIM passes notifications on in its own time."""
        seen = threading.Event()

        def heard(event: Event) -> bool:
            return event.part == "smdpp" and self._state(offer) == state

        def look() -> None:
            if self._state(offer) == state:
                seen.set()
            else:
                self._station._when.append((heard, seen.set))

        self._station.loop.call(look)
        if not seen.wait(timeout_s):
            raise BoardStuck(f"the SM-DP+'s order of {offer.iccid} is {self.outcome(offer)} after {timeout_s:.0f} s")

    def _state(self, offer: Offer) -> str:
        views = self._station.lab.smdpp.orders()
        return next(str(view.state) for view in views if view.iccid.rstrip("F") == offer.iccid)

    def hide_when_installed(self) -> Callable[[], None]:
        """As hide, at the moment in which a profile is on the card. Returns what puts it back."""
        put_back: list[Callable[[], None]] = []
        self._station.when(answered(0xBF37), lambda: put_back.append(self.hide()))
        return lambda: put_back[0]()

    def hide(self) -> Callable[[], None]:
        """Let nobody reach it by the eIM. Returns what puts it back."""
        routes, address = self._station.lab.es9_routes, self._station.lab.smdpp.address
        known = routes[address]
        routes[address] = _NOWHERE
        return self._station.until_tidy(lambda: routes.__setitem__(address, known))
