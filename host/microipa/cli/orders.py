"""``microipa order …``: what an operator tells an eIM.

Beside and not inside ``microipa.eim``, so that commands without an eIM start without loading one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from microipa.cli.order_book import named, order, order_package, order_switch, queued
from microipa.cli.profile import read_package
from microipa.common.console import LAB, BadInput, Eid, Expires, Folder, Wait, hex_bytes, moment, out, write

order_app = typer.Typer(no_args_is_help=True, help="Order something that a device does at its next poll.")
fallback_app = typer.Typer(no_args_is_help=True, help="Set or unset the fallback attribute of a profile.")
eims_app = typer.Typer(no_args_is_help=True, help="Add, delete, update or list the eIMs of a card (eCOs).")
order_app.add_typer(fallback_app, name="fallback")
order_app.add_typer(eims_app, name="eim")

Iccid = Annotated[str, typer.Argument(help="ICCID of the profile, as digits.")]


# Profiles


@order_app.command("download")
def download(
    profile: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Profile package (DER); a new one by default. Of several, the SM-DP+ takes one that fits the card."
        ),
    ] = None,
    activation_code: Annotated[str | None, typer.Option(help="Activation code (LPA:1$…) of any SM-DP+.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Ask the card's default SM-DP+ for a profile.")] = False,
    smds: Annotated[bool, typer.Option("--smds", help="Ask the card's SM-DS; only with direct download.")] = False,
    smds_address: Annotated[str | None, typer.Option(help="Ask this SM-DS; only with direct download.")] = None,
    confirmation_code: Annotated[
        str | None, typer.Option(help="Confirmation code that the SM-DP+ asks for.")
    ] = None,
    bound: Annotated[
        bool, typer.Option("--bound", help="The SM-DP+ has it for this EID only: the eIM needs no proof of the EID.")
    ] = False,
    lab: Folder = LAB,
    eid: Eid = None,
    expires: Expires = None,
    wait: Wait = False,
) -> None:
    """Order the download of a profile; the device's setting says whether through the eIM or directly (SGP.32 3.2.3)."""
    from microipa.eim.sources import ActivationCode, DefaultSmdp, Smds, Source
    from microipa.lab import LabFolder

    if sum(map(bool, (profile, activation_code, default, smds, smds_address))) > 1:
        raise BadInput("give only one of profile files, --activation-code, --default, --smds or --smds-address")
    end = moment(expires)
    source: Source | None = None
    if activation_code is not None:
        source = ActivationCode.parse(activation_code)
    elif default:
        source = DefaultSmdp()
    elif smds or smds_address is not None:
        source = Smds(smds_address or "")
    desk = LabFolder(lab)
    device = desk.eid if eid is None else eid
    desk.eim.device(device)  # before a profile is offered to it in vain
    if source is None:
        packages = [read_package(file) for file in profile or ()]
        source = ActivationCode.parse(desk.offer(*packages, eid=device, confirmation_code=confirmation_code))
        bound = True
    number = desk.eim.order_download(
        device,
        source,
        confirmation_code=confirmation_code,
        needs_proof=not bound,
        expires=end,
    )
    queued(desk.eim, number, f"download {source.text}" if isinstance(source, ActivationCode) else str(source), wait)


@order_app.command("enable")
def enable(
    iccid: Iccid,
    rollback: Annotated[bool, typer.Option(help="Go back to the old profile if the new one does not connect.")] = True,
    lab: Folder = LAB,
    eid: Eid = None,
    expires: Expires = None,
    wait: Wait = False,
) -> None:
    """Enable a profile (PSMO enable)."""
    order_switch(lab, eid, expires, wait, "enable", iccid, *(["rollback"] if rollback else []))


@order_app.command("disable")
def disable(iccid: Iccid, lab: Folder = LAB, eid: Eid = None, expires: Expires = None, wait: Wait = False) -> None:
    """Disable a profile (PSMO disable)."""
    order_switch(lab, eid, expires, wait, "disable", iccid)


@order_app.command("delete")
def delete(iccid: Iccid, lab: Folder = LAB, eid: Eid = None, expires: Expires = None, wait: Wait = False) -> None:
    """Delete a disabled profile (PSMO delete)."""
    order_switch(lab, eid, expires, wait, "delete", iccid)


