"""SIMCom SIM7080G and SIM7000: two generations of TCP/IP commands on one maker's standard part.

Syntax from the manufacturer's AT command manuals and what TinyGSM's users found different.
"""

from __future__ import annotations

from microipa.modem.commands import (
    CME_INCORRECT_PARAMETERS,
    CME_SIM_FAILURE,
    CommandFailed,
    CommandTable,
    Form,
    Request,
)
from microipa.modem.dialect import Dialect, Modem
from microipa.modem.line_sleep import allows_sleep
from microipa.modem.sockets import (
    OPEN_FAILURES,
    Connection,
    ConnectionInUse,
    NameUnknown,
    NoNetwork,
    NotConnected,
    Service,
)
from microipa.modem.standard import NO_ADDRESS, STANDARD
from microipa.modem.tcp import ConnectFailed
from microipa.radio.network import PdnRefused

_SERVICES: dict[str, Service] = {"UDP": "UDP", "TCP": "TCP"}

_SIMCOM = CommandTable(STANDARD)
allows_sleep(_SIMCOM, "+CSCLK", {"0": False, "1": True})


@_SIMCOM.on("+CLTS", Form.SET, Form.READ)
async def network_time(modem: Modem, request: Request) -> None:
    """1 lets the network set the clock, to local time with its zone."""
    if request.form is Form.READ:
        modem.respond(f"+CLTS: {modem.clock_update}")
    else:
        modem.clock_update = request.number(0, 0, 1)


@_SIMCOM.on("+CPOWD", Form.SET)
async def power_down(modem: Modem, request: Request) -> None:
    """Its farewell is its only answer."""
    request.number(0, 0, 1)
    modem.interpreter.finish("")
    modem.switch_off("NORMAL POWER DOWN")


@_SIMCOM.on("+CCID", Form.RUN)
async def iccid(modem: Modem, _: Request) -> None:
    if not modem.sim.identity.iccid:
        raise CommandFailed(CME_SIM_FAILURE)
    modem.respond(modem.sim.identity.iccid)


def _connection(modem: Modem, request: Request, index: int, numbers: range) -> Connection:
    number = request.number(index, numbers.start, numbers.stop - 1)
    try:
        return modem.packet_data.connection(number)
    except NotConnected as closed:
        raise CommandFailed from closed


def _destination(request: Request, index: int) -> tuple[Service, str, int]:
    service, host = request.text(index).upper(), request.text(index + 1)
    if service not in _SERVICES or not 0 < len(host) <= 128:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    return _SERVICES[service], host, request.number(index + 2, 1, 65535)


# SIM7080G: AT+CA…

SIM7080G_COMMANDS = CommandTable(_SIMCOM)
on = SIM7080G_COMMANDS.on

_CA_CONNECTIONS = range(12)
_CA_MOST = 1459
_CA_RESULTS = {ConnectionInUse: 3, NoNetwork: 21, NameUnknown: 20, ConnectFailed: 27}

SIM7080G_COMMANDS.stored("+CASSLCFG")


@on("+CNCFG", Form.SET, Form.READ)
async def configure_context(modem: Modem, request: Request) -> None:
    """``<pdpidx>,<ip type>,"<apn>"``."""
    if request.form is Form.READ:
        for index in range(4):
            modem.respond(f'+CNCFG: {index},1,"{modem.packet_data.context(index).apn}","","",0')
        return
    request.number(1, 0, 4)
    modem.packet_data.context(request.number(0, 0, 3)).apn = request.text(2, "")


@on("+CNACT", Form.SET, Form.READ)
async def application_network(modem: Modem, request: Request) -> None:
    """``<pdpidx>,<action>``: OK, and the outcome in an unsolicited line."""
    if request.form is Form.READ:
        for index in range(4):
            context = modem.packet_data.context(index)
            modem.respond(f'+CNACT: {index},{int(context.active)},"{context.address or NO_ADDRESS}"')
        return
    index, wanted = request.number(0, 0, 3), request.number(1, 0, 2)

    async def act() -> None:
        modem.packet_data.deactivate(index)
        try:
            if wanted:
                await modem.packet_data.activate(index)
        except (NoNetwork, PdnRefused):
            pass
        active = modem.packet_data.context(index).active
        modem.urc(f"+APP PDP: {index},{'ACTIVE' if active else 'DEACTIVE'}")

    if not (wanted and modem.packet_data.context(index).active):
        modem.background(act())


