"""The ``microipa`` command."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from microipa.console import hex_bytes as _hex
from microipa.console import read as _read
from microipa.errors import MicroipaError
from microipa.saip.cli import profile_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An SGP.32 lab: eIM, SM-DP+, software eUICC, AT modem, radio and a MicroPython board.",
)
lab_app = typer.Typer(no_args_is_help=True, help="Run a lab.")
order_app = typer.Typer(no_args_is_help=True, help="Tell the eIM what a device shall do at its next poll.")
app.add_typer(profile_app, name="profile")
app.add_typer(lab_app, name="lab")
app.add_typer(order_app, name="order")

out = Console(highlight=False, soft_wrap=True)

Folder = Annotated[Path, typer.Option("--lab", help="The lab's folder.", file_okay=False)]
Eid = Annotated[str | None, typer.Option(help="The device's EID; the lab's own card by default.")]
LAB = Path(".lab")


def main() -> None:
    """Run the command; a mistake that has a name is one sentence on stderr and exit status 1."""
    try:
        app()
    except MicroipaError as error:
        print(f"microipa: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is None:  # not about a file somebody named: a defect, to be seen in full
            raise
        print(f"microipa: {error.filename}: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None


@app.command()
def demo(
    lab: Folder = LAB / "demo",
    radio: Annotated[str, typer.Option(help="nbiot (real time), short (delays divided) or none.")] = "nbiot",
    act: Annotated[str | None, typer.Option(help="rollback, fallback …; without: first light.")] = None,
) -> None:
    """Provision a virtual board end to end and show every step; or another act of a device's life."""
    from microipa import acts
    from microipa.demo import run

    played = run(lab, radio, out) if act is None else acts.perform(act, lab, radio, out)
    raise typer.Exit(asyncio.run(played))


@app.command()
def bill(
    lab: Folder = LAB / "bill",
    ts48: Annotated[
        Path | None, typer.Option(help="Profile package of GSMA TS.48 (DER) to download as well.", dir_okay=False)
    ] = None,
) -> None:
    """Measure what polls, packages and downloads cost on the air; exit status 1 when a target is missed."""
    from microipa.bill import run

    raise typer.Exit(asyncio.run(run(lab, _read(ts48) if ts48 else None, out)))


@app.command()
def pki(lab: Folder = LAB) -> None:
    """Create the lab's test certificates, or show those it has."""
    from microipa.crypto.pki import Pki

    certificates = Pki.open(lab / "pki")
    table = Table("certificate", "subject", "valid until", "bytes", title=f"test PKI in {lab / 'pki'}")
    for name in (
        "ci", "eum", "smdpp_auth", "smdpp_pb", "smdpp_tls", "smds_auth", "smds_tls", "operator_tls",
        "eim_signing", "eim_tls",
    ):  # fmt: skip
        credential = getattr(certificates, name)
        certificate = credential.certificate
        table.add_row(
            name.replace("_", " "),
            certificate.subject.rfc4514_string(),
            f"{certificate.not_valid_after_utc:%Y-%m-%d}",
            str(len(credential.der)),
        )
    out.print(table)


@lab_app.command("up")
def lab_up(
    lab: Folder = LAB,
    radio: Annotated[str, typer.Option(help="nbiot (real time), short (delays divided) or none.")] = "short",
) -> None:
    """Start servers, modem and board, and stay up until Ctrl-C."""
    from microipa.demo import stay_up

    asyncio.run(stay_up(lab, radio, out))


@order_app.command("download")
def order_download(
    profile: Annotated[
        Path | None, typer.Argument(help="Profile package (DER); a fresh one by default.")
    ] = None,
    activation_code: Annotated[
        str | None, typer.Option(help="LPA:1$… of an order some SM-DP+ holds.")
    ] = None,
    lab: Folder = LAB,
    eid: Eid = None,
) -> None:
    """Download a profile, the eIM in the middle (SGP.32 3.2.3.2)."""
    from microipa.lab import LabFolder

    if profile and activation_code:
        raise typer.BadParameter("give a profile file or an activation code, not both")
    desk = LabFolder(lab)
    code = activation_code or desk.offer(_read(profile) if profile else None)
    _ordered(desk.eim.order_download(eid or desk.eid, code), f"download {code}")


