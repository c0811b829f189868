"""``microipa smdpp …``: the SM-DP+'s stock and orders, for the person at the desk.

Beside and not inside ``microipa.smdpp``, so that commands without an SM-DP+ start without loading one.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from microipa.cli.profile import read_package
from microipa.common.activation_codes import short
from microipa.common.console import LAB, Expires, Folder, Json, moment, out, print_json
from microipa.common.eid import checked

if TYPE_CHECKING:
    from microipa.smdpp import OrderView

smdpp_app = typer.Typer(no_args_is_help=True, help="Show and create download orders of the lab's SM-DP+.")

Profile = Annotated[
    list[Path] | None,
    typer.Argument(help="Profile package (DER); by default a new one. Of several, a card gets one that fits it."),
]


@smdpp_app.command()
def orders(
    lab: Folder = LAB, as_json: Json = False
) -> None:
    """Show the profiles in stock and the download orders with their states."""
    from microipa.lab import LabFolder

    views = LabFolder(lab).smdpp.orders()
    if as_json:
        for view in views:
            print_json(asdict(view))
        return
    for view in views:
        out.print(_line(view))
    if not views:
        out.print(f"no orders in {lab}: make one with `microipa smdpp order --lab {lab}`")


def _line(view: OrderView) -> str:
    """All there is to know of an order; a table of it is wider than a terminal."""
    words = [
        f"{short(view.matching_id) if view.matching_id else '-'}  {view.state}",
        f"profile {view.iccid}",
        f"for {view.eid or 'any card'}",
        "confirmation code" if view.confirmation_code else "",
        f"until {view.expires:%Y-%m-%d %H:%M} UTC" if view.expires else "",
        f"event at {view.smds_address}" if view.smds_address else "",
        f"operator {view.owner}" if view.owner else "",
        f"type {view.profile_type}" if view.profile_type else "",
        view.result or "",
    ]
    return ", ".join(word for word in words if word)


@smdpp_app.command()
def order(
    profile: Profile = None,
    matching_id: Annotated[str | None, typer.Option(help="Letters, digits, hyphens; random by default.")] = None,
    eid: Annotated[str | None, typer.Option(
        callback=checked, help="Only for this card; by default for any card.")] = None,
    default: Annotated[bool, typer.Option(
        help="No matching identifier: the card has this SM-DP+ as its default.")] = False,
    event: Annotated[bool, typer.Option(
        help="Register an event at the SM-DS, where the card finds it; the lab must be running.")] = False,
    confirmation_code: Annotated[str | None, typer.Option(
        help="Confirmation code that is required for the download.")] = None,
    expires: Expires = None,
    lab: Folder = LAB,
) -> None:
    """Offer a profile for download; --default and --event are for the lab's card unless --eid names another."""
    from microipa.lab import LabFolder

    desk = LabFolder(lab)
    by_itself = default or event
    packages = [read_package(file) for file in profile or ()]
    made = desk.smdpp.add_profile(
        desk.profile(packages[0] if packages else None),
        variants=packages[1:],
        matching_id="" if default else matching_id,
        eid=desk.eid if by_itself and eid is None else eid,
        confirmation_code=confirmation_code,
        expires=moment(expires),
        smds_address=desk.smds.address if event else None,
    )
    out.print(Text(desk.smdpp.activation_code(made) if made else f"LPA:1${desk.smdpp.address}$"))


@smdpp_app.command()
def stock(
    profile: Profile = None,
    profile_type: Annotated[str, typer.Option("--type", help="Profile type by which an operator orders it.")] = "iot",
    lab: Folder = LAB,
) -> None:
    """Add a profile to the stock, for orders over ES2+; print its ICCID."""
    from microipa.lab import LabFolder

    desk = LabFolder(lab)
    packages = [read_package(file) for file in profile or ()]
    package = desk.profile(packages[0] if packages else None)
    out.print(desk.smdpp.stock(package, variants=packages[1:], profile_type=profile_type))


@smdpp_app.command()
def cancel(
    name: Annotated[str, typer.Argument(help="matchingId or ICCID.")],
    lab: Folder = LAB,
) -> None:
    """Cancel an order that has not been downloaded."""
    from microipa.lab import LabFolder

    LabFolder(lab).smdpp.cancel(name)
    out.print(f"{name} can no longer be downloaded")
