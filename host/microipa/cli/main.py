"""The ``microipa`` command."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from microipa.cli import board as board_verbs
from microipa.cli.battery import battery
from microipa.cli.card import Which, card_app, reader_of
from microipa.cli.decode import decode
from microipa.cli.eim_server import eim_server_app
from microipa.cli.eim_views import eim_app
from microipa.cli.hil import app as hil_app
from microipa.cli.modem import app as modem_app
from microipa.cli.orders import order_app
from microipa.cli.profile import profile_app, read_package
from microipa.cli.smdpp import smdpp_app
from microipa.cli.trace import trace
from microipa.common.activation_codes import shortened_codes
from microipa.common.console import LAB, BadInput, Folder, Json, out, print_json, run_async
from microipa.common.errors import MicroipaError
from microipa.common.outside_text import VisibleFormatter, visible
from microipa.common.stopping import as_by_ctrl_c

EXIT_STATUS = """Exit status: 0 done · 1 refused, failed, a check that found something, or a closed output ·
2 wrong use of the command line, or a server that cannot start · 130 stopped by Ctrl-C, SIGTERM or SIGHUP."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="An SGP.32 lab: eIM, SM-DP+, software eUICC, AT modem, radio and a MicroPython board.",
    epilog=EXIT_STATUS,
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
app.command()(decode)

Direct = Annotated[bool, typer.Option("--direct", help="Download directly from the SM-DP+.")]
OverHttps = Annotated[bool, typer.Option("--https", help="Use HTTPS instead of CoAP to the eIM.")]
Binding = Annotated[Literal["asn1", "json"], typer.Option(help="Encoding of the messages to the eIM.")]
Certified = Annotated[
    bool, typer.Option("--client-certificate", help="Let the eIM ask the board for a client certificate.")
]
Compact = Annotated[bool, typer.Option(
    "--compact", help="Leave out what the eIM can reconstruct (minimizeEsipaBytes).")]


def main() -> None:
    """Run the command; a mistake that has a name is one sentence on stderr and the exit status of its kind."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal's encoding does not have is shown as \u2026
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(VisibleFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler])
    try:
        with as_by_ctrl_c():
            app()
    except MicroipaError as error:
        print(f"microipa: {shortened_codes(visible(error))}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except OSError as error:
        if error.filename is None:  # not about a file somebody named: a defect, to be seen in full
            raise
        print(f"microipa: {visible(error.filename)}: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"microipa {version('microipa')}")
        raise typer.Exit


@app.callback()
def microipa(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version of microipa.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """An SGP.32 lab: eIM, SM-DP+, software eUICC, AT modem, radio and a MicroPython board."""


@app.command()
def demo(
    lab: Folder = LAB / "demo",
    radio: Annotated[str, typer.Option(help="nbiot (real delays), short (shorter delays) or none.")] = "nbiot",
    scenario: Annotated[str | None, typer.Option(help="rollback, fallback, …; without it: first light.")] = None,
    direct: Direct = False,
    https: OverHttps = False,
    binding: Binding = "asn1",
    compact: Compact = False,
    certified: Certified = False,
) -> None:
    """Show step by step how a virtual board gets a profile; --scenario shows others, such as a rollback."""
    from microipa.lab import scenarios
    from microipa.lab.demo import run
    from microipa.lab.protocols import Protocols

    protocols = Protocols(direct, https, binding == "json", compact, certified)
    if scenario is not None and protocols != Protocols():
        options = "--direct, --https, --binding, --compact and --client-certificate"
        raise BadInput(f"{options} are for first light only: leave out --scenario")
    played = run(lab, radio, out, protocols) if scenario is None else scenarios.run(scenario, lab, radio, out)
    raise typer.Exit(run_async(played))


@app.command()
def field(
    quirk: Annotated[
        list[str] | None, typer.Option(help="A quirk of `microipa lab quirks`, or none. Repeatable; all by default.")
    ] = None,
    modem: Annotated[list[str] | None, typer.Option(help="bg95, nrf91, … Repeatable; all by default.")] = None,
    lab: Annotated[Path, typer.Option(help="Folder for the labs and the results.")] = LAB / "field",
    jobs: Annotated[int | None, typer.Option(
        min=1, help="Number of labs at the same time; by default four for each core.")] = None,
    as_json: Json = False,
) -> None:
    """Test a device with every quirk and every modem; exit status 1 if one does not complete its two orders."""
    from microipa.field.run import jobs_here, run

    raise typer.Exit(run(lab, quirk or [], modem or [], jobs or jobs_here(), out, as_json))


@app.command()
def bill(
    lab: Folder = LAB / "bill",
    ts48: Annotated[
        Path | None, typer.Option(help="Also download this profile package of GSMA TS.48 (DER).", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the bytes, airtime and energy of polls, packages and downloads; exit status 1 if a target is missed."""
    from microipa.lab.bill import run

    raise typer.Exit(run_async(run(lab, read_package(ts48) if ts48 else None, out, as_json)))


