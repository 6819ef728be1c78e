"""`sdeictl analyze`."""

from __future__ import annotations

import click

from sdeictl.commands.output import FILE, FORMAT, print_result, read_input
from sdeictl.errors import SdeictlError, Status
from sdeictl.klog.analysis import analyze as analyze_log
from sdeictl.klog.document import analysis_document
from sdeictl.klog.log import parse_log
from sdeictl.klog.render import render_analysis

COMPRESSED = (b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh")
"""The first bytes of gzip, xz, zstd and bzip2 files."""
FORMATS = "sdeictl reads dmesg, journalctl, syslog, /dev/kmsg, pstore and serial console logs"


@click.command(short_help="Which CPUs answered the backtrace requests in a kernel log?")
@click.argument("file", metavar="FILE|-", type=FILE)
@FORMAT
def analyze(file: str, form: str) -> None:
    """Report the backtrace requests, lockups, stalls, panics and stops in a kernel log.

    For each backtrace request, show the CPU that sent it, the CPUs that
    answered, whether they were masked, and the path of the request.

    FILE is the output of dmesg or journalctl in any of their formats, text of
    /dev/kmsg, a syslog file, the log of a serial console, or pstore records
    joined in one file; - is standard input. It may have been pasted into a mail
    or a web page.

    Exit status: 0 if FILE contains a kernel record, 3 otherwise.
    """
    data = read_input(file)
    analysis = analyze_log(parse_log(data))
    if not analysis.records:
        name = "the input" if file == "-" else file
        hint = "it is compressed: unpack it first" if data.startswith(COMPRESSED) else FORMATS
        raise SdeictlError(f"no kernel record in {name}; {hint}", Status.UNKNOWN)
    print_result(form, analysis_document(analysis), render_analysis(analysis))
