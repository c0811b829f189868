"""Quectel BG95: files in the modem, and DTLS of its own on them (SSL and FILE application notes)."""

from __future__ import annotations

import base64

from microipa.modem.commands import CME_INCORRECT_PARAMETERS, CommandFailed, Form, Request
from microipa.modem.dialect import Modem
from microipa.modem.dtls import HandshakeFailed
from microipa.modem.quectel import BG95_COMMANDS, OPEN_RESULTS, SECURE
from microipa.modem.sockets import OPEN_FAILURES, Connection, NotConnected

on = BG95_COMMANDS.on

_CLIENTS = range(12)
_SSL_CONTEXTS = range(6)
_MAX_FILE = 16 * 1024
_MAX_SEND = 1460
_MAX_READ = 1500
_SERVER_AUTHENTICATION = "1"
_HANDSHAKE_FAILED = 579
_DEFAULTS = {"sslversion": "4", "ciphersuite": "0XFFFF", "cacert": '""', "seclevel": "0", "dtls": "0",
             "dtlsversion": "1", "ignorelocaltime": "1", "negotiatetime": "300", "sni": "0",
             "checkhost": "0"}


@on("+QFUPL", Form.SET)
async def upload(modem: Modem, request: Request) -> None:
    """``"<name>",<size>[,<timeout>]``: CONNECT, the bytes, and their number with a checksum."""
    name, size = request.text(0), request.number(1, 1, _MAX_FILE)
    if _file(name) in modem.nonvolatile:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)  # +CME ERROR: 407, file already exists
    data = await modem.interpreter.prompt(size, "CONNECT")
    modem.nonvolatile[_file(name)] = base64.b64encode(data).decode()
    modem.respond(f"+QFUPL: {size},{_checksum(data):x}")


@on("+QFDEL", Form.SET)
async def delete(modem: Modem, request: Request) -> None:
    if modem.nonvolatile.pop(_file(request.text(0)), None) is None:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)


@on("+QFLST", Form.SET)
async def list_files(modem: Modem, request: Request) -> None:
    """``"<name>"``: its size."""
    name = request.text(0)
    modem.respond(f'+QFLST: "{name}",{len(_content(modem, name))}')


@on("+QSSLCFG", Form.SET)
async def configure(modem: Modem, request: Request) -> None:
    """``"<setting>",<context>[,<value>]``: told when no value follows, else kept."""
    name, context = request.text(0).lower(), request.number(1, _SSL_CONTEXTS.start, _SSL_CONTEXTS.stop - 1)
    if name not in _DEFAULTS:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    if len(request.arguments) == 2:
        modem.respond(f'+QSSLCFG: "{name}",{context},{_setting(modem, context, name)}')
    else:
        modem.settings[f"+QSSLCFG {context} {name}"] = request.raw.split(",", 2)[2]


@on("+QSSLOPEN", Form.SET)
async def open_connection(modem: Modem, request: Request) -> None:
    """``<cid>,<context>,<client>,"<host>",<port>[,<access mode>]``: OK, the outcome in an unsolicited line."""
    cid = request.number(0, 1, 16)
    context = request.number(1, _SSL_CONTEXTS.start, _SSL_CONTEXTS.stop - 1)
    client, host = _client(request, 2), request.text(3)
    port = request.number(4, 1, 65535)
    request.number(5, 0, 0, 0)
    verified = _setting(modem, context, "seclevel") == _SERVER_AUTHENTICATION
    if _setting(modem, context, "dtls") != "1" or not verified:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)  # this modem has no TLS, and trusts nobody unseen
    anchor = _content(modem, _setting(modem, context, "cacert").strip('"').removeprefix("UFS:"))

    async def connect() -> None:
        try:
            await modem.packet_data.open(cid, SECURE + client, host, port, False)
            compares_name = _setting(modem, context, "checkhost") == "1"
            await modem.packet_data.secure(SECURE + client, anchor, host, compares_name)
            result = 0
        except OPEN_FAILURES as failure:
            result = OPEN_RESULTS[type(failure)]
        except (HandshakeFailed, NotConnected):
            result = _HANDSHAKE_FAILED
        modem.urc(f"+QSSLOPEN: {client},{result}")

    modem.background(connect())


@on("+QSSLSEND", Form.SET)
async def send(modem: Modem, request: Request) -> None:
    connection = _connection(modem, request)
    payload = await modem.interpreter.prompt(request.number(1, 1, _MAX_SEND))
    try:
        modem.packet_data.send(connection.id, payload)
    except NotConnected:
        modem.interpreter.finish("SEND FAIL")
    else:
        modem.interpreter.finish("SEND OK")


@on("+QSSLRECV", Form.SET)
async def read(modem: Modem, request: Request) -> None:
    connection = _connection(modem, request)
    size = request.number(1, 1, _MAX_READ)
    if connection.waiting:
        data = connection.take(size)
        connection.announced = bool(connection.waiting)
        modem.respond(f"+QSSLRECV: {len(data)}", data)
    else:
        modem.respond("+QSSLRECV: 0")


@on("+QSSLCLOSE", Form.SET)
async def close(modem: Modem, request: Request) -> None:
    modem.packet_data.close(SECURE + _client(request, 0))


def _client(request: Request, place: int) -> int:
    return request.number(place, _CLIENTS.start, _CLIENTS.stop - 1)


def _connection(modem: Modem, request: Request) -> Connection:
    try:
        return modem.packet_data.connection(SECURE + _client(request, 0))
    except NotConnected as closed:
        raise CommandFailed from closed


def _setting(modem: Modem, context: int, name: str) -> str:
    return modem.settings.get(f"+QSSLCFG {context} {name}", _DEFAULTS[name])


def _file(name: str) -> str:
    return f"file {name.removeprefix('UFS:')}"


def _content(modem: Modem, name: str) -> bytes:
    """Raises CommandFailed."""
    stored = modem.nonvolatile.get(_file(name))
    if stored is None:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    return base64.b64decode(stored)


def _checksum(data: bytes) -> int:
    """The exclusive or of all pairs of bytes."""
    total = 0
    for place in range(0, len(data), 2):
        total ^= int.from_bytes(data[place : place + 2].ljust(2, b"\0"), "big")
    return total
