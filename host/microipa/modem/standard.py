"""The commands of 3GPP TS 27.007 and V.250 that every modem of the lab shares."""

from __future__ import annotations

from datetime import timedelta

from microipa.modem.commands import (
    CME_INCORRECT_PARAMETERS,
    CME_INVALID_INDEX,
    CME_NO_SERVICE,
    CME_NO_SIM,
    CME_NOT_ALLOWED,
    CME_SIM_FAILURE,
    CommandFailed,
    CommandTable,
    Form,
    Request,
)
from microipa.modem.dialect import Modem
from microipa.modem.power import granted_cycle, granted_timers
from microipa.modem.registration import Stat
from microipa.modem.sim import CardSilent, ChannelRefused, NoSuchSession
from microipa.modem.sockets import Connection, NoNetwork, NotConnected
from microipa.radio.network import PdnRefused
from microipa.radio.rrc import Assistance

STANDARD: CommandTable[Modem] = CommandTable()

_ACT_NB_IOT = 9  # <AcT> of TS 27.007 7.3: E-UTRAN (NB-S1 mode)
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - what a context without an address shows
_APDU_LIMIT = 261  # CLA INS P1 P2 Lc, 255 bytes, Le

for _name in ("&F", "&W", "&D", "&C", "Z", "V", "Q"):
    # Profiles and circuit lines mean nothing here; V and Q keep their defaults V1 and Q0.
    STANDARD.constant(_name, Form.RUN)
STANDARD.stored("+IFC", "0,0")
STANDARD.stored("+IPR", "115200")


@STANDARD.on("E", Form.RUN)
async def echo(modem: Modem, request: Request) -> None:
    wanted = request.number(0, 0, 1, 0) == 1
    modem.interpreter.echo = wanted or modem.behaviour.echo_sticks


@STANDARD.on("+CMEE", Form.SET, Form.READ)
async def error_mode(modem: Modem, request: Request) -> None:
    if request.form is Form.READ:
        modem.respond(f"+CMEE: {modem.interpreter.error_mode}")
    else:
        modem.interpreter.error_mode = request.number(0, 0, 2)


@STANDARD.on("I", Form.RUN)
async def information(modem: Modem, _: Request) -> None:
    dialect = modem.dialect
    for line in (dialect.maker, dialect.model, f"Revision: {dialect.revision}"):
        modem.respond(line)


@STANDARD.on("+CGMI", Form.RUN)
@STANDARD.on("+GMI", Form.RUN)
async def maker(modem: Modem, _: Request) -> None:
    modem.respond(modem.dialect.maker)


@STANDARD.on("+CGMM", Form.RUN)
@STANDARD.on("+GMM", Form.RUN)
async def model(modem: Modem, _: Request) -> None:
    modem.respond(modem.dialect.model)


@STANDARD.on("+CGMR", Form.RUN)
@STANDARD.on("+GMR", Form.RUN)
async def revision(modem: Modem, _: Request) -> None:
    modem.respond(modem.dialect.revision)


@STANDARD.on("+CGSN", Form.RUN, Form.SET)
@STANDARD.on("+GSN", Form.RUN)
async def serial_number(modem: Modem, request: Request) -> None:
    """The bare IMEI; AT+CGSN=1 gives it as TS 27.007 5.4 does."""
    if request.form is Form.SET:
        request.number(0, 1, 1)
        modem.respond(f'+CGSN: "{modem.imei}"')
    else:
        modem.respond(modem.imei)


@STANDARD.on("+CIMI", Form.RUN)
async def imsi(modem: Modem, _: Request) -> None:
    if not modem.sim.imsi:
        raise CommandFailed(CME_SIM_FAILURE)
    modem.respond(modem.sim.imsi)


@STANDARD.on("+CPIN", Form.READ)
async def pin(modem: Modem, _: Request) -> None:
    if not modem.faults.has_card:
        raise CommandFailed(CME_NO_SIM)
    if not modem.sim.imsi:
        raise CommandFailed(CME_SIM_FAILURE)
    modem.respond("+CPIN: READY")


@STANDARD.on("+CFUN", Form.SET, Form.READ)
async def functionality(modem: Modem, request: Request) -> None:
    """0 switches radio and card off, 4 the radio alone, 1 all on; 1,1 restarts the modem."""
    if request.form is Form.READ:
        modem.respond(f"+CFUN: {modem.functionality}")
        return
    wanted = request.number(0, 0, 4)
    if wanted not in (0, 1, 4):
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    if request.number(1, 0, 1, 0):
        modem.restart()
    else:
        await modem.set_functionality(wanted)