@order_app.command("enable")
def order_enable(
    iccid: Annotated[str, typer.Argument(help="ICCID of the profile, as digits.")],
    rollback: Annotated[
        bool, typer.Option(help="Let the device go back when the profile does not connect.")
    ] = True,
    lab: Folder = LAB,
    eid: Eid = None,
) -> None:
    """Enable a profile (PSMO enable)."""
    body: dict[str, Any] = {"rollbackFlag": None} if rollback else {}
    _order_profile(lab, eid, "enable", iccid, body)


@order_app.command("disable")
def order_disable(
    iccid: Annotated[str, typer.Argument(help="ICCID of the profile, as digits.")],
    lab: Folder = LAB,
    eid: Eid = None,
) -> None:
    """Disable a profile (PSMO disable)."""
    _order_profile(lab, eid, "disable", iccid, {})


@order_app.command("delete")
def order_delete(
    iccid: Annotated[str, typer.Argument(help="ICCID of the profile, as digits.")],
    lab: Folder = LAB,
    eid: Eid = None,
) -> None:
    """Delete a disabled profile (PSMO delete)."""
    _order_profile(lab, eid, "delete", iccid, {})


@order_app.command("list")
def order_list(lab: Folder = LAB, eid: Eid = None) -> None:
    """Ask the card for its profiles (PSMO listProfileInfo)."""
    from microipa.lab import LabFolder

    desk = LabFolder(lab)
    _ordered(desk.eim.order_package(eid or desk.eid, [("listProfileInfo", {})]), "listProfileInfo")


@app.command()
def orders(
    lab: Folder = LAB,
    eid: Annotated[str | None, typer.Option(help="Only this device's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the eIM's orders and what became of them."""
    from microipa.lab import LabFolder

    views = LabFolder(lab).eim.orders(eid)
    if as_json:
        for view in views:
            print(json.dumps(view.to_dict()))
        return
    devices = sorted({view.eid for view in views})
    several = len(devices) > 1
    title = f"orders in {lab}" if several else f"orders of {''.join(devices)}"
    table = Table("order", *(["EID"] if several else []), "what", "state", "result", title=title)
    for view in views:
        table.add_row(
            str(view.id), *([view.eid] if several else []), view.summary, view.state, view.result or ""
        )
    out.print(table if views else f"no orders in {lab}: queue one with `microipa order download --lab {lab}`")


@app.command()
def trace(
    file: Annotated[Path, typer.Argument(help="trace.jsonl of a lab.", dir_okay=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, decoded.")] = False,
) -> None:
    """Decode a recorded session: ESipa, ES10, APDUs, AT; one line a message."""
    from microipa.session import print_session, read

    print_session(read(_read(file).decode("utf-8", "replace"), str(file)), out, as_json)


@app.command()
def decode(
    hex_digits: Annotated[
        list[str], typer.Argument(metavar="HEX", help="The object in hex, or - for stdin.")
    ],
    type_name: Annotated[
        str | None, typer.Option("--type", help="ASN.1 type; found by the tag by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    reencode: Annotated[
        bool, typer.Option("--reencode", help="Print the DER of what was understood.")
    ] = False,
) -> None:
    """Decode any ESipa, ES10, ES9+ or SAIP object."""
    from microipa.asn1.describe import describe

    text = _stdin() if hex_digits == ["-"] else "".join(hex_digits)
    description = describe(_hex("HEX", text), type_name)
    if reencode:
        print(description.reencode().hex())
    elif as_json:
        print(json.dumps(description.json(), indent=2))
    else:
        print(description.text())


def _order_profile(lab: Path, eid: str | None, operation: str, iccid: str, body: dict[str, Any]) -> None:
    from microipa.lab import LabFolder
    from microipa.saip import iccid_to_bytes

    desk = LabFolder(lab)
    # The list first: once a switch is pending the card refuses to list (SGP.32 5.9.14, profileChangeOngoing).
    operations = [("listProfileInfo", {}), (operation, {"iccid": iccid_to_bytes(iccid), **body})]
    _ordered(desk.eim.order_package(eid or desk.eid, operations), f"{operation} {iccid}")


def _ordered(number: object, what: str) -> None:
    out.print(
        f"order {number} queued: {what}. The device fetches it at its next poll; `microipa orders` tells."
    )


def _stdin() -> str:
    return sys.stdin.buffer.read().decode("ascii", "replace")
