"""The objects that ACPI tables define in AML as static data (ACPI 6.5, chapter 20). No I/O.

Only what can be read without running code has a value: a name, a package, a method that returns either.
All else is Unknown: an object under an If, one that is defined twice, a method that computes, and a name that
other code could change. A table of any content is read within bounded time and depth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Union

from sdeictl.formats.acpi import HEADER
from sdeictl.text import NamedTuple

MAX_DEPTH = 24
"""Nesting of scopes, and of packages; the namespace of a large server has a depth of 8."""
MAX_ITEMS = 100_000
"""So many data objects are read of all tables together; a long one counts several times."""
MAX_NAMES = 2000
"""So many names are counted in the tables; a state of a processor has one."""
MAX_CODE_BYTES = 4 << 20
"""Limit for all tables together."""
_MAX_STRING_BYTES = 4096
_ITEM_BYTES = 64

_INTEGERS = {0x0A: 1, 0x0B: 2, 0x0C: 4, 0x0E: 8}
"""Bytes of an integer behind each prefix."""
_ZERO, _ONE, _ONES, _STRING = 0x00, 0x01, 0xFF, 0x0D
_ALIAS, _NAME, _SCOPE, _METHOD, _EXTERNAL, _RETURN = 0x06, 0x08, 0x10, 0x14, 0x15, 0xA4
_BUFFER, _PACKAGE, _VAR_PACKAGE, _IF, _ELSE = 0x11, 0x12, 0x13, 0xA0, 0xA1
_DEVICE, _PROCESSOR, _THERMAL_ZONE = b"[\x82", b"[\x83", b"[\x85"
_EXTENDED_WITH_LENGTH = (b"[\x81", _DEVICE, _PROCESSOR, b"[\x84", _THERMAL_ZONE, b"[\x86", b"[\x87")
_PROCESSOR_BYTES = 6
"""Number, address and length of its block, before its terms."""
_LEAD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_REST = _LEAD | frozenset(b"0123456789")


class Unknown(NamedTuple):
    """Something that cannot be told without running code."""

    why: str


class Reference(NamedTuple):
    """A name that stands for an object."""

    name: str
    scope: str


Value = Union[int, str, bytes, list["Value"], Unknown, Reference]
Namespace = dict[str, Value]
"""Objects by their absolute path, such as `\\_SB.C000._LPI`."""


class Tables:
    """The objects of several tables, the DSDT first."""

    def __init__(self, tables: Sequence[bytes]) -> None:
        self.names: Namespace = {}
        self._tables = tables
        self._read: Counter[str] = Counter()
        """How often the last segment of a name was met where it can only be read."""
        self._count: dict[str, int] = {}
        """How often it occurs in the tables at all."""
        self._left = MAX_ITEMS
        self._resolved = 0
        for table in tables:
            self._walk(table, HEADER.size, len(table), "\\", False, 0)

    @property
    def is_whole(self) -> bool:
        """Tell whether every object was read."""
        return self._left > 0

    def resolve(self, value: Value, depth: int = 0) -> Value:
        """Return a value with each name replaced by its object."""
        self._resolved += 1  # packages of names of packages: their sizes multiply
        if self._resolved > MAX_ITEMS:
            return Unknown("too many objects")
        if depth > MAX_DEPTH:
            return Unknown("names that go in a circle")
        if isinstance(value, list):
            return [self.resolve(item, depth + 1) for item in value]
        if not isinstance(value, Reference):
            return value
        last = value.name.strip("\\")[-4:]
        if last not in self._count:
            if len(self._count) == MAX_NAMES:
                return Unknown("too many names")
            self._count[last] = sum(table.count(last.encode()) for table in self._tables)
        if self._count[last] != self._read[last]:
            return Unknown(f"other code uses {last}, and may change it")
        path = self._find(value)
        if path is None:
            return Unknown(f"{last} is not defined here")
        return self.resolve(self.names[path], depth + 1)

    def _find(self, reference: Reference) -> str | None:
        """Return the path of an object; a name of one segment is looked for in the outer scopes too."""
        name, scope = reference
        path = _absolute(scope, name)
        while path not in self.names and len(name) == 4 and scope != "\\":
            scope = scope.rpartition(".")[0] or "\\"
            path = _absolute(scope, name)
        return path if path in self.names else None

    def _put(self, scope: str, name: str, value: Value, conditional: bool) -> None:
        self._read[name[-4:]] += 1
        path = _absolute(scope, name)
        if conditional:
            value = Unknown("defined under a condition")
        self.names[path] = Unknown("defined twice") if path in self.names else value

    def _walk(self, data: bytes, at: int, end: int, scope: str, conditional: bool, depth: int) -> None:
        """Collect the objects of a list of terms; a term that defines none is stepped over byte by byte."""
        while at < end and self._left > 0:
            try:
                at = self._term(data, at, end, scope, conditional, depth)
            except (ValueError, IndexError):
                at += 1

    def _term(self, data: bytes, at: int, end: int, scope: str, conditional: bool, depth: int) -> int:
        """Read one term; return where the next one begins. Raises ValueError and IndexError."""
        op, two = data[at], data[at : at + 2]
        if op == _NAME:
            name, next_at = _name(data, at + 1)
            value, next_at = self._data(data, next_at, scope, 0)
            self._put(scope, name, value, conditional)
            return next_at
        if op == _ALIAS:
            old, next_at = _name(data, at + 1)
            new, next_at = _name(data, next_at)
            self._read[old[-4:]] += 1
            self._put(scope, new, Reference(old, scope), conditional)
            return next_at
        if op == _EXTERNAL:
            name, next_at = _name(data, at + 1)
            self._read[name[-4:]] += 1
            return next_at + 2
        if op in _INTEGERS or op == _STRING:
            return self._data(data, at, scope, 0)[1]
        if (
            op in (_SCOPE, _METHOD, _IF, _ELSE, _BUFFER, _PACKAGE, _VAR_PACKAGE)
            or two in _EXTENDED_WITH_LENGTH
        ):
            return self._block(data, at, end, scope, conditional, depth)
        return at + 1

    def _block(self, data: bytes, at: int, end: int, scope: str, conditional: bool, depth: int) -> int:
        op, two = data[at], data[at : at + 2]
        start = at + (2 if op == _DEVICE[0] else 1)
        length, inside = _length(data, start)
        stop = start + length
        if not inside <= stop <= end or depth > MAX_DEPTH:
            raise ValueError("a block that does not fit")
        if op in (_IF, _ELSE):
            self._walk(data, inside, stop, scope, True, depth + 1)
        elif op == _METHOD:
            name, inside = _name(data, inside)
            self._put(
                scope, name, self._returned(data, inside + 1, stop, _absolute(scope, name)), conditional
            )
        elif op == _SCOPE or two in (_DEVICE, _PROCESSOR, _THERMAL_ZONE):
            name, inside = _name(data, inside)
            inside += _PROCESSOR_BYTES if two == _PROCESSOR else 0
            inner = _absolute(scope, name)
            if inner.count(".") > MAX_DEPTH:
                self._left = 0  # the path of each object in it would be long
            self._walk(data, inside, stop, inner, conditional, depth + 1)
        return stop

    def _returned(self, data: bytes, at: int, end: int, scope: str) -> Value:
        """Return what a method returns, if it does nothing else."""
        if at < end and data[at] == _RETURN:
            try:
                value, stop = self._data(data, at + 1, scope, 0)
            except (ValueError, IndexError):
                return Unknown("a method that computes")
            if stop == end:
                return value
        return Unknown("a method that computes")

    def _data(self, data: bytes, at: int, scope: str, depth: int) -> tuple[Value, int]:
        """Return the data object or the name at a place, and where it ends. Raises ValueError, IndexError."""
        self._left -= 1
        op = data[at]
        if self._left < 0 or depth > MAX_DEPTH:
            raise ValueError("too many objects")
        if op in (_ZERO, _ONE):
            return op, at + 1
        if op == _ONES:
            return (1 << 64) - 1, at + 1
        if op in _INTEGERS:
            end = at + 1 + _INTEGERS[op]
            if end > len(data):
                raise ValueError("a number that is cut short")
            return int.from_bytes(data[at + 1 : end], "little"), end
        if op == _STRING:
            end = data.index(0, at + 1, at + 1 + _MAX_STRING_BYTES)
            self._left -= (end - at) // _ITEM_BYTES
            return data[at + 1 : end].decode("ascii", "replace"), end + 1
        if op in (_BUFFER, _PACKAGE, _VAR_PACKAGE):
            return self._collection(data, at, scope, depth)
        name, end = _name(data, at)
        self._read[name[-4:]] += 1
        return Reference(name, scope), end

    def _collection(self, data: bytes, at: int, scope: str, depth: int) -> tuple[Value, int]:
        length, inside = _length(data, at + 1)
        end = at + 1 + length
        if not inside <= end <= len(data):
            raise ValueError("a collection that does not fit")
        if data[at] == _PACKAGE:
            inside += 1  # the number of its items
        else:
            _size, inside = self._data(data, inside, scope, depth + 1)
        if data[at] == _BUFFER:
            self._left -= (end - inside) // _ITEM_BYTES
            return bytes(data[inside:end]), end
        items: list[Value] = []
        while inside < end:
            item, inside = self._data(data, inside, scope, depth + 1)
            items.append(item)
        return items, end


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return a PkgLength and where it ends."""
    more = data[at] >> 6
    if not more:
        return data[at] & 0x3F, at + 1
    return data[at] & 0x0F | int.from_bytes(data[at + 1 : at + 1 + more], "little") << 4, at + 1 + more


