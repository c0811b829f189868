"""Sequans GM02S: sockets of AT+SQNS… in command mode (Monarch 2 AT commands reference manual)."""

from __future__ import annotations

from microipa.modem.commands import (
    CME_INCORRECT_PARAMETERS,
    CME_NOT_ALLOWED,
    CME_NOT_SUPPORTED,
    CommandFailed,
    CommandTable,
    Form,
    Request,
)
from microipa.modem.dialect import Dialect, InPsm, Modem
from microipa.modem.line_sleep import allows_sleep
from microipa.modem.sockets import OPEN_FAILURES, Connection, ConnectionInUse, NotConnected, Service
from microipa.modem.standard import STANDARD, assistance, connection_number, named_connection

GM02S_COMMANDS = CommandTable(STANDARD)
on = GM02S_COMMANDS.on

_CONNECTIONS = range(1, 7)
_MOST = 1500
_BEARER = 1
_TCP, _UDP = 0, 1
_COMMAND_MODE = 1
_SERVICES: dict[int, Service] = {_TCP: "TCP", _UDP: "UDP"}

GM02S_COMMANDS.stored("+SQNSCFG")
GM02S_COMMANDS.stored("+SQNSCFGEXT")
allows_sleep(GM02S_COMMANDS, "+SQNIPSCFG", {"0": False, "1": True})


@on("+SQNEDRX", Form.SET)
async def edrx(modem: Modem, request: Request) -> None:
    """``<mode>,<act>,"<cycle>","<window>"``: the sibling of +CEDRXS."""
    modem.settings["+CEDRXS"] = request.raw
    modem.link.rrc.timers_changed()


@on("+SQNSD", Form.SET)
async def dial(modem: Modem, request: Request) -> None:
    """``<connection>,<0 TCP|1 UDP>,<port>,"<host>",<closure>,<local port>,<1: command mode>``: OK once open."""
    number = connection_number(request, _CONNECTIONS)
    service = _SERVICES[request.number(1, _TCP, _UDP)]
    port, host = request.number(2, 1, 65535), request.text(3)
    if not host or request.number(6, 0, 1, 0) != _COMMAND_MODE:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    await modem.open_bearer()
    try:
        await modem.packet_data.open(_BEARER, number, host, port, False, service)
    except ConnectionInUse as busy:
        raise CommandFailed(CME_NOT_SUPPORTED) from busy
    except OPEN_FAILURES:
        modem.interpreter.finish("NO CARRIER")


@on("+SQNSSENDEXT", Form.SET)
async def send(modem: Modem, request: Request) -> None:
    connection = named_connection(modem, request, _CONNECTIONS)
    size, rai = request.number(1, 1, _MOST), assistance(modem, request, 2)
    payload = await modem.interpreter.prompt(size)
    try:
        modem.packet_data.send(connection.id, payload, rai)
    except NotConnected as gone:
        raise CommandFailed(CME_NOT_ALLOWED) from gone


@on("+SQNSI", Form.SET)
async def information(modem: Modem, request: Request) -> None:
    """``+SQNSI: <connection>,<sent>,<received>,<buffered>,<not acknowledged>``."""
    connection = named_connection(modem, request, _CONNECTIONS)
    waiting = sum(map(len, connection.waiting))
    modem.respond(f"+SQNSI: {connection.id},{connection.sent},{connection.received},{waiting},0")


@on("+SQNSRECV", Form.SET)
async def receive(modem: Modem, request: Request) -> None:
    """An empty buffer is an error."""
    connection = named_connection(modem, request, _CONNECTIONS)
    size = request.number(1, 1, _MOST)
    if not connection.waiting:
        raise CommandFailed(CME_NOT_ALLOWED)
    data = connection.take(size)
    modem.respond(f"+SQNSRECV: {connection.id},{len(data)}", data)


@on("+SQNSS", Form.RUN, Form.READ)
async def states(modem: Modem, _: Request) -> None:
    for number in _CONNECTIONS:
        modem.respond(f"+SQNSS: {number},{2 if number in modem.packet_data.connections else 0}")


@on("+SQNSH", Form.SET)
async def hang_up(modem: Modem, request: Request) -> None:
    modem.packet_data.close(connection_number(request, _CONNECTIONS))


@on("^RESET", Form.RUN)
async def reset(modem: Modem, _: Request) -> None:
    modem.restart()


@on("+SQNSSHDN", Form.RUN)
async def shut_down(modem: Modem, _: Request) -> None:
    modem.switch_off("+SHUTDOWN")


def _ring(modem: Modem, connection: Connection) -> None:
    modem.urc(f"+SQNSRING: {connection.id},{sum(map(len, connection.waiting))}")


def _bearer_lost(modem: Modem, cid: int) -> None:
    modem.urc(f"+CGEV: NW PDN DEACT {cid}")
    for connection in modem.packet_data.connections.values():
        modem.urc(f"+SQNSH: {connection.id}")


GM02S = Dialect(
    name="gm02s", maker="SEQUANS Communications", model="GM02S", revision="UE8.0.5.13", ready="+SYSSTART",
    commands=GM02S_COMMANDS, contexts=range(1, 9), on_data=_ring,
    on_closed=lambda modem, connection: modem.urc(f"+SQNSH: {connection.id}"),
    on_context_lost=_bearer_lost, bearer=_BEARER, in_psm=InPsm.PIN,
)
