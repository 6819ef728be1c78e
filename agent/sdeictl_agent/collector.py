"""The collector: probes this host as root and writes /run/sdeictl/report.json, which everybody may read.

By what a masked CPU is reached stands nowhere but in the start of the kernel log. So the first one after
a boot saves that start, and when the kernel has overwritten it the later ones put it in front again. Where
it was overwritten before the first one, the journal may have it.
"""

import json
import os
import stat
import sys

import click

from sdeictl import __version__
from sdeictl.errors import error_text
from sdeictl.host.root import LiveRoot, Root
from sdeictl.interlock.journal import RUN_DIRECTORY, write_whole
from sdeictl.klog.bootlog import read_bootlog
from sdeictl.klog.log import parse_log
from sdeictl.probe.collect import collect
from sdeictl.probe.facts import KMSG
from sdeictl.probe.report import build_report
from sdeictl_agent.counters import sequence_of

REPORT_FILE, BOOT_LOG = "report.json", "boot.kmsg"
MAX_SAVED_BYTES = 8 << 20


def collect_report(root: Root, directory: str = RUN_DIRECTORY) -> None:
    """Probe and write the report, whole or not at all; raises OSError."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    log = boot_log(root, os.path.join(directory, BOOT_LOG))
    report = build_report(collect(root, log, journal=True))
    write_whole(os.path.join(directory, REPORT_FILE), json.dumps(report).encode() + b"\n", 0o644)


def boot_log(root: Root, path: str) -> bytes | None:
    """Return the kernel's log with its start, saved at its first reading; None: as it is read by itself."""
    try:
        now = root.read(KMSG)
    except OSError:
        return None
    saved = read_saved(path)
    if read_bootlog(parse_log(now).last_boot()).complete:
        if saved is None:
            write_whole(path, now[:MAX_SAVED_BYTES], 0o600)
        return None
    return None if saved is None else join_logs(saved, now)


def read_saved(path: str) -> bytes | None:
    """Return what this user has saved; None if there is nothing.

    Others can write in this directory: what they say of the boot, or link to, or let wait, is nothing.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(path, "rb", opener=lambda name, _flags: os.open(name, flags)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != os.geteuid():
                return None
            return file.read(MAX_SAVED_BYTES)
    except OSError:
        return None


def join_logs(saved: bytes, now: bytes) -> bytes:
    """Return what was saved of a log in front of what the kernel still has of it, each record once."""
    first = next(
        (sequence for record in _records(now) if (sequence := sequence_of(record)) is not None), None
    )
    if first is None:
        return saved
    kept = []
    for record in _records(saved):
        sequence = sequence_of(record)
        # Lines without a number continue the record before them.
        if sequence is not None and sequence >= first:
            break
        kept.append(record)
    return b"".join(kept) + now


def _records(log: bytes) -> list[bytes]:
    return log.splitlines(keepends=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sdeictl-agent-collect", message="%(prog)s %(version)s")
def main() -> None:
    """Probe this host as root, and write /run/sdeictl/report.json for sdeictl-agent."""
    try:
        collect_report(LiveRoot())
    except OSError as error:
        click.echo(f"sdeictl-agent-collect: {error_text(error)}", err=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