@on("+CACID", Form.SET)
async def choose_connection(modem: Modem, request: Request) -> None:
    request.number(0, _CA_CONNECTIONS.start, _CA_CONNECTIONS.stop - 1)


@on("+CAOPEN", Form.SET)
async def open_connection(modem: Modem, request: Request) -> None:
    """``<cid>,<pdpidx>,"UDP"|"TCP","<host>",<port>``: +CAOPEN tells the outcome, before OK or after it."""
    number = request.number(0, _CA_CONNECTIONS.start, _CA_CONNECTIONS.stop - 1)
    index = request.number(1, 0, 3)
    service, host, port = _destination(request, 2)
    if number in modem.packet_data.connections:
        raise CommandFailed

    async def connect() -> str:
        try:
            await modem.packet_data.open(index, number, host, port, False, service)
        except OPEN_FAILURES as failure:
            return f"+CAOPEN: {number},{_CA_RESULTS[type(failure)]}"
        return f"+CAOPEN: {number},0"

    async def tell() -> None:
        modem.urc(await connect())

    if modem.behaviour.outcome_before_ok:
        modem.respond(await connect())
    else:
        modem.background(tell())


@on("+CASEND", Form.SET)
async def send(modem: Modem, request: Request) -> None:
    connection = _connection(modem, request, 0, _CA_CONNECTIONS)
    payload = await modem.interpreter.prompt(request.number(1, 1, _CA_MOST))
    try:
        modem.packet_data.send(connection.id, payload)
    except NotConnected as gone:
        raise CommandFailed from gone


@on("+CARECV", Form.SET)
async def receive(modem: Modem, request: Request) -> None:
    """``<cid>,<length>``: the data follow on the same line, and the cid of the manual is not there."""
    connection = _connection(modem, request, 0, _CA_CONNECTIONS)
    size = request.number(1, 1, _CA_MOST)
    if connection.waiting:
        data = connection.take(size)
        modem.respond(f"+CARECV: {len(data)}", data, joint=",")
    else:
        modem.respond("+CARECV: 0")
    connection.announced = bool(connection.waiting)


@on("+CASTATE", Form.READ)
async def states(modem: Modem, _: Request) -> None:
    for connection in modem.packet_data.connections.values():
        modem.respond(f"+CASTATE: {connection.id},{int(connection.transport is not None)}")


@on("+CACLOSE", Form.SET)
async def close(modem: Modem, request: Request) -> None:
    modem.packet_data.close(_connection(modem, request, 0, _CA_CONNECTIONS).id)


def _announce(modem: Modem, connection: Connection) -> None:
    if not connection.announced:
        connection.announced = True
        modem.urc(f"+CADATAIND: {connection.id}")


SIM7080G = Dialect(
    name="sim7080g", maker="SIMCOM INCORPORATED", model="SIMCOM_SIM7080G", revision="1951B16SIM7080",
    ready="RDY", commands=SIM7080G_COMMANDS, contexts=range(17), on_data=_announce,
    on_closed=lambda modem, connection: modem.urc(f"+CASTATE: {connection.id},0"),
    on_context_lost=lambda modem, index: modem.urc(f"+APP PDP: {index},DEACTIVE"),
)


# SIM7000: AT+CIP…, one context for all

SIM7000_COMMANDS = CommandTable(_SIMCOM)
on = SIM7000_COMMANDS.on

_CIP_CONTEXT = 1
_CIP_CONNECTIONS = range(8)
_CIP_MOST = 1460

_BEGUN = "IP state"  # among the settings from AT+CSTT until AT+CIPSHUT: not IP INITIAL


def _need_initial(modem: Modem) -> None:
    """Raises CommandFailed in any state but IP INITIAL."""
    if _BEGUN in modem.settings:
        raise CommandFailed


@on("+CIPMUX", Form.SET)
async def several_connections(modem: Modem, request: Request) -> None:
    _need_initial(modem)
    modem.settings["+CIPMUX"] = str(request.number(0, 0, 1))


