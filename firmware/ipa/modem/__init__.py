"""Modems: AT commands out, lines in; sockets and APDUs on top (3GPP TS 27.007 and the families' own)."""


class ModemError(Exception):
    """Something the modem, the radio network or the card in the modem did not do."""


class Unreadable(ModemError):
    """An answer in which a driver does not find what belongs there."""


def integer(line, place=0, base=10):
    """The integer in a field of a line, which may be quoted. Raises Unreadable."""
    try:
        return int(line.split(b",")[place].strip(b' "'), base)
    except (ValueError, IndexError):
        from ipa.compat import words  # not above: the host reads the table of drivers here without the rest

        raise Unreadable("unreadable answer: " + words(line)) from None


class SocketError(ModemError):
    """The modem did not open a socket; `code` is the family's own number or None."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code


def fit(name):
    """A host name, an address or an APN on its way into a command, as it is. Raises SocketError for anything else."""
    for letter in name:
        if not (letter.isalpha() or letter.isdigit() or letter in "-._:") or ord(letter) > 0x7F:
            raise SocketError("not a host name or APN: %r" % name)
    return name


class UnknownModem(ModemError):
    """There is no driver of that name."""


_DRIVERS = (
    "bg95=quectel.Bg95 bg77=quectel.Bg77 sim7080g=sim7080.Sim7080 sim7000=sim7000.Sim7000 gm02s=sequans.Gm02s"
    " sara-r5=ublox.SaraR5 sara-r422=ublox.SaraR4 nrf91=nordic.Nrf91"
    " tx62=cinterion.Tx62"
)


def driver(name):
    """The class for a modem, made with (uart, board); only its family is loaded. Raises UnknownModem."""
    for entry in _DRIVERS.split(" "):
        known, path = entry.split("=")
        if known == name:
            family, kind = path.split(".")
            return getattr(__import__("ipa.modem." + family, None, None, (kind,)), kind)
    raise UnknownModem("no modem %s among %s" % (name, _DRIVERS))
