"""The eIMs of a consumer card, which the device keeps for it: AddInitialEim and the eCOs (SGP.32 3.5, 5.9.4).

In the journal of the emulation stands [eimId, number of the file with the configuration, counter, token] of each.
"""

from ipa import tlv
from ipa.card import p256
from ipa.compat import const

_ADD_EIM = const(0xA8)
_DELETE_EIM = const(0xA9)
_UPDATE_EIM = const(0xAA)
_LIST_EIM = const(0xAB)

_EIM_ID = const(0x80)
_ID_TYPE = const(0x82)
_COUNTER = const(0x83)
_TOKEN = const(0x84)
_PUBLIC_KEY = const(0xA5)
_FIELDS = (_EIM_ID, 0x81, _ID_TYPE, _COUNTER, _TOKEN, _PUBLIC_KEY, 0xA6, 0x87, 0x88, 0x89)

_MOST_EIMS = const(4)
_LONGEST_ID = const(128)
_LARGEST_COUNTER = const(0x7FFFFFFF)

_OK = const(0)
_NOT_FOUND = const(1)
_INSUFFICIENT_MEMORY = const(1)
_ALREADY_EXISTS = const(2)
_LAST_DELETED = const(2)
_INVALID_TOKEN = const(5)
_COUNTER_OUT_OF_RANGE = const(6)
_COMMAND_ERROR = const(7)


class Refused(Exception):
    def __init__(self, code):
        super().__init__("eIM configuration refused with {}".format(code))
        self.code = code


def code_of(error):
    """The code with which a card tells of Refused or TlvError."""
    return error.code if isinstance(error, Refused) else _COMMAND_ERROR


def signing_key(configuration):
    """The point on P-256 of an eimPublicKeyData in the value of a configuration. Raises p256.BadKey."""
    data = tlv.find(configuration, _PUBLIC_KEY)
    key, certificate = tlv.find(data, 0xA0), tlv.find(data, 0xA1)
    if key is None and certificate is None:
        raise p256.BadKey("no eimPublicKeyData")
    whole = tlv.sequence(key if certificate is None else certificate)
    return p256.point(whole if certificate is None else p256.certified_key(whole))


