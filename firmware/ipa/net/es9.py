"""ES9+ in its JSON binding: what the assistant says to an SM-DP+ itself (SGP.22 5.6, 6.5).

The functions take and give what those of Esipa do, DER fields one behind the other, so that a download does
not care whom it talks to. What a card signed goes out as the card wrote it; a bound profile package is a
stream into the card.
"""

from binascii import unhexlify

from ipa import tlv
from ipa.compat import const
from ipa.net import Refused, ServerError
from ipa.net.json_functions import Der, JsonFunctions, joined, pieces

HEADERS = (
    b"Content-Type: application/json\r\n"
    b"X-Admin-Protocol: gsma/rsp/v2.5.0\r\n"
    b"User-Agent: gsma-rsp-ipad\r\n"
)
_PATH = "/gsma/rsp2/es9plus/"

_CANCEL_SESSION_RESPONSE = const(0xBF41)
_TRANSACTION_ID = const(0x80)

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

    def __init__(self, function, reason):
        super().__init__("{}: {}".format(function, reason))


class Es9(JsonFunctions):
    """`https`: connection to the SM-DP+ of that address."""

    malformed = Es9Malformed
    ROLE = 3  # id-rspRole-dp-tls-v2, of the server's certificate

    def __init__(self, https):
        super().__init__()  # its transaction is as the SM-DP+ spells it
        self._https = https

    def close(self):
        self._https.close()

    async def initiate_authentication(self, challenge, address, euicc_info_1, transaction=None):
        """Returns the fields from transactionId to serverCertificate. `transaction` is for eIMs only."""
        json = await self._call(
            "initiateAuthentication",
            (b"smdpAddress", address.encode()),
            (b"euiccChallenge", Der(challenge)),
            (b"euiccInfo1", Der(euicc_info_1)),
        )
        found = await self._fields("initiateAuthentication", json, _SERVER)
        self._transaction = found.get(b"transactionId", b"")
        return tlv.encode(_TRANSACTION_ID, self._transaction_id()) + joined(found, _SERVER)

    async def authenticate_client(self, transaction_id, response):
        """`response` is the card's BF38. Returns the fields from profileMetadata to smdpCertificate."""
        json = await self._request_authentication(response)
        found = await self._fields("authenticateClient", json, _OFFER)
        self._check_transaction("authenticateClient", found)
        return joined(found, _OFFER)

    async def _request_authentication(self, response):
        return await self._call(
            "authenticateClient",
            (b"transactionId", self._transaction),
            (b"authenticateServerResponse", Der(response)),
        )

    async def get_bound_profile_package(self, transaction_id, response):
        """`response` is the card's BF21. Returns (reader behind the header of BF36, length of its value)."""
        function = "getBoundProfilePackage"
        json = await self._call(
            function, (b"transactionId", self._transaction), (b"prepareDownloadResponse", Der(response))
        )
        return await self._package(function, json)

    async def handle_notification(self, pending_notification):
        """Hand a PendingNotification over. Returning means that the SM-DP+ has it."""
        function = "handleNotification"
        await self._done(
            function, await self._call(function, (b"pendingNotification", Der(pending_notification)))
        )

    async def cancel_session(self, transaction_id, response):
        """`response` is the value of the card's BF41."""
        function = "cancelSession"
        json = await self._call(
            function,
            (b"transactionId", self._transaction),
            (b"cancelSessionResponse", Der(tlv.encode(_CANCEL_SESSION_RESPONSE, response))),
        )
        await self._done(function, json)

    async def _post(self, function, parts, length):
        return await self._https.post(_PATH + function, length, lambda: pieces(parts))

    def _refused(self, function, code, message):
        return Es9Refused(function, code, message)

    def _transaction_id(self):
        try:
            transaction_id = unhexlify(self._transaction)
        except ValueError:
            transaction_id = b""
        if not transaction_id:
            raise Es9Malformed("initiateAuthentication", "transactionId is not hexadecimal")
        return transaction_id
