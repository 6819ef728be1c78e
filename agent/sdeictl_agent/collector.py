"""The collector: probes this host as root and writes /run/sdeictl/report.json, which every user may read.

Once in a boot it also writes postmortem.json there: what earlier boots left.

Only the start of the kernel log shows how this host reaches a masked CPU, and newer records overwrite that
start. So the first collector after boot saves it, and later ones put it back in front of the log. If the
kernel overwrote it before the first collector ran, the journal may still have it.
"""

from __future__ import annotations

import io
import json
import os
import sys

import click

from sdeictl import __version__
from sdeictl.errors import Status, error_text
from sdeictl.host.files import write_whole
from sdeictl.host.journal import Journal
from sdeictl.host.live import LiveRoot
from sdeictl.host.paths import KMSG, POSTMORTEM_FILE, REPORT_FILE, RUN_DIRECTORY
from sdeictl.host.reader import Reader
from sdeictl.host.root import Root
from sdeictl.klog.bootlog import read_bootlog
from sdeictl.klog.kmsg import parse_head
from sdeictl.klog.log import parse_log
from sdeictl.postmortem.clean import clean
from sdeictl.postmortem.document import postmortem_document
from sdeictl.postmortem.examine import examine
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from sdeictl_agent.trust import UntrustedError, open_trusted

SAVED_LOG = "boot.kmsg"
MAX_SAVED_BYTES = 8 << 20
BOOTS = 3
"""So many earlier boots are examined."""


def write_report(root: Root, directory: str = RUN_DIRECTORY) -> None:
    """Probe a host and replace its report as a whole; raise OSError."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    log = log_from_boot(root, os.path.join(directory, SAVED_LOG))
    report = build_report(collect(root, log, journal=True))
    write_whole(os.path.join(directory, REPORT_FILE), json.dumps(report).encode() + b"\n", 0o644)


def write_postmortem(root: Root, journal: Journal, directory: str = RUN_DIRECTORY) -> None:
    """Examine what earlier boots left, and replace the account as a whole; raise OSError.

    Every user may read the file, so it has no identifiers, no names of files and no free text.
    """
    found = clean(examine(Reader(root), journal, [], BOOTS))
    document = postmortem_document(found)
    write_whole(os.path.join(directory, POSTMORTEM_FILE), json.dumps(document).encode() + b"\n", 0o644)


def log_from_boot(root: Root, path: str) -> bytes | None:
    """Return the kernel log with the saved start in front of it.

    Return None if the probe should read the log itself: it is complete (then its start is saved to `path`),
    no start was saved, or the log cannot be read.
    """
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
    """Return the start of the log that an earlier collector saved; None if there is none."""
    try:
        with open_trusted(path, {os.geteuid()}, MAX_SAVED_BYTES) as file:
            return file.read(MAX_SAVED_BYTES) if os.fstat(file.fileno()).st_nlink == 1 else None
    except (OSError, UntrustedError):
        return None


def join_logs(saved: bytes, now: bytes) -> bytes:
    """Return the saved records that the kernel has overwritten, and after them its present log."""
    heads = map(parse_head, io.BytesIO(now))
    first = next((head.sequence for head in heads if head), None)
    if first is None:
        return saved
    overwritten = []
    for line in io.BytesIO(saved):
        head = parse_head(line)
        if head and head.sequence >= first:
            break
        overwritten.append(line)  # a line without a head continues the record before it
    return b"".join(overwritten) + now


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sdeictl-agent-collect", message="%(prog)s %(version)s")
@click.option("--postmortem", is_flag=True, help="Examine earlier boots again.")
def main(postmortem: bool) -> None:
    """Probe this host as root and write /run/sdeictl/report.json for sdeictl-agent.

    The first run of a boot also examines what earlier boots left, and writes
    /run/sdeictl/postmortem.json.
    """
    try:
        write_report(LiveRoot())
        if postmortem or not os.path.lexists(os.path.join(RUN_DIRECTORY, POSTMORTEM_FILE)):
            write_postmortem(LiveRoot(), Journal())
    except OSError as error:
        click.echo(f"sdeictl-agent-collect: a system call failed: {error_text(error)}", err=True)
        sys.exit(Status.UNKNOWN)


if __name__ == "__main__":
    main()
