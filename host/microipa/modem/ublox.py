"""u-blox SARA-R5 and SARA-R422: sockets of AT+USO… (AT commands manual, chapter Internet protocol)."""

from __future__ import annotations

from dataclasses import replace

from microipa.modem.commands import (
    CME_INCORRECT_PARAMETERS,
    CME_NOT_ALLOWED,
    CommandFailed,
    CommandTable,
    Form,
    Request,
)
from microipa.modem.dialect import Dialect, Modem
from microipa.modem.line_sleep import allows_sleep
from microipa.modem.sockets import OPEN_FAILURES, Connection, NotConnected, Service
from microipa.modem.standard import STANDARD, connection_number, functionality, named_connection, need_network

_SARA = CommandTable(STANDARD)
on = _SARA.on

_SOCKETS = range(7)
_MOST = 1024
_BEARER = 1
_PROTOCOLS: dict[int, Service] = {6: "TCP", 17: "UDP"}
_RESTART = (15, 16)


@on("+CFUN", Form.SET, Form.READ)
async def power_mode(modem: Modem, request: Request) -> None:
    """15 and 16 restart the modem, 16 with the card; the rest is standard."""
    if request.form is Form.SET and request.number(0, 0, 16) in _RESTART:
        modem.restart()
    else:
        await functionality(modem, request)


@on("+CPWROFF", Form.RUN)
async def power_off(modem: Modem, _: Request) -> None:
    modem.switch_off()


@on("+CSGT", Form.SET)
async def greeting(modem: Modem, request: Request) -> None:
    """``1,"<text>"``: said at the end of every boot, over power cuts."""
    modem.nonvolatile["greeting"] = request.text(1, "") if request.number(0, 0, 1) else ""


@on("+USOCR", Form.SET)
async def create(modem: Modem, request: Request) -> None:
    """``<6 TCP|17 UDP>``: a socket, which leads nowhere yet."""
    protocol = request.number(0, 6, 17)
    free = [n for n in _SOCKETS if n not in modem.packet_data.connections and n not in modem.reserved]
    if protocol not in _PROTOCOLS or not free:
        raise CommandFailed(CME_NOT_ALLOWED)
    modem.reserved[free[0]] = _PROTOCOLS[protocol]
    modem.respond(f"+USOCR: {free[0]}")


@on("+USOCO", Form.SET)
async def connect(modem: Modem, request: Request) -> None:
    """``<socket>,"<host>",<port>``: OK once connected; on UDP it names the far end of +USOWR and +USORD."""
    number = connection_number(request, _SOCKETS)
    host, port = request.text(1), request.number(2, 1, 65535)
    if number not in modem.reserved or not host:
        raise CommandFailed(CME_NOT_ALLOWED)
    await modem.open_bearer()
    service: Service = "TCP" if modem.reserved[number] == "TCP" else "UDP"
    try:
        await modem.packet_data.open(_BEARER, number, host, port, False, service)
    except OPEN_FAILURES as failure:
        raise CommandFailed(CME_NOT_ALLOWED) from failure
    del modem.reserved[number]


@on("+USOWR", Form.SET)
async def write(modem: Modem, request: Request) -> None:
    """``<socket>,<length>``: asks with @, tells how many bytes it took."""
    connection = named_connection(modem, request, _SOCKETS)
    payload = await modem.interpreter.prompt(request.number(1, 1, _MOST))
    try:
        modem.packet_data.send(connection.id, payload)
    except NotConnected as gone:
        raise CommandFailed(CME_NOT_ALLOWED) from gone
    modem.respond(f"+USOWR: {connection.id},{len(payload)}")


@on("+USORD", Form.SET)
async def read(modem: Modem, request: Request) -> None:
    """``<socket>,<length>``: data in quotes behind their length; the rest of a longer datagram stays for the
    next time. A length of 0 tells how much waits."""
    connection = named_connection(modem, request, _SOCKETS)
    size = request.number(1, 0, _MOST)
    waiting = sum(map(len, connection.waiting))
    if size == 0:
        modem.respond(f"+USORD: {connection.id},{waiting}")
    elif not waiting:
        modem.respond(f'+USORD: {connection.id},""')
    else:
        data = connection.take(size, keep_rest=True)
        modem.respond(f"+USORD: {connection.id},{len(data)}", data, joint=',"', tail='"\r\n')
        if connection.waiting:
            _readable(modem, connection)


@on("+USOCL", Form.SET)
async def close(modem: Modem, request: Request) -> None:
    number = connection_number(request, _SOCKETS)
    if modem.reserved.pop(number, None) is None:
        modem.packet_data.close(named_connection(modem, request, _SOCKETS).id)


def _readable(modem: Modem, connection: Connection) -> None:
    modem.urc(f"+UUSORD: {connection.id},{sum(map(len, connection.waiting))}")


def _bearer_lost(modem: Modem, cid: int) -> None:
    modem.urc(f"+CGEV: NW PDN DEACT {cid}")
    for connection in modem.packet_data.connections.values():
        modem.urc(f"+UUSOCL: {connection.id}")


# SARA-R5 puts a packet switched data profile between its sockets and the context of the attach.

_R5 = CommandTable(_SARA)
allows_sleep(_R5, "+UPSV", {"0": False, "3": True})  # 1 and 2, which go by characters and RTS, are left out
on = _R5.on


@on("+UPSD", Form.SET)
async def profile(modem: Modem, request: Request) -> None:
    """``<profile>,<0 protocol|100 context>,<value>``."""
    request.number(0, 0, 6)
    if request.number(1, 0, 100) == 100 and request.number(2, 0, 8) != _BEARER:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)


@on("+UPSDA", Form.SET)
async def act_on_profile(modem: Modem, request: Request) -> None:
    """``<profile>,<3 activate|4 deactivate>``: OK, and the outcome in an unsolicited line."""
    request.number(0, 0, 6)
    action = request.number(1, 0, 4)
    need_network(modem)
    if action == 4:
        modem.settings.pop("profile", None)
        return

    async def activate() -> None:
        await modem.open_bearer()
        context = modem.packet_data.context(_BEARER)
        if context.active:
            modem.settings["profile"] = "1"
        modem.urc(f'+UUPSDA: {int(not context.active)},"{context.address}"')

    modem.background(activate())


@on("+UPSND", Form.SET)
async def profile_state(modem: Modem, request: Request) -> None:
    """``<profile>,8``: whether it is active."""
    request.number(0, 0, 6)
    modem.respond(f"+UPSND: 0,{request.number(1, 0, 17)},{modem.settings.get('profile', '0')}")


@on("+USOCR", Form.SET)
async def create_on_profile(modem: Modem, request: Request) -> None:
    if "profile" not in modem.settings:
        raise CommandFailed(CME_NOT_ALLOWED)
    await create(modem, request)


def _profile_lost(modem: Modem, _: int) -> None:
    if modem.settings.pop("profile", None):
        modem.urc("+UUPSDD: 0")


SARA_R422 = Dialect(
    name="sara-r422", maker="u-blox", model="SARA-R422", revision="00.12", ready="", commands=_SARA,
    contexts=range(1, 9), on_data=_readable,
    on_closed=lambda modem, connection: modem.urc(f"+UUSOCL: {connection.id}"),
    on_context_lost=_bearer_lost, prompt="@", bearer=_BEARER, line_sleeps=False,
)
SARA_R5 = replace(SARA_R422, name="sara-r5", model="SARA-R510S", revision="03.15", commands=_R5,
                  on_context_lost=_profile_lost, line_sleeps=True)
