"""What an IoT eUICC has and a consumer card lacks, kept by the device: eIMs, counters, results (SGP.32 2.11, 5.9).

An eUICC package is verified here and carried out by the card's ES10c. What comes of it is signed by a key of the
device, which vouches for the device and not for the card: the operator enrols that key with the eIM.

The state is a journal and, numbered beside it, files for what is too long for one. A file is written before the
journal speaks of it and goes after the journal has forgotten it, so that a power cut finds a whole step or none.
"""

import os

from ipa import tlv
from ipa.card import p256
from ipa.card.channel import CardError, CommandTooLong
from ipa.card.es10 import CardRefused, Es10
from ipa.compat import ERROR, INFO, const, log

_LARGEST_PACKAGE = const(4096)
_LARGEST_RESULTS = const(1024)
_MOST_RESULTS = const(8)
# The card numbers its notifications itself, from 1 on, and one list of acknowledgements speaks of both.
_FIRST_SEQ_NUMBER = const(0x1000000)
_LARGEST_COUNTER = const(0x7FFFFFFF)

_ALREADY_EXISTS = const(2)  # AddInitialEim

# EuiccPackageErrorCode
_INVALID_EID = const(3)
_REPLAY_ERROR = const(4)
_COUNTER_OUT_OF_RANGE = const(6)

# processingTerminated
_RESULT_SIZE_OVERFLOW = b"\x02\x01\x01"
_UNKNOWN_COMMAND = b"\x02\x01\x02"
_INTERRUPTION = b"\x02\x01\x03"
_UNDEFINED = b"\x02\x01\x7f"


