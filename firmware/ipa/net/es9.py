"""ES9+ in its JSON binding: what the assistant says to an SM-DP+ itself (SGP.22 5.6, 6.5).

The functions take and give what those of Esipa do, DER fields one behind the other, so that a download does
not care whom it talks to. What a card signed goes out as the card wrote it; a bound profile package is a
stream into the card.
"""

from binascii import b2a_base64, unhexlify

from ipa import tlv
from ipa.compat import const
from ipa.net import NetError, Refused, ServerError
from ipa.net.jsonstream import Reader

HEADERS = (
    b"Content-Type: application/json\r\n"
    b"X-Admin-Protocol: gsma/rsp/v2.5.0\r\n"
    b"User-Agent: gsma-rsp-ipad\r\n"
)
_PATH = "/gsma/rsp2/es9plus/"

_BOUND_PROFILE_PACKAGE = const(0xBF36)
_CANCEL_SESSION_RESPONSE = const(0xBF41)
_TRANSACTION_ID = const(0x80)

_PIECE = const(192)  # bytes, 256 letters in base64
_LARGEST_FIELD = const(4096)  # metadata with an icon
_LARGEST_ANSWER = const(16384)  # but for the package
_TRAILER = const(1024)  # after the package
_CODE = const(16)
_TRANSACTION_LETTERS = const(32)
_MESSAGE = const(120)

# The fields of an answer in the order in which Esipa has them, with their tags.
_SERVER = (
    (b"serverSigned1", 0x30),
    (b"serverSignature1", 0x5F37),
    (b"euiccCiPKIdToBeUsed", 0x04),
    (b"serverCertificate", 0x30),
)
_OFFER = (
    (b"profileMetadata", 0xBF25),
    (b"smdpSigned2", 0x30),
    (b"smdpSignature2", 0x5F37),
    (b"smdpCertificate", 0x30),
)


class Es9Refused(Refused):
    """The function ended "Failed"; `code` is subjectCode/reasonCode of SGP.22 5.2.6."""

    def __init__(self, function, code, message):
        super().__init__("{}: the SM-DP+ refused with {} {}".format(function, code, message).rstrip())
        self.code = code


class Es9Malformed(ServerError):
    """The answer is not what the function may answer."""


