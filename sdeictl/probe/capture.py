"""`sdeictl capture`: everything the probe read, less what must not leave the host.

A capture is a tar.gz of files at their paths on the host, the kernel log as
kmsg.txt, and a manifest with the directory listings, the failures and what was
left out. The probe of a capture gives the report of the host.
"""

import errno
import gzip
import io
import json
import re
import tarfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from sdeictl import __version__
from sdeictl.formats.cmdline import PUBLIC_PARAMETERS, parse_parameters, public_part
from sdeictl.formats.kconfig import gunzip
from sdeictl.host.root import MANIFEST, RecordingRoot, Root
from sdeictl.probe.collect import CPUINFO, VERSION, collect
from sdeictl.probe.facts import KMSG, HostFacts
from sdeictl.probe.kernel import CMDLINE, CONFIG_GZ, KALLSYMS
from sdeictl.probe.settings import INTERRUPTS

CAPTURE_SCHEMA = "sdeictl.capture/1"
LEFT_OUT = "(left out)"


class LeftOut(NamedTuple):
    """Something that did not go into the capture."""

    path: str
    what: str


class Capture(NamedTuple):
    """A capture before it is written."""

    files: dict[str, bytes]
    links: dict[str, str]
    manifest: dict[str, object]
    left_out: tuple[LeftOut, ...]
    facts: HostFacts
    """What was read, with the gaps: a capture without them may not be enough elsewhere."""


# Lines of the kernel log that may leave the host: what the analysis and the probe
# read. Register values, addresses and everything else stay.
_PUBLIC_LINE = re.compile(
    r"Booting Linux on physical CPU |Run \S+ as init process|Linux version |SMP: "
    r"|CPU\d+: Booted secondary processor |CPU features: |CPU: All CPU|GICv3: |sdei(?:_nmi)?[: ]"
    r"|SDEI NMI watchdog: |psci: "
    r"|sysrq: |NMI backtrace for cpu |Sending NMI from CPU |After 10 seconds, these CPUS |CPU: \d+ "
    r"|pstate: |pc : |pmr: |x29: |Call trace:| \w[\w.]*\+0x|(?:NMI )?watchdog: |INFO: task "
    r"|(?:rcu: )?INFO: \w+ (?:self-)?detected |rcu: \t"
    r"|Kernel panic - not syncing: |---\[ |Starting crashdump kernel|Bye!|reboot: |hw perfevents: "
    r"|lkdtm: |test_lockup: |crashkernel |\*\* \d+ printk messages dropped"
)
_KMSG_LINE = re.compile(r"(\d+),(\d+,\d+,[^;]*);(.*)")
_PUBLIC_INTERRUPT = re.compile(rb"^ *IPI\d+:|arch_timer$", re.MULTILINE)
_ADDRESS = re.compile(r"\b(?:0x)?[0-9a-f]{12,16}\b")
_NAMES = re.compile(
    r"(?<=Comm: ).{1,20}(?= (?:Not tainted|Tainted|Kdump))"
    r"|(?<=INFO: task ).{1,64}(?=:\d{1,10} blocked)"
    r"|(?<=s! \[).{1,64}(?=:\d{1,10}\]$)"
    r"|(?<=with command ').*(?=')"
)


def make_capture(root: Root) -> Capture:
    """Read a host and return what may leave it."""
    recorder = RecordingRoot(root)
    facts = collect(recorder)
    files: dict[str, bytes] = {}
    left_out: list[LeftOut] = []
    for path, data in recorder.files.items():
        clean, what = _clean(path, data)
        files[_path_in_capture(path)] = clean
        if what:
            left_out.append(LeftOut(path, what))
    manifest: dict[str, object] = {
        "schema": CAPTURE_SCHEMA,
        "tool": {"name": "sdeictl", "version": __version__},
        "captured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "listings": recorder.listings,
        "failures": {_path_in_capture(path): _errno_name(error) for path, error in recorder.failures.items()},
        "left_out": [item._asdict() for item in left_out],
    }
    return Capture(files, recorder.links, manifest, tuple(left_out), facts)


def pack(capture: Capture) -> bytes:
    """Return the capture as the bytes of its tar.gz."""
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
    return "/kmsg.txt" if path == KMSG else path


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "EIO")


def _clean(path: str, data: bytes) -> tuple[bytes, str | None]:
    """Return what may leave of one file, and a sentence on what may not."""
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
    kept = re.compile(rb"^(?:processor|BogoMIPS|Features|CPU \w+|vendor_id|cpu family|model name)\s*:|^\s*$")
    lines = data.splitlines(keepends=True)
    public = [line for line in lines if kept.match(line)]
    return b"".join(public), None if len(public) == len(lines) else "lines such as serial numbers"


def _clean_version(data: bytes) -> tuple[bytes, str | None]:
    return _version(data.decode("utf-8", "replace")).encode(), "who built the kernel, where and with what"


def _version(text: str) -> str:
    """Reduce "Linux version ..." to the release and what follows the build number."""
    match = re.match(r"(Linux version \S+) .*?(#\d+ .*)?$", text, re.DOTALL)
    return f"{match[1]} {LEFT_OUT} {match[2] or ''}" if match else f"{LEFT_OUT}\n"


def _clean_config_gz(data: bytes) -> tuple[bytes, str | None]:
    try:
        text = gunzip(data)
    except ValueError:
        return b"", "all of it: it could not be unpacked"
    clean, what = _clean_config(text)
    return gzip.compress(clean, mtime=0), what


def _clean_config(data: bytes) -> tuple[bytes, str | None]:
    return re.sub(rb'^CONFIG_\w+=".+"\n', b"", data, flags=re.MULTILINE), "options that are strings"


def _clean_kmsg(data: bytes) -> tuple[bytes, str | None]:
    lines = []
    for line in data.decode("utf-8", "replace").splitlines():
        match = _KMSG_LINE.match(line)
        if match:
            lines.append(f"{match[1]},{match[2]};{_public_text(int(match[1]), match[3])}\n")
    what = "lines that are not about reaching a CPU, register values, task names, and what user space wrote"
    return "".join(lines).encode(), what


def _public_text(priority: int, text: str) -> str:
    if priority >> 3 or not _PUBLIC_LINE.match(text.replace("\\x09", "\t")):
        return LEFT_OUT
    if text.startswith("Linux version "):
        return _version(text)
    text = _NAMES.sub(LEFT_OUT, text)
    return text if text.startswith(("Booting Linux", "CPU")) else _ADDRESS.sub("x" * 16, text)


_CLEANERS: dict[str, Callable[[bytes], tuple[bytes, str | None]]] = {
    KALLSYMS: _clean_kallsyms,
    CMDLINE: _clean_cmdline,
    CPUINFO: _clean_cpuinfo,
    VERSION: _clean_version,
    INTERRUPTS: _clean_interrupts,
    CONFIG_GZ: _clean_config_gz,
    KMSG: _clean_kmsg,
}