def registration_line(modem: Modem, name: str) -> str:
    """What follows the prefix of +CREG, +CGREG and +CEREG, in the detail that was asked for."""
    stat = modem.registration.stat
    attachment = modem.registration.attachment
    mode = modem.report.get(name, 0)
    if attachment and name not in modem.behaviour.registered_by:
        return str(modem.behaviour.otherwise_registered)
    line = str(int(stat))
    if attachment and mode >= 2:
        line += f',"{attachment.tac:X}","{attachment.cell:X}",{_ACT_NB_IOT}'
        timers = granted_timers(modem)
        if mode >= 4 and timers:
            line += ',,,"{1}","{0}"'.format(*timers)
    elif stat is Stat.DENIED and mode in (3, 5) and modem.registration.cause is not None:
        line += f",,,,0,{modem.registration.cause}"
    return line


@STANDARD.on("+CREG", Form.SET, Form.READ)
@STANDARD.on("+CGREG", Form.SET, Form.READ)
@STANDARD.on("+CEREG", Form.SET, Form.READ)
async def registration(modem: Modem, request: Request) -> None:
    """TS 27.007 10.1.22; NB-IoT has no circuit side, so the three tell the same."""
    if request.form is Form.SET:
        modem.report[request.name] = request.number(0, 0, 5)
    else:
        mode = modem.report.get(request.name, 0)
        modem.respond(f"{request.name}: {mode},{registration_line(modem, request.name)}")


@STANDARD.on("+CGATT", Form.SET, Form.READ)
async def attach(modem: Modem, request: Request) -> None:
    if request.form is Form.READ:
        modem.respond(f"+CGATT: {int(modem.registration.attachment is not None)}")
    elif modem.functionality != 1:
        raise CommandFailed(CME_NOT_ALLOWED)
    elif not request.number(0, 0, 1):
        modem.registration.stop()
    elif modem.registration.attachment is None:
        modem.registration.start()


@STANDARD.on("+COPS", Form.SET, Form.READ, Form.TEST)
async def operator(modem: Modem, request: Request) -> None:
    """TS 27.007 7.3: automatic selection, deregistration, and the format of the operator's name."""
    if request.form is Form.TEST:
        cells = ",".join(f'(1,"{plmn}","{plmn}","{plmn}",{_ACT_NB_IOT})'
                         for plmn in modem.network.operators)
        modem.respond(f"+COPS: {cells},,(0,2,3),(0-2)")
    elif request.form is Form.READ:
        attachment = modem.registration.attachment
        chosen = _selection(modem)
        modem.respond(f"+COPS: {chosen}" if attachment is None else
                      f'+COPS: {chosen},{modem.operator_format},"{attachment.operator}",{_ACT_NB_IOT}')
    else:
        await _select_operator(modem, request)


async def _select_operator(modem: Modem, request: Request) -> None:
    mode = request.number(0, 0, 3)
    if mode == 3:
        modem.operator_format = request.number(1, 0, 2)
        return
    if mode == 2:
        modem.registration.automatic = False
        modem.registration.stop()
        return
    if modem.functionality != 1:
        raise CommandFailed(CME_NOT_ALLOWED)
    modem.registration.automatic = True
    modem.registration.only = _numeric_operator(request) if mode == 1 else None
    modem.nonvolatile["operator"] = modem.registration.only or ""
    attachment = modem.registration.attachment
    if attachment is None or modem.registration.only not in (None, attachment.operator):
        modem.registration.start()


def _selection(modem: Modem) -> int:
    """<mode> of AT+COPS?: 0 automatic, 1 one operator alone, 2 off the network."""
    if not modem.registration.automatic or modem.registration.stat is Stat.NOT_REGISTERED:
        return 2
    return 0 if modem.registration.only is None else 1


def _numeric_operator(request: Request) -> str:
    """``2,"<PLMN>"``, the only format this modem takes. Raises CommandFailed."""
    request.number(1, 2, 2)
    return request.text(2)


@STANDARD.on("+CSQ", Form.RUN)
async def signal(modem: Modem, _: Request) -> None:
    modem.respond("+CSQ: 18,99" if modem.registration.attachment else "+CSQ: 99,99")


@STANDARD.on("+CEDRXRDP", Form.RUN)
async def edrx_in_force(modem: Modem, _: Request) -> None:
    modem.respond(f"+CEDRXRDP: {granted_cycle(modem) or 0}")


@STANDARD.on("+CPSMS", Form.SET, Form.READ)
@STANDARD.on("+CEDRXS", Form.SET, Form.READ)
async def power_saving(modem: Modem, request: Request) -> None:
    """TS 27.007 7.38 and 7.40: what the modem asks the network for, with a registration update."""
    if request.form is Form.READ:
        modem.respond(f"{request.name}: {modem.settings.get(request.name, '0')}")
    elif modem.settings.get(request.name) != request.raw:
        modem.settings[request.name] = request.raw
        modem.link.rrc.timers_changed()


