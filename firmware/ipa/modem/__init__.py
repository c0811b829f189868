"""Modems: AT commands out, lines in; sockets and APDUs on top (3GPP TS 27.007 and the families' own)."""


class ModemError(Exception):
    """Something the modem, the radio network or the card in the modem did not do."""


class SocketError(ModemError):
    """The modem did not open a socket; `code` is the family's own number or None."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code
