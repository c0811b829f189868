"""What the card makes of a profile package, element by element, and how it answers (TCA clauses 7.2, 8.2.1, 8.11).

What it cannot do ends the installation when the element is mandated or the header asks for it; otherwise it is
a warning, and the element is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import NoReturn

from microipa.asn1 import saip
from microipa.asn1.tlv import Tlv, TlvError, integer, parse, tlv
from microipa.common.errors import MicroipaError
from microipa.euicc.nvm import State
from microipa.euicc.personalisation import ALGORITHMS
from microipa.saip import Aka, Element, ProfilePackage, SaipError
from microipa.saip.elements import NotSupported
from microipa.saip.files import FileSystem
from microipa.saip.pins import missing_pins
from microipa.saip.services import IOT_MINIMAL
from microipa.saip.templates import TEMPLATES

HEADER, END = 0xA0, 0xAA
OLDEST_VERSION = 2  # major version of the profile packages that cards still read
# The files of a CSIM can be selected and read; CAVE, its algorithm, is a service of its own, which is not here.
SERVICES = (
    "usim", "isim", "csim", "milenage", "usim-test-algorithm", "ber-tlv", "get-identity", "profile-a-x25519",
    "profile-b-p256",
)  # fmt: skip
MAX_WARNINGS = 32  # more of them would make a result that nobody wants to carry
RUNTIMES = ("javacard", "multos")
IOT_ELEMENTS = ("iot", "opt-iot")
_NO_FILES = ("phonebook", "eap", "df-snpn", "df-5gprose")  # no table of their template


class PeStatus(IntEnum):
    OK = 0
    PE_NOT_SUPPORTED = 1
    BAD_VALUES = 3
    NOT_ENOUGH_MEMORY = 4
    INVALID_REQUEST_FORMAT = 5
    INVALID_PARAMETER = 6
    RUNTIME_NOT_SUPPORTED = 7
    LIB_NOT_SUPPORTED = 8
    TEMPLATE_NOT_SUPPORTED = 9
    FEATURE_NOT_SUPPORTED = 10
    PIN_CODE_MISSING = 11
    UNSUPPORTED_PROFILE_VERSION = 31


@dataclass(frozen=True)
class Status:
    """A PEStatus. ``identification`` of the element, ``offset`` in it where an installation was given up."""

    code: PeStatus
    identification: int | None = None
    offset: int | None = None

    def encode(self) -> bytes:
        where = b"" if self.identification is None else integer(0x81, self.identification)
        return tlv(0x30, integer(0x80, self.code), where, b"" if self.offset is None else integer(0x83, self.offset))


class ElementRefused(MicroipaError):
    """Ends the installation with ``status``."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"profile element {status.identification}: {status.code.name}")
        self.status = status


class _LeftOut(MicroipaError):
    """The element is skipped, the installation goes on."""


@cache
def _names() -> dict[int, str]:
    """Tag to name of every profile element."""
    return {tag: member.name for member in saip.kind("ProfileElement").members for tag in member.kind.accepts or ()}


def services(state: State) -> tuple[str, ...]:
    """Everything for which this card sets a bit of UICCCapability."""
    return (*SERVICES, IOT_MINIMAL) if state.iot_minimal else SERVICES


def response(statuses: list[Status], *, aborted: bool) -> bytes:
    """EUICCResponse: 30{A0{30{80 status, 81 identification?, 83 offset?}…}, 81 aborted?}."""
    return tlv(0x30, tlv(0xA0, *(status.encode() for status in statuses)), tlv(0x81) if aborted else b"")


