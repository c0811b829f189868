"""From the command line to the eIM's orders: what is wanted is checked, queued, and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from microipa.common.console import BadInput, moment, out

if TYPE_CHECKING:
    from microipa.eim import DeviceView, Eim

_LOOK_S = 0.2
_OPEN = ("queued", "delivered")


def named(**words: str | None) -> list[str]:
    """Words of an operation that have a name, without those that were not given."""
    return [f"{name}={value}" for name, value in words.items() if value is not None]


def order(lab: Path, eid: str | None, expires: str | None, wait: bool, name: str, *words: str) -> None:
    """Queue a package of one operation."""
    from microipa.eim.operations import operation

    order_package(lab, eid, expires, wait, lambda: [operation(name, *words)])


def order_switch(lab: Path, eid: str | None, expires: str | None, wait: bool, name: str, *words: str) -> None:
    """The list first: once a switch is pending the card refuses to list (SGP.32 5.9.14, profileChangeOngoing)."""
    from microipa.eim.operations import operation

    order_package(lab, eid, expires, wait, lambda: [operation("listProfileInfo"), operation(name, *words)])


def order_package(
    lab: Path, eid: str | None, expires: str | None, wait: bool, operations: Callable[[], list[Any]],
    checked: bool = True,
) -> None:
    """Queue a package. ``checked``: refuse a profile or an eIM that the card does not have, as far as the eIM knows."""
    from microipa.eim.packages import describe
    from microipa.lab import LabFolder

    end = moment(expires)
    desk = LabFolder(lab)
    eid = desk.eid if eid is None else eid
    wanted = operations()
    if checked:
        _require_known(desk.eim, eid, wanted)
    queued(desk.eim, desk.eim.order_package(eid, wanted, expires=end), describe(wanted), wait)


def queued(eim: Eim, number: int, what: str, wait: bool) -> None:
    """Say that an order is queued, or wait for its end; exit status 1 when that is not "done"."""
    if not wait:
        out.print(f"order {number} queued: {what}. The device fetches it at its next poll; `microipa orders` shows its "
                  "result.")
        return
    out.print(f"order {number} queued: {what}")
    state = "queued"
    while state in _OPEN:
        time.sleep(_LOOK_S)
        view = eim.order(number)
        if view.state != state:
            state = view.state
            out.print(f"order {number} {state}" + (f": {view.result}" if view.result else ""))
    raise typer.Exit(0 if state == "done" else 1)


def _require_known(eim: Eim, eid: str, operations: list[Any]) -> None:
    """Raises BadInput. An order that waits may bring what is not there yet; then nothing is refused."""
    view = eim.device(eid)
    if view.open_orders:
        return
    for name, fields in operations:
        _require_profile(view, fields.get("iccid"))
        if name in ("deleteEim", "updateEim") and view.eims is not None and fields.get("eimId") not in view.eims:
            known = ", ".join(view.eims) or "none"
            raise BadInput(f"the card has no eIM {str(fields.get('eimId'))[:64]}, but {known}: {_HOW}")


def _require_profile(view: DeviceView, iccid: Any) -> None:
    from microipa.saip import iccid_from_bytes

    if not isinstance(iccid, bytes) or view.profiles is None or view.profiles_known is None:
        return
    wanted, there = iccid_from_bytes(iccid), [str(profile.get("iccid")) for profile in view.profiles]
    if wanted not in there:
        raise BadInput(f"the card has no profile {wanted}, but {', '.join(there) or 'none'}: {_HOW}")


_HOW = "see `microipa devices EID`; `microipa order package` sends it to the card anyway"
