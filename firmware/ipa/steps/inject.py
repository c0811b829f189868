"""TransferEimPackage: packages that the device did not request (SGP.32 3.1.1.2, 5.14).

They come from the eIM over the association that the assistant keeps open for some time, or from an application on the
device that received them by other means (Annex B: LwM2M, MQTT). If execution takes longer than an answer may take, as
for a download or a profile switch, the answer is eimPackageReceived; the result is sent to the eIM as after a poll.
"""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.compat import ERROR, INFO, const, log
from ipa.net import EIM_ACKNOWLEDGEMENTS, PROFILE_DOWNLOAD_TRIGGER, NetError, Package
from ipa.net.coap_server import Server
from ipa.steps import notify, packages

_TRANSFER_EIM_PACKAGE = const(0xBF4E)
_INTEGER = const(0x02)
_ERROR = const(0xA0)  # eimPackageResultResponseError
_RECEIVED = (b"\xbf\x4e\x02\x05\x00",)

# eimPackageError
_INVALID_PACKAGE_FORMAT = const(1)
UNDEFINED_ERROR = const(127)


class Transfer:
    """One TransferEimPackageRequest and its result."""

    def __init__(self, session):
        self._session = session
        self._result = None
        self.trigger = None  # a Package that is to be executed after the answer
        self.profile_changes = False

    async def answer(self, stream):
        """Read the request from `stream` and execute it. Returns the parts of the TransferEimPackageResponse.

        They are views that the next card command may overwrite. Raises the exceptions of the stream, and CardError,
        after which the answer is UNDEFINED_ERROR.
        """
        try:
            package = await _package(stream)
            if package.tag == EIM_ACKNOWLEDGEMENTS:
                return await self._acknowledge(await package.read())
            if package.tag == PROFILE_DOWNLOAD_TRIGGER:
                self.trigger = Package(package.tag, package.length, tlv.Reader(Bytes(await package.read())))
                return _RECEIVED
            return await self._carry_out(package)
        except tlv.TlvError as error:
            log(ERROR, "inject:", error)
            return refusal(_INVALID_PACKAGE_FORMAT)

    async def _acknowledge(self, body):
        for tag, value, _ in tlv.items(body):
            if tag == 0x80 and await notify.acknowledge(self._session, tlv.integer(value)):
                log(INFO, "inject: result", tlv.integer(value), "acknowledged, removed from the card")
        return _RECEIVED

    async def _carry_out(self, package):
        esipa = self._session.esipa
        self._session.esipa = self  # so that providing a result provides the answer
        try:
            self.profile_changes = await packages.execute(self._session, package)
        finally:
            self._session.esipa = esipa
        if self.profile_changes:
            return _RECEIVED
        if self._result[0][0] == _ERROR:
            return refusal(tlv.integer(tlv.find(self._result[0], _ERROR, _INTEGER)))
        return (tlv.head(_TRANSFER_EIM_PACKAGE, sum([len(part) for part in self._result])),) + self._result

    async def provide_eim_package_result(self, _eid, *result):
        self._result = result  # sent later as the answer: nothing is acknowledged now


async def listen(session, coap, ms, most):
    """Execute the packages that the eIM sends, at most `most`, until it has sent none for `ms`.

    Returns (whether the enabled profile changes, a Package that is still to be executed or None).
    """
    server = Server(coap)
    log(INFO, "inject: listening for", ms // 1000, "s")
    for _ in range(most):
        request = await server.request(ms)
        if request is None:
            return False, None
        transfer = Transfer(session)
        try:
            parts = await transfer.answer(request)
        except CardError:
            await server.answer(*refusal(UNDEFINED_ERROR))
            raise
        if transfer.profile_changes:
            try:
                await server.answer(*parts)
            except NetError as error:
                log(INFO, "inject: the REFRESH came before the answer went:", error)
            return True, None
        await server.answer(*parts)
        if transfer.trigger is not None:
            return False, transfer.trigger
    log(INFO, "inject:", most, "packages are enough for one poll")
    return False, None


async def _package(stream):
    """The eIM package of a request, which must contain nothing else. Raises TlvError."""
    reader = tlv.Reader(stream)
    tag, room = await reader.header()
    if tag != _TRANSFER_EIM_PACKAGE:
        raise tlv.TlvError("{:X} is no TransferEimPackageRequest".format(tag), 0)
    tag, length = await reader.header()
    if len(reader.head) + length != room:
        raise tlv.TlvError("{:X} does not fill its request".format(tag), reader.position)
    return Package(tag, length, reader)


def refusal(code):
    """The parts of a TransferEimPackageResponse with an eimPackageError."""
    return (tlv.encode(_TRANSFER_EIM_PACKAGE, tlv.encode_integer(_INTEGER, code)),)


class Bytes:
    """Bytes as a stream."""

    def __init__(self, content):
        self._left = memoryview(content)

    async def readinto(self, buf):
        n = min(len(buf), len(self._left))
        buf[:n] = self._left[:n]
        self._left = self._left[n:]
        return n
