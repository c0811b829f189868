"""What the assistant decides by itself before anything is trusted or taken, at the edge of what it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from board_run import Run
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec as curves
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from microipa.asn1.tlv import parse, tlv

NAMES = tlv(0x91, b"Provider") + tlv(0x92, b"Profile")
ICCID = tlv(0x5A, bytes(10))

TRY = """
async def nothing():
    pass
def tried(function, *arguments):
    try:
        return str(function(*arguments))
    except Exception as error:
        return type(error).__name__ + " " + str(error)
"""


async def tell(micropython: Run, imports: str, *calls: str) -> list[str]:
    script = TRY + imports + "\n" + "".join(f"print(tried({call}))\n" for call in calls)
    return [line for line in (await micropython(script)).splitlines() if not line.startswith("I (")]


# Metadata that nobody at the device can consent to (SGP.22 3.1.3)


async def test_sgp22_3_1_3_metadata_need_iccid_and_both_names(micropython: Run) -> None:
    lacking = [NAMES, tlv(0x5A, bytes(9)) + NAMES, tlv(0x5A, bytes(11)) + NAMES, ICCID + tlv(0x91, b"P"),
               ICCID + tlv(0x92, b"P")]
    told = await tell(micropython, "from ipa.steps.trigger import unfit", *(f"unfit, {one!r}" for one in lacking))
    assert told == ["('metadata without ICCID or names', 4)"] * len(lacking)  # metadataMismatch


@pytest.mark.parametrize(("rules", "allowed"), [
    (b"", True), (b"\5", True), (b"\5\x80", True),  # none, and pprUpdateControl
    (b"\6\x40", False), (b"\5\x20", False), (b"\5\x60", False), (b"\5\xe0", False),
])
async def test_sgp22_3_1_3_policy_rules_1_and_2_need_a_consent(micropython: Run, rules: bytes, allowed: bool) -> None:
    metadata = ICCID + NAMES + tlv(0x99, rules)
    [told] = await tell(micropython, "from ipa.steps.trigger import unfit", f"unfit, {metadata!r}")
    refusal = "('the profile has policy rules that nobody here can consent to', 3)"  # pprNotAllowed
    assert told == ("None" if allowed else refusal)


# Triggers (SGP.32 2.11.1.3)


async def test_sgp22_4_1_an_activation_code_has_a_prefix_an_address_and_a_longest_length(micropython: Run) -> None:
    longest = "1$smdp.example$" + "A" * (512 - len("1$smdp.example$"))
    codes = [longest, longest + "A", "1$$A", "1$smdp.example", "2$smdp.example$A", "XLPA:1$smdp.example$A"]
    triggers = [tlv(0xA0, tlv(0x80, code.encode())) for code in codes]
    told = await tell(micropython, "from ipa.steps.trigger import read\ndef way(body): return len(read(body)[3][1])",
                      *(f"way, {trigger!r}" for trigger in triggers))
    assert told == [str(512 - len("1$smdp.example$"))] + ["InvalidPackage a bad activation code"] * 5


async def test_2_11_1_3_a_trigger_names_one_source(micropython: Run) -> None:
    bodies = [b"", tlv(0xA0), tlv(0xA0, tlv(0x81), tlv(0xA2)), tlv(0xA0, tlv(0x80, b"\xff"))]
    told = await tell(micropython, "from ipa.steps.trigger import read", *(f"read, {body!r}" for body in bodies))
    assert told == [
        "InvalidPackage a trigger with neither data nor eimTransactionId",
        "InvalidPackage a trigger that names 0 sources of a profile",
        "InvalidPackage a trigger that names 2 sources of a profile",
        "InvalidPackage an activation code that is no text",
    ]


# Anchors (RFC 5280 4.1.2.5)


async def test_rfc5280_4_1_2_5_a_date_that_cannot_be_read_is_refused(micropython: Run) -> None:
    dates = [(0x17, b"261129120000Z"), (0x18, b"20261129120000Z"), (0x17, b"261129120000"), (0x17, b"2611291200Z"),
             (0x18, b"20261129120000+"), (0x18, b"2026112912000xZ"), (0x18, b"20261129120000.5Z")]
    calls = [f"_date, {tag}, {text!r}" for tag, text in dates]
    told = await tell(micropython, "from ipa.net.trust import _date", *calls)
    assert told[0] == told[1]
    assert told[0].isdigit()
    assert [line.split()[0] for line in told[2:]] == ["TlvError"] * 5


def anchor(start: datetime, end: datetime, ca: bool | None = True) -> bytes:
    key = curves.generate_private_key(curves.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "anchor")])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(start).not_valid_after(end))
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


async def test_rfc5280_4_1_2_5_an_anchor_is_valid_from_its_first_to_its_last_second(micropython: Run) -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    der = anchor(start, end)
    moments = [start - timedelta(seconds=1), start, end, end + timedelta(seconds=1)]
    told = await tell(
        micropython,
        "import time\nfrom ipa.net import trust\n"
        "def at(seconds):\n    trust.unix_time = lambda: seconds\n    return trust._check_validity(" + repr(der) + ")",
        *(f"at, {int(moment.timestamp())}" for moment in moments))
    assert told == ["PeerNotTrusted the trusted certificate is not valid yet", "None", "None",
                    "PeerNotTrusted the trusted certificate has expired"]


async def test_rfc5280_4_2_1_9_a_ca_is_who_says_so(micropython: Run) -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    told = await tell(micropython, "from ipa.net.trust import _is_ca",
                      *(f"_is_ca, {anchor(start, end, ca)!r}" for ca in (True, False)))
    assert told == ["True", "False"]


async def test_an_anchor_without_a_key_or_validity_is_unreadable(micropython: Run) -> None:
    one_date = tlv(0x30, tlv(0x30, tlv(0x30), tlv(0x30), tlv(0x30, tlv(0x17, b"261129120000Z")), tlv(0x30)))
    told = await tell(
        micropython, "from ipa.net import trust\ntrust.unix_time = lambda: 1",
        f"trust._sequence, {one_date!r}, 5", f"trust._check_validity, {one_date!r}")
    assert [line.split(" at ")[0] for line in told] == ["TlvError no certificate", "TlvError no validity"]


# Keys of eIMs on an emulated card


async def test_a_certificate_without_a_key_on_p256_is_a_bad_key(micropython: Run) -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    good = anchor(start, end)
    fields = [field.raw for field in parse(good)[0x30]]
    keyless = tlv(0x30, tlv(0x30, *fields[:-2]), *[field.raw for field in parse(good)][1:])
    told = await tell(micropython, "from ipa.card.p256 import certified_key",
                      f"len, certified_key({good!r})", f"certified_key, {keyless!r}")
    assert told == ["91", "BadKey a certificate without a key on P-256"]


# Events of an SM-DS (SGP.22 6.5.2.7)

EVENTS = """
import asyncio
from ipa.net import es11
from ipa.net.jsonstream import Reader
from rooms import Stream, failing, run
def asked(text):
    return run(failing(es11._events(Reader(Stream(text), 500))))
