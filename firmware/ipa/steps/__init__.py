"""Chapter 3 of SGP.32, one module a procedure; what they share."""

from ipa import tlv


class Session:
    """One conversation with one eIM: the card on one side, the wire on the other."""

    # What this device can do, as IpaCapabilities counts it (2.11.1.2): bit 0 of the standard is 0x80.
    features = 0x40  # indirectRspServerCommunication
    protocols = 0x40  # ipaRetrieveCoaps
    # For downloads without the eIM, where this device does them:
    tcp = None  # `async (host, port) -> stream`
    roots_file = ""  # certificates under which SM-DP+ servers are trusted, DER, one behind the other
    trust = ("pin", b"")  # in the eIM's own server, as Trust takes it
    set_aside = None  # called without arguments: the association with the eIM makes room for another until it is used

    def __init__(self, eid, eim_id, es10, esipa, device_info, journal):
        self.eid = eid
        self.eim_id = eim_id
        self.es10 = es10
        self.esipa = esipa
        self.device_info = device_info  # value of a DeviceInfo, see below
        self.journal = journal
        self.sent = set()  # seqNumbers of what this eIM was sent and may therefore acknowledge
        self.due = None  # the error with which the conversation ends, because something has to be tried again soon
        self.held = None  # the largest seqNumber that is not offered to it for now, see notify.py


class InvalidPackage(Exception):
    """An eIM package of a known kind that is incomplete or contradicts itself (invalidPackageFormat)."""

    def __init__(self, reason, transaction=None):
        super().__init__(reason)
        self.transaction = transaction  # its eimTransactionId, when it has one


def ipa_capabilities(session):
    """The value of an IpaCapabilities (2.11.1.2). Direct download is the one feature that a session shows itself."""
    features = session.features | (0x80 if session.tcp is not None else 0)
    return bits(0x80, features) + bits(0x81, session.protocols)


def bits(tag, octet):
    """A named BIT STRING of at most 8 bits without its trailing zeros (X.690 11.2.2)."""
    unused = 0
    while octet and not octet >> unused & 1:
        unused += 1
    return bytes((tag, 2, unused, octet) if octet else (tag, 1, 0))


def device_info(imei, capabilities):
    """The value of a DeviceInfo (SGP.22 4.2): tac, deviceCapabilities, imei.

    `imei`: 15 digits as text; `capabilities`: the value of a DeviceCapabilities, as modems have it.
    """
    packed = bytearray(8)
    for i in range(7):  # telephony BCD: the first digit of a pair in the low nibble
        packed[i] = int(imei[2 * i]) | int(imei[2 * i + 1]) << 4
    packed[7] = int(imei[14]) << 4 | 0x0F  # the check digit alone sits high, above a filler
    out = bytearray(tlv.encode(0x80, packed[:4]))
    out.extend(tlv.encode(0xA1, capabilities))
    out.extend(tlv.encode(0x82, packed))
    return bytes(out)


def digits(packed):
    """An ICCID as people write it: nibbles swapped, fillers gone."""
    text = "".join("{:x}{:x}".format(octet & 15, octet >> 4) for octet in packed)
    return text.rstrip("f")
