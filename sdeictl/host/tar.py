"""Reads the members of a tar archive in their order, in bounded memory.

tarfile of Python reads long names, PAX headers and maps of sparse files whole, whatever their size. It parses
the header blocks here; this module limits what may follow them.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from typing import Protocol

from sdeictl.text import NamedTuple

MAX_NAME_BYTES = 4096
"""Limit for a name: PATH_MAX of the kernel."""
MAX_EXTENSION_BYTES = 64 << 10
"""Limit for a PAX header or a long name."""
MAX_MEMBER_BYTES = 1 << 40
MAX_HEADERS = 300_000
"""Limit for the members, with the headers that extend one."""
_BLOCK = 512
_SKIPPED_BYTES = 1 << 18
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_KEYWORDS = ("path", "linkpath", "size")
_SPARSE = "GNU.sparse."
"""How the PAX keywords of sparse files begin."""
_SPARSE_TEXT = "it has a sparse file: pack it without the option --sparse of tar"


class TarError(ValueError):
    """The archive is damaged, or uses what this module does not read; the message is a clause."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""


class Member(NamedTuple):
    """One member of an archive."""

    name: str
    type: bytes
    """One of tarfile's constants, such as REGTYPE."""
    size: int
    """Of its content, in bytes."""
    link: str
    """The target of a symbolic or a hard link."""


class TarReader:
    """The members of an archive. Iterate over them; content() reads the content of the latest one."""

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self._left = 0
        """How many bytes of the latest member were not read, with what fills its last block."""
        self._headers = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield the members up to the mark at the end of the archive; raise TarError."""
        common: dict[str, str] = {}
        own: dict[str, str] = {}
        while header := self._header():
            self._left = -(-header.size // _BLOCK) * _BLOCK
            if header.type in _LONG:
                own[_LONG[header.type]] = _text(self._extension(header).split(b"\0")[0])
            elif header.type in _PAX:
                own.update(_parse_pax(self._extension(header)))
            elif header.type == tarfile.XGLTYPE:
                common.update(_parse_pax(self._extension(header)))
            else:
                member = _member(header, {**common, **own})
                self._left = -(-member.size // _BLOCK) * _BLOCK
                own = {}
                yield member
            self._skip()

    def content(self, member: Member) -> bytes:
        """Return the content of the latest member; raise TarError if it is cut short."""
        content = self._stream.read(member.size)
        self._left -= len(content)
        if len(content) < member.size:
            raise TarError("it is cut short")
        return content

    def _header(self) -> tarfile.TarInfo | None:
        """Return the next header; None at the end mark, a block of zeros."""
        block = self._stream.read(_BLOCK)
        if len(block) < _BLOCK:
            raise TarError("it is cut short: the mark at its end is missing")
        self._headers += 1
        if self._headers > MAX_HEADERS:
            raise TarError(f"it has more than {MAX_HEADERS:,} headers")
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if not any(block):
                return None
            raise TarError("it is not a tar archive, or it is damaged") from error
        if not 0 <= header.size <= MAX_MEMBER_BYTES:
            raise TarError(f"it has a member of {header.size} bytes")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise TarError(_SPARSE_TEXT)
        return header

    def _extension(self, header: tarfile.TarInfo) -> bytes:
        if header.size > MAX_EXTENSION_BYTES:
            raise TarError(
                f"it has a header of {header.size} bytes, more than {MAX_EXTENSION_BYTES >> 10} KiB"
            )
        return self.content(Member("", header.type, header.size, ""))

    def _skip(self) -> None:
        while self._left > 0:
            skipped = len(self._stream.read(min(self._left, _SKIPPED_BYTES)))
            self._left -= skipped
            if not skipped:
                raise TarError("it is cut short")


def _member(header: tarfile.TarInfo, extended: Mapping[str, str]) -> Member:
    """Return the member of a header, with what long names and PAX headers say instead of it."""
    name, link = extended.get("path", header.name), extended.get("linkpath", header.linkname)
    for text in (name, link):
        if len(text) > MAX_NAME_BYTES or "\0" in text:
            raise TarError(f"it has a name that no file can have: {text[:40]!r}...")
    size = extended.get("size", str(header.size))
    if not (size.isascii() and size.isdecimal() and len(size) < 20 and int(size) <= MAX_MEMBER_BYTES):
        raise TarError(f"it has a member of {size[:40]} bytes")
    # The headers of links and directories may state a size, but no content follows them (POSIX pax).
    has_content = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
    return Member(name, header.type, int(size) if has_content else 0, link)


def _parse_pax(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the records of a PAX header that matter, `<length> <keyword>=<value>` and a line feed."""
    at = 0
    while at < len(data) and data[at]:
        digits, _, _ = data[at : at + 10].partition(b" ")
        end = at + (int(digits) if digits.isdigit() else 0)
        keyword, found, value = data[at + len(digits) + 1 : end].partition(b"=")
        if end > len(data) or not found or not value.endswith(b"\n"):
            raise TarError("it has a damaged PAX header")
        if keyword.startswith(_SPARSE.encode()):
            raise TarError(_SPARSE_TEXT)
        if (name := _text(keyword)) in _KEYWORDS:
            yield name, _text(value[:-1])
        at = end


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