@app.command()
def pki(lab: Folder = LAB, as_json: Json = False) -> None:
    """Show the lab's test certificates; create them if there are none."""
    from rich.table import Table

    from microipa.crypto.pki import Pki

    certificates = Pki.open(lab / "pki")
    table = Table("certificate", "subject", "valid until", "bytes", title=f"test PKI in {lab / 'pki'}")
    for name in (
        "ci", "eum", "smdpp_auth", "smdpp_pb", "smdpp_tls", "smds_auth", "smds_tls", "operator_tls",
        "eim_signing", "eim_tls",
    ):  # fmt: skip
        credential = getattr(certificates, name)
        certificate = credential.certificate
        if as_json:
            print_json({"certificate": name, "subject": certificate.subject.rfc4514_string(),
                        "valid_until": certificate.not_valid_after_utc, "bytes": len(credential.der)})
        table.add_row(
            name.replace("_", " "),
            certificate.subject.rfc4514_string(),
            f"{certificate.not_valid_after_utc:%Y-%m-%d}",
            str(len(credential.der)),
        )
    if not as_json:
        out.print(table)


@lab_app.command("up")
def lab_up(
    lab: Folder = LAB,
    radio: Annotated[str, typer.Option(help="nbiot (real delays), short (shorter delays) or none.")] = "short",
    modem: Annotated[str, typer.Option(help="Name of the modem: bg95, nrf91, …")] = "bg95",
    smdpp_keys: Annotated[
        list[Path] | None, typer.Option(
            help="Folder with ci, auth, pb and tls. Repeat for several CIs, the preferred one first.")
    ] = None,
    smds_keys: Annotated[list[Path] | None, typer.Option(help="Folder with ci, auth and tls of an SM-DS.")] = None,
    eim_keys: Annotated[Path | None, typer.Option(help="Folder with signing, tls and its issuer, ci.")] = None,
    card_keys: Annotated[Path | None, typer.Option(help="Folder with euicc, eum and ci.")] = None,
    quirk: Annotated[
        list[str] | None, typer.Option(
            help="A quirk of `microipa lab quirks`, such as sim-busy-after-cfun:7. Repeatable.")
    ] = None,
    trust_ci: Annotated[
        list[Path] | None,
        typer.Option(help="Certificate of another CI that card, board and eIM are to trust. Repeatable."),
    ] = None,
    route: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST=IP:PORT", help="Address for a host name, used by board, eIM and SM-DP+. Repeatable."),
    ] = None,
    eim: Annotated[Path | None, typer.Option(
        help="EimConfigurationData (DER) of another eIM that the board is to use.")] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="smdpp|eim", help="Leave out the lab's own SM-DP+ or eIM. Repeatable.")
    ] = None,
    card: Which = None,
    host: Annotated[str, typer.Option(
        help="Address at which all servers listen; 0.0.0.0: all addresses.")] = "127.0.0.1",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only addresses and alarms; the trace has everything.")
    ] = False,
    tls_keys: Annotated[
        bool | None,
        typer.Option(
            "--tls-keys/--no-tls-keys", help="Write the servers' TLS secrets to a file; by default only on loopback."),
    ] = None,
    direct: Direct = False,
    https: OverHttps = False,
    binding: Binding = "asn1",
    compact: Compact = False,
    certified: Certified = False,
) -> None:
    """Start servers, modem and board, and run them until Ctrl-C.

    Folders with keys: certificates as .pem, .der or .crt files, private keys as .key files beside them.
    """
    from microipa.lab.demo import stay_up
    from microipa.lab.keys import LabKeys
    from microipa.lab.peers import Peers
    from microipa.lab.protocols import Protocols

    keys = LabKeys(tuple(smdpp_keys or ()), eim_keys, card_keys, tuple(smds_keys or ()))
    protocols = Protocols(direct, https, binding == "json", compact, certified)
    peers = Peers.given(trust_ci or (), route or (), eim, without or ())
    reader = reader_of(card)
    run_async(stay_up(lab, radio, out, keys, protocols, modem, quirk or (), host, tls_keys, peers, quiet, reader))


@lab_app.command("quirks")
def lab_quirks(as_json: Json = False) -> None:
    """List the misbehaviours of real equipment that --quirk adds to a lab."""
    from dataclasses import asdict

    from microipa.quirks import QUIRKS
    from microipa.quirks.table import markdown

    if not as_json:
        print(markdown())
        return
    for quirk in QUIRKS.values():
        print_json({name: value for name, value in asdict(quirk).items() if name != "changes"})
