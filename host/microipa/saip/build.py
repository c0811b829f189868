"""Making a profile package from a handful of facts, by one of three templates."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from microipa.asn1 import saip
from microipa.saip import full, minimal, ts48_like, wishes
from microipa.saip.blocks import Body, service_table
from microipa.saip.package import ProfilePackage
from microipa.saip.spec import ProfileSpec
from microipa.saip.templates import TEMPLATES
from microipa.saip.values import SaipError, check_iccid

BY_NAME: dict[str, ModuleType] = {"iot": full, "iot-minimal": minimal, "ts48-like": ts48_like}


def build(spec: ProfileSpec) -> bytes:
    """The profile package, DER. The same spec gives the same bytes. Raises SaipError naming the bad input."""
    spec.check()
    template = BY_NAME.get(spec.template)
    if template is None:
        raise SaipError("template", None, f"{spec.template!r} is none of {', '.join(BY_NAME)}")
    bodies = wishes.fulfil(template.bodies(spec), spec.files)
    _fill_service_table(bodies)
    package = saip.encode("ProfileElement", ("header", _header(spec, template, bodies)))
    for number, body in enumerate([*bodies, ("end", {})], 1):
        package += _encode(number, body)
    if spec.files:
        ProfilePackage.parse(package).files()  # a wish may make no sense; what the templates say does
    return package


def _encode(number: int, body: Body) -> bytes:
    name, fields = body
    kind = next(member.kind for member in saip.kind("ProfileElement").members if member.name == name)
    header = {kind.members[0].name: {"mandated": None, "identification": number}}
    template = {"templateID": TEMPLATES[name].oid} if name in TEMPLATES else {}
    return saip.encode("ProfileElement", (name, header | template | fields))


def _header(spec: ProfileSpec, template: ModuleType, bodies: list[Body]) -> dict[str, Any]:
    oids = [TEMPLATES[name].oid for name in TEMPLATES if any(name == made for made, _ in bodies)]
    header = {
        "major-version": template.VERSION[0],
        "minor-version": template.VERSION[1],
        "profileType": spec.name,
        "iccid": bytes.fromhex(check_iccid(spec.iccid).ljust(20, "F")),  # here the nibbles are in order
        "eUICC-Mandatory-services": dict.fromkeys(template.SERVICES),
        "eUICC-Mandatory-GFSTEList": oids,
    }
    if spec.connectivity_parameters is not None:
        header["connectivityParameters"] = spec.connectivity_parameters
    return header | ({"iotOptions": {"pix": minimal.PIX}} if template is minimal else {})


def _fill_service_table(bodies: list[Body]) -> None:
    """Say in EF.UST which files there are, unless its content was given."""
    usim = [(name, fields) for name, fields in bodies if name in TEMPLATES and TEMPLATES[name].application == "usim"]
    made = [name for _, fields in usim for name, file in fields.items() if file != [("doNotCreate", None)]]
    for element, fields in usim:
        if element in ("usim", "iot") and not any(kind == "fillFileContent" for kind, _ in fields["ef-ust"]):
            table = service_table(made)
            fields["ef-ust"] = wishes.filled(TEMPLATES[element].files["ef-ust"], fields["ef-ust"], table)
