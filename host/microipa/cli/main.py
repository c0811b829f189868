"""The ``microipa`` command."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from microipa.cli import board as board_verbs
from microipa.cli.battery import battery
from microipa.cli.card import card_app
from microipa.cli.eim_server import eim_server_app
from microipa.cli.eim_views import eim_app
from microipa.cli.hil import app as hil_app
from microipa.cli.modem import app as modem_app
from microipa.cli.orders import order_app
from microipa.cli.profile import profile_app, read_package
from microipa.cli.smdpp import smdpp_app
from microipa.cli.trace import trace
from microipa.common.console import LAB, BadInput, Folder, hex_bytes, out, print_json
from microipa.common.errors import MicroipaError
from microipa.common.outside_text import VisibleFormatter, visible
from microipa.common.stopping import as_by_ctrl_c

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An SGP.32 lab: eIM, SM-DP+, software eUICC, AT modem, radio and a MicroPython board.",
)
lab_app = typer.Typer(no_args_is_help=True, help="Run a lab.")
app.add_typer(profile_app, name="profile")
app.add_typer(lab_app, name="lab")
app.add_typer(order_app, name="order")
app.add_typer(eim_app)
app.add_typer(eim_server_app, name="eim")
app.add_typer(card_app, name="card")
app.add_typer(smdpp_app, name="smdpp")
app.add_typer(modem_app, name="modem")
app.add_typer(hil_app, name="hil")
board_verbs.add_to(app)
app.command()(battery)
app.command()(trace)

Direct = Annotated[bool, typer.Option("--direct", help="Download from the SM-DP+ itself.")]
OverHttps = Annotated[bool, typer.Option("--https", help="Ask the eIM over HTTPS instead of CoAP.")]
InJson = Annotated[bool, typer.Option("--json", help="Ask it in JSON instead of ASN.1.")]
Certified = Annotated[
    bool, typer.Option("--client-certificate", help="Let the eIM ask the board for a client certificate.")
]
Compact = Annotated[bool, typer.Option("--compact", help="Say only what it cannot know.")]


def main() -> None:
    """Run the command; a mistake that has a name is one sentence on stderr and the exit status of its kind."""
    handler = logging.StreamHandler()
    handler.setFormatter(VisibleFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler])
    try:
        with as_by_ctrl_c():
            app()
    except MicroipaError as error:
        print(f"microipa: {visible(error)}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except OSError as error:
        if error.filename is None:  # not about a file somebody named: a defect, to be seen in full
            raise
        print(f"microipa: {visible(error.filename)}: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None


@app.command()
def demo(
    lab: Folder = LAB / "demo",
    radio: Annotated[str, typer.Option(help="nbiot (real time), short (delays divided) or none.")] = "nbiot",
    act: Annotated[str | None, typer.Option(help="rollback, fallback …; without: first light.")] = None,
    direct: Direct = False,
    https: OverHttps = False,
    as_json: InJson = False,
    compact: Compact = False,
    certified: Certified = False,
) -> None:
    """Provision a virtual board end to end and show every step; or another act of a device's life."""
    from microipa.lab import acts
    from microipa.lab.demo import run
    from microipa.lab.ways import Way

    way = Way(direct, https, as_json, compact, certified)
    if act is not None and way != Way():
        ways = "--direct, --https, --json, --compact and --client-certificate"
        raise BadInput(f"{ways} are for first light: leave out --act")
    played = run(lab, radio, out, way) if act is None else acts.perform(act, lab, radio, out)
    raise typer.Exit(asyncio.run(played))