class Emulation(Es10):
    """Es10 of a consumer card. `state`: a Journal of its own, at `path`. Call begin() before anything else."""

    roots = ""  # file with the CAs under which signing certificates of eIMs are checked: DER, one behind the other

    def __init__(self, channel, state, path):
        super().__init__(channel)
        self._path = path
        self.state = state
        self._eid = b""

    async def begin(self):
        """Make the device key, the first time; end a package that was interrupted."""
        self._eid = await self.get_eid()
        if self.state.get("key") is None:
            secret = p256.new_secret()
            with open(self._path + ".pub", "wb") as file:
                file.write(await p256.public_key(secret))
            self.state.set(key=secret.hex())
        log(INFO, "card: this device signs in its place, the key to enrol is in", self._path + ".pub")
        await self._end_interrupted()

    async def _end_interrupted(self):
        """Give a package a result in whose middle the power went, or the card fell silent."""
        run = self.state.get("run")
        if run is not None:
            log(INFO, "card: an eUICC package was interrupted")
            await self._finish(run, await self._interrupted(run))

    # The functions of ES10b that the card does not have

    async def find_eim(self, eim_id=None, but=()):
        for name, number, _, _ in self.state.get("eims", ()):
            known = name.encode()
            if known == eim_id if eim_id else known not in but:
                return memoryview(self.read(number))
        return None

    async def add_initial_eim(self, configuration):
        from ipa.card import emulated_eims

        if self.state.get("eims"):
            raise CardRefused("AddInitialEim", _ALREADY_EXISTS)
        ecos = emulated_eims.Ecos(self)
        try:
            first = tlv.find(configuration, 0x30) or b""
            await ecos.check(first)
            ecos.add(first)
        except (emulated_eims.Refused, tlv.TlvError) as error:
            raise CardRefused("AddInitialEim", emulated_eims.code_of(error)) from None
        self.state.set(**ecos.changes)

    async def get_certs(self, ci_pk_id=None):
        """None: they say nothing of the device's key."""
        return b""

    async def retrieve_results(self):
        await self._end_interrupted()
        return b"".join([self.read(number) for _, number in self.state.get("results", ())])

    async def remove_notification(self, seq_number):
        if seq_number < _FIRST_SEQ_NUMBER:
            await super().remove_notification(seq_number)
        else:
            self._keep([one for one in self.state.get("results", ()) if one[0] != seq_number])

    async def load_euicc_package(self, *parts, stream=None, length=0):
        """5.9.1, checked in the order of a card. Returns BF51{A0|A1|A2}."""
        body = await _whole(parts, stream, length)
        signed = tlv.find(body, 0x30)
        eim_id, transaction = tlv.find_raw(signed, 0x80) or b"\x80\x00", tlv.find_raw(signed, 0x82) or b""
        eim = None
        for one in self.state.get("eims", ()):
            if one[0].encode() == tlv.find(eim_id, 0x80):
                eim = one
        if eim is None:
            return _package_result(0xA2, eim_id, transaction)
        name, number, counter, token = eim
        given = tlv.integer(tlv.find(signed, 0x81) or b"\x00")
        run = {"eim": name, "counter": given, "tx": bytes(transaction).hex(), "token": token, "done": ""}
        if not await self._is_signed(body, number, token):
            told = b"" if token is None else _suffix(token)
            return _package_result(0xA2, eim_id, transaction, told)
        if tlv.find(signed, 0x5A) != self._eid:
            return await self._error(run, _INVALID_EID)
        if given <= counter:
            return await self._error(run, _REPLAY_ERROR)
        if given > _LARGEST_COUNTER:
            return await self._error(run, _COUNTER_OUT_OF_RANGE)
        eims = [[one[0], one[1], given if one is eim else one[2], one[3]] for one in self.state.get("eims")]
        self.state.set(run=dict(run), eims=eims)
        return await self._finish(run, await self._run(run, signed))

    async def _is_signed(self, body, number, token):
        from ipa.card import emulated_eims

        key = emulated_eims.signing_key(self.read(number))
        signature = tlv.find(body, 0x5F37) or b""
        return await p256.verify(key, signature, tlv.find_raw(body, 0x30), _suffix(token))

    # Execution

    async def _run(self, run, signed):
        """Carry out the operations in order; the journal knows what came of one before the next begins."""
        operations = tlv.find(signed, 0xA0)
        if operations is None:
            from ipa.card import emulated_eims

            operations = tlv.find(signed, 0xA1)
            part = emulated_eims.Ecos(self)
        else:
            from ipa.card import es10c

            part = es10c.Psmos(self)
        results = bytearray()
        try:
            for tag, value, raw in tlv.items(operations):
                result = await part.operate(tag, value, raw)
                if result is None:
                    result = _UNKNOWN_COMMAND
                if len(results) + len(result) > _LARGEST_RESULTS:
                    result = _RESULT_SIZE_OVERFLOW
                results.extend(result)
                run["done"] = bytes(results).hex()
                self.state.set(run=dict(run), **part.changes)
                self.forget(part.gone)
                if result[0] == 0x02:
                    break
        except tlv.TlvError as error:
            log(ERROR, "card:", error)
            results.extend(_UNKNOWN_COMMAND)
        except CardError as error:
            log(ERROR, "card:", error)
            results.extend(_UNDEFINED)
        if part.switch is not None:
            run["switch"] = part.switch
            self.state.set(run=dict(run))
            es10c.settle(results, await part.commit())
        return results

    async def _interrupted(self, run):
        """What an interrupted package came to."""
        results = bytearray(bytes.fromhex(run["done"]))
        if run.get("switch") is None:
            results.extend(_INTERRUPTION)
            return results
        from ipa.card import es10c

        psmos = es10c.Psmos(self)
        psmos.switch = run["switch"]
        if not await psmos.is_done(psmos.switch):  # the package was accepted: what it asks for is done now
            es10c.settle(results, await psmos.commit())
        return results

    # Results

    async def _finish(self, run, results):
        """Sign, store and return the EuiccPackageResult; the package is over."""
        seq_number = self.state.get("seq", _FIRST_SEQ_NUMBER - 1) + 1
        signed = self._echo(run) + tlv.encode_integer(0x83, seq_number) + tlv.encode(0x30, results)
        result = await self._signed(0xA0, run, signed)
        number = self.write(result)
        kept = list(self.state.get("results", ())) + [[seq_number, number]]
        if len(kept) > _MOST_RESULTS:
            del kept[self._least_missed(kept)]
        self._keep(kept, seq=seq_number, run=None)
        return result

    def _least_missed(self, kept):
        """Place of the oldest result of the eIM with most of them: it makes room, no other eIM's does."""
        owners = [bytes(tlv.find(self.read(number), 0xBF51, 0xA0, 0x30, 0x80) or b"") for _, number in kept]
        most = max([owners.count(owner) for owner in owners])
        return [owners.count(owner) for owner in owners].index(most)

    async def _error(self, run, code):
        return await self._signed(0xA1, run, self._echo(run) + tlv.encode_integer(0x02, code))

    def _echo(self, run):
        """What every result says of its package: eimId, counterValue, eimTransactionId."""
        eim_id, counter = tlv.encode(0x80, run["eim"].encode()), tlv.encode_integer(0x81, run["counter"])
        return eim_id + counter + bytes.fromhex(run["tx"])

    async def _signed(self, form, run, value):
        data = tlv.encode(0x30, value)
        signature = await p256.sign(bytes.fromhex(self.state.get("key")), data, _suffix(run["token"]))
        return _package_result(form, data, tlv.encode(0x5F37, signature))

    # Files

    def _keep(self, results, **more):
        """These results and no others."""
        numbers = [number for _, number in results]
        gone = [number for _, number in self.state.get("results", ()) if number not in numbers]
        self.state.set(results=results, **more)
        self.forget(gone)

    def write(self, content):
        """Put it into a file of a new number, which the caller gives to the journal."""
        number = self.state.get("file", 0) + 1
        self.state.set(file=number)
        with open(self._name(number), "wb") as file:
            file.write(content)
        return number

    def read(self, number):
        with open(self._name(number), "rb") as file:
            return file.read()

    def forget(self, numbers):
        """Remove files which the journal does not speak of any more. What a power cut leaves of them does no harm."""
        while numbers:
            os.remove(self._name(numbers.pop()))

    def _name(self, number):
        return "{}.{}".format(self._path, number)


def _package_result(form, *parts):
    inner = tlv.encode(form, *parts)
    return tlv.encode(0xBF51, inner)


def _suffix(token):
    """What is signed behind the data: the association token, 0 without one (2.11.1.1)."""
    return tlv.encode_integer(0x84, token or 0)


async def _whole(parts, stream, length):
    if sum([len(part) for part in parts]) + length > _LARGEST_PACKAGE:
        raise CommandTooLong("an eUICC package of more than {} bytes".format(_LARGEST_PACKAGE))
    body = bytearray(length)
    done = 0
    while done < length:
        n = await stream.readinto(memoryview(body)[done:])
        if not n:
            raise CommandTooLong("an eUICC package that ends early")
        done += n
    return b"".join(parts) + bytes(body)
