"""Thales Cinterion TX62-W: Internet services of AT^SIS… on a connection of AT^SICA (AT command set of EXS62-W).

Not verified against a TX62: how it words the loss of its context, and the numbers of errors but 20 and 48.
"""

from __future__ import annotations

import re

from microipa.modem.commands import (
    CME_INCORRECT_PARAMETERS,
    CME_NO_SERVICE,
    CME_NOT_ALLOWED,
    CommandFailed,
    CommandTable,
    Form,
    Request,
)
from microipa.modem.dialect import Dialect, Modem
from microipa.modem.sockets import OPEN_FAILURES, Connection, NotConnected, Service
from microipa.modem.standard import STANDARD, connection_number, context_number, named_connection, need_network

TX62_COMMANDS = CommandTable(STANDARD)
on = TX62_COMMANDS.on

_PROFILES = range(10)
_MOST = 1500
_BEARER = 1
_TAGS = ("srvtype", "conid", "address", "alphabet")
_ADDRESS = re.compile(r"sock(tcp|udp)://([^:;/]+):([0-9]{1,5})")
_NO_MORE = -2
_CONNECTION = "^SICA"  # kept among the settings while it is active
# <urcInfoId> of ^SIS with cause 0
_NETWORK_DOWN, _TIMED_OUT, _PEER_CLOSED = 15, 20, 48


@on("^SCFG", Form.SET)
async def configuration(modem: Modem, request: Request) -> None:
    """``"MEopMode/PwrSave","enabled|disabled",<period>,<wakeup>``: the serial line sleeps while RTS0 is inactive."""
    mode = request.text(1).lower()
    if request.text(0).lower() != "meopmode/pwrsave" or mode not in ("enabled", "disabled"):
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    request.number(2, 0, 600)
    request.number(3, 1, 36000)
    modem.line.allow(mode == "enabled")


@on("^SICA", Form.SET)
async def internet_connection(modem: Modem, request: Request) -> None:
    """``<0 deactivate|1 activate>,<context>``: what Internet services stand on."""
    wanted = request.number(0, 0, 1)
    if context_number(modem, request, 1) != _BEARER:
        raise CommandFailed(CME_NOT_ALLOWED)
    if not wanted:
        modem.settings.pop(_CONNECTION, None)
        return
    need_network(modem)
    await modem.open_bearer()
    if not modem.packet_data.context(_BEARER).active:
        raise CommandFailed(CME_NO_SERVICE)
    modem.settings[_CONNECTION] = "1"


@on("^SICA", Form.READ)
async def internet_connections(modem: Modem, _: Request) -> None:
    modem.respond(f"^SICA: {_BEARER},{modem.settings.get(_CONNECTION, '0')}")


@on("^SISS", Form.SET)
async def describe(modem: Modem, request: Request) -> None:
    """``<profile>,"<tag>","<value>"``: what AT^SISO then opens; not while it is open."""
    number, tag, value = connection_number(request, _PROFILES), request.text(1).lower(), request.text(2)
    if tag not in _TAGS or (tag == "srvtype" and value.lower() not in ("socket", "none")):
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    if number in modem.packet_data.connections or number in modem.reserved:
        raise CommandFailed(CME_NOT_ALLOWED)
    modem.settings[f"^SISS {number} {tag}"] = value