@order_app.command("list")
def list_profiles(
    iccid: Annotated[str | None, typer.Option(help="Only this profile.")] = None,
    profile_class: Annotated[
        str | None, typer.Option("--class", help="Only test, provisioning or operational.")
    ] = None,
    tags: Annotated[str | None, typer.Option(help="Only these fields of ProfileInfo, tags in hex: 5A9F70.")] = None,
    lab: Folder = LAB,
    eid: Eid = None,
    expires: Expires = None,
    wait: Wait = False,
) -> None:
    """Ask the card for its profiles (PSMO listProfileInfo)."""
    order(lab, eid, expires, wait, "listProfileInfo", *named(iccid=iccid, **{"class": profile_class}, tags=tags))


@order_app.command("rat")
def rat(lab: Folder = LAB, eid: Eid = None, expires: Expires = None, wait: Wait = False) -> None:
    """Ask the card for its rules authorisation table (PSMO getRAT)."""
    order(lab, eid, expires, wait, "getRAT")


@order_app.command("immediate-enable")
def immediate_enable(
    state: Annotated[str, typer.Argument(help="on or off.")],
    smdp_oid: Annotated[str | None, typer.Option(help="Only profiles of the SM-DP+ with this OID.")] = None,
    smdp_address: Annotated[str | None, typer.Option(help="Only profiles of the SM-DP+ at this address.")] = None,
    lab: Folder = LAB,
    eid: Eid = None,
    expires: Expires = None,
    wait: Wait = False,
) -> None:
    """Switch immediate enabling after a download on or off (PSMO configureImmediateEnable)."""
    terms = named(oid=smdp_oid, address=smdp_address)
    order(lab, eid, expires, wait, "configureImmediateEnable", state, *terms)


@fallback_app.command("set")
def fallback_set(iccid: Iccid, lab: Folder = LAB, eid: Eid = None, expires: Expires = None, wait: Wait = False) -> None:
    """Set the fallback attribute of a profile (PSMO setFallbackAttribute)."""
    order(lab, eid, expires, wait, "setFallbackAttribute", iccid)


@fallback_app.command("unset")
def fallback_unset(lab: Folder = LAB, eid: Eid = None, expires: Expires = None, wait: Wait = False) -> None:
    """Remove the fallback attribute (PSMO unsetFallbackAttribute)."""
    order(lab, eid, expires, wait, "unsetFallbackAttribute")


@order_app.command("default-dp")
def default_dp(
    address: Annotated[str, typer.Argument(help="Host name of the SM-DP+; leave it out to delete the address.")] = "",
    lab: Folder = LAB,
    eid: Eid = None,
    expires: Expires = None,
    wait: Wait = False,
) -> None:
    """Set the default SM-DP+ address of the card (PSMO setDefaultDpAddress)."""
    order(lab, eid, expires, wait, "setDefaultDpAddress", *([address] if address else []))


# eIMs


@eims_app.command("add")
def eim_add(
    file: Annotated[Path, typer.Argument(help="EimConfigurationData (DER) of the other eIM.", dir_okay=False)],
    lab: Folder = LAB,
    eid: Eid = None,
    expires: Expires = None,
    wait: Wait = False,
) -> None:
    """Add an eIM to the card (eCO addEim)."""
    order(lab, eid, expires, wait, "addEim", str(file))


@eims_app.command("delete")
def eim_delete(
    eim_id: Annotated[str, typer.Argument(metavar="EIMID", help="eimId of the eIM.")],
    lab: Folder = LAB,
    eid: Eid = None,
    expires: Expires = None,
    wait: Wait = False,
) -> None:
    """Delete an eIM from the card; this eIM may delete itself (eCO deleteEim).

    An eIM gets the result of its own deletion only once. If that message is lost, the order stays delivered. The card
    keeps the result: another eIM's `order data euiccPackageResultList` shows it, and this eIM gets it when it is added
    to the card again.
    """
    order(lab, eid, expires, wait, "deleteEim", eim_id)


