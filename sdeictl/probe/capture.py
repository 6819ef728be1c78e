"""`sdeictl capture`: everything that the probe reads, without the parts that must not leave the host.

A capture is a tar.gz of files at their paths on the host, with the kernel log as kmsg.txt, and a manifest
with the directory listings, the failed reads and a list of the parts that were left out. The probe reports
the same about the capture as about the host.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import re
import tarfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import NamedTuple, TypedDict

from sdeictl import __version__
from sdeictl.formats.cmdline import PUBLIC_PARAMETERS, parse_parameters, public_part
from sdeictl.formats.kconfig import gunzip
from sdeictl.host.manifest import MANIFEST
from sdeictl.host.paths import CAPTURED_LOGS, CMDLINE, CONFIG_GZ, CPUINFO, INTERRUPTS, KALLSYMS, KMSG, VERSION
from sdeictl.host.recording import RecordingRoot
from sdeictl.host.root import Root
from sdeictl.klog.kmsg import parse_head, split_record
from sdeictl.klog.messages import (
    backtrace,
    boot,
    drills,
    lockups,
    printk,
    pseudo_nmi,
    rcu,
    request,
    sdei,
    stop,
)
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ToolDocument
from sdeictl.probe.facts import HostFacts

CAPTURE_SCHEMA = "sdeictl.capture/1"
LEFT_OUT = "(left out)"


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
    """`sdeictl.capture/1`, the manifest; host/manifest.py reads it."""

    schema: str
    tool: ToolDocument
    captured_at: str
    listings: Mapping[str, tuple[str, ...]]
    failures: dict[str, str]
    """The name of the error, such as EACCES, of each path that could not be read."""
    left_out: list[LeftOutDocument]


class Capture(NamedTuple):
    """A capture before it is written."""

    files: dict[str, bytes]
    links: dict[str, str]
    manifest: ManifestDocument
    left_out: tuple[LeftOut, ...]
    facts: HostFacts
    """What the probe read. Its gaps show whether the capture is enough to judge the host."""


# Lines of the kernel log that the analysis and the probe read.
_PUBLIC_LINE = re.compile(
    "|".join(
        pattern
        for subject in (boot, sdei, pseudo_nmi, request, backtrace, lockups, rcu, stop, drills, printk)
        for pattern in subject.PUBLIC
    )
)
_PUBLIC_INTERRUPT = re.compile(rb"^ *IPI\d+:|arch_timer$", re.MULTILINE)
_PUBLIC_CPUINFO = re.compile(
    rb"^(?:processor|BogoMIPS|Features|CPU \w+|vendor_id|cpu family|model name)\s*:|^\s*$"
)
# Addresses and general registers. pstate and pmr have 8 digits and stay: they show whether a CPU was masked.
_LONG_NUMBER = re.compile(r"\b(?:0x)?[0-9a-f]{12,16}\b")
_NAMES = re.compile(
    r"(?<=Comm: ).{1,20}(?= (?:Not tainted|Tainted|Kdump))"
    rf"|{'|'.join(lockups.TASK_NAMES)}"
    r"|(?<=with command ').*(?=')"
)


def make_capture(root: Root) -> Capture:
    """Read a host and return the capture of it."""
    recorder = RecordingRoot(root)
    facts = collect(recorder)
    files: dict[str, bytes] = {}
    left_out: list[LeftOut] = []
    for path, data in recorder.files.items():
        files[_path_in_capture(path)], what = _clean(path, data)
        if what:
            left_out.append(LeftOut(path, what))
    return Capture(files, recorder.links, _manifest(recorder, left_out), tuple(left_out), facts)


def _manifest(recorder: RecordingRoot, left_out: list[LeftOut]) -> ManifestDocument:
    return {
        "schema": CAPTURE_SCHEMA,
        "tool": {"name": "sdeictl", "version": __version__},
        "captured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "listings": recorder.listings,
        "failures": {_path_in_capture(path): _errno_name(error) for path, error in recorder.failures.items()},
        "left_out": [{"path": item.path, "what": item.what} for item in left_out],
    }


def pack(capture: Capture) -> bytes:
    """Return the capture as the bytes of its tar.gz file."""
    output = io.BytesIO()
    manifest = json.dumps(capture.manifest, indent=1).encode() + b"\n"
    with tarfile.open(fileobj=output, mode="w:gz") as archive:
        for path, data in {f"/{MANIFEST}": manifest, **capture.files}.items():
            archive.addfile(_member(path, len(data)), io.BytesIO(data))
        for path, target in capture.links.items():
            member = _member(path, 0)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return output.getvalue()


def _member(path: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path.lstrip("/"))
    member.size, member.mtime, member.mode = size, int(time.time()), 0o644
    return member


def _path_in_capture(path: str) -> str:
    return CAPTURED_LOGS[0] if path == KMSG else path


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "EIO")


def _clean(path: str, data: bytes) -> tuple[bytes, str | None]:
    """Return the part of a file that may leave the host, and a noun phrase for the rest of it."""
    cleaner = _CLEANERS.get(path) or (_clean_config if "/config" in path else None)
    return cleaner(data) if cleaner else (data, None)


def _clean_kallsyms(data: bytes) -> tuple[bytes, str | None]:
    return re.sub(rb"^[0-9a-f]{8,16}", b"0000000000000000", data, flags=re.MULTILINE), "addresses"


def _clean_cmdline(data: bytes) -> tuple[bytes, str | None]:
    text = data.decode("utf-8", "replace")
    dropped = sum(name not in PUBLIC_PARAMETERS for name, _ in parse_parameters(text))
    what = f"{dropped} parameters other than the known public ones" if dropped else None
    return f"{public_part(text)}\n".encode(), what


def _clean_interrupts(data: bytes) -> tuple[bytes, str | None]:
    lines = data.splitlines(keepends=True)
    public = lines[:1] + [line for line in lines[1:] if _PUBLIC_INTERRUPT.search(line)]
    return b"".join(public), None if len(public) == len(lines) else "the interrupts of devices"


def _clean_cpuinfo(data: bytes) -> tuple[bytes, str | None]:
    lines = data.splitlines(keepends=True)
    public = [line for line in lines if _PUBLIC_CPUINFO.match(line)]
    return b"".join(public), None if len(public) == len(lines) else "lines such as serial numbers"


def _clean_version(data: bytes) -> tuple[bytes, str | None]:
    return _version(
        data.decode("utf-8", "replace")
    ).encode(), "the builder, build host and compiler of the kernel"


def _version(text: str) -> str:
    """Return "Linux version ..." with only the release, the build number and the text after it."""
    match = re.match(boot.VERSION.pattern + r" .*?(#\d+ .*)?$", text, re.DOTALL)
    return f"{boot.VERSION.begins}{match[1]} {LEFT_OUT} {match[2] or ''}" if match else f"{LEFT_OUT}\n"


def _clean_config_gz(data: bytes) -> tuple[bytes, str | None]:
    try:
        text = gunzip(data)
    except ValueError:
        return b"", "all of it, because it could not be unpacked"
    clean, what = _clean_config(text)
    return gzip.compress(clean, mtime=0), what


def _clean_config(data: bytes) -> tuple[bytes, str | None]:
    return re.sub(rb'^CONFIG_\w+=".+"\n', b"", data, flags=re.MULTILINE), "options with string values"


def _clean_kmsg(data: bytes) -> tuple[bytes, str | None]:
    lines = []
    for line in data.decode("utf-8", "replace").splitlines():
        record, head = split_record(line), parse_head(line.encode())
        if record and head:
            lines.append(f"{record[0]};{_public_text(record[1], of_kernel=head.is_kernel)}\n")
    what = (
        "lines that are not about reaching a CPU, lines that user space wrote, task names,"
        " and hexadecimal values of 12 to 16 digits"
    )
    return "".join(lines).encode(), what


def _public_text(text: str, *, of_kernel: bool) -> str:
    """Return the part of a record's text that may leave the host."""
    if not of_kernel or not _PUBLIC_LINE.match(text.replace("\\x09", "\t")):
        return LEFT_OUT
    if text.startswith(boot.VERSION.begins):
        return _version(text)
    text = _NAMES.sub(LEFT_OUT, text)
    # The long numbers in these lines are MPIDR_EL1 and the like, which the checks need.
    return text if text.startswith((boot.BOOTING, "CPU")) else _LONG_NUMBER.sub("x" * 16, text)


_CLEANERS: dict[str, Callable[[bytes], tuple[bytes, str | None]]] = {
    KALLSYMS: _clean_kallsyms,
    CMDLINE: _clean_cmdline,
    CPUINFO: _clean_cpuinfo,
    VERSION: _clean_version,
    INTERRUPTS: _clean_interrupts,
    CONFIG_GZ: _clean_config_gz,
    KMSG: _clean_kmsg,
}
