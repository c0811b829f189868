"""ESipa in its JSON binding (SGP.32 6.4): the functions of Esipa in esipa.py, what they take and give the same.

Loaded where the settings choose this binding.
"""

from binascii import hexlify

from ipa import tlv
from ipa.compat import const
from ipa.net import ChannelRefused, EsipaMalformed, EsipaRefused, Package
from ipa.net.json_functions import Der, JsonFunctions, joined

_NO_EIM_PACKAGE_AVAILABLE = "8.1.1/3.7"
_CANCEL_SESSION_RESPONSE = const(0xBF41)
_CTX_PARAMS_1 = const(0xA2)

_PACKAGES = (b"euiccPackageRequest", b"ipaEuiccDataRequest", b"profileDownloadTriggerRequest")
_ACKNOWLEDGEMENTS = ((b"eimAcknowledgements", 0xBF53),)
# The fields of an answer in the order of the ASN.1, with their tags; peers name the key identifier in two ways.
_SERVER = (
    (b"serverSigned1", 0x30),
    (b"serverSignature1", 0x5F37),
    (b"euiccCiPKIdentifierToBeUsed", 0x04),
    (b"euiccCiPKIdToBeUsed", 0x04),
    (b"serverCertificate", 0x30),
    (b"matchingId", 0x0C),
    (b"ctxParams1", 0xA0),
)
_OFFER = (
    (b"profileMetadata", 0xBF25),
    (b"smdpSigned2", 0x30),
    (b"smdpSignature2", 0x5F37),
    (b"smdpCertificate", 0x30),
    (b"hashCc", 0x04),
)


class EsipaJson(JsonFunctions):
    """`link` as Esipa has it."""

    malformed = EsipaMalformed

    def __init__(self, link):
        super().__init__()
        self._link = link
        self._body = None

    def close(self):
        """Forget what is left of the last answer."""
        if self._body is not None:
            self._body.close()
            self._body = None

    async def _post(self, function, parts, length):
        self.close()
        try:
            self._body = await self._link.exchange(parts, function)
        except ChannelRefused as error:
            raise EsipaRefused(function, error) from None
        return self._body

    def _refused(self, function, code, message):
        return EsipaRefused(function, code)

    # eIM packages

    async def get_eim_package(self, eid, rplmn=None, cause=None):
        function = "getEimPackage"
        members = ((b"eidValue", hexlify(eid)),)
        if cause is not None:
            members += ((b"notifyStateChange", True), (b"stateChangeCause", cause))
        if rplmn is not None:
            members += ((b"rPlmn", Der(rplmn)),)
        json = await self._call(function, *members)
        try:
            await json.enter()
            while True:
                name = await json.name()
                if name in _PACKAGES:
                    reader = tlv.Reader(await json.base64())
                    tag, length = await reader.header()
                    json.room = None
                    return Package(tag, length, reader)
                if name is None:
                    raise EsipaMalformed(function, "no package in the answer")
                if name == b"header":
                    await self._header(function, json)
                elif name == b"eimPackageError":
                    code = await json.word()
                    if code == b"1":
                        return None
                    if code != b"0":  # some say it of every package
                        raise EsipaRefused(function, str(code, "utf-8"))
                else:
                    await json.skip()
        except EsipaRefused as error:
            if error.code == _NO_EIM_PACKAGE_AVAILABLE:
                return None
            raise

    async def provide_eim_package_result(self, eid, *result):
        function = "provideEimPackageResult"
        json = await self._call(function, (b"eidValue", hexlify(eid)), (b"eimPackageResult", Der(*result)))
        if await json.is_over():
            return []
        found = await self._fields(function, json, _ACKNOWLEDGEMENTS, needed=False)
        listed = tlv.find(joined(found, _ACKNOWLEDGEMENTS), 0xBF53)
        return [tlv.integer(seq_number) for tag, seq_number, _ in tlv.items(listed) if tag == 0x80]

    async def handle_notification(self, pending_notification):
        function = "handleNotification"
        await self._done(function, await self._call(function, (b"pendingNotification", Der(pending_notification))))
        self.close()

    # Indirect profile download, 3.2.3.2

    async def initiate_authentication(self, challenge, address=None, euicc_info_1=b"", transaction=None):
        function = "initiateAuthentication"
        members = ((b"euiccChallenge", Der(challenge)),)
        if address is not None:
            members += ((b"smdpAddress", address.encode()),)
        if euicc_info_1:
            members += ((b"euiccInfo1", Der(euicc_info_1)),)
        if transaction is not None:
            members += ((b"eimTransactionId", hexlify(transaction)),)
        found = await self._fields(function, await self._call(function, *members), _SERVER, needed=False)
        if b"ctxParams1" in found:  # a CHOICE, under a tag of its own in the ASN.1 binding
            found[b"ctxParams1"] = tlv.encode(_CTX_PARAMS_1, found[b"ctxParams1"])
        return joined(found, _SERVER)

    async def authenticate_client(self, transaction_id, response):
        function = "authenticateClient"
        json = await self._in_session(function, transaction_id, (b"authenticateServerResponse", Der(response)))
        found = await self._fields(function, json, _OFFER, needed=False)
        self._check_transaction(function, found)
        return joined(found, _OFFER)

    async def get_bound_profile_package(self, transaction_id, response):
        function = "getBoundProfilePackage"
        json = await self._in_session(function, transaction_id, (b"prepareDownloadResponse", Der(response)))
        return await self._package(function, json)

    async def cancel_session(self, transaction_id, response):
        function = "cancelSession"
        response = Der(tlv.head(_CANCEL_SESSION_RESPONSE, len(response)), response)
        json = await self._in_session(function, transaction_id, (b"cancelSessionResponse", response))
        await self._done(function, json)

    async def _in_session(self, function, transaction_id, member):
        self._transaction = hexlify(transaction_id)
        return await self._call(function, (b"transactionId", self._transaction), member)