"""


async def test_sgp22_6_5_2_7_events_are_texts_and_as_many_as_fit(micropython: Run) -> None:
    told = await tell(
        micropython, EVENTS,
        """asked, b'[{"eventId":"E","rspServerAddress":"s.example","more":1}]'""",
        """asked, b'[]'""", """asked, b'[{"eventId":"' + bytes([255]) + b'","rspServerAddress":"s"}]'""")
    assert told[:2] == ["no error but [('s.example', 'E')]", "no error but []"]
    assert told[2].startswith("Es9Malformed")


# Messages (X.690 8.1, RFC 7252 3, RFC 7959 2.2, RFC 9177)


async def test_x690_8_1_a_tag_has_at_most_three_octets(micropython: Run) -> None:
    told = await tell(micropython, "from ipa import tlv\ndef head(text): return tlv.header(bytes.fromhex(text))",
                      "head, 'BF817F00'", "head, 'BF81817F00'")
    assert told == [f"({0xBF817F}, 4, 4)", "TlvError tag too long at offset 0"]


async def test_rfc7252_3_a_message_that_lies_about_its_parts_is_refused(micropython: Run) -> None:
    messages = [
        "60450001", "604500", "20450001", "61450001", "6845000101020304050607 08", "694500010102030405060708 09",
        "60450001D0", "60450001E000", "60450001F0", "6045000111", "60450001C16A", "6045000191 6A", "60450001FF",
    ]
    told = await tell(micropython, "from ipa.net.coap_message import parse\n"
                      "def read(text): return parse(memoryview(bytes.fromhex(text)))[1]",
                      *(f"read, {message!r}" for message in messages))
    assert told == [
        "69", "CoapMalformed no CoAP message", "CoapMalformed no CoAP message",
        "CoapMalformed token longer than the message", "69", "CoapMalformed token longer than the message",
        "CoapMalformed option cut short", "CoapMalformed option cut short", "CoapMalformed option cut short",
        "CoapMalformed option longer than the message", "69", "CoapMalformed critical option 9 is unknown", "69",
    ]


async def test_rfc7959_2_2_a_block_option_has_three_bytes_and_no_size_7(micropython: Run) -> None:
    values = [b"", b"\x06", b"\xff\xff\xf6", b"\0\0\0\0", b"\7", b"\x0f"]
    told = await tell(micropython, "from ipa.net.coap_message import block_option",
                      *(f"block_option, {{23: {value!r}}}, 23" for value in values), "block_option, {}, 23")
    assert told == ["(0, False, 0)", "(0, False, 6)", "(1048575, False, 6)", "CoapMalformed block option of 4 bytes",
                    "CoapMalformed block size 7 is reserved", "CoapMalformed block size 7 is reserved", "None"]


async def test_6_4_a_field_in_base64_is_one_tlv_of_its_tag(micropython: Run) -> None:
    told = await tell(micropython, "from ipa.net.json_functions import _is_tlv",
                      *(f"_is_tlv, 0x30, {der!r}" for der in (b"\x30\0", b"\x31\0", b"\x30\0\0", b"\x30\1", b"")))
    assert told == ["True", "False", "False", "False", "False"]


# When a connection is lost for good, and where a place is


async def test_a_connection_is_lost_at_the_settings_and_not_before(micropython: Run) -> None:
    settings = {"fallback_unregistered_s": 10, "fallback_unreached_s": 20, "fallback_polls": 3}
    losses = [{}, {"off": 9}, {"off": 10}, {"on": 19}, {"on": 20}, {"polls": 2}, {"polls": 3}]
    names = "{policy.UNREGISTERED: 'unregistered', policy.UNREACHED: 'unreached', None: 'no'}"
    told = await tell(
        micropython, f"from ipa import policy\ndef lost(loss): return {names}[policy.lost(loss, {settings})]",
        *(f"lost, {loss!r}" for loss in losses))
    assert told == ["no", "no", "unregistered", "no", "unreached", "no", "unreached"]


# Addresses and OIDs of a direct download (SGP.22 4.1)


async def test_sgp22_4_1_an_address_has_a_port_that_is_a_number_and_an_oid_arcs_that_are(micropython: Run) -> None:
    told = await tell(
        micropython, "import asyncio\nfrom ipa.steps import direct\n"
        "def connect(address): return asyncio.run(direct._connect(None, address, None))\n"
        "def oid(text): return direct._encoded(text).hex()",
        "connect, 'smdp.example:x'", "connect, 'a b'", "oid, '2.999.10'", "oid, '2.x'", "oid, '2'")
    assert told[0] == "DownloadFailed the port in smdp.example:x is no number"
    assert told[1].startswith("DownloadFailed ")
    assert told[2:] == ["88370a", "DownloadFailed 2.x is no OID", "DownloadFailed 2 is no OID"]


STREAMED = """
from ipa import tlv
from rooms import Stream, failing, run
def head(text):
    return run(failing(tlv.Reader(Stream(bytes.fromhex(text))).header()))
