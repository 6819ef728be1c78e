"""`sdeictl vmcore`: which CPUs left their registers in a crash dump?"""

from __future__ import annotations

import sys

import click

from sdeictl.commands.output import FILE, FORMAT, columns, print_result
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.files import open_large
from sdeictl.vmcore.core import Core, read_core
from sdeictl.vmcore.corefile import CoreError
from sdeictl.vmcore.open import open_core
from sdeictl.vmcore.report import vmcore_document, vmcore_status
from sdeictl.vmcore.text import render_vmcore


@click.command(short_help="Which CPUs left their registers in a crash dump?")
@click.argument("file", type=FILE)
@FORMAT
def vmcore(file: str, form: str) -> None:
    """List the CPUs that left their registers in a crash dump, and show where each of them was.

    FILE is /proc/vmcore, a copy of it, or a dump from makedumpfile, compressed or
    flattened. A CPU that the kernel could not stop leaves no note in the dump, so
    the position of a note does not identify its CPU. sdeictl matches a note with its CPU by the
    address where that CPU wrote the note.

    Exit status: 0 every CPU that was online left its registers, 1 at least one of
    them did not, 3 unknown.
    """
    core = _read(file)
    report = vmcore_document(core)
    print_result(form, report, render_vmcore(report, columns()))
    sys.exit(vmcore_status(core))


def _read(file: str) -> Core:
    try:
        with open_large(file, device=True) as stream:
            return read_core(open_core(stream))
    except FileNotFoundError as error:
        raise SdeictlError(f"{file} does not exist", Status.USAGE) from error
    except OSError as error:
        raise SdeictlError(f"{file} cannot be read: {error.strerror}", Status.UNKNOWN) from error
    except CoreError as error:
        raise SdeictlError(f"{file} cannot be read as a crash dump: {error}", Status.UNKNOWN) from error
