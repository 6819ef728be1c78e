"""A shell in an emulated host: `make lab-shell MACHINE=dt-sdei`. Leave with `exit`, or C-a x."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.lab.build import Lab, LabError
from tests.lab.machines import MACHINES
from tests.lab.vm import shell_in_vm


def main() -> int:
    """Boot the machine named on the command line with a shell on this terminal."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in MACHINES:
        print(f"unknown machine {name!r}" if name else "which machine?", file=sys.stderr)
        for machine in MACHINES.values():
            print(f"  {machine.name:15} {machine.about}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="sdeictl-lab-") as directory:
        try:
            lab = Lab()
            lab.build()
            return shell_in_vm(MACHINES[name], lab=lab, directory=Path(directory) / name)
        except LabError as error:
            print(error, file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