"""


async def test_x690_8_1_a_streamed_header_has_the_same_limits(micropython: Run) -> None:
    headers = ["BF817F00", "BF81817F00", "30820100", "308400000100", "3080", "308500000000", "3083", "BF"]
    told = await tell(micropython, STREAMED, *(f"head, {header!r}" for header in headers))
    assert told[0] == f"no error but ({0xBF817F}, 0)"
    assert told[1] == "TlvError tag too long at offset 0"
    assert told[2:4] == ["no error but (48, 256)"] * 2
    assert [line.split(" at ")[0] for line in told[4:6]] == ["TlvError length form 80", "TlvError length form 85"]
    assert all(line.startswith("TlvCut ") for line in told[6:])


DISCOVERY = """
from ipa.net.es11 import Es11
from rooms import Stream, failing, run
class Https:
    def __init__(self, answer):
        self.answer = answer
    async def post(self, path, length, chunks):
        return Stream(self.answer)
HEADER = b'"header":{"functionExecutionStatus":{"status":"Executed-Success"}},'
def asked(fields):
    es11 = Es11(Https(b"{" + HEADER + fields + b"}"))
    es11._transaction = b"0102"  # as InitiateAuthentication told it
    return run(failing(es11.authenticate_client(bytes(2), bytes(4))))
