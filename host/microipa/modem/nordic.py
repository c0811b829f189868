"""Nordic nRF91 with the Serial Modem application: sockets by handle (at_socket of its documentation).

The modem inside is TS 27.007; names that begin with # are the application's.
"""

from __future__ import annotations

import base64

from microipa.modem.commands import CommandFailed, CommandTable, Form, Request
from microipa.modem.dialect import Dialect, InPsm, Modem
from microipa.modem.dtls import HandshakeFailed
from microipa.modem.sockets import OPEN_FAILURES, Connection, NotConnected, Service
from microipa.modem.standard import STANDARD, functionality
from microipa.radio.rrc import Assistance

NRF91_COMMANDS = CommandTable(STANDARD)
on = NRF91_COMMANDS.on

HANDLES = range(8)
_MOST_HEX = 1400
_MOST_READ = 2048
_BEARER = 0
_STREAM, _DATAGRAM = 1, 2
_SERVICES: dict[int, Service] = {_STREAM: "TCP", _DATAGRAM: "UDP"}
_PROTOCOLS = {"TCP": 6, "UDP": 17}
_TEXT, _HEX = 0, 1
_SO_RAI = 61
_RADIO_OFF, _CARD_ON = 4, 41  # of AT+CFUN
_POLL_IN, _POLL_ERROR, _POLL_CLOSED = 1, 8, 16

NRF91_COMMANDS.stored("%RAI", "0")
NRF91_COMMANDS.constant("#XSMVER", Form.RUN, '#XSMVER: "v2.0.0","3.4.0"')


@on("+CGSN", Form.RUN, Form.SET)
async def serial_number(modem: Modem, request: Request) -> None:
    """Without an argument the maker's own number; the IMEI is AT+CGSN=1."""
    modem.respond(f'+CGSN: "{modem.imei}"' if request.form is Form.SET and request.number(0, 0, 3) == 1
                  else "50503041-3633-4261-803d-1e2b8f70111a")


@on("+CFUN", Form.SET, Form.READ)
async def functional_mode(modem: Modem, request: Request) -> None:
    """41 gives the card power and leaves the radio off; the rest is standard."""
    if request.form is Form.SET and request.number(0, 0, 44) == _CARD_ON:
        await modem.set_functionality(_RADIO_OFF)
    else:
        await functionality(modem, request)


@on("%XTIME", Form.SET)
async def report_time(modem: Modem, request: Request) -> None:
    modem.report["%XTIME"] = request.number(0, 0, 1)


@on("+CTZR", Form.SET, Form.READ)
async def no_time_zone_reports(modem: Modem, _: Request) -> None:
    """Not among its commands."""
    raise CommandFailed


def _network_time(modem: Modem) -> str:
    """``%XTIME: <zone>,<universal time>,<summer time>`` as octets of TS 24.008, digits swapped."""
    zone, now = modem.network.timezone_quarters, modem.network.time()
    tens = abs(zone) // 10 | (8 if zone < 0 else 0)
    swapped = "".join(pair[1] + pair[0] for pair in (*f"{now:%y %m %d %H %M %S}".split(), f"{tens:X}{abs(zone) % 10}"))
    return f'%XTIME: "{swapped[-2:]}","{swapped}","00"' if modem.report.get("%XTIME") else ""


@on("#XRESET", Form.RUN)
async def reset(modem: Modem, _: Request) -> None:
    modem.restart()


@on("#XSHUTDOWN", Form.RUN)
async def shut_down(modem: Modem, _: Request) -> None:
    modem.switch_off()


@on("#XSLEEP", Form.SET)
async def sleep(modem: Modem, request: Request) -> None:
    """2 (Idle): the serial line sleeps until DTR is asserted again. 1, which ends everything, is left out."""
    request.number(0, 2, 2)
    modem.line.allow(False, until_moved=True)


@on("#XSOCKET", Form.SET)
async def create(modem: Modem, request: Request) -> None:
    """``<1 IPv4|2 IPv6>,<1 stream|2 datagram>,<0 client>``."""
    request.number(0, 1, 2)
    service = _SERVICES[request.number(1, _STREAM, _DATAGRAM)]
    request.number(2, 0, 0)
    handle = reserve(modem, service)
    modem.respond(f"#XSOCKET: {handle},{request.text(1)},{_PROTOCOLS[service]}")


def credential(modem: Modem, tag: str | int) -> bytes:
    """The root certificate under a security tag, b"" without one."""
    return base64.b64decode(modem.nonvolatile.get(f"credential {tag}", ""))


def reserve(modem: Modem, service: str) -> int:
    """A handle for a socket that leads nowhere yet: "UDP", "TCP", "DTLS <tag>". Raises CommandFailed."""
    free = [n for n in HANDLES if n not in modem.packet_data.connections and n not in modem.reserved]
    if not free:
        raise CommandFailed
    modem.reserved[free[0]] = service
    return free[0]