class Ecos:
    """The operations of one package. `changes` go to the journal with the results, `gone` are files to forget then."""

    switch = None  # no profile changes

    def __init__(self, card):
        self._card = card
        self._eims = list(card.state.get("eims", ()))
        self._token = card.state.get("token", 0)
        self.gone = []

    @property
    def changes(self):
        return {"eims": list(self._eims), "token": self._token}

    async def operate(self, tag, value, raw):
        """The result of one operation, a TLV; None when there is no such operation."""
        if tag == _LIST_EIM:
            return tlv.encode(tag, tlv.encode(0xA0, *[_listed(self._card.read(one[1])) for one in self._eims]))
        try:
            if tag in (_ADD_EIM, _UPDATE_EIM):
                await self.check(value)
            if tag == _ADD_EIM:
                token = self.add(value)
                return tlv.encode(tag, _code(_OK) if token is None else tlv.encode_integer(_TOKEN, token))
            if tag == _DELETE_EIM:
                return tlv.encode_integer(0x89, self._delete(value))
            if tag == _UPDATE_EIM:
                self._update(value)
                return tlv.encode_integer(0x8A, _OK)
        except (Refused, tlv.TlvError) as error:
            code = code_of(error)
            if tag == _ADD_EIM:
                return tlv.encode(tag, _code(code))
            return tlv.encode_integer(0x89 if tag == _DELETE_EIM else 0x8A, code)
        return None

    async def check(self, configuration):
        """A signing certificate whose CA the device knows must be that CA's. Raises Refused, TlvError."""
        certificate = tlv.find(configuration, _PUBLIC_KEY, 0xA1)
        if certificate is None:
            return
        from ipa.card import certified

        try:
            genuine = await certified.is_genuine(tlv.sequence(certificate), self._card.roots)
        except (tlv.TlvError, p256.BadKey, ValueError, IndexError):
            genuine = False
        if not genuine:
            raise Refused(_COMMAND_ERROR)

    def add(self, configuration):
        """Returns the association token, None without one. Raises Refused, TlvError."""
        fields = _fields(configuration)
        name = _name(fields)
        if self._place(name) is not None:
            raise Refused(_ALREADY_EXISTS)
        if len(self._eims) >= _MOST_EIMS:
            raise Refused(_INSUFFICIENT_MEMORY)
        if _COUNTER not in fields or _PUBLIC_KEY not in fields:
            raise Refused(_COMMAND_ERROR)
        counter = _counter(fields)
        token = None
        if _TOKEN in fields:
            if tlv.integer(tlv.find(fields[_TOKEN], _TOKEN)) != -1:
                raise Refused(_INVALID_TOKEN)
            self._token += 1
            token = self._token
        self._eims.append([name, self._card.write(_joined(fields, token)), counter, token])
        return token

    def _update(self, configuration):
        given = _fields(configuration)
        place = self._place(_name(given))
        if place is None:
            raise Refused(_NOT_FOUND)
        name, number, counter, token = self._eims[place]
        fields = _fields(self._card.read(number))
        if _COUNTER in given:
            lowered = _counter(given) < counter
            counter = _counter(given)
            if lowered and not _is_new_key(fields, given):  # packages of the past could be sent once more
                raise Refused(_COUNTER_OUT_OF_RANGE)
        fields.update(given)
        self._eims[place] = [name, self._card.write(_joined(fields, token)), counter, token]
        self.gone.append(number)

    def _delete(self, operation):
        place = self._place(_name(_fields(operation)))
        if place is None:
            return _NOT_FOUND
        self.gone.append(self._eims.pop(place)[1])
        return _OK if self._eims else _LAST_DELETED

    def _place(self, name):
        for place, one in enumerate(self._eims):
            if one[0] == name:
                return place
        return None


def _fields(configuration):
    """{tag: raw TLV} of what is known; a signing key must be one on P-256. Raises Refused, TlvError."""
    try:
        fields = {tag: raw for tag, _, raw in tlv.items(configuration) if tag in _FIELDS}
        if _PUBLIC_KEY in fields:
            signing_key(fields[_PUBLIC_KEY])
        return fields
    except p256.BadKey:
        raise Refused(_COMMAND_ERROR) from None


def _is_new_key(fields, given):
    return _PUBLIC_KEY in given and signing_key(given[_PUBLIC_KEY]) != signing_key(fields[_PUBLIC_KEY])


def _name(fields):
    try:
        name = str(tlv.find(fields[_EIM_ID], _EIM_ID), "utf-8")
    except (KeyError, UnicodeError):
        raise Refused(_COMMAND_ERROR) from None
    if not 0 < len(name) <= _LONGEST_ID:
        raise Refused(_COMMAND_ERROR)
    return name


def _counter(fields):
    counter = tlv.integer(tlv.find(fields[_COUNTER], _COUNTER))
    if not 0 <= counter <= _LARGEST_COUNTER:
        raise Refused(_COUNTER_OUT_OF_RANGE)
    return counter


def _joined(fields, token):
    """The value of a configuration as GetEimConfigurationData answers: with the token, without the counter."""
    out = bytearray()
    for tag in _FIELDS:
        if tag == _TOKEN and token is not None:
            out.extend(tlv.encode_integer(_TOKEN, token))
        elif tag in fields and tag not in (_COUNTER, _TOKEN):
            out.extend(fields[tag])
    return out


def _listed(configuration):
    """EimIdInfo."""
    return tlv.encode(0x30, *[tlv.find_raw(configuration, tag) or b"" for tag in (_EIM_ID, _ID_TYPE)])


def _code(code):
    return tlv.encode_integer(0x02, code)