"""


async def test_sgp22_6_5_2_7_an_sm_ds_answers_with_events_for_this_transaction(micropython: Run) -> None:
    event = '{"eventId":"E","rspServerAddress":"s.example"}'
    told = await tell(
        micropython, DISCOVERY, f"""asked, b'"transactionId":"0102","eventEntries":[{event}]'""",
        """asked, b'"transactionId":"0102"'""", """asked, b'"transactionId":"0103","eventEntries":[]'""")
    assert told[0] == "no error but [('s.example', 'E')]"
    assert told[1] == "Es9Malformed authenticateClient: no eventEntries"
    assert told[2] == "Es9Malformed authenticateClient: answers another transaction"


@pytest.mark.parametrize(("events", "why"), [
    ("{}", "no JSON array where one was due"),
    ('[{"eventId":"E"} {"eventId":"F"}]', "neither a comma nor the end of an array")])
async def test_events_of_an_sm_ds_are_an_array(micropython: Run, events: str, why: str) -> None:
    [told] = await tell(micropython, DISCOVERY, f"""asked, b'"transactionId":"0102","eventEntries":{events}'""")
    assert told == f"JsonError {why}"


async def test_of_the_events_of_an_sm_ds_the_first_eight_are_taken(micropython: Run) -> None:
    events = ",".join(f'{{"eventId":"{n}","rspServerAddress":"s"}}' for n in range(9))
    [told] = await tell(micropython, DISCOVERY, f"""asked, b'"transactionId":"0102","eventEntries":[{events}]'""")
    assert told == f"no error but {[('s', str(n)) for n in range(8)]}"


async def test_rfc7252_3_a_block_option_of_three_bytes_is_the_longest(micropython: Run) -> None:
    [told] = await tell(micropython, "from ipa.net.coap_message import block_option",
                        "block_option, {23: b'\\1\\0\\6'}, 23")
    assert told == "(4096, False, 6)"


# Answers of a card


CARDS = """
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from rooms import Carrier, failing, run
async def first(answer):
    channel = Channel(Carrier(lambda command: answer if isinstance(answer, int) else bytes.fromhex(answer)))
    await channel.open()
    results = await Es10(channel).retrieve_results()
    return bytes(results).hex() if results else "nothing"