class Interpreter:
    """One package: ``take`` its elements in their order, ``finish`` when there are no more."""

    def __init__(self, state: State) -> None:
        self._services = services(state)
        self._newest_version = state.profile_version[0]
        self._minimal = state.iot_minimal
        self._header: Element | None = None
        self._elements: list[Element] = []
        self._files = FileSystem()
        self._ended = False
        self._now = Status(PeStatus.OK)  # the element being taken
        self._mandated = True
        self.warnings: list[Status] = []

    @property
    def identification(self) -> int | None:
        """Of the element taken last."""
        return self._now.identification

    def take(self, raw: bytes) -> None:
        """Raises ElementRefused."""
        found = self._open(raw)
        if self._ended or (self._header is None) != (found.tag == HEADER):
            self._refuse(PeStatus.BAD_VALUES)
        try:
            element = self._decoded(found)
            if found.tag == HEADER:
                self._take_header(element)
            else:
                self._take_element(element)
        except _LeftOut:
            return
        self._elements.append(element)
        self._ended = found.tag == END

    def finish(self) -> ProfilePackage:
        """The package of the elements that were taken. Raises ElementRefused."""
        if not self._ended:
            self._refuse(PeStatus.BAD_VALUES)
        package = ProfilePackage(b"".join(element.raw for element in self._elements), self._elements)
        for missing in missing_pins(package.elements, package.files()):
            number = self._elements[missing.element].header.get("identification")
            raise ElementRefused(Status(PeStatus.PIN_CODE_MISSING, number, 0))
        return package

    # one element

    def _open(self, raw: bytes) -> Tlv:
        """The TLV, with what its PEHeader says noted. Without one, an element cannot be left out."""
        self._now, self._mandated = Status(PeStatus.OK), True
        try:
            found = parse(raw)
            header = found.get(0xA0) if found.tag != HEADER else None
            if header is not None:
                self._now = Status(PeStatus.OK, int.from_bytes(header[0x81].value, "big"))
                self._mandated = 0x80 in header
        except TlvError as error:
            self._refuse(PeStatus.INVALID_REQUEST_FORMAT, error.offset)
        return found

    def _decoded(self, found: Tlv) -> Element:
        name = _names().get(found.tag, "rfu")
        if name.startswith("rfu") or name == "nonStandard" or (name in IOT_ELEMENTS and not self._minimal):
            self._object(PeStatus.PE_NOT_SUPPORTED)
        try:
            return Element.decode(found)
        except SaipError as error:
            self._refuse(PeStatus.INVALID_REQUEST_FORMAT, error.offset or 0)

    def _note_unknown(self, element: Element) -> None:
        """A component of a later version is ignored where that is allowed."""
        if element.encode() != element.raw:
            self._object(PeStatus.INVALID_PARAMETER, fatal=self._mandated and element.name != "header", skip=False)

    def _take_header(self, element: Element) -> None:
        value = element.value
        if not OLDEST_VERSION <= value["major-version"] <= self._newest_version:
            self._refuse(PeStatus.UNSUPPORTED_PROFILE_VERSION)
        asked = value["eUICC-Mandatory-services"]
        if saip.encode("ServicesList", asked)[1:] != parse(element.raw)[0xA5].raw[1:]:
            self._refuse(PeStatus.FEATURE_NOT_SUPPORTED)  # one that has no name yet
        for service in asked:
            if service not in self._services:
                runtime = service in RUNTIMES
                self._refuse(PeStatus.RUNTIME_NOT_SUPPORTED if runtime else PeStatus.FEATURE_NOT_SUPPORTED)
        if "iotOptions" in value and not self._minimal:
            self._refuse(PeStatus.FEATURE_NOT_SUPPORTED)
        if value.get("eUICC-Mandatory-AIDs"):
            self._refuse(PeStatus.LIB_NOT_SUPPORTED)
        if not self._templates.issuperset(value["eUICC-Mandatory-GFSTEList"]):
            self._refuse(PeStatus.TEMPLATE_NOT_SUPPORTED)
        self._note_unknown(element)
        self._header = element
        self._apply(element)

    def _take_element(self, element: Element) -> None:
        assert self._header is not None
        self._note_unknown(element)
        minimal = "iotOptions" in self._header.value
        if (element.name in IOT_ELEMENTS and not minimal) or (element.name == "mf" and minimal):
            self._refuse(PeStatus.BAD_VALUES)
        template = element.value.get("templateID")
        if template is not None and template not in self._templates & TEMPLATES[element.name].oids:
            listed = template in self._header.value["eUICC-Mandatory-GFSTEList"]
            self._object(PeStatus.TEMPLATE_NOT_SUPPORTED, fatal=self._mandated or listed)
        if element.name == "application":
            self._object(PeStatus.RUNTIME_NOT_SUPPORTED)
        if element.name == "akaParameter" and element.value["algoConfiguration"][0] == "algoParameter":
            self._take_algorithm(element)
        self._apply(element)

    def _take_algorithm(self, element: Element) -> None:
        try:
            if Aka.of(element).algorithm not in ALGORITHMS:
                self._object(PeStatus.FEATURE_NOT_SUPPORTED)
        except NotSupported:
            self._object(PeStatus.FEATURE_NOT_SUPPORTED)
        except SaipError:
            self._refuse(PeStatus.BAD_VALUES)

    def _apply(self, element: Element) -> None:
        try:
            self._files.apply(len(self._elements), element.name, element.value, 0)
        except SaipError:
            self._refuse(PeStatus.BAD_VALUES)

    @property
    def _templates(self) -> frozenset[str]:
        without = _NO_FILES if self._minimal else (*_NO_FILES, *IOT_ELEMENTS)
        return frozenset().union(*(template.oids for name, template in TEMPLATES.items() if name not in without))

    # what is wrong

    def _object(self, code: PeStatus, *, fatal: bool | None = None, skip: bool = True) -> None:
        """Refuse when the element is mandated (or ``fatal`` says so), else warn and leave it out."""
        fatal = self._mandated if fatal is None else fatal
        if fatal or len(self.warnings) >= MAX_WARNINGS:
            self._refuse(code)
        self.warnings.append(Status(code, self._now.identification))
        if skip:
            raise _LeftOut

    def _refuse(self, code: PeStatus, offset: int = 0) -> NoReturn:
        raise ElementRefused(Status(code, self._now.identification, offset))
