"""The file system a profile package makes: templates, what elements change in them, files made freely.

Elements whose templates have no table in ``templates`` (CSIM, phonebook below an ADF, EAP) leave no files.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from microipa.asn1.tlv import tlv
from microipa.saip.templates import TEMPLATES, FileTemplate, Template
from microipa.saip.values import SaipError, iccid_from_header, iccid_to_bytes

MF = "3F00"
USIM_RID = bytes.fromhex("A000000087")  # 3GPP: before the PIX of an IoT Minimal Profile
MAX_FILE = 0xFFFF  # bytes: what offsets can reach
MAX_RECORDS = 254  # a number of one byte, of which two are taken (TS 102 221 clause 8.2.2.2)
MAX_TOTAL = 1 << 20  # bytes: a package must not make a card of gigabytes out of one size field
STRUCTURES = {"T": "transparent", "L": "linear", "C": "cyclic", "B": "ber-tlv", "D1": "df", "D2": "df"}
KIND_OF_DESCRIPTOR = {1: "T", 2: "L", 6: "C", 0x38: "D1", 0x39: "B"}  # TS 102 221 table 11.5
Value = list[tuple[str, Any]]  # a File in asn1tools notation


@dataclass(frozen=True)
class CardFile:
    """One file of the card.

    ``path``: identifiers from the MF on, "3F00/7FD0/6F07", an ADF by the identifier it has in this package.
    ``structure``: df, transparent, linear, cyclic or ber-tlv. ``content``: the whole, records one after the
    other. ``aid``: of an ADF. ``sfi``: short file identifier or None. ``element``: index in the package.
    ``pins``: the key references that a directory's pinStatusTemplateDO names.
    """

    path: str
    name: str
    structure: str
    content: bytes = field(default=b"", repr=False)
    record_length: int = 0
    sfi: int | None = None
    aid: bytes | None = None
    element: int = 0
    pins: bytes = b""

    @property
    def fid(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def records(self) -> list[bytes]:
        """The records of a linear or cyclic file, the first one first."""
        step = self.record_length
        return [self.content[i : i + step] for i in range(0, len(self.content), step)] if step else []


class FileSystem:
    """Applies profile elements in their order. ``files`` maps path to CardFile."""

    def __init__(self) -> None:
        self.files: dict[str, CardFile] = {MF: CardFile(MF, "MF", "df")}
        self._adf: dict[str, str] = {}
        self._header: dict[str, Any] = {}
        self._element = ""
        self._index = 0
        self._offset = 0
        self._total = 0

    def apply(self, index: int, name: str, value: dict[str, Any], offset: int) -> None:
        """Make the files of one element. ``offset`` is where it begins in the package. Raises SaipError."""
        self._index, self._element, self._offset = index, name, offset
        if name == "header":
            self._header = value
        elif name == "genericFileManagement":
            for commands in value["fileManagementCMD"]:
                self._manage(commands)
        elif name in TEMPLATES:
            self._from_template(TEMPLATES[name], self._completed(value) if name == "iot" else value)

    def _completed(self, value: dict[str, Any]) -> dict[str, Any]:
        """A PE-IoT with what the card takes from the header: EF.ICCID, and EF.DIR and the ADF by the PIX."""
        files: dict[str, Any] = {}
        if "iccid" in self._header:
            content = iccid_to_bytes(iccid_from_header(self._header["iccid"]))
            files["ef-iccid"] = [("fillFileContent", content)]
        adf: Value = value.get("adf-usim") or [("fileDescriptor", {})]
        if options := self._header.get("iotOptions"):
            aid = USIM_RID + options["pix"]
            entry = tlv(0x61, tlv(0x4F, aid))
            record = {"fileDescriptor": b"\x42\x21" + len(entry).to_bytes(2, "big"), "efFileSize": bytes([len(entry)])}
            files["ef-dir"] = [("fileDescriptor", record), ("fillFileContent", entry)]
            adf = [(kind, {"dfName": aid, **item} if kind == "fileDescriptor" else item) for kind, item in adf]
        return {**files, **value, "adf-usim": adf}

    def _from_template(self, template: Template, value: dict[str, Any]) -> None:
        level1 = directory = self._adf.get(template.application, MF)
        for field_name, expected in template.files.items():
            given: Value | None = value.get(field_name)
            if given is None and not (template.complete and expected.size is not None):
                continue
            if any(kind == "doNotCreate" for kind, _ in given or ()):
                continue
            parent = {"D1": MF, "D2": level1}.get(expected.kind, directory)
            made = self._create(expected, given or [], parent)
            if expected.kind == "D1":
                level1 = made.path
                if field_name.startswith("adf-"):
                    self._adf[template.application] = made.path
            if expected.is_directory:
                directory = made.path

    def _manage(self, commands: Value) -> None:
        """PE-GenericFileManagement: go somewhere, create, fill."""
        directory, target = MF, None
        fcp: dict[str, Any] | None = None
        fills: Value = []
        for kind, value in [*commands, ("filePath", b"")]:
            if kind in ("filePath", "createFCP"):
                if fcp is not None:
                    made = self._create(_generic(fcp), [("fileDescriptor", fcp), *fills], directory)
                    directory = made.path if made.structure == "df" else directory
                elif fills and target:
                    self._store(self._filled(target, fills))
                elif fills:
                    raise self._error("content without a file to put it in")
                fcp, fills = (value, []) if kind == "createFCP" else (None, [])
            if kind == "filePath":
                directory, target = self._at(value)
            elif kind != "createFCP":
                fills.append((kind, value))

    def _at(self, path: bytes) -> tuple[str, CardFile | None]:
        """The directory, and the file when ``path`` is one's, that filePath names."""
        full = "/".join([MF, *(path[i : i + 2].hex().upper() for i in range(0, len(path), 2))])
        found = self.files.get(full.replace("3F00/3F00", MF))
        if found is None or len(path) % 2:
            raise self._error(f"filePath {path.hex().upper()} is not a file made before")
        if found.structure == "df":
            return found.path, None
        return found.path.rpartition("/")[0], found

    def _create(self, template: FileTemplate, given: Value, parent: str) -> CardFile:
        fcp: dict[str, Any] = next((value for kind, value in given if kind == "fileDescriptor"), {})
        fid = fcp["fileID"].hex().upper() if "fileID" in fcp else template.fid
        if fid is None:
            raise self._error(f"{template.field} has no file identifier")
        path = MF if fid == MF else f"{parent}/{fid}"
        made = CardFile(
            path=path,
            name=file_name(template.field, fid),
            structure=STRUCTURES[template.kind],
            sfi=_sfi(fcp, template),
            aid=fcp.get("dfName"),
            element=self._index,
            pins=fcp.get("pinStatusTemplateDO", b""),
        )
        if fcp.get("linkPath"):
            return self._link(made, fcp["linkPath"])
        if not template.is_directory:
            record_length, size = self._sizes(fcp, template, given)
            if size > MAX_FILE:
                raise self._error(f"{made.name} of {size} bytes, {MAX_FILE} is the limit")
            if record_length and size > MAX_RECORDS * record_length:
                raise self._error(f"{made.name} of {size // record_length} records, {MAX_RECORDS} is the limit")
            empty = _pattern(fcp, template, record_length or size, size)
            made = self._filled(replace(made, record_length=record_length, content=empty), given)
        self._store(made)
        return made

    def _sizes(self, fcp: dict[str, Any], template: FileTemplate, given: Value) -> tuple[int, int]:
        """Record length (0: no records) and size in bytes, from FCP, template or the content itself."""
        declared = int.from_bytes(fcp["efFileSize"], "big") if fcp.get("efFileSize") else None
        if template.kind == "B":
            return 0, min(declared or 0, _extent(given))
        if template.kind == "T":
            size = declared if declared is not None else template.size
            return 0, size if size is not None else _extent(given)
        descriptor = fcp.get("fileDescriptor", b"")
        length = int.from_bytes(descriptor[2:4], "big") if len(descriptor) >= 4 else template.size
        if not length:
            raise self._error(f"{file_name(template.field, '')} has no record length")
        size = declared if declared is not None else length * (template.records or 0)
        size = size or -(-_extent(given) // length) * length
        if size % length:
            raise self._error(
                f"{file_name(template.field, '')} of {size} bytes does not divide into records of {length}"
            )
        return length, size

    def _filled(self, file: CardFile, given: Value) -> CardFile:
        """``file`` with the fillFile commands of ``given`` carried out."""
        content, position = bytearray(file.content), 0
        for kind, value in given:
            if kind == "fillFileOffset":
                position += value
            elif kind == "fillFileContent":
                end = position + len(value)
                if end > len(content):
                    raise self._error(f"content up to byte {end} for {file.name} of {len(content)} bytes")
                content[position:end] = value
                position = end
        return replace(file, content=bytes(content))

    def _link(self, made: CardFile, path: bytes) -> CardFile:
        """A file or directory that is another one under a second path."""
        _, target = self._at(path)
        if target is None:
            raise self._error(f"{made.name} links to {path.hex().upper()}, which is no EF")
        linked = replace(
            made, structure=target.structure, content=target.content, record_length=target.record_length
        )
        self._store(linked)
        return linked

    def _store(self, file: CardFile) -> None:
        self._total += len(file.content)
        if self._total > MAX_TOTAL:
            raise self._error(f"files of more than {MAX_TOTAL} bytes altogether")
        self.files[file.path] = file

    def _error(self, reason: str) -> SaipError:
        return SaipError(self._element, self._offset, reason)


def _generic(fcp: dict[str, Any]) -> FileTemplate:
    """What createFCP describes, as if it came from a template."""
    descriptor = fcp.get("fileDescriptor", b"\x41")[0]
    kind = KIND_OF_DESCRIPTOR.get(descriptor & 0x3F if descriptor & 0x38 == 0x38 else descriptor & 0x07, "T")
    return FileTemplate("", None, kind)


def _extent(given: Value) -> int:
    """How far the content reaches."""
    return sum(
        value if kind == "fillFileOffset" else len(value)
        for kind, value in given
        if kind in ("fillFileOffset", "fillFileContent")
    )


def _pattern(fcp: dict[str, Any], template: FileTemplate, unit: int, size: int) -> bytes:
    """The content before anything is filled in, record by record (TS 102 222 clause 6.3.2.2.2)."""
    info = fcp.get("proprietaryEFInfo", {})
    if info.get("repeatPattern"):
        repeat = info["repeatPattern"]
        return bytes(repeat * (size // len(repeat) + 1))[:size]
    fill = info.get("fillPattern") or template.fill
    one = (fill + fill[-1:] * unit)[:unit]
    return bytes(one * (size // unit)) if unit else b""


def _sfi(fcp: dict[str, Any], template: FileTemplate) -> int | None:
    if "shortEFID" in fcp:
        return fcp["shortEFID"][0] >> 3 if fcp["shortEFID"] else None
    if template.field or template.is_directory or "fileID" not in fcp:
        return template.sfi
    return fcp["fileID"][1] & 0x1F or None


def file_name(field_name: str, fid: str) -> str:
    """EF.IMSI from ef-imsi, DF.5GS from df-df-5gs; the identifier for files that have no name."""
    kind, _, rest = field_name.replace("df-df-", "df-", 1).upper().partition("-")
    return f"{kind}.{rest}" if rest else kind or fid