async def gone(answer):
    channel = Channel(Carrier(lambda command: bytes.fromhex(answer)))
    await channel.open()
    return await Es10(channel).remove_notification(5)
async def selected(answer):
    carrier = Carrier(None)
    channel = Channel(carrier)
    await channel.open()
    async def transmit(apdu):
        return bytes.fromhex(answer)
    carrier.transmit = transmit
    return bytes(await channel.select()).hex()
def ask(how, answer):
    return run(failing(how(answer)))
"""


async def test_5_9_11_a_card_without_results_says_so_in_three_ways_and_anything_else_is_an_error(
        micropython: Run) -> None:
    answers = ["bf2b02a200", "bf2b02a000", "bf2b03810101", "bf2b0381017f", "bf2b03810102"]
    told = await tell(micropython, CARDS, *(f"ask, first, {answer!r}" for answer in answers))
    refused = "CardRefused RetrieveNotificationsList: the card refused with "
    assert told == ["no error but nothing"] * 3 + [refused + "127", refused + "2"]


async def test_5_9_12_what_is_gone_already_is_removed_and_any_other_code_an_error(micropython: Run) -> None:
    told = await tell(micropython, CARDS, *(f"ask, gone, 'bf30038001{code}'" for code in ("00", "01", "02", "7f")))
    refused = "CardRefused RemoveNotificationFromList: the card refused with "
    assert told == ["no error but None"] * 2 + [refused + "2", refused + "127"]


async def test_a_card_that_does_not_select_its_isd_r_is_told_by_its_status_word(micropython: Run) -> None:
    told = await tell(micropython, CARDS, "ask, selected, '6f009000'", "ask, selected, '6a82'")
    assert told[0] == "no error but 6f00"
    assert told[1].startswith("StatusError ")


async def test_sgp22_2_6_roots_that_cannot_be_read_end_a_direct_download(micropython: Run) -> None:
    [told] = await tell(
        micropython, "import asyncio\nfrom ipa.steps import direct\n"
        "class Session:\n    roots_file, trust = 'roots.der', ('pin', b'')\n"
        "open('roots.der', 'wb').write(bytes.fromhex('3005'))\n"
        "def anchors(): return asyncio.run(direct._anchors(Session))", "anchors,")
    assert told.startswith("DownloadFailed roots.der: 30 wants 5 bytes")


async def test_rfc9110_4_2_2_an_sm_dp_without_a_port_is_called_at_443(micropython: Run) -> None:
    told = await tell(
        micropython, """import asyncio
from ipa.net.es9 import Es9
from ipa.steps import direct
from rooms import failing
async def tcp(host, port): raise ValueError((host, port))
class Session:
    roots_file, trust, set_aside, tcp = 'none.der', ('pin', b''), None, tcp
async def call(address):
    es9 = await direct._connect(Session, address, Es9)
    return await es9._https._connect(es9._https._host, es9._https._port)
def connect(address): return asyncio.run(failing(call(address)))""",
        "connect, 'smdp.example'", "connect, 'smdp.example:8443'")
    assert told == ["ValueError ('smdp.example', 443)", "ValueError ('smdp.example', 8443)"]


async def test_an_anchor_that_cannot_be_read_is_told_so_and_not_taken_for_none(micropython: Run) -> None:
    told = await tell(
        micropython, "from ipa.net.trust import Trust\ndef prepare(*anchors): return Trust(*anchors).prepare(None)",
        "prepare, 'ca', b'\\x30\\x03\\x02\\x01'")
    assert told[0].startswith("PeerNotTrusted trusted certificate unreadable: ")


TRUSTING = """
from ipa.net import PeerNotTrusted
from ipa.net.https import HttpsClosed, HttpsRefused
from ipa.steps.direct import DirectDownload
from rooms import failing, run
class Es10:
    async def get_euicc_configured_data(self):
        return b"\\xbf\\x3c\\0"
