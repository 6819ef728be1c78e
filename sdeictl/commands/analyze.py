"""`sdeictl analyze`."""

import click

from sdeictl.commands.output import FILE, FORMAT, print_result, read_input
from sdeictl.errors import SdeictlError, Status
from sdeictl.klog.analysis import analyze as analyze_log
from sdeictl.klog.document import analysis_json, render_analysis
from sdeictl.klog.log import parse_log

COMPRESSED = (b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh")
"""How files of gzip, xz, zstd and bzip2 begin."""


@click.command(short_help="Read the answers in a kernel log.")
@click.argument("file", metavar="FILE|-", type=FILE)
@FORMAT
def analyze(file: str, form: str) -> None:
    """Tell from a kernel log who was asked for a backtrace, who answered, masked or not, by which path.

    FILE is /dev/kmsg text, dmesg (also -r, -x, -T), a serial console's log, what
    `journalctl -k -o json` prints, or records of pstore, one after the other.
    Exit status: 0 if any kernel record was read, else 3.
    """
    data = read_input(file)
    analysis = analyze_log(parse_log(data))
    print_result(form, analysis_json(analysis), render_analysis(analysis))
    if not analysis.records:
        name = "the input" if file == "-" else file
        hint = "; it is compressed: unpack it first" if data.startswith(COMPRESSED) else ""
        raise SdeictlError(f"no kernel record in {name}{hint}", Status.UNKNOWN)