@on("^SISO", Form.SET)
async def open_service(modem: Modem, request: Request) -> None:
    """``<profile>``: OK, and the outcome in ^SISW or ^SIS. One that failed has to be closed as well."""
    number = connection_number(request, _PROFILES)
    kind, context, address = (modem.settings.get(f"^SISS {number} {tag}", "") for tag in _TAGS[:3])
    target = _ADDRESS.fullmatch(address)
    busy = number in modem.packet_data.connections or number in modem.reserved
    if kind.lower() != "socket" or context != str(_BEARER) or target is None or busy:
        raise CommandFailed(CME_NOT_ALLOWED)
    if _CONNECTION not in modem.settings:
        raise CommandFailed(CME_NOT_ALLOWED)
    service: Service = "UDP" if target[1] == "udp" else "TCP"
    host, port = target[2], int(target[3])
    modem.reserved[number] = service

    async def connect() -> None:
        try:
            await modem.packet_data.open(_BEARER, number, host, port, False, service)
        except OPEN_FAILURES as failure:
            modem.urc(f'^SIS: {number},0,{_TIMED_OUT},"{failure}"')
        else:
            if modem.reserved.pop(number, None) is None:
                modem.packet_data.close(number)  # AT^SISC came first
            else:
                modem.urc(f"^SISW: {number},1")

    modem.background(connect())


@on("^SISW", Form.SET)
async def write(modem: Modem, request: Request) -> None:
    """``<profile>,<length>``: answers how many bytes it takes and how many a stream has not acknowledged, then
    takes them."""
    connection = named_connection(modem, request, _PROFILES)
    size = request.number(1, 0, _MOST)
    on_its_way = 0 if connection.service == "UDP" else size
    payload = await modem.interpreter.prompt(size, f"^SISW: {connection.id},{size},{on_its_way}")
    try:
        modem.packet_data.send(connection.id, payload)
    except NotConnected as gone:
        raise CommandFailed(CME_NOT_ALLOWED) from gone


@on("^SISR", Form.SET)
async def read(modem: Modem, request: Request) -> None:
    """``<profile>,<length>``: data behind their length, of a datagram also how much of it is left; -2 at the end
    of a stream. A length of 0 tells how much waits."""
    connection = named_connection(modem, request, _PROFILES)
    size = request.number(1, 0, _MOST)
    waiting = connection.waiting
    available = len(waiting[0]) if waiting and connection.service == "UDP" else sum(map(len, waiting))
    if size == 0:
        modem.respond(f"^SISR: {connection.id},{available}")
        return
    if not waiting:
        modem.respond(f"^SISR: {connection.id},{_NO_MORE if connection.ended else 0}")
        connection.announced = False
        return
    data = connection.take(size, keep_rest=True)
    rest = f",{available - len(data)}" if connection.service == "UDP" else ""
    modem.respond(f"^SISR: {connection.id},{len(data)}{rest}", data)
    if len(data) < size:
        connection.announced = False
        if waiting:
            _readable(modem, connection)


@on("^SISC", Form.SET)
async def close(modem: Modem, request: Request) -> None:
    number = connection_number(request, _PROFILES)
    if f"^SISS {number} srvtype" not in modem.settings:
        raise CommandFailed(CME_NOT_ALLOWED)
    modem.reserved.pop(number, None)
    modem.packet_data.close(number)


@on("^SMSO", Form.RUN)
async def switch_off(modem: Modem, _: Request) -> None:
    modem.respond("^SMSO: MS OFF")
    modem.switch_off("^SHUTDOWN")


def _readable(modem: Modem, connection: Connection) -> None:
    """Once, until a read gave less than it was asked for."""
    if not connection.announced:
        connection.announced = True
        modem.urc(f"^SISR: {connection.id},1")


def _connection_lost(modem: Modem, cid: int) -> None:
    modem.settings.pop(_CONNECTION, None)
    modem.urc(f"+CGEV: NW PDN DEACT {cid}")
    for connection in modem.packet_data.connections.values():
        modem.urc(f'^SIS: {connection.id},0,{_NETWORK_DOWN},"Network is down"')


TX62 = Dialect(
    name="tx62", maker="Cinterion", model="TX62-W", revision="REVISION 01.200", ready="^SYSSTART",
    commands=TX62_COMMANDS, contexts=range(1, 9), on_data=_readable,
    on_closed=lambda modem, connection: modem.urc(
        f'^SIS: {connection.id},0,{_PEER_CLOSED},"Remote peer has closed the connection"'),
    on_context_lost=_connection_lost, bearer=_BEARER,
)
