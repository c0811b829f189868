"""The part that modems of all families share (3GPP TS 27.007): registration, clock, signal, identity."""

import asyncio

from ipa.compat import INFO, const, log, sleep_ms, ticks_add, ticks_diff, ticks_ms, wait_for_ms, words
from ipa.modem import ModemError, integer
from ipa.modem.at import At, AtError, AtTimeout
from ipa.modem.carrier import Carrier

ATTACH_MS = const(180000)
RADIO_MS = const(60000)  # CFUN: some modems need half a minute to leave a network
_BOOT_TRIES = const(34)  # of 300 ms, until a modem counts as off: it may be booting
_ASLEEP_TRIES = const(3)  # of 300 ms, until one that may be in PSM counts as asleep
_AWAKE_TRIES = const(100)  # of 300 ms: after CFUN=1 some modems do not answer for many seconds
_REFRESH_STARTS_MS = const(15000)  # from the answer 91xx until the modem leaves the network
_REFRESH_ASK_MS = const(3000)
_CARD_READY_MS = const(15000)
_ASK_AGAIN_MS = const(10000)  # a URC can get lost
_POLL_MS = const(500)
_NO_SIGNAL = const(99)
_IMEI = const(15)  # digits
_SEARCHING = const(2)
_DENIED = const(3)
_IN = (1, 5)  # <stat> of a registration, at home and roaming
_STATES = ("not registered", "registered", "searching", "denied", "unknown", "roaming")


class NoRegistration(ModemError):
    """No registration in time; the message has the last state."""


class NoCard(ModemError):
    """No card answers, or the card needs a PIN."""