@STANDARD.on("+CESQ", Form.RUN)
async def extended_signal(modem: Modem, _: Request) -> None:
    modem.respond("+CESQ: 99,99,255,255,20,55" if modem.registration.attachment
                  else "+CESQ: 99,99,255,255,255,255")


@STANDARD.on("+CGACT", Form.SET, Form.READ)
async def context_activation(modem: Modem, request: Request) -> None:
    """``<state>,<cid>`` (TS 27.007 10.1.10)."""
    if request.form is Form.READ:
        await modem.open_bearer()
        for cid, context in sorted(modem.packet_data.contexts.items()):
            modem.respond(f"+CGACT: {cid},{int(context.active)}")
        return
    wanted, cid = request.number(0, 0, 1), context_number(modem, request, 1)
    if not wanted:
        modem.packet_data.deactivate(cid)
        return
    need_network(modem)
    try:
        await modem.packet_data.activate(cid)
    except (NoNetwork, PdnRefused) as refusal:
        raise CommandFailed(CME_NO_SERVICE) from refusal


@STANDARD.on("+CEER", Form.RUN)
async def last_cause(modem: Modem, _: Request) -> None:
    """TS 27.007 6.10: why the last context did not come up, in words."""
    modem.respond(f"+CEER: {modem.packet_data.refusal or 'No report available'}")


@STANDARD.on("+CGDCONT", Form.SET, Form.READ)
async def define_context(modem: Modem, request: Request) -> None:
    contexts = modem.packet_data.contexts
    if request.form is Form.READ:
        for cid, context in sorted(contexts.items()):
            modem.respond(f'+CGDCONT: {cid},"IP","{context.apn}","{context.address or NO_ADDRESS}",0,0')
        return
    cid = context_number(modem, request, 0)
    modem.packet_data.context(cid).apn = request.text(2, "")


@STANDARD.on("+CGPADDR", Form.SET, Form.RUN)
async def addresses(modem: Modem, request: Request) -> None:
    for cid, context in sorted(modem.packet_data.contexts.items()):
        if request.form is Form.RUN or request.text(0) == str(cid):
            modem.respond(f'+CGPADDR: {cid},"{context.address or NO_ADDRESS}"')


@STANDARD.on("+CTZU", Form.SET, Form.READ)
async def clock_update(modem: Modem, request: Request) -> None:
    """0 leaves the clock alone, 1 keeps it in GMT, 3 in local time, both with the zone beside it."""
    if request.form is Form.READ:
        modem.respond(f"+CTZU: {modem.clock_update}")
        return
    wanted = request.number(0, 0, 3)
    if wanted == 2:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    modem.clock_update = wanted


@STANDARD.on("+CTZR", Form.SET, Form.READ)
async def clock_report(modem: Modem, request: Request) -> None:
    if request.form is Form.READ:
        modem.respond(f"+CTZR: {modem.report.get('+CTZR', 0)}")
    else:
        modem.report["+CTZR"] = request.number(0, 0, 2)


@STANDARD.on("+CCLK", Form.READ)
async def clock(modem: Modem, _: Request) -> None:
    """The clock, which stands at its start until the network has told the time and AT+CTZU lets it."""
    kind = modem.behaviour.clock
    if kind == "error":
        raise CommandFailed
    if not modem.knows_time or not modem.clock_update:
        modem.respond('+CCLK: "80/01/06,00:00:00+00"')
        return
    zone = modem.network.timezone_quarters
    now = modem.network.time()
    if kind == "local" or kind != "gmt" and modem.clock_update in modem.dialect.local_clock:
        now += timedelta(minutes=15 * zone)
    digits = "26/02/31,25:61:00" if kind == "impossible" else f"{now:%y/%m/%d,%H:%M:%S}"
    beside = "" if kind == "no-zone" else f"{zone:+03d}"
    modem.respond(f'+CCLK: "{digits}{beside}"' + (",1" if kind == "dst" else ""))


@STANDARD.on("+CCHO", Form.SET)
async def open_channel(modem: Modem, request: Request) -> None:
    """TS 27.007 8.45. A card without the application ends in SIM failure, as modems have it."""
    _check_channels(modem)
    modem.faults.check_card()
    if modem.behaviour.channels_forbidden:
        raise CommandFailed(CME_NOT_ALLOWED)
    aid = _octets(modem, request, 0, 16)
    if len(aid) < 5:
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    try:
        session = await modem.sim.open(aid)
    except (CardSilent, ChannelRefused) as refusal:
        raise CommandFailed(CME_SIM_FAILURE) from refusal
    modem.respond(f"+CCHO: {session}" if modem.behaviour.ccho_prefix else session)