def _name(data: bytes, at: int) -> tuple[str, int]:
    """Return a NameString and where it ends; raise ValueError if there is none."""
    text, count = "", 1
    if data[at] == ord("\\"):
        text, at = "\\", at + 1
    while data[at] == ord("^"):
        text, at = text + "^", at + 1
        if len(text) > MAX_DEPTH:
            raise ValueError("a scope that is too far outside")
    if data[at] == 0:
        return text, at + 1
    if data[at] == 0x2E:
        count, at = 2, at + 1
    elif data[at] == 0x2F:
        count, at = data[at + 1], at + 2
    segments = list(_segments(data[at : at + 4 * count], count))
    return text + ".".join(segments), at + 4 * count


def _segments(data: bytes, count: int) -> Iterator[str]:
    for number in range(count):
        segment = data[4 * number : 4 * number + 4]
        if len(segment) != 4 or segment[0] not in _LEAD or not _REST.issuperset(segment):
            raise ValueError("no name")
        yield segment.decode("ascii")


def _absolute(scope: str, name: str) -> str:
    """Return the path of a name in a scope."""
    if name.startswith("\\"):
        return name
    while name.startswith("^"):
        scope, name = scope.rpartition(".")[0] or "\\", name[1:]
    return f"\\{name}" if scope == "\\" else f"{scope}.{name}"
