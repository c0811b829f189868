"""What SIMCom's modems share; their sockets differ by generation: sim7080.py, sim7000.py (AT command manuals)."""

from ipa.modem import SocketError
from ipa.modem.at import AtError
from ipa.modem.sockets import SocketModem


class Simcom(SocketModem):
    setup = (b"AT+CTZR=2", b"AT+CLTS=1")  # the network sets the clock, to local time with its zone
    power_down_command = b"AT+CPOWD=1"
    # While DTR is high (LilyGO-T-SIM7080G, examples/MinimalModemSleepMode)
    sleep_command = b"AT+CSCLK=1"

    async def _open_number(self, number, text, close):
        """The outcome of opening a connection, which a run before ours may have left open."""
        try:
            outcome = await self._ask_open(text)
        except AtError:
            await self.try_command(close)
            outcome = await self._ask_open(text)
        if outcome:
            raise SocketError("no connection %d: %s" % (number, outcome))
        return number
