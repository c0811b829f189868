"""`microipa profile`: build, show and check profile packages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microipa.common.console import BadInput, Json, hex_bytes, out, print_json, read, write

if TYPE_CHECKING:
    from microipa.saip import ProfilePackage

profile_app = typer.Typer(no_args_is_help=True, help="Build, show and check profile packages (SAIP).")

Package = Annotated[Path, typer.Argument(help="Profile package (DER).", dir_okay=False)]


@profile_app.command()
def build(
    output: Annotated[Path, typer.Argument(help="File to write the package to (DER).", dir_okay=False)],
    template: Annotated[
        str, typer.Option(help="iot, iot-minimal (PE-IoT, smallest) or ts48-like (for a telephone).")
    ] = "iot",
    iccid: Annotated[str | None, typer.Option(help="19 or 20 digits; a new one by default.")] = None,
    imsi: Annotated[str | None, typer.Option(help="6 to 15 digits; a new one by default.")] = None,
    k: Annotated[str | None, typer.Option(help="Subscriber key, 32 hex digits; random by default.")] = None,
    opc: Annotated[str | None, typer.Option(help="OPc, 32 hex digits; random by default.")] = None,
    name: Annotated[str, typer.Option(help="Profile name shown to the eIM.")] = "microipa",
    file: Annotated[
        list[str] | None,
        typer.Option(metavar="EF=HEX", help="Content of a file by name or path: EF.SPN=01…, 7FF0/6F61=…; repeatable."),
    ] = None,
    filler: Annotated[int, typer.Option(min=0, max=500_000, help="Extra bytes of file content.")] = 0,
    apn: Annotated[
        str | None, typer.Option(help='Access point name in the profile; "": the network\'s default.')
    ] = None,
) -> None:
    """Build a profile package."""
    from dataclasses import replace

    from microipa import saip
    from microipa.lab import new_profile

    fresh = new_profile(name, filler=filler, template=template)
    spec = replace(
        fresh,
        iccid=fresh.iccid if iccid is None else iccid,
        imsi=fresh.imsi if imsi is None else imsi,
        k=fresh.k if k is None else hex_bytes("--k", k),
        opc=fresh.opc if opc is None else hex_bytes("--opc", opc),
        files=_wishes(file or []),
        apn=apn,
    )
    package = saip.build(spec)
    write(output, package, private=True)  # it holds K and OPc
    out.print(f"{output}: {len(package)} bytes, ICCID {spec.iccid}, IMSI {spec.imsi}")


@profile_app.command()
def show(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Profile packages (DER).", dir_okay=False)],
    sizes: Annotated[bool, typer.Option("--sizes", help="Only sizes, each compared with the first.")] = False,
    as_json: Json = False,
) -> None:
    """Show profile packages as trees, or their sizes; keys, PINs and PUKs are hidden.

    The bound size is what a device downloads: the package encrypted for one card by the lab's SM-DP+.
    """
    from microipa.crypto.pki import Pki
    from microipa.saip import metadata
    from microipa.smdpp.bpp import bound_size

    packages = [(file, _parsed(file)) for file in files]
    first = None
    for file, package in packages:
        bound = bound_size(package.der, metadata(package, notification_address=Pki.smdpp_address))
        if as_json:
            shown = {"file": file, "bytes": len(package.der), "elements": len(package.elements), "bound": bound}
            print_json(shown if sizes else {**shown, "tree": package.tree().split("\n")})
        elif sizes:
            first = bound if first is None else first
            beside = f", {bound - first:+d} ({bound / first:.0%})" if file is not files[0] else ""
            out.print(f"{file}: {len(package.der)} bytes, {len(package.elements)} elements, {bound} bound{beside}")
        else:
            out.print(f"{file}: {bound} bytes when bound to a card")
            out.print(*package.tree().split("\n"), sep="\n")


@profile_app.command()
def check(file: Package, as_json: Json = False) -> None:
    """Check profile packages for what a card or an operator would reject; exit status 1 if there is an error."""
    findings = _parsed(file).checks()
    for finding in findings:
        if as_json:
            print_json({"severity": finding.severity, "name": finding.name, "text": finding.text})
        else:
            out.print(f"{finding.severity:8}{finding.name}: {finding.text}")
    if not findings and not as_json:
        out.print("no findings")
    raise typer.Exit(any(finding.severity == "error" for finding in findings))


def read_package(file: Path) -> bytes:
    """A file's content that is a profile package. Raises BadInput."""
    content = read(file)
    _parsed(file, content)
    return content


def _parsed(file: Path, content: bytes | None = None) -> ProfilePackage:
    from microipa.saip import ProfilePackage, SaipError

    try:
        return ProfilePackage.parse(read(file) if content is None else content)
    except SaipError as error:
        raise BadInput(f"{file} is not a profile package in DER: {error}") from None


def _wishes(options: list[str]) -> dict[str, bytes]:
    """--file options: name or path to content."""
    wishes = {}
    for option in options:
        name, equals, content = option.partition("=")
        if not equals or not name:
            raise BadInput(f"--file {option!r} is not EF=HEX, as in EF.SPN=01746573740A or 7FF0/6F61=")
        wishes[name] = hex_bytes(f"--file {name}", content)
    return wishes
