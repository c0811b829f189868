"""``microipa orders``, ``devices`` and ``enrol``: what an eIM knows, and whose word it takes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from microipa.common.console import LAB, Folder, Json, lines, out, print_json, read

if TYPE_CHECKING:
    from microipa.eim import DeviceView

eim_app = typer.Typer()


@eim_app.command()
def orders(
    lab: Folder = LAB,
    eid: Annotated[str | None, typer.Option(help="Only this device's.")] = None,
    as_json: Json = False,
) -> None:
    """Show the eIM's orders and what became of them."""
    from microipa.lab import LabFolder

    eim = LabFolder(lab).eim
    if eid is not None:
        eim.device(eid)
    views = eim.orders(eid)
    if as_json:
        for view in views:
            print_json(view.to_dict())
        return
    devices = sorted({view.eid for view in views})
    several = len(devices) > 1
    title = f"orders in {lab}" if several else f"orders of {''.join(devices)}"
    table = Table("order", *(["EID"] if several else []), "what", "state", "result", title=title)
    for view in views:
        table.add_row(str(view.id), *([view.eid] if several else []), view.summary, view.state, view.result or "")
    out.print(table if views else f"no orders in {lab}: queue one with `microipa order download --lab {lab}`")


@eim_app.command()
def devices(
    eid: Annotated[
        str | None, typer.Argument(metavar="[EID]", help="One device in full; all in short by default.")
    ] = None,
    lab: Folder = LAB,
    as_json: Json = False,
) -> None:
    """Show what the eIM knows of its devices: profiles, eIMs, token, counter, capabilities, alarms."""
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
    eid: Annotated[str, typer.Argument(help="The eUICC, 32 digits.")],
    device_key: Annotated[
        Path | None, typer.Option(help="Public key (DER) of a device that signs in place of a consumer card.")
    ] = None,
    lab: Folder = LAB,
) -> None:
    """Let the eIM manage a device; with its key, take that for the word of a card that obeys no eIM."""
    from microipa.lab import LabFolder

    LabFolder(lab).eim.add_device(eid, device_key=read(device_key) if device_key else None)
    whose = "a key of the device" if device_key else "its eUICC"
    out.print(f"{eid} is enrolled; its results are to be signed by {whose}")


def _in_short(view: DeviceView) -> str:
    """One line, which a table of it would be too wide for."""
    enabled = [str(one.get("iccid")) for one in view.profiles or [] if one.get("state") == "enabled"]
    words = [
        "profiles not known" if view.profiles is None else f"{', '.join(enabled) or 'no profile'} enabled",
        f"last poll {_when(view.last_poll)}",
        f"{len(view.open_orders)} open orders" if view.open_orders else "",
        f"{len(view.alarms)} alarms" if view.alarms else "",
    ]
    return f"{view.eid}  {', '.join(word for word in words if word)}"


def _in_full(view: DeviceView) -> Table:
    table = Table("", Column(view.eid, overflow="fold"), title="device")
    listed = [" ".join(str(word) for word in one.values()) for one in view.profiles or ()]
    profiles = ["not known"] if view.profiles is None else listed or ["none"]
    if view.profiles_known:
        profiles.append(f"(list of {_when(view.profiles_known)}, and what was done since)")
    rows: dict[str, str | Text] = {
        "profiles": lines(*profiles),
        "eIMs": "not known" if view.eims is None else ", ".join(view.eims) or "none",
        "association token": _or_unknown(view.association_token),
        "counter": f"{view.counter} in the newest package, {view.highest_sequence} the newest result's seqNumber",
        "default SM-DP+": _or_unknown(view.default_smdp_address) or "none",
        "state change": f"{view.state_change}, {_when(view.state_changed)}" if view.state_change else "none notified",
        "trouble": f"{view.trouble}, {_when(view.trouble_told)}" if view.trouble else "none told",
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
