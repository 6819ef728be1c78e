"""`sdeictl capture`: what the probe reads of a host, without the parts that must not leave it.

A capture is a tar.gz of files at their paths on the host, with the kernel log as kmsg.txt, and a manifest
with the directory listings, the failed reads and a list of the parts that were left out. clean.py says what
of each file leaves. The probe gives the same verdict on the capture as on the host.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import posixpath
import re
import tarfile
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TypedDict

from sdeictl import __version__
from sdeictl.host.manifest import CAPTURE_SCHEMA, MANIFEST, parse_manifest_text
from sdeictl.host.paths import KMSG
from sdeictl.host.reader import Reader
from sdeictl.host.recording import RecordingRoot
from sdeictl.host.root import Root
from sdeictl.klog.public import LEFT_OUT
from sdeictl.probe.acpi import NOT_ALL_TABLES
from sdeictl.probe.clean import (
    OTHER_NAMES,
    RULES,
    Cleaner,
    clean_symbols,
    idle_description,
    is_place,
    what_is_left_out,
)
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ToolDocument
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.kept import Kept, KeptDocument, LpiDocument, read_kept
from sdeictl.probe.kernel import CONFIG_SYMBOLS, KEPT_SYMBOLS
from sdeictl.text import NamedTuple

OTHER_SYMBOLS = "symbols that no check knows, and addresses"
NO_RULE = "all of it, because no rule says what may leave"
_TIME = "%Y-%m-%dT%H:%M:%S+00:00"
_TIME_TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", re.ASCII)
_MAX_PATH = 4096
"""PATH_MAX of the kernel."""


class LeftOut(NamedTuple):
    """A part of a file that the capture leaves out."""

    path: str
    what: str
    """A noun phrase for people."""


class LeftOutDocument(TypedDict):
    """A part of a file that the capture leaves out."""

    path: str
    what: str


class ManifestDocument(TypedDict):
    """`sdeictl.capture/1`, the manifest; host/manifest.py and probe/kept.py read it."""

    schema: str
    tool: ToolDocument
    captured_at: str
    listings: Mapping[str, tuple[str, ...]]
    failures: dict[str, str]
    """The name of the error, such as EACCES, of each path that could not be read."""
    left_out: list[LeftOutDocument]
    kept: KeptDocument


class Capture(NamedTuple):
    """A capture before it is written."""

    files: dict[str, bytes]
    links: dict[str, str]
    manifest: ManifestDocument
    left_out: tuple[LeftOut, ...]
    """What was left out now. The manifest also has what the source of the capture had left out before."""
    facts: HostFacts
    """What the probe read. Its gaps show whether the capture is enough to judge the host."""


def make_capture(root: Root) -> Capture:
    """Read a host, or what was captured of one, and return the capture of it."""
    recorder = RecordingRoot(root)
    facts = collect(recorder)
    recorder.files.pop(f"/{MANIFEST}", None)
    cleaner = Cleaner(facts)
    files: dict[str, bytes] = {}
    failures = {path: error.errno or errno.EIO for path, error in recorder.failures.items()}
    left_out: list[LeftOut] = []
    for path, data in recorder.files.items():
        place = cleaner.path(path)
        content = cleaner.file(place, data) if place else None
        if place is None:
            left_out.append(LeftOut(LEFT_OUT, NO_RULE))
        elif content is None:
            failures[path] = errno.EFBIG
        else:
            files[place] = content
            if content != data:
                left_out.append(LeftOut(path if path == KMSG else place, what_is_left_out(place)))
    for path, found in recorder.found.items():
        files[path] = clean_symbols(found)
        left_out.append(LeftOut(path, OTHER_SYMBOLS))
    listings = {
        place: cleaner.listing(path, names)
        for path, names in recorder.listings.items()
        if (place := cleaner.path(path))
    }
    left_out += [LeftOut(path, OTHER_NAMES) for path, names in listings.items() if LEFT_OUT in names]
    links = {place: LEFT_OUT for path in recorder.links if (place := cleaner.path(path))}
    source = _Source(root)
    known = {(item.path, item.what) for item in source.left_out}
    manifest: ManifestDocument = {
        "schema": CAPTURE_SCHEMA,
        "tool": {"name": "sdeictl", "version": __version__},
        "captured_at": source.captured_at or datetime.now(timezone.utc).strftime(_TIME),
        "listings": dict(sorted(listings.items())),
        "failures": _failures(cleaner, failures),
        "left_out": [
            {"path": item.path, "what": item.what} for item in sorted({*source.left_out, *left_out})
        ],
        "kept": _kept(source.kept, cleaner),
    }
    new = tuple(item for item in left_out if (item.path, item.what) not in known)
    return Capture(files, links, manifest, new, facts)


class _Source:
    """What the manifest of the source says, if it is a capture itself."""

    def __init__(self, root: Root) -> None:
        self.kept = read_kept(Reader(root))
        self.captured_at: str | None = None
        self.left_out: list[LeftOut] = []
        try:
            manifest = parse_manifest_text(b"{}" if root.live else root.read(f"/{MANIFEST}"))
        except (OSError, ValueError):
            return
        if isinstance(manifest, dict):
            self.captured_at = _time(manifest.get("captured_at"))
            listed = manifest.get("left_out")
            for item in listed if isinstance(listed, list) else ():
                self._add(item)

    def _add(self, item: object) -> None:
        """Take what a capture says that it lacks, in the words of this version."""
        path, what = (item.get("path"), item.get("what")) if isinstance(item, dict) else (None, None)
        if not isinstance(path, str) or not isinstance(what, str) or len(path) > _MAX_PATH:
            return
        if what in _PHRASES and (path == KMSG or is_place(path)):
            self.left_out.append(LeftOut(path, what))


def _time(value: object) -> str | None:
    """Return the time of a capture, if a file of gzip can have it: its seconds have 32 bits."""
    if not isinstance(value, str) or not _TIME_TEXT.fullmatch(value):
        return None
    try:
        seconds = _seconds(value)
    except ValueError:
        return None
    return value if 0 <= seconds < 1 << 32 else None


def _seconds(time: str) -> int:
    """Return a time of _TIME in seconds since 1970; raise ValueError if there is no such time."""
    return int(datetime.strptime(time, _TIME).replace(tzinfo=timezone.utc).timestamp())


_PHRASES = frozenset((*(rule.what for rule in RULES), OTHER_NAMES, OTHER_SYMBOLS))


def _failures(cleaner: Cleaner, failures: Mapping[str, int]) -> dict[str, str]:
    """Return the name of each error. Where only a capture has files, a missing one says nothing."""
    places = {
        place: errno.errorcode.get(number, "EIO")
        for path, number in failures.items()
        if (place := cleaner.path(path)) and not (number == errno.ENOENT and posixpath.dirname(place) == "/")
    }
    return dict(sorted(places.items()))


def _kept(source: Kept, cleaner: Cleaner) -> KeptDocument:
    kept: KeptDocument = {
        "symbols": [name for name in KEPT_SYMBOLS if source.symbols is None or name in source.symbols],
        "options": [name for name in CONFIG_SYMBOLS if source.options is None or name in source.options],
    }
    if lpi := _lpi(cleaner):
        kept["lpi"] = lpi
    return kept


def _lpi(cleaner: Cleaner) -> LpiDocument | None:
    """Return what the AML of the ACPI tables says of the idle states: the capture has no AML."""
    facts = cleaner.facts
    if not (facts.idle_states and facts.idle_states.states) or facts.tables != "acpi":
        return None
    if facts.lpi is None:
        return {"unknown": facts.lpi_unknown} if facts.lpi_unknown != NOT_ALL_TABLES else None
    return {
        "states": [
            {
                "name": idle_description(cleaner, state.name),
                "latency": state.latency,
                "residency": state.residency,
                "context_lost": state.context_lost,
            }
            for state in facts.lpi
        ]
    }


def pack(capture: Capture) -> bytes:
    """Return the capture as the bytes of its tar.gz file."""
    output = io.BytesIO()
    manifest = json.dumps(capture.manifest, indent=1).encode() + b"\n"
    time = _seconds(capture.manifest["captured_at"])
    with (
        gzip.GzipFile(fileobj=output, mode="wb", mtime=time) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for path, data in {f"/{MANIFEST}": manifest, **capture.files}.items():
            archive.addfile(_member(path, len(data), time), io.BytesIO(data))
        for path, target in capture.links.items():
            member = _member(path, 0, time)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return output.getvalue()


def _member(path: str, size: int, time: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path.lstrip("/"))
    member.size, member.mtime, member.mode = size, time, 0o644
    return member
