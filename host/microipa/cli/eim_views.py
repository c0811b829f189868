"""``microipa orders``, ``devices`` and ``enrol``: what an eIM knows, and whose word it takes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from microipa.common.console import LAB, BadInput, Folder, Json, lines, out, print_json, read
from microipa.common.eid import checked

if TYPE_CHECKING:
    from microipa.eim import DeviceView, OrderView

eim_app = typer.Typer()

ICCID_DIGITS = 20


@eim_app.command()
def orders(
    number: Annotated[int | None, typer.Argument(
        min=1, help="Show this order in full; by default a line for each order.")] = None,
    lab: Folder = LAB,
    eid: Annotated[str | None, typer.Option(callback=checked, help="Only orders of this device.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Only this many, the newest ones.")] = 100,
    as_json: Json = False,
) -> None:
    """Show the eIM's orders and their results."""
    from microipa.lab import LabFolder

    eim = LabFolder(lab).eim
    if eid is not None:
        eim.device(eid)
    views = eim.orders(eid, newest=limit) if number is None else [eim.order(number)]
    if as_json:
        for view in views:
            print_json(view.to_dict())
    elif number is not None:
        out.print(_order_in_full(views[0]))
    elif views:
        out.print(*_tables(views))
        if len(views) == limit:
            out.print(f"only the newest {limit} are shown: use --limit to see more")
    else:
        out.print(f"no orders in {lab}: queue one with `microipa order download --lab {lab}`")


def _tables(views: list[OrderView]) -> Iterator[Table]:
    """One for each device: with EIDs in a column there is no room for ICCIDs, which are for copying."""
    for eid in sorted({view.eid for view in views}):
        wraps = [Column(name, overflow="fold", min_width=ICCID_DIGITS) for name in ("what", "result")]
        table = Table("order", wraps[0], "state", wraps[1], title=f"orders of {eid}")
        for view in views:
            if view.eid == eid:
                table.add_row(str(view.id), view.summary, view.state, view.result or "")
        yield table


def _order_in_full(view: OrderView) -> Table:
    table = Table("", Column(f"order {view.id}", overflow="fold"))
    for name, value in view.to_dict().items():
        if value not in (None, {}) and name != "id":
            table.add_row(name.replace("_", " "), _plain(value))
    return table


@eim_app.command()
def devices(
    eid: Annotated[
        str | None,
        typer.Argument(
            metavar="[EID]", callback=checked, help="Show this device in full; by default a line for each device."),
    ] = None,
    lab: Folder = LAB,
    as_json: Json = False,
) -> None:
    """Show the eIM's data about its devices: profiles, eIMs, token, counter, capabilities, alarms."""
    from microipa.lab import LabFolder

    eim = LabFolder(lab).eim
    views = eim.devices() if eid is None else [eim.device(eid)]
    if as_json:
        for view in views:
            print_json(view.to_dict())
    elif eid is not None:
        out.print(_in_full(views[0]))
    else:
        for view in views:
            out.print(_in_short(view))


@eim_app.command()
def enrol(
    eid: Annotated[str, typer.Argument(callback=checked, help="EID of the eUICC, 32 digits.")],
    device_key: Annotated[
        Path | None, typer.Option(help="Public key (DER) of a device that signs in place of its consumer eUICC.")
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the device, with its orders.")
    ] = False,
    lab: Folder = LAB,
) -> None:
    """Add a device to the eIM.

    With --device-key the eIM accepts results signed by the device in place of its card, which is a consumer eUICC.
    """
    from microipa.lab import LabFolder

    if remove:
        if device_key:
            raise BadInput("--remove and --device-key exclude each other: choose one")
        LabFolder(lab).eim.remove_device(eid)
        out.print(f"{eid} has been removed")
        return
    LabFolder(lab).eim.add_device(eid, device_key=read(device_key) if device_key else None)
    whose = "a key of the device" if device_key else "its eUICC"
    out.print(f"{eid} is enrolled; its results must be signed by {whose}")


def _in_short(view: DeviceView) -> str:
    """One line, which a table of it would be too wide for."""
    enabled = [str(one.get("iccid")) for one in view.profiles or [] if one.get("state") == "enabled"]
    whole = view.profiles_known is not None
    words = [
        f"{', '.join(enabled) or 'no profile'} enabled" if whole or enabled else "profiles not known",
        f"last poll {_when(view.last_poll)}",
        f"{len(view.open_orders)} open orders" if view.open_orders else "",
        f"{len(view.alarms)} alarms" if view.alarms else "",
    ]
    return f"{view.eid}  {', '.join(word for word in words if word)}"


def _in_full(view: DeviceView) -> Table:
    table = Table("", Column(view.eid, overflow="fold"), title="device")
    listed = [" ".join(str(word) for word in one.values()) for one in view.profiles or ()]
    profiles = ["not known"] if view.profiles is None else listed or ["none"]
    if view.profiles is not None and view.profiles_known is None:
        profiles.append("(downloaded by this eIM; the card has not sent its list yet: `microipa order list`)")
    elif view.profiles_known:
        profiles.append(f"(the card's list of {_when(view.profiles_known)}, updated by later orders)")
    rows: dict[str, str | Text] = {
        "profiles": lines(*profiles),
        "eIMs": "not known" if view.eims is None else ", ".join(view.eims) or "none",
        "association token": _or_unknown(view.association_token),
        "counter": f"{view.counter} in the newest package, {view.highest_sequence} the newest result's seqNumber",
        "default SM-DP+": _or_unknown(view.default_smdp_address) or "none",
        "state change": f"{view.state_change}, {_when(view.state_changed)}" if view.state_change else "none notified",
        "trouble": f"{view.trouble}, {_when(view.trouble_told)}" if view.trouble else "none reported",
        "last poll": _when(view.last_poll),
        "network": _or_unknown(view.rplmn),
        "open orders": ", ".join(str(number) for number in view.open_orders) or "none",
        "alarms": lines(*view.alarms or ["none"]),
    }
    for name, bits in view.ipa_capabilities.items():
        rows[name] = ", ".join(bits) or "none"
    if view.device_key:
        rows["results"] = f"signed by a key of the device, not by a card; SHA-256 of the key {view.device_key}"
    for name, one in view.certificates.items():
        rows[f"{name} certificate"] = f"{one['subject']}, valid until {one['valid_until']}"
    if isinstance(view.euicc_info2, dict):
        rows["EUICCInfo2"] = lines(*(f"{name} {_plain(value)}" for name, value in view.euicc_info2.items()))
    elif view.euicc_info2:
        rows["EUICCInfo2"] = view.euicc_info2
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _plain(value: Any) -> str:
    """A decoded value as people write it: names for codes, no brackets."""
    if isinstance(value, dict):
        named = [str(value["name"])] if "name" in value else [f"{key} {_plain(one)}" for key, one in value.items()]
        return ", ".join(named)
    return ", ".join(_plain(one) for one in value) if isinstance(value, list) else str(value)


def _or_unknown(value: object) -> str:
    return "not known" if value is None else str(value)


def _when(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "never"