@on("+CIPRXGET", Form.SET)
async def receive_manually(modem: Modem, request: Request) -> None:
    """1: data wait until read; ``2,<n>,<length>`` reads; ``4,<n>`` tells how much waits."""
    mode = request.number(0, 1, 4)
    if mode == 1:
        _need_initial(modem)
        modem.settings["+CIPRXGET"] = "1"
        return
    connection = _connection(modem, request, 1, _CIP_CONNECTIONS)
    if mode == 4:
        modem.respond(f"+CIPRXGET: 4,{connection.id},{sum(map(len, connection.waiting))}")
    elif mode == 2:
        size = request.number(2, 1, _CIP_MOST)
        data = connection.take(size) if connection.waiting else b""
        connection.announced = bool(connection.waiting)
        left = sum(map(len, connection.waiting))
        head = f"+CIPRXGET: 2,{connection.id},{len(data)},{left}"
        modem.respond(head, data or None)
    else:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)


@on("+CSTT", Form.SET, Form.READ)
async def access_point(modem: Modem, request: Request) -> None:
    if request.form is Form.READ:
        modem.respond(f'+CSTT: "{modem.packet_data.context(_CIP_CONTEXT).apn}","",""')
        return
    _need_initial(modem)
    modem.settings[_BEGUN] = "IP START"
    modem.packet_data.context(_CIP_CONTEXT).apn = request.text(0, "")


@on("+CIICR", Form.RUN)
async def bring_up(modem: Modem, _: Request) -> None:
    try:
        await modem.packet_data.activate(_CIP_CONTEXT)
    except (NoNetwork, PdnRefused) as refusal:
        raise CommandFailed from refusal


@on("+CIFSR", Form.RUN)
async def address(modem: Modem, _: Request) -> None:
    """The address, and nothing after it."""
    context = modem.packet_data.context(_CIP_CONTEXT)
    if not context.active:
        raise CommandFailed
    modem.respond(context.address)
    modem.interpreter.finish("")


@on("+CIPSHUT", Form.RUN)
async def shut(modem: Modem, _: Request) -> None:
    modem.packet_data.deactivate(_CIP_CONTEXT)
    modem.settings.pop(_BEGUN, None)
    modem.interpreter.finish("SHUT OK")


@on("+CIPSTART", Form.SET)
async def start_connection(modem: Modem, request: Request) -> None:
    """``<n>,"UDP"|"TCP","<host>",<port>`` with AT+CIPMUX=1: OK, then the outcome in words."""
    number = request.number(0, _CIP_CONNECTIONS.start, _CIP_CONNECTIONS.stop - 1)
    service, host, port = _destination(request, 1)
    if modem.settings.get("+CIPMUX") != "1" or number in modem.packet_data.connections:
        raise CommandFailed

    async def connect() -> None:
        try:
            await modem.packet_data.open(_CIP_CONTEXT, number, host, port, False, service)
        except OPEN_FAILURES:
            modem.urc(f"{number}, CONNECT FAIL")
        else:
            modem.urc(f"{number}, CONNECT OK")

    modem.background(connect())


@on("+CIPSEND", Form.SET)
async def send_on(modem: Modem, request: Request) -> None:
    connection = _connection(modem, request, 0, _CIP_CONNECTIONS)
    payload = await modem.interpreter.prompt(request.number(1, 1, _CIP_MOST))
    try:
        modem.packet_data.send(connection.id, payload)
    except NotConnected:
        modem.interpreter.finish(f"{connection.id}, SEND FAIL")
    else:
        modem.interpreter.finish(f"{connection.id}, SEND OK")


@on("+CIPCLOSE", Form.SET)
async def close_connection(modem: Modem, request: Request) -> None:
    connection = _connection(modem, request, 0, _CIP_CONNECTIONS)
    modem.packet_data.close(connection.id)
    modem.interpreter.finish(f"{connection.id}, CLOSE OK")


def _announce_manual(modem: Modem, connection: Connection) -> None:
    if not connection.announced:
        connection.announced = True
        modem.urc(f"+CIPRXGET: 1,{connection.id}")


SIM7000 = Dialect(
    name="sim7000", maker="SIMCOM_Ltd", model="SIMCOM_SIM7000G", revision="1529B11SIM7000G",
    ready="RDY", commands=SIM7000_COMMANDS, contexts=range(1, 17), on_data=_announce_manual,
    on_closed=lambda modem, connection: modem.urc(f"{connection.id}, CLOSED"),
    on_context_lost=lambda modem, _: modem.urc("+PDP: DEACT"),
)
