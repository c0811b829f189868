"""nRF91: credentials in the modem (%CMNG of the AT manual) and sockets that it secures with them itself."""

from __future__ import annotations

import base64
import hashlib

from microipa.modem.commands import CME_INCORRECT_PARAMETERS, CommandFailed, Form, Request
from microipa.modem.dialect import Modem
from microipa.modem.nordic import HANDLES, NRF91_COMMANDS, credential, reserve

on = NRF91_COMMANDS.on

_WRITE, _LIST, _DELETE = 0, 1, 3
_ROOT_CA = 0
_MAX_TAG = 2147483647
_MAX_CREDENTIAL = 4096
_DATAGRAM, _CLIENT, _DTLS_1_2 = 2, 0, 273
_SET, _HOSTNAME, _PEER_VERIFY = 1, 2, 5
_REQUIRED = 2


@on("%CMNG", Form.SET)
async def credentials(modem: Modem, request: Request) -> None:
    """``0,<tag>,<type>,"<content>"`` writes, ``1[,<tag>[,<type>]]`` lists, ``3,<tag>,<type>`` deletes.

    The modem writes and deletes only while its radio is off.
    """
    operation = request.number(0, _WRITE, _DELETE)
    if operation == _LIST:
        wanted = {request.text(1)} if len(request.arguments) > 1 else None
        for name in modem.nonvolatile:
            kind, _, tag = name.partition(" ")
            if kind == "credential" and (wanted is None or tag in wanted):
                digest = hashlib.sha256(credential(modem, tag)).hexdigest().upper()
                modem.respond(f'%CMNG: {tag},{_ROOT_CA},"{digest}"')
        return
    name = f"credential {request.number(1, 0, _MAX_TAG)}"
    request.number(2, _ROOT_CA, _ROOT_CA)
    if modem.functionality == 1:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    if operation == _DELETE:
        if modem.nonvolatile.pop(name, None) is None:
            raise CommandFailed(CME_INCORRECT_PARAMETERS)
        return
    content = request.text(3).encode("latin-1")
    if len(content) > _MAX_CREDENTIAL:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    modem.nonvolatile[name] = base64.b64encode(content).decode()


@on("#XSSOCKET", Form.SET)
async def create(modem: Modem, request: Request) -> None:
    """``<1 IPv4|2 IPv6>,<2 datagram>,<0 client>,<tag>[,<verification of the server>]``."""
    request.number(0, 1, 2)
    request.number(1, _DATAGRAM, _DATAGRAM)  # this modem has no TLS
    request.number(2, _CLIENT, _CLIENT)
    tag = request.number(3, 0, _MAX_TAG)
    request.number(4, _REQUIRED, _REQUIRED, _REQUIRED)  # and trusts nobody unseen
    if not credential(modem, tag):
        raise CommandFailed
    handle = reserve(modem, f"DTLS {tag}")
    modem.respond(f"#XSSOCKET: {handle},{_DATAGRAM},{_DTLS_1_2}")


@on("#XSSOCKETOPT", Form.SET)
async def option(modem: Modem, request: Request) -> None:
    """``<handle>,1,<option>,<value>``: the name that the server's certificate must bear, or how strictly."""
    handle = request.number(0, HANDLES.start, HANDLES.stop - 1)
    request.number(1, _SET, _SET)
    if not modem.reserved.get(handle, "").startswith("DTLS"):
        raise CommandFailed
    if request.number(2, _HOSTNAME, _PEER_VERIFY) == _HOSTNAME:
        modem.settings[f"#XSSOCKETOPT {handle}"] = request.text(3)
