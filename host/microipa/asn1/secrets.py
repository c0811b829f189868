"""What of a profile package is counted and never shown: keys, PINs, and files that hold keys."""

from __future__ import annotations

from dataclasses import replace

from microipa.asn1.kinds import Kind
from microipa.asn1.reader import Node

SECRET_FIELDS = {
    "key", "opc", "keyData", "pinValue", "pukValue", "authenticationKey", "ssd", "ppkEnc", "ppkCmac",
    "hrpdAccessAuthenticationData", "simpleIPAuthenticationData", "mobileIPAuthenticationData",
    "sdPersoData", "processData",  # lists of STORE DATA, in which keys may be
}  # fmt: skip
SECRET_FILES = {
    "EF.KEYS", "EF.KEYSPS", "EF.EPSNSC", "EF.5GAUTHKEYS", "EF.5GS3GPPNSC", "EF.5GSN3GPPNSC",
    "EF.KC", "EF.KCGPRS", "EF.MSK", "EF.MUK", "EF.HIDDENKEY",
}  # fmt: skip
HIDDEN = Kind("HIDDEN", "", (), None)


def veiled(node: Node) -> Node:
    """The same reading with HIDDEN in place of the kind of every secret."""
    return _veiled(node, False, False)


def _veiled(node: Node, in_secret_field: bool, in_secret_file: bool) -> Node:
    in_secret_field = in_secret_field or node.name in SECRET_FIELDS
    in_secret_file = in_secret_file or _file_name(node.name) in SECRET_FILES
    if node.children:
        veils = in_secret_field, in_secret_file
        return replace(node, children=tuple(_veiled(child, *veils) for child in node.children))
    if in_secret_field or (in_secret_file and node.name == "fillFileContent"):
        return replace(node, kind=HIDDEN)
    return node


def _file_name(field: str) -> str:
    """ "EF.KEYSPS" for the field ef-keysPS."""
    return field.upper().replace("-", ".", 1).replace("-", "")
