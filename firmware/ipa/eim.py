"""The eIMs of the card: address and trust anchor from their EimConfigurationData (SGP.32 2.11.1.1.1)."""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.compat import ERROR, INFO, log, words
from ipa.modem import SocketError, fit


class EimUnknown(Exception):
    """Neither card nor file has an eIM, or its address or trust anchor is missing."""


class EimFailed(Exception):
    """Some of the card's eIMs could not be served, others were."""


async def unserved(es10, served, path):
    """The first Eim of the card whose eimId is not in `served`, to which it is added; None if all are.

    The list is read from the card each time, because each package may have changed it (3.5). If the card has no eIM,
    the one in the file `path` is added. Raises EimUnknown, and the exceptions of the card.
    """
    try:
        configuration = await es10.find_eim(but=served)
    except (CardError, tlv.TlvError) as error:
        if not served:
            raise
        log(ERROR, "card: what follows in its list of eIMs cannot be read:", error)
        return None
    if configuration is None and not served:
        from ipa import initial_eim  # needed once for a card

        configuration = await initial_eim.add(es10, path)
    if configuration is None:
        return None
    served.append(bytes(tlv.find(configuration, 0x80) or b""))
    if tlv.find(configuration, 0x81) is None:
        log(INFO, "card: eIM", words(served[-1]), "has no eimFqdn: nobody to ask, it has to come to us")
        return await unserved(es10, served, path)
    return Eim(configuration)


class Eim:
    """`configuration`: the value of an EimConfigurationData, of which only copies are kept."""

    def __init__(self, configuration):
        eim_id = tlv.find(configuration, 0x80)
        name = tlv.find(configuration, 0x81)
        if eim_id is None:
            raise EimUnknown("eIM configuration without eimId")
        self.eim_id = bytes(eim_id)
        try:
            str(eim_id, "utf-8")  # the journal uses it as text
            self.host, _, port = str(name, "utf-8").partition(":")
        except UnicodeError:
            raise EimUnknown("eimId or eimFqdn is no text") from None
        if port and not port.isdigit():
            raise EimUnknown("the port in eimFqdn is {}".format(port))
        try:
            fit(self.host or "?")
        except SocketError:
            raise EimUnknown("eimFqdn is no host name: {}".format(words(name))) from None
        self.port = int(port) if port else None  # None: the default port of the transport
        key = tlv.find(configuration, 0xA6, 0xA0)
        certificate = tlv.find(configuration, 0xA6, 0xA1)
        if key is not None:
            self.trust = ("pin", tlv.sequence(key))
        elif certificate is not None:
            self.trust = ("ca", tlv.sequence(certificate))
        else:
            self.trust = None  # None: the CAs of the device (2.11.1.1.1)