@STANDARD.on("+CCHC", Form.SET)
async def close_channel(modem: Modem, request: Request) -> None:
    _check_channels(modem)
    try:
        await modem.sim.close(request.text(0))
    except NoSuchSession as unknown:
        raise CommandFailed(CME_INVALID_INDEX) from unknown
    except CardSilent as gone:
        raise CommandFailed(CME_SIM_FAILURE) from gone


@STANDARD.on("+CGLA", Form.SET)
async def channel_access(modem: Modem, request: Request) -> None:
    """TS 27.007 8.43: the modem puts the channel into CLA; 61xx and 6Cxx are left to the caller."""
    _check_channels(modem)
    modem.faults.check_card()
    apdu = _apdu(modem, request, 1)
    if len(apdu) > modem.behaviour.cgla_limit:
        raise CommandFailed
    failing = modem.store_data_fails(apdu)
    if failing and not modem.behaviour.cgla_fails_after_card:
        raise CommandFailed
    try:
        response = await modem.sim.exchange(request.text(0), apdu)
    except NoSuchSession as unknown:
        raise CommandFailed(CME_INVALID_INDEX) from unknown
    except CardSilent as gone:
        raise CommandFailed(CME_SIM_FAILURE) from gone
    if failing:
        raise CommandFailed
    _respond_apdu(modem, "+CGLA", response)


@STANDARD.on("+CSIM", Form.SET)
async def card_access(modem: Modem, request: Request) -> None:
    """TS 27.007 8.17: an APDU as it is; the channel in CLA is the caller's business."""
    modem.faults.check_card()
    apdu = _apdu(modem, request, 0)
    if len(apdu) > modem.behaviour.cgla_limit:
        raise CommandFailed
    try:
        response = await modem.sim.transmit(apdu)
    except CardSilent as gone:
        raise CommandFailed(CME_SIM_FAILURE) from gone
    _respond_apdu(modem, "+CSIM", response)


@STANDARD.on("+CNMPSD", Form.RUN)
async def no_more_data(modem: Modem, _: Request) -> None:
    """No application is expected to exchange data: the connection may end."""
    if not modem.behaviour.release_assistance:
        raise CommandFailed
    modem.link.rrc.release()


def assistance(modem: Modem, request: Request, index: int) -> Assistance:
    """Release assistance as an argument, where there is one. Raises CommandFailed in a modem without it."""
    if len(request.arguments) <= index:
        return Assistance.NONE
    if not modem.behaviour.release_assistance:
        raise CommandFailed
    return Assistance(request.number(index, 0, 2))


def _check_channels(modem: Modem) -> None:
    """Raises CommandFailed in a modem that has AT+CSIM alone."""
    if modem.behaviour.csim_only:
        raise CommandFailed


def _octets(modem: Modem, request: Request, index: int, limit: int) -> bytes:
    """Bytes out of digits, in the case this modem takes. Raises CommandFailed."""
    if modem.behaviour.wants_upper_hex and request.text(index) != request.text(index).upper():
        raise CommandFailed
    return request.octets(index, limit)


def _apdu(modem: Modem, request: Request, index: int) -> bytes:
    """``<length>,"<hex>"``, where length counts digits. Raises CommandFailed when it lies."""
    apdu = _octets(modem, request, index + 1, _APDU_LIMIT)
    if len(apdu) < 4 or request.number(index, 8, 2 * _APDU_LIMIT) != 2 * len(apdu):
        raise CommandFailed(CME_INCORRECT_PARAMETERS)
    return apdu


def _respond_apdu(modem: Modem, name: str, response: bytes) -> None:
    text = response.hex()
    if modem.behaviour.upper_hex:
        text = text.upper()
    modem.respond(f'{name}: {len(text)},"{text}"')


def connection_number(request: Request, numbers: range) -> int:
    """The first argument of most socket commands. Raises CommandFailed."""
    return request.number(0, numbers.start, numbers.stop - 1)


def named_connection(modem: Modem, request: Request, numbers: range) -> Connection:
    """The open connection that the first argument names. Raises CommandFailed."""
    try:
        return modem.packet_data.connection(connection_number(request, numbers))
    except NotConnected as closed:
        raise CommandFailed(CME_NOT_ALLOWED) from closed


def context_number(modem: Modem, request: Request, index: int) -> int:
    """An argument that names a PDP context. Raises CommandFailed."""
    return request.number(index, modem.dialect.contexts.start, modem.dialect.contexts.stop - 1)


def need_network(modem: Modem) -> None:
    """Raises CommandFailed when the modem is not attached."""
    if modem.registration.attachment is None:
        raise CommandFailed(CME_NO_SERVICE)