@app.command()
def field(
    quirk: Annotated[
        list[str] | None, typer.Option(help="One of `microipa lab quirks`, or none; may be repeated. All without.")
    ] = None,
    modem: Annotated[list[str] | None, typer.Option(help="bg95, nrf91, …; may be repeated. All without.")] = None,
    lab: Annotated[Path, typer.Option(help="Folder for the labs and the results.")] = LAB / "field",
    jobs: Annotated[int | None, typer.Option(min=1, help="Labs at a time; without: four for each core.")] = None,
) -> None:
    """Try a device under every quirk with every modem; exit status 1 when one does not finish its two orders."""
    from microipa.field.run import jobs_here, run

    raise typer.Exit(run(lab, quirk or [], modem or [], jobs or jobs_here(), out))


@app.command()
def bill(
    lab: Folder = LAB / "bill",
    ts48: Annotated[
        Path | None, typer.Option(help="Profile package of GSMA TS.48 (DER) to download as well.", dir_okay=False)
    ] = None,
) -> None:
    """Measure what polls, packages and downloads cost on the air; exit status 1 when a target is missed."""
    from microipa.lab.bill import run

    raise typer.Exit(asyncio.run(run(lab, read_package(ts48) if ts48 else None, out)))


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
    modem: Annotated[str, typer.Option(help="The modem's name, as the driver's: bg95, nrf91, …")] = "bg95",
    smdpp_keys: Annotated[
        list[Path] | None, typer.Option(help="Folder with ci, auth, pb and tls; once for each CI, the preferred first.")
    ] = None,
    smds_keys: Annotated[list[Path] | None, typer.Option(help="Folder with ci, auth and tls of an SM-DS.")] = None,
    eim_keys: Annotated[Path | None, typer.Option(help="Folder with signing, tls and its issuer, ci.")] = None,
    card_keys: Annotated[Path | None, typer.Option(help="Folder with euicc, eum and ci.")] = None,
    quirk: Annotated[
        list[str] | None, typer.Option(help="One of `microipa lab quirks`, as sim-busy-after-cfun:7; may be repeated.")
    ] = None,
    trust_ci: Annotated[
        list[Path] | None,
        typer.Option(help="Certificate of another maker's CI: card, board and eIM trust servers under it. Repeatable."),
    ] = None,
    route: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST=IP:PORT", help="Where a name leads, for board, eIM and SM-DP+. Repeatable."),
    ] = None,
    eim: Annotated[Path | None, typer.Option(help="EimConfigurationData (DER) of another eIM for the board.")] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="smdpp|eim", help="Lead nobody to the lab's own. Repeatable.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address at which all servers listen; 0.0.0.0 is every one.")] = "127.0.0.1",
    tls_keys: Annotated[
        bool | None,
        typer.Option("--tls-keys/--no-tls-keys", help="Keep the servers' TLS secrets; by default on loopback only."),
    ] = None,
    direct: Direct = False,
    https: OverHttps = False,
    as_json: InJson = False,
    compact: Compact = False,
    certified: Certified = False,
) -> None:
    """Start servers, modem and board, and stay up until Ctrl-C.

    Keys of other makers: certificates as .pem, .der or .crt, private keys as .key beside them.
    """
    from microipa.lab.demo import stay_up
    from microipa.lab.keys import LabKeys
    from microipa.lab.peers import Peers
    from microipa.lab.ways import Way

    keys = LabKeys(tuple(smdpp_keys or ()), eim_keys, card_keys, tuple(smds_keys or ()))
    way = Way(direct, https, as_json, compact, certified)
    peers = Peers.given(trust_ci or (), route or (), eim, without or ())
    asyncio.run(stay_up(lab, radio, out, keys, way, modem, quirk or (), host, tls_keys, peers))


@lab_app.command("quirks")
def lab_quirks() -> None:
    """List the quirks of the field that a lab can be given by --quirk."""
    from microipa.quirks.table import markdown

    print(markdown())


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
    description = describe(hex_bytes("HEX", text), type_name)
    if reencode:
        print(description.reencode().hex())
    elif as_json:
        print_json(description.json(), indent=2)
    else:
        out.print(*description.text().split("\n"), sep="\n")


def _stdin() -> str:
    return sys.stdin.buffer.read().decode("ascii", "replace")