class Session:
    es10 = Es10()
    esipa = None
    tries = 0
    @property
    def journal(self):
        return self
    def get(self, key, default):
        return self.tries
    def set(self, tries):
        self.tries = tries
async def failed(error):
    raise error
def ends(error, tries=0, begun=None):
    session = Session()
    session.tries = tries
    download = DirectDownload(session, None)
    download.transaction_id = begun
    return run(failing(download._trusting(failed(error))))
def discover():
    return run(failing(DirectDownload(Session(), None).discover(None)))
"""


@pytest.mark.parametrize(("case", "told"), [
    ("PeerNotTrusted('no')", "NotDirect no"),  # the eIM may trust it
    ("HttpsRefused(404)", "DownloadFailed HTTP 404"),
    ("HttpsRefused(503)", "HttpsRefused HTTP 503"),  # there is another try
    ("HttpsRefused(503), 7", "NotDirect did not reach : HTTP 503"),
    ("HttpsRefused(503), 7, b'1'", "NotDirect did not reach : HTTP 503"),
    ("HttpsClosed('cut'), 7", "NotDirect did not reach : cut"),
    ("HttpsClosed('cut'), 7, b'1'", "HttpsClosed cut"),
])
async def test_3_2_3_1_how_a_direct_download_ends_whose_server_fails(micropython: Run, case: str, told: str) -> None:
    assert await tell(micropython, TRUSTING, f"ends, {case}") == [told]


async def test_sgp22_3_6_2_without_an_sm_ds_in_trigger_and_card_there_is_nobody_to_ask(micropython: Run) -> None:
    assert await tell(micropython, TRUSTING, "discover,") == [
        "DownloadFailed neither the trigger nor the card names an SM-DS"]


BROKEN = """
from ipa.net.https import _Channel
class Tls:
    def readinto(self, buf):
        if isinstance(said, Exception):
            raise said
        return said
def asked(what, answer):
    global said
    said = answer
    channel = _Channel(Tls(), None, None)
    try:
        return channel.is_idle() if what == "idle" else channel._io(channel._tls.readinto, b"")
    except Exception as error:
        return type(error).__name__ + " " + str(error)
"""


async def test_a_connection_is_idle_while_nothing_comes_and_it_is_not_broken(micropython: Run) -> None:
    cases = ("None", "0", "5", "OSError(104)", "ValueError('tls')")
    told = await tell(micropython, BROKEN, *(f"asked, 'idle', {case}" for case in cases))
    assert told == ["True", "False", "False", "False", "False"]


async def test_a_connection_that_breaks_after_the_handshake_is_closed(micropython: Run) -> None:
    told = await tell(micropython, BROKEN, "asked, 'read', OSError(104)", "asked, 'read', ValueError('odd')")
    assert told == ["HttpsClosed TLS: [Errno 104] ECONNRESET", "HttpsClosed TLS: odd"]


async def test_what_went_wrong_is_told_in_13_to_120_characters(micropython: Run) -> None:
    told = await tell(micropython, """
from ipa import compat
from ipa.net import trouble
def size(n):
    compat.trouble = "x" * n
    return len(trouble.text())
""", *(f"size, {n}" for n in (1, 13, 14, 120, 121)))
    assert told == ["13", "13", "14", "120", "120"]


async def test_a_datagram_beyond_the_path_is_not_sent_and_mbedtls_hears_emsgsize(micropython: Run) -> None:
    told = await tell(micropython, """
from ipa.net.dtls import _Stream
class Out:
    def write(self, buf):
        return len(buf)
def sent(n):
    return _Stream(Out(), 100).write(bytes(n))
""", "sent, 100", "sent, 101")
    assert told == ["100", "-90"]
