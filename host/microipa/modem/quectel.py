"""Quectel BG95: its identity, its boot, and the AT+Q… commands for packet data.

Syntax and limits from the manufacturer's TCP/IP application note and AT manual for BG95, BG77 and BG600L.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

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
from microipa.modem.standard import STANDARD, assistance, need_network
from microipa.modem.tcp import ConnectFailed
from microipa.radio.network import PdnRefused
from microipa.radio.rrc import Assistance

BG95_COMMANDS = CommandTable(STANDARD)
on = BG95_COMMANDS.on

_CONTEXTS = range(1, 17)
_CONNECTIONS = range(12)
_SERVICES: dict[str, Service] = {"UDP": "UDP", "TCP": "TCP"}
SECURE = 100
"""Connections of the SSL stack have numbers of their own; inside they lie this far above those of sockets."""
_MAX_SEND = 1460
_MAX_HEX_SEND = 512
_MAX_READ = 1500

# Chapter "Summary of Result Codes" of the TCP/IP application note
_NO_ERROR, _UNSUPPORTED, _CONTEXT_FAILED, _ID_IN_USE, _DNS_FAILED = 0, 555, 561, 563, 565
_CONNECT_FAILED, _NOT_CONNECTED = 566, 567
OPEN_RESULTS = {ConnectionInUse: _ID_IN_USE, NoNetwork: _CONTEXT_FAILED, NameUnknown: _DNS_FAILED,
                 ConnectFailed: _CONNECT_FAILED}
_ERROR_TEXT = {
    _NO_ERROR: "operate successfully",
    _UNSUPPORTED: "operation not supported",
    _CONTEXT_FAILED: "open PDP context failed",
    _ID_IN_USE: "socket identity has been used",
    _DNS_FAILED: "DNS parse failed",
    _CONNECT_FAILED: "socket connect failed",
    _NOT_CONNECTED: "socket has been closed",
}

_QCFG_DEFAULTS = {
    "nwscanseq": "00", "nwscanmode": "0", "iotopmode": "1", "band": '0xf,0x100002000000000f0e189f,0x0',
    "psm/urc": "0", "psm/enter": "0", "urc/ri/other": '"pulse",120,1', "servicedomain": "1",
}


allows_sleep(BG95_COMMANDS, "+QSCLK", {"0": False, "1": True})


@on("+QCCID", Form.RUN)
@on("+ICCID", Form.RUN)
async def iccid(modem: Modem, request: Request) -> None:
    if not modem.sim.identity.iccid:
        raise CommandFailed(CME_SIM_FAILURE)
    modem.respond(f"{request.name}: {modem.sim.identity.iccid}")


@on("+QCFG", Form.SET)
async def configuration(modem: Modem, request: Request) -> None:
    """Settings by name: told when no value follows, else kept."""
    name = request.text(0).lower()
    if name not in _QCFG_DEFAULTS:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    key = f"+QCFG {name}"
    if len(request.arguments) == 1:
        modem.respond(f'+QCFG: "{name}",{modem.settings.get(key, _QCFG_DEFAULTS[name])}')
    else:
        modem.settings[key] = request.raw.split(",", 1)[1]


@on("+QPOWD", Form.RUN, Form.SET)
async def power_down(modem: Modem, _: Request) -> None:
    modem.switch_off("POWERED DOWN")


@on("+QCSQ", Form.RUN, Form.READ)
async def signal(modem: Modem, _: Request) -> None:
    attached = modem.registration.attachment
    modem.respond('+QCSQ: "NBIoT",-77,-86,95,-12' if attached else '+QCSQ: "NOSERVICE"')


@on("+QNWINFO", Form.RUN)
async def network_information(modem: Modem, _: Request) -> None:
    attached = modem.registration.attachment
    modem.respond(f'+QNWINFO: "NBIoT","{attached.operator}","LTE BAND 20",6353' if attached
                  else "+QNWINFO: No Service")


@on("+QLTS", Form.RUN, Form.SET)
async def latest_time(modem: Modem, request: Request) -> None:
    """Time of the last synchronisation (0), GMT (1) or local time (2), both going on since then."""
    wanted = request.number(0, 0, 2, 0)
    if not modem.knows_time:
        modem.respond('+QLTS: ""')
        return
    zone = modem.network.timezone_quarters
    now = modem.network.time()
    if wanted != 1:
        now += timedelta(minutes=15 * zone)
    modem.respond(f'+QLTS: "{now:%Y/%m/%d,%H:%M:%S}{zone:+03d},0"')


@on("+QICSGP", Form.SET)
async def configure_context(modem: Modem, request: Request) -> None:
    """``<cid>,<type>,"<apn>"…`` sets the APN, ``<cid>`` alone tells it."""
    cid = _context(request)
    context = modem.packet_data.context(cid)
    if len(request.arguments) == 1:
        modem.respond(f'+QICSGP: 1,"{context.apn}","","",0')
        return
    request.number(1, 1, 3)
    context.apn = request.text(2, "")


@on("+QIACT", Form.SET, Form.READ)
async def activate_context(modem: Modem, request: Request) -> None:
    if request.form is Form.READ:
        for cid, context in sorted(modem.packet_data.contexts.items()):
            if context.active:
                modem.respond(f'+QIACT: {cid},1,1,"{context.address}"')
        return
    need_network(modem)
    try:
        await modem.packet_data.activate(_context(request))
    except (NoNetwork, PdnRefused) as refusal:
        modem.last_error = _CONTEXT_FAILED
        raise CommandFailed from refusal


@on("+QIDEACT", Form.SET)
async def deactivate_context(modem: Modem, request: Request) -> None:
    modem.packet_data.deactivate(_context(request))


@on("+QIOPEN", Form.SET)
async def open_connection(modem: Modem, request: Request) -> None:
    """``<cid>,<connection>,"UDP"|"TCP","<host>",<port>[,<local port>[,<access mode>]]``: OK at once, the
    outcome in an unsolicited line. Access mode 0 is the buffer, 1 direct push."""
    cid, connection = _context(request), request.number(1, _CONNECTIONS.start, _CONNECTIONS.stop - 1)
    service, host, port = request.text(2).upper(), request.text(3), request.number(4, 1, 65535)
    request.number(5, 0, 65535, 0)
    push = request.number(6, 0, 1, 0) == 1
    if not 0 < len(host) <= 200:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)

    async def connect() -> None:
        result = _UNSUPPORTED
        if service in _SERVICES:
            try:
                await modem.packet_data.open(cid, connection, host, port, push, _SERVICES[service])
                result = _NO_ERROR
            except OPEN_FAILURES as failure:
                result = OPEN_RESULTS[type(failure)]
        modem.last_error = result
        modem.urc(f"+QIOPEN: {connection},{result}")

    modem.background(connect())


@on("+QISEND", Form.SET)
async def send(modem: Modem, request: Request) -> None:
    """``<connection>,<length>`` asks for that many bytes; a length of 0 tells how much has been sent."""
    connection = _connection(modem, request)
    size = request.number(1, 0, _MAX_SEND)
    if size == 0:
        modem.respond(f"+QISEND: {connection.sent},{connection.sent},0")
        return
    if connection.transport is None:
        modem.last_error = _NOT_CONNECTED
        raise CommandFailed
    _transmit(modem, connection, await modem.interpreter.prompt(size))


@on("+QISENDEX", Form.SET)
async def send_hex(modem: Modem, request: Request) -> None:
    """``<connection>,"<hex>"[,<RAI_info>]``."""
    connection = _connection(modem, request)
    _transmit(modem, connection, request.octets(1, _MAX_HEX_SEND), assistance(modem, request, 2))


def _transmit(modem: Modem, connection: Connection, payload: bytes,
              assistance: Assistance = Assistance.NONE) -> None:
    try:
        modem.packet_data.send(connection.id, payload, assistance)
    except NotConnected:
        modem.last_error = _NOT_CONNECTED
        modem.interpreter.finish("SEND FAIL")
    else:
        modem.interpreter.finish("SEND OK")


@on("+QIRD", Form.SET)
async def read(modem: Modem, request: Request) -> None:
    """``<connection>[,<length>]``: one datagram, whose rest is lost when it is longer, or bytes of a stream;
    +QIRD: 0 when there is nothing. A length of 0 tells how much has come and was read."""
    connection = _connection(modem, request)
    size = request.number(1, 0, _MAX_READ, _MAX_READ)
    if size == 0:
        unread = sum(map(len, connection.waiting))
        modem.respond(f"+QIRD: {connection.received},{connection.read},{unread}")
    elif connection.waiting:
        data = connection.take(size)
        connection.announced = bool(connection.waiting)
        modem.respond(f"+QIRD: {len(data)}", data)
    else:
        modem.respond("+QIRD: 0")


@on("+QICLOSE", Form.SET)
async def close_connection(modem: Modem, request: Request) -> None:
    modem.packet_data.close(request.number(0, _CONNECTIONS.start, _CONNECTIONS.stop - 1))


@on("+QISTATE", Form.RUN, Form.READ)
async def connection_states(modem: Modem, _: Request) -> None:
    for connection in modem.packet_data.connections.values():
        host, port = connection.remote
        state = 2 if connection.transport else 4  # connected, closing
        modem.respond(f'+QISTATE: {connection.id},"{connection.service}","{host}",{port},0,{state},'
                      f'{connection.context},{connection.id},{int(connection.push)},"uart1"')


@on("+QIGETERROR", Form.RUN)
async def last_error(modem: Modem, _: Request) -> None:
    modem.respond(f"+QIGETERROR: {modem.last_error},{_ERROR_TEXT[modem.last_error]}")


def _context(request: Request) -> int:
    return request.number(0, _CONTEXTS.start, _CONTEXTS.stop - 1)


def _connection(modem: Modem, request: Request) -> Connection:
    number = request.number(0, _CONNECTIONS.start, _CONNECTIONS.stop - 1)
    try:
        return modem.packet_data.connection(number)
    except NotConnected as closed:
        modem.last_error = _NOT_CONNECTED
        raise CommandFailed from closed


def _announce(modem: Modem, connection: Connection) -> None:
    """Buffer mode tells of the first data and is silent until all was read; push mode gives it."""
    if connection.push:
        data = connection.take(_MAX_READ)
        modem.urc(f'+QIURC: "recv",{connection.id},{len(data)}', data)
    elif not connection.announced:
        connection.announced = True
        _event(modem, "recv", connection)


def _closed(modem: Modem, connection: Connection) -> None:
    """The peer closed a stream. What came before can still be read."""
    _event(modem, "closed", connection)


def _event(modem: Modem, what: str, connection: Connection) -> None:
    if connection.id < SECURE:
        modem.urc(f'+QIURC: "{what}",{connection.id}')
    else:
        modem.urc(f'+QSSLURC: "{what}",{connection.id - SECURE}')


def _context_lost(modem: Modem, cid: int) -> None:
    modem.urc(f'+QIURC: "pdpdeact",{cid}')


BG95 = Dialect(
    name="bg95", maker="Quectel", model="BG95-M3", revision="BG95M3LAR02A04", ready="APP RDY",
    commands=BG95_COMMANDS, contexts=_CONTEXTS, on_data=_announce, on_closed=_closed,
    on_context_lost=_context_lost, local_clock=frozenset({3}),
)
BG77 = replace(BG95, name="bg77", model="BG77", revision="BG77LAR02A04")
