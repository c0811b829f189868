"""Runs on a board of a bench: prints what goes to the modem and comes back, so that the bench can show it.

Put it beside main.py and import it before main.py. Of the commands that carry APDUs all is printed, of others the name:
there are PINs and passwords among their values. Each line is a whole one among those of the log:

    ~m>AT+CGLA=1,16,"80E2910003BF2200"    to the modem
    ~m<+CGLA: 4,"6181"                    what it answered
    ~m<+CME ERROR: 13                     or why it did not
"""

import sys
from binascii import hexlify

from ipa.compat import const
from ipa.modem import ModemError
from ipa.modem.at import At, AtError, _name

_HEX_SLICE = const(32)
_CARRY = (b"AT+CCHO=", b"AT+CGLA=", b"AT+CCHC=", b"AT+CSIM=")

_command = At.command


async def command(self, text, *, prefix=None, apdu=None, **more):
    say = sys.stdout.write
    carries = text.startswith(_CARRY)
    say("~m>")
    say(text if carries else _name(text))
    if carries and apdu is not None:
        for i in range(0, len(apdu), _HEX_SLICE):
            say(hexlify(memoryview(apdu)[i : i + _HEX_SLICE]).upper())
        say('"')
    say("\n")
    try:
        lines = await _command(self, text, prefix=prefix, apdu=apdu, **more)
    except ModemError as error:
        say("~m<%s\n" % (error.result if isinstance(error, AtError) else error))
        raise
    if carries:
        for line in lines:
            say("~m<")
            if prefix:
                say(prefix)
                say(" ")
            if "decode" in more:
                line = _with_digits(line)
            say(line)
            say("\n")
    return lines


def _with_digits(answer):
    """An APDU as modems write it; of one that was unreadable the engine knows only how long it was."""
    if isinstance(answer, int):
        return "%d unreadable characters" % answer
    return '%d,"%s"' % (2 * len(answer), hexlify(answer).upper().decode())


At.command = command