@on("#XCONNECT", Form.SET)
async def connect(modem: Modem, request: Request) -> None:
    """``<handle>,"<host>",<port>``."""
    handle, host, port = _handle(request), request.text(1), request.number(2, 1, 65535)
    if handle not in modem.reserved or not 0 < len(host) <= 128:
        raise CommandFailed
    await modem.open_bearer()
    reserved = modem.reserved[handle]
    service: Service = "TCP" if reserved == "TCP" else "UDP"
    try:
        await modem.packet_data.open(_BEARER, handle, host, port, False, service)
        if reserved.startswith("DTLS"):
            name = modem.settings.get(f"#XSSOCKETOPT {handle}", host)
            await modem.packet_data.secure(handle, credential(modem, reserved.removeprefix("DTLS ")), name)
    except (*OPEN_FAILURES, NotConnected, HandshakeFailed) as failure:
        raise CommandFailed from failure
    del modem.reserved[handle]
    modem.respond(f"#XCONNECT: {handle},1")


@on("#XSEND", Form.SET)
async def send(modem: Modem, request: Request) -> None:
    """``<handle>,<0 text|1 hexadecimal>,<flags>,"<data>"``."""
    connection = _connection(modem, request)
    mode = request.number(1, _TEXT, _HEX)
    payload = request.octets(3, _MOST_HEX) if mode == _HEX else request.text(3).encode("latin-1")
    try:
        modem.packet_data.send(connection.id, payload, connection.assistance)
    except NotConnected as gone:
        raise CommandFailed from gone
    connection.assistance = Assistance.NONE
    modem.respond(f"#XSEND: {connection.id},0,{len(payload)}")


@on("#XSOCKETOPT", Form.SET)
async def option(modem: Modem, request: Request) -> None:
    """``<handle>,1,61,<value>``, release assistance: 1 no data, 2 the next datagram is the last, 3 one answer."""
    connection = _connection(modem, request)
    request.number(1, 1, 1)
    request.number(2, _SO_RAI, _SO_RAI)
    if not modem.behaviour.release_assistance or modem.settings.get("%RAI") != "1":
        raise CommandFailed
    value = request.number(3, 1, 3)
    connection.assistance = Assistance(value - 1)
    if value == 1:
        modem.link.rrc.release()


@on("#XRECV", Form.SET)
async def receive(modem: Modem, request: Request) -> None:
    """``<handle>,<0 binary|1 hexadecimal>,64,<timeout>[,<length>]``: data end without a new line. An empty
    buffer is an error (EAGAIN); the end of a stream is OK and nothing else."""
    connection = _connection(modem, request)
    mode = request.number(1, _TEXT, _HEX)
    size = request.number(4, 1, _MOST_READ, _MOST_READ)
    if not connection.waiting:
        if connection.ended:
            return
        raise CommandFailed
    data = connection.take(size)
    shown = data.hex().upper().encode() if mode == _HEX else data
    modem.respond(f"#XRECV: {connection.id},{mode},{len(data)}", shown, tail="")
    connection.announced = False
    if connection.waiting:
        _readable(modem, connection)


@on("#XAPOLL", Form.SET)
async def poll(modem: Modem, request: Request) -> None:
    """``[<handle>],<1 start|0 stop>,<events>``; without a handle for all sockets, later ones too."""
    wanted = request.number(1, 0, 1) and request.number(2, 0, 5, 0) & _POLL_IN
    modem.report["#XAPOLL"] = int(bool(wanted))


@on("#XCLOSE", Form.SET)
async def close(modem: Modem, request: Request) -> None:
    handle = _handle(request)
    if modem.reserved.pop(handle, None) is None:
        modem.packet_data.close(_connection(modem, request).id)
    modem.respond(f"#XCLOSE: {handle},0")


def _handle(request: Request) -> int:
    return request.number(0, HANDLES.start, HANDLES.stop - 1)


def _connection(modem: Modem, request: Request) -> Connection:
    try:
        return modem.packet_data.connection(_handle(request))
    except NotConnected as closed:
        raise CommandFailed from closed


def _readable(modem: Modem, connection: Connection) -> None:
    if modem.report.get("#XAPOLL") and not connection.announced:
        connection.announced = True
        modem.urc(f"#XAPOLL: {connection.id},{_POLL_IN}")


def _closed(modem: Modem, connection: Connection) -> None:
    modem.urc(f"#XAPOLL: {connection.id},{_POLL_IN | _POLL_CLOSED if connection.waiting else _POLL_CLOSED}")


def _bearer_lost(modem: Modem, cid: int) -> None:
    modem.urc(f"+CGEV: ME PDN DEACT {cid}")
    for connection in modem.packet_data.connections.values():
        modem.urc(f"#XAPOLL: {connection.id},{_POLL_ERROR}")


NRF91 = Dialect(
    name="nrf91", maker="Nordic Semiconductor ASA", model="nRF9151-LACA", revision="mfw_nrf91x1_2.0.2",
    ready="Ready", commands=NRF91_COMMANDS, contexts=range(11), on_data=_readable, on_closed=_closed,
    on_context_lost=_bearer_lost, echo=False, functionality=0, clock_update=1, bearer=_BEARER,
    network_time=_network_time, in_psm=InPsm.ANSWERS,
)