@eims_app.command("update")
def eim_update(
    eim_id: Annotated[str, typer.Argument(metavar="EIMID", help="eimId of the eIM.")],
    file: Annotated[
        Path | None, typer.Option("--from", help="EimConfigurationData (DER) with new keys.", dir_okay=False)
    ] = None,
    fqdn: Annotated[str | None, typer.Option(help="New host name of its server.")] = None,
    counter: Annotated[str | None, typer.Option(
        help="New counterValue; lower than the old one only with a new key.")] = None,
    lab: Folder = LAB,
    eid: Eid = None,
    expires: Expires = None,
    wait: Wait = False,
) -> None:
    """Change the card's data about an eIM (eCO updateEim)."""
    terms = named(**{"from": None if file is None else str(file)}, fqdn=fqdn, counter=counter)
    order(lab, eid, expires, wait, "updateEim", eim_id, *terms)


@eims_app.command("list")
def eim_list(lab: Folder = LAB, eid: Eid = None, expires: Expires = None, wait: Wait = False) -> None:
    """Ask the card for its eIMs (eCO listEim)."""
    order(lab, eid, expires, wait, "listEim")


@eims_app.command("configuration")
def eim_configuration(
    output: Annotated[Path, typer.Argument(help="File to write it to (DER).", dir_okay=False)],
    trust: Annotated[str, typer.Option(
        help="What a card trusts for the eIM's TLS server: ca, certificate or pin.")] = "ca",
    lab: Folder = LAB,
) -> None:
    """Write this eIM's own EimConfigurationData, for a card or for another eIM's `order eim add`."""
    from microipa.lab import LabFolder

    configuration = LabFolder(lab).eim.configuration(trust)
    write(output, configuration)
    out.print(f"{output}: {len(configuration)} bytes, for AddInitialEim or another eIM's `order eim add`")


# Anything


@order_app.command("package")
def package(
    operations: Annotated[
        list[str], typer.Argument(metavar="OPERATION…", help="'listProfileInfo' 'enable 8999… rollback' …")
    ],
    lab: Folder = LAB,
    eid: Eid = None,
    expires: Expires = None,
    wait: Wait = False,
) -> None:
    """Order several operations in one eUICC package: PSMOs or eCOs by name, executed in this order.

    enable ICCID (rollback) · disable ICCID · delete ICCID · listProfileInfo (iccid= or aid= or class=) (tags=) ·
    getRAT · configureImmediateEnable on/off (oid=) (address=) · setFallbackAttribute ICCID ·
    unsetFallbackAttribute · setDefaultDpAddress (ADDRESS) — or — addEim FILE · deleteEim EIMID ·
    updateEim EIMID (from=FILE) (fqdn=) (counter=) · listEim
    """
    from microipa.eim.operations import parse

    order_package(lab, eid, expires, wait, lambda: [parse(text) for text in operations], checked=False)


@order_app.command("data")
def data(
    fields: Annotated[
        list[str] | None, typer.Argument(metavar="FIELD…", help="Fields of IpaEuiccData by name; all by default.")
    ] = None,
    ci: Annotated[str | None, typer.Option(
        help="Only certificates under the CI with this key identifier (hex).")] = None,
    notifications: Annotated[
        str | None, typer.Option(
            help="Only notifications of install, enable, disable or delete, or the one with this seqNumber.")
    ] = None,
    result: Annotated[int | None, typer.Option(min=0, help="Only the stored result with this seqNumber.")] = None,
    lab: Folder = LAB,
    eid: Eid = None,
    expires: Expires = None,
    wait: Wait = False,
) -> None:
    """Request data of IPA and card (IpaEuiccDataRequest)."""
    from microipa.lab import LabFolder

    end = moment(expires)
    desk = LabFolder(lab)
    search = int(notifications) if notifications and re.fullmatch("[0-9]{1,9}", notifications) else notifications
    number = desk.eim.order_data(
        desk.eid if eid is None else eid,
        fields or (),
        ci_key_id=None if ci is None else hex_bytes("--ci", ci),
        notification=search,
        result=result,
        expires=end,
    )
    queued(desk.eim, number, f"ask for {', '.join(fields or ['everything'])}", wait)


@order_app.command("cancel")
def cancel(
    number: Annotated[int, typer.Argument(help="Number of the order, see `microipa orders`.")], lab: Folder = LAB
) -> None:
    """Cancel an order: the eIM does not deliver it, or not again."""
    from microipa.lab import LabFolder

    eim = LabFolder(lab).eim
    eim.cancel(number)
    out.print(f"order {number} {eim.order(number).result}")
