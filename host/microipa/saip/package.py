"""Reading a profile package: its elements, the subscriber in it, the files it makes."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from microipa.asn1.tlv import TlvError, parse_all
from microipa.saip import checks, tree
from microipa.saip.elements import Aka, Element
from microipa.saip.files import CardFile, FileSystem
from microipa.saip.values import SaipError, iccid_from_header, imsi_from_bytes


class ProfilePackage:
    """A decoded package. ``elements`` are in their order; ``der`` is what was parsed."""

    def __init__(self, der: bytes, elements: list[Element]) -> None:
        self.der = der
        self.elements = elements

    @classmethod
    def parse(cls, der: bytes) -> ProfilePackage:
        """Decode all elements. Raises SaipError naming the element, the byte and the reason."""
        try:
            tlvs = parse_all(der)
        except TlvError as error:
            raise SaipError("profile package", error.offset, error.reason) from error
        if not tlvs:
            raise SaipError("profile package", 0, "is empty")
        return cls(der, [Element.decode(tlv) for tlv in tlvs])

    def encode(self) -> bytes:
        """The elements encoded again from their values. Equal to ``der`` for every DER package."""
        return b"".join(element.encode() for element in self.elements)

    def first(self, name: str) -> Element | None:
        """The first element called ``name``."""
        return next((element for element in self.elements if element.name == name), None)

    @property
    def header(self) -> dict[str, Any]:
        """ProfileHeader. Raises SaipError without one."""
        element = self.first("header")
        if element is None:
            raise SaipError("header", None, "is missing from the profile package")
        return element.value

    @property
    def iccid(self) -> str:
        """18 to 20 digits. The header has them in reading order, unlike EF.ICCID. Raises SaipError."""
        return iccid_from_header(self.header["iccid"])

    @property
    def imsi(self) -> str:
        """The digits of the first USIM's EF.IMSI. Raises SaipError without one."""
        return imsi_from_bytes(self.file("EF.IMSI").content)

    @property
    def aka(self) -> Aka:
        """Algorithm and keys of the first PE-AKAParameter that has any. Raises SaipError."""
        for element in self.elements:
            if element.name == "akaParameter" and element.value["algoConfiguration"][0] == "algoParameter":
                return Aka.of(element)
        raise SaipError("akaParameter", None, "is missing: no key to authenticate with")

    def files(self) -> dict[str, CardFile]:
        """Path to file, with the templates' files and contents. Raises SaipError when they make no sense."""
        return self._file_system.files

    def file(self, name: str) -> CardFile:
        """The first file called ``name``, such as EF.IMSI. Raises SaipError without one."""
        for file in self.files().values():
            if file.name == name:
                return file
        raise SaipError(name, None, "is not made by this package")

    def checks(self) -> list[checks.Finding]:
        """What a card or an operator would object to; empty for a package without fault."""
        return checks.checks(self)

    def tree(self, *, show_keys: bool = False) -> str:
        """The package as indented text. Keys, PINs and PUKs only when asked for."""
        return tree.tree(self, show_keys=show_keys)

    @cached_property
    def _file_system(self) -> FileSystem:
        system = FileSystem()
        for index, element in enumerate(self.elements):
            system.apply(index, element.name, element.value, element.offset)
        return system
