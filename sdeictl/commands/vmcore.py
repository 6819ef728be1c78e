"""`sdeictl vmcore`."""

import sys

import click

from sdeictl.commands.output import FILE, FORMAT, print_result
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.root import open_large
from sdeictl.vmcore.core import read_core
from sdeictl.vmcore.corefile import CoreError
from sdeictl.vmcore.open import open_core
from sdeictl.vmcore.report import vmcore_json, vmcore_status
from sdeictl.vmcore.text import render_vmcore


@click.command(short_help="Which CPUs' registers does a crash dump hold?")
@click.argument("file", type=FILE)
@FORMAT
def vmcore(file: str, form: str) -> None:
    """Tell which CPUs' registers a crash dump holds, and where each of them was.

    FILE is /proc/vmcore, a copy of it, or a compressed core of makedumpfile. Each
    note is matched with its CPU by where that CPU wrote it, never by its place
    in the file: a CPU that could not be stopped leaves none.

    Exit status: 0 every CPU that was online left its registers, 1 one did not,
    3 could not tell.
    """
    try:
        with open_large(file) as stream:
            core = read_core(open_core(stream))
    except FileNotFoundError as error:
        raise SdeictlError(f"{file} does not exist", Status.USAGE) from error
    except OSError as error:
        raise SdeictlError(f"{file} cannot be read: {error.strerror}", Status.UNKNOWN) from error
    except CoreError as error:
        raise SdeictlError(f"{file} cannot be read as a core: {error}", Status.UNKNOWN) from error
    report = vmcore_json(core)
    print_result(form, report, render_vmcore(report))
    sys.exit(vmcore_status(core))