class Modem:
    """ContextModem adds the data context, a family adds `udp()` and `tcp()` and overrides attributes where it differs.

    `board` needs modem_power() only, and has modem_wake() where a modem in PSM wants something else, and
    modem_may_sleep(yes) where it has the pin that keeps the serial line of the modem awake.
    """

    setup = (b"AT+CTZR=2", b"AT+CTZU=1")  # sent at every start; errors are ignored, as not every firmware has them
    imei_command = b"AT+CGSN"
    card_command = b"AT+CFUN=4"  # switches on the card but not the radio
    reset_command = b"AT+CFUN=1,1"
    ready = b"RDY"  # the line that ends a boot
    # DeviceCapabilities (SGP.22 4.2): the highest 3GPP release for each access. Here EPC over E-UTRAN, release 14.
    device_capabilities = b"\x85\x03\x0e\x00\x00"
    edrx_command = b'AT+CEDRXS=2,%d,"%s"'
    sleep_command = None  # with `setup`, where the board has that pin: the serial line may sleep while it says so

    def __init__(self, uart, board=None):
        self.at = At(uart)
        self.carrier = Carrier(self)
        self.network_time = None  # as the modem reported it, with the ticks of that moment
        self.clock_off = 0  # seconds by which its clock is ahead of the network's
        self._board = board
        if self.sleep_command and hasattr(board, "modem_may_sleep"):
            self.setup += (self.sleep_command,)
        self._apn = ""
        self._state = 0
        self._states = [0, 0]  # of +CEREG and +CGREG
        self._reports = False  # the URCs that start() switched on are active
        self.on_registered = None  # called without arguments after a registration
        self.heard = False  # data were received over the data context; the reader resets it
        self.off = False  # it was switched off by power_down()
        self.sleeps = False  # it has PSM or eDRX: many a modem answers nothing until its board wakes it
        self.was_on = False  # with PSM, when the board restarted: if it does not answer it sleeps and does not boot
        self.rests = False  # its serial line may be asleep
        self._lost = False  # the registration was lost since the last join
        self._imsi = ""  # the one last read
        self._changed = asyncio.Event()
        self.at.on(b"+CTZE:", self._on_time)
        self.booted = asyncio.Event()  # the modem has booted; whoever waits for it clears it
        self.at.on(self.ready, self._on_boot)
        self.at.on(b"+CEREG:", lambda rest: self._on_registration(0, rest))
        self.at.on(b"+CGREG:", lambda rest: self._on_registration(1, rest))

    async def start(self):
        """Get an answer from the modem, with its power key if it does not answer. Raises AtTimeout."""
        self.at.start()
        await self._find(_ASLEEP_TRIES if self.sleeps or self.was_on else _BOOT_TRIES)
        await self._set_up()

    async def rouse(self):
        """Wake a modem in PSM. False if it had lost the settings of start(); they were sent again. Raises AtTimeout."""
        keeps, self._reports = self._reports, False  # if it boots now, no command is running that would be lost
        self.booted.clear()
        await self._find(_ASLEEP_TRIES)
        if self.booted.is_set():
            self.forget()
        elif keeps and await self.ask_registration():
            return True
        await self._set_up()
        return False

    async def rest(self):
        """Let the serial line sleep until the next start() or rouse(), where driver and board have a way to."""
        if hasattr(self._board, "modem_may_sleep") and self.sleep_command and not self.off:
            self.rests = True
            self._board.modem_may_sleep(True)

    async def _find(self, tries):
        self.rests = False
        if hasattr(self._board, "modem_may_sleep"):
            self._board.modem_may_sleep(False)
        try:
            await self.at.sync(1 if self.off else tries)
        except AtTimeout:
            if self._board is None:
                raise
            if self.off or not await self._woken():
                log(INFO, "modem: silent, pressing its power key")
                pulse = self._board.modem_power()
                if pulse is not None:
                    await pulse
                await self.at.sync(_AWAKE_TRIES)
        self.off = False

    async def _set_up(self):
        if self.sleeps:
            if await self.ask_registration() and self.registered():
                return  # it comes out of PSM and has kept its settings
            if self.registered():
                try:
                    setup = b"".join([b";" + text[2:] for text in self.setup])
                    await self.at.command(b"ATE0+CMEE=1;+CEREG=1" + setup)
                    self._reports = True
                    return  # a modem keeps the other settings in PSM
                except AtError as error:
                    log(INFO, "modem:", error)
        await self.at.command(b"ATE0")
        await self.at.command(b"AT+CMEE=1")
        await self.at.command(b"AT+CEREG=1")
        self._reports = True
        await self.try_command(b"AT+CGREG=1")
        for text in self.setup:
            await self.try_command(text)

    async def _woken(self):
        """Whether the modem was asleep and answers now: in PSM it keeps its registration, which a reset would lose."""
        wake = getattr(self._board, "modem_wake", None)
        if wake is None:
            return False
        log(INFO, "modem: silent, waking it")
        await wake()
        try:
            await self.at.sync()
        except AtTimeout:
            return False
        return True

    async def try_command(self, text):
        """A command that not every firmware supports."""
        try:
            await self.at.command(text)
        except AtError as error:
            log(INFO, "modem:", error)

    async def ask_registration(self):
        """Ask the modem whether it is registered: see registered(). False if it has restarted and lost its settings.

        Raises AtError, AtTimeout.
        """
        self._reports = True
        # No prefix: the answer is handled like a URC, so that the latest line counts.
        await self.at.command(b"AT+CEREG?")
        if not self.registered():
            await self.try_command(b"AT+CGREG?")
        return self._reports

    async def radio(self, level):
        """AT+CFUN, unless it is set already: 0 radio and card off, 4 radio off, 1 all on. Raises AtError, AtTimeout."""
        if level != 1:
            self._fail_all()
        elif await self._line(b"AT+CFUN?", b"+CFUN:") == b"1":
            return
        await self.at.command(b"AT+CFUN=%d" % level, timeout_ms=RADIO_MS)
        await self.at.sync(_AWAKE_TRIES)

    async def power_card(self):
        """Switch the card on if it is off. The radio stays off, because the APN of the attach may depend on the card.

        Raises AtError, AtTimeout.
        """
        if await self._line(b"AT+CFUN?", b"+CFUN:") == b"0":
            await self.at.command(self.card_command, timeout_ms=RADIO_MS)
            await self.at.sync(_AWAKE_TRIES)

    async def register(self, timeout_ms=ATTACH_MS):
        """Wait for registration; a URC ends the wait at once. Raises NoRegistration, AtTimeout."""
        deadline = ticks_add(ticks_ms(), timeout_ms)
        await self.ask_registration()
        if not self.registered():
            await self.select_network()
        while not self.registered():
            left = ticks_diff(deadline, ticks_ms())
            if left <= 0:
                raise NoRegistration("modem: %s" % _STATES[min(self._state, 4)])
            await self._change(min(left, _ASK_AGAIN_MS))
            if not self.registered():
                await self.ask_registration()
        self._lost = False

    async def select_network(self, anew=False):
        """Switch the modem to automatic network selection, if it is not: after AT+COPS=2, or after a manual selection.

        A new selection takes a minute, so nothing is sent if it is automatic already, except with `anew`.
        """
        try:
            mode = (await self._line(b"AT+COPS?", b"+COPS:"))[:1]
            if mode != b"0" or anew:
                log(INFO, "modem: told to choose a network, mode", words(mode))
                await self.at.command(b"AT+COPS=0", timeout_ms=ATTACH_MS)
        except ModemError as error:
            log(INFO, "modem:", error)

    async def join(self, apn, timeout_ms=ATTACH_MS):
        """Switch the radio on and register, with this APN if the attach needs it.

        Raises NoRegistration, AtError, AtTimeout.
        """
        if await self.apn_differs(apn):
            await self.radio(4)
            await self.define_apn(apn)
        await self.radio(1)
        await self.register(timeout_ms)

    async def attach(self, apn, timeout_ms=ATTACH_MS):
        """Register and activate the data context. Raises NoRegistration, AtError, AtTimeout, SocketError."""
        await self.join(apn, timeout_ms)
        await self.open_context(apn)

    def forget(self):
        """The modem restarts: nothing that it reported is valid any more."""
        self.was_on = False
        self._state = 0
        self._states = [0, 0]
        self._reports = False
        self._fail_all()

    def _fail_all(self):
        """The sockets are lost: a modem with sockets notifies their users."""

    async def await_refresh(self, timeout_ms=_REFRESH_STARTS_MS):
        """After a profile switch: wait until the modem has executed the REFRESH and left the network.

        If it does not, radio and card are switched off and on. All sockets are lost.
        Raises AtTimeout, NoCard.
        """
        self._fail_all()
        imsi = self._imsi
        started = ticks_add(ticks_ms(), timeout_ms)
        while not self._lost and ticks_diff(started, ticks_ms()) > 0:
            await self._change(min(_REFRESH_ASK_MS, ticks_diff(started, ticks_ms())))
            if imsi and not self._lost and await self.imsi() != imsi:
                return  # executed without a URC
        if not self._lost:
            log(INFO, "modem: stays on the old profile, radio off and on")
            await self.power_cycle_card()

    async def power_cycle_card(self):
        """Switch radio and card off and on. Raises NoCard if the card does not answer in time."""
        await self.radio(0)
        await self.radio(1)
        await self.await_card()

    async def await_card(self):
        """Wait until the card has started. Raises NoCard if it has not in time."""
        deadline = ticks_add(ticks_ms(), _CARD_READY_MS)
        while True:
            try:
                state = await self.at.command(b"AT+CPIN?", prefix=b"+CPIN:")
            except AtError as error:
                state = [error.result.encode()]
            if state[-1:] == [b"READY"]:  # before it there may be an unsolicited line
                return
            if ticks_diff(deadline, ticks_ms()) <= 0:
                raise NoCard("card: %s" % state)
            await sleep_ms(_POLL_MS)

    def registered(self):
        """By the last line that the modem sent."""
        return self._state in _IN

    def searching(self):
        """The modem searches for a network."""
        return self._state == _SEARCHING

    def denied(self):
        """Registration was denied: the modem has stopped trying."""
        return self._state == _DENIED

    async def clock(self):
        """Network time in seconds since 1970, None if the modem has none. Raises AtTimeout."""
        from ipa.modem import clock  # needed once after each registration

        return await clock.read(self)

    async def imei(self):
        lines = await self.at.command(self.imei_command, prefix=b"")
        for line in lines:
            digits = line.replace(b"+CGSN:", b"").strip().strip(b'"')
            if digits.isdigit() and len(digits) == _IMEI:
                return digits.decode()
        raise ModemError("no IMEI in %s" % lines)

    async def imsi(self):
        """IMSI of the enabled profile, in digits; "" if the modem has none."""
        self._imsi = ""
        try:
            lines = await self.at.command(b"AT+CIMI", prefix=b"")
        except AtError:
            return ""
        for line in lines:
            digits = line.replace(b"+CIMI:", b"").strip().strip(b'"')
            if digits.isdigit() and 5 < len(digits) <= _IMEI:
                self._imsi = digits.decode()
        return self._imsi

    async def signal(self):
        """Received power in dBm (8.5), None if unknown or not detectable."""
        level = integer(await self._line(b"AT+CSQ", b"+CSQ:"))
        return 2 * level - 113 if level < _NO_SIGNAL else None

    async def plmn(self):
        """The serving network in the format of SGP.32 (3GPP TS 24.008 10.5.1.13), or None."""
        fields = (await self._line(b"AT+COPS=3,2;+COPS?", b"+COPS:")).split(b",")
        return plmn_octets(fields[2].strip(b'"')) if len(fields) > 2 else None

    async def _line(self, text, prefix):
        lines = await self.at.command(text, prefix=prefix)
        if not lines:
            raise ModemError("no answer in %s" % text.decode())
        return lines[-1]

    def _on_time(self, rest):
        self.network_time = rest, ticks_ms()

    async def _change(self, timeout_ms):
        try:
            await wait_for_ms(self._changed.wait(), timeout_ms)
        except asyncio.TimeoutError:
            pass
        self._changed.clear()

    def _on_boot(self, _rest):
        if self._reports:  # it was in use: the pending command will not be answered
            log(INFO, "modem: has restarted")
            self.forget()
            self.at.abandon("the modem has restarted")
        self.booted.set()

    def _on_registration(self, service, rest):
        """Handle a +CEREG (`service` 0) or +CGREG (1) line. Data can be sent with either registration."""
        fields = rest.split(b",")
        # An answer begins with the reporting mode; in a URC the second field is a quoted area code.
        if len(fields) > 1 and fields[1].isdigit():
            if not service and fields[0] == b"0":
                self._reports = False
            state = int(fields[1])
        else:
            state = integer(rest)
        was = self.registered()
        before = self._state
        self._states[service] = state
        eps, gprs = self._states
        self._state = gprs if gprs in _IN and eps not in _IN else eps
        if was and not self.registered():
            self._lost = True
        if self._state != before:
            log(INFO, "modem:", _STATES[self._state] if self._state < len(_STATES) else self._state)
            self._changed.set()
            if self.registered() and self.on_registered:
                self.on_registered()


def plmn_octets(digits):
    """MCC and MNC, 5 or 6 digits, as 3 bytes (3GPP TS 24.008 10.5.1.13); None if they are not valid."""
    if len(digits) not in (5, 6) or not digits.isdigit():
        return None
    d = [octet - 0x30 for octet in digits]
    third = d[5] if len(d) == 6 else 0xF
    return bytes((d[1] << 4 | d[0], third << 4 | d[2], d[4] << 4 | d[3]))
