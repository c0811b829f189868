"""Modems: AT commands out, lines in; sockets and APDUs on top (3GPP TS 27.007 and the families' own)."""


class ModemError(Exception):
    """Something the modem, the radio network or the card in the modem did not do."""