class Es9:
    """`https`: connection to the SM-DP+ of that address."""

    def __init__(self, https):
        self._https = https
        self._transaction = b""  # as the SM-DP+ spells it
        self._body = None

    def close(self):
        self._https.close()

    async def initiate_authentication(self, challenge, address, euicc_info_1, transaction=None):
        """Returns the fields from transactionId to serverCertificate. `transaction` is for eIMs only."""
        json = await self._call(
            "initiateAuthentication",
            (b"smdpAddress", address.encode()),
            (b"euiccChallenge", _Der(challenge)),
            (b"euiccInfo1", _Der(euicc_info_1)),
        )
        found = await self._fields("initiateAuthentication", json, _SERVER)
        self._transaction = found.get(b"transactionId", b"")
        return tlv.encode(_TRANSACTION_ID, self._transaction_id()) + _joined(found, _SERVER)

    async def authenticate_client(self, transaction_id, response):
        """`response` is the card's BF38. Returns the fields from profileMetadata to smdpCertificate."""
        json = await self._request_authentication(response)
        found = await self._fields("authenticateClient", json, _OFFER)
        self._check_transaction(found)
        return _joined(found, _OFFER)

    async def _request_authentication(self, response):
        return await self._call(
            "authenticateClient",
            (b"transactionId", self._transaction),
            (b"authenticateServerResponse", _Der(response)),
        )

    async def get_bound_profile_package(self, transaction_id, response):
        """`response` is the card's BF21. Returns (reader behind the header of BF36, length of its value)."""
        function = "getBoundProfilePackage"
        json = await self._call(
            function, (b"transactionId", self._transaction), (b"prepareDownloadResponse", _Der(response))
        )
        found = await self._fields(function, json, (), b"boundProfilePackage")
        self._check_transaction(found)
        json.room = None
        reader = tlv.Reader(await json.base64())
        tag, length = await reader.header()
        if tag != _BOUND_PROFILE_PACKAGE:
            raise Es9Malformed("{}: {:X} where the package was due".format(function, tag))
        return reader, length

    async def handle_notification(self, pending_notification):
        """Hand a PendingNotification over. Returning means that the SM-DP+ has it."""
        function = "handleNotification"
        await self._done(
            function, await self._call(function, (b"pendingNotification", _Der(pending_notification)))
        )

    async def cancel_session(self, transaction_id, response):
        """`response` is the value of the card's BF41."""
        function = "cancelSession"
        json = await self._call(
            function,
            (b"transactionId", self._transaction),
            (b"cancelSessionResponse", _Der(tlv.encode(_CANCEL_SESSION_RESPONSE, response))),
        )
        await self._done(function, json)

    async def _call(self, function, *members):
        """POST one function. Returns the reader of its answer."""
        await self._read_on()
        members = [(b',"' + name + b'":"', value) for name, value in members]
        length = 2 + sum([len(lead) + len(value) + 1 for lead, value in members]) - 1
        self._body = await self._https.post(_PATH + function, length, lambda: _chunks(members))
        return Reader(self._body, _LARGEST_ANSWER)

    async def _read_on(self):
        """What is left of the last answer, when that is less than a new connection costs."""
        body = self._body
        self._body = None
        if body is not None:
            scratch = bytearray(64)
            try:
                for _ in range(_TRAILER // 64):
                    if not await body.readinto(scratch):
                        break
            except NetError:
                pass  # then the next request has a new one

    async def _done(self, function, json):
        """An answer that tells success or refusal and nothing else; to say nothing is success."""
        if not await json.is_over():
            await self._fields(function, json, ())

    async def _fields(self, function, json, wanted, stop=None):
        """The members of the answer by name, up to `stop`, at which the reader then stands.

        Raises Es9Refused, Es9Malformed.
        """
        found = {}
        tags = dict(wanted)
        await json.enter()
        while True:
            name = await json.name()
            if name is None:
                break
            if name == stop:
                return found
            if name == b"header":
                await self._header(function, json)
            elif name == b"transactionId":
                found[name] = await json.text(_TRANSACTION_LETTERS)
            elif name in tags:
                found[name] = _unwrapped(function, name, tags[name], await _der(json))
            else:
                await json.skip()
        for name in [name for name, _ in wanted] + ([stop] if stop else []):
            if name not in found:
                raise Es9Malformed("{}: no {}".format(function, name.decode()))
        return found

    async def _header(self, function, json):
        """functionExecutionStatus, wherever it stands in the header."""
        status, subject, reason, message = await _status(json)
        if status[:8] != b"Executed":
            raise Es9Refused(function, _words(subject + b"/" + reason), _words(message))

    def _transaction_id(self):
        try:
            transaction_id = unhexlify(self._transaction)
        except ValueError:
            transaction_id = b""
        if not transaction_id:
            raise Es9Malformed("transactionId is not hexadecimal")
        return transaction_id

    def _check_transaction(self, found):
        # Where it is missing, or stands behind the package, the card still compares the signed one.
        if found.get(b"transactionId", self._transaction).lower() != self._transaction.lower():
            raise Es9Malformed("the SM-DP+ answers another transaction")


class _Der:
    """Bytes that go out in base64."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return (len(self.data) + 2) // 3 * 4


def _chunks(members):
    """A JSON object of strings, piece by piece."""
    yield b"{"
    for index, (lead, value) in enumerate(members):
        yield lead if index else lead[1:]
        if isinstance(value, _Der):
            view = memoryview(value.data)
            for i in range(0, len(view), _PIECE):
                yield b2a_base64(view[i : i + _PIECE])[:-1]
        else:
            yield value
        yield b'"'
    yield b"}"


async def _der(json):
    """A whole string of base64."""
    stream = await json.base64()
    out = bytearray()
    piece = memoryview(bytearray(_PIECE))
    while True:
        n = await stream.readinto(piece)
        if not n:
            return out
        if len(out) + n > _LARGEST_FIELD:
            raise Es9Malformed("a field of more than {} bytes".format(_LARGEST_FIELD))
        out.extend(piece[:n])


def _unwrapped(function, name, tag, der):
    """Exactly one TLV of that tag. Some servers wrap it in itself once more."""
    inner = _value(tag, der)
    if inner is None:
        raise Es9Malformed("{}: {} is no {:X}".format(function, name.decode(), tag))
    twice = tag in (0x04, 0x5F37) and _value(tag, inner) is not None
    return inner if twice else der


def _value(tag, der):
    """The value of the one TLV of that tag that der is, or None."""
    try:
        got, start, end = tlv.header(der)
    except tlv.TlvError:
        return None
    return der[start:end] if got == tag and end == len(der) else None


def _joined(found, names):
    return b"".join([found[name] for name, _ in names])


async def _status(json):
    """status, subjectCode, reasonCode, message of a header, b"" where absent."""
    found = {}
    depth = 1
    await json.enter()
    while depth:
        name = await json.name()
        if name is None:
            depth -= 1
        elif name in (b"functionExecutionStatus", b"statusCodeData"):
            await json.enter()
            depth += 1
        elif name in (b"status", b"subjectCode", b"reasonCode"):
            found[name] = await json.text(_CODE)
        elif name == b"message":
            found[name] = await json.text(_MESSAGE)
        else:
            await json.skip()
    return [found.get(name, b"") for name in (b"status", b"subjectCode", b"reasonCode", b"message")]


def _words(text):
    """For a log: what a server says is not to be trusted with more than letters."""
    return "".join([chr(octet) if 0x20 <= octet < 0x7F else "?" for octet in text])
