"""What is done to an emulated host, and the files each story leaves in the shared directory."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import PROJECT
from tests.lab.build import Lab
from tests.lab.machines import Boot, Machine
from tests.lab.vm import VmRun, cut_power, run_across_resets, run_in_vm

CAPTURE_TIMEOUT = 300.0
WEDGE_TIMEOUT = 300.0

TRACE = """
trace="strace -f -e trace=%file,%process,%network"
$trace -o /lab/probe.trace python3 -m sdeictl probe --format json > /lab/probe.json
$trace -o /lab/capture.trace python3 -m sdeictl capture /lab/capture.tar.gz
"""
DRILL_TIMEOUT = 900.0
ROUND_SECONDS = 30.0
CALLS_OF_A_DRILL = 5000
"""Of the C library; some more than there are."""
CONTROL_TIMEOUT = 180.0
LADDER_TIMEOUT = 900.0
AB_TIMEOUT = 900.0
CRASHES_TIMEOUT = 1200.0
CRASH_KERNEL = "192M"


def observe_host(machine: Machine, *, lab: Lab, directory: Path) -> VmRun:
    """Predict, then observe: capture and probe, then the drill by every provider.

    Leaves capture.tar.gz, probe.{txt,err,status,json}, nobody.{json,err,status}, and what run_drills does.
    """
    job = "exec python3 /lab/guest/probe.py"
    return run_in_vm(machine, job, lab=lab, directory=directory, timeout=CAPTURE_TIMEOUT + DRILL_TIMEOUT)


def trace_probe(machine: Machine, *, lab: Lab, directory: Path) -> VmRun:
    """Leave {probe,capture}.trace, what strace(1) saw of each, and probe.json."""
    return run_in_vm(machine, TRACE, lab=lab, directory=directory, timeout=CAPTURE_TIMEOUT)


def refuse_reset(machine: Machine, *, lab: Lab, directory: Path) -> VmRun:
    """Let firmware refuse to reset SDEI, then wedge a CPU and panic; leave {before,probe,drill,cpus}.json."""
    return run_in_vm(
        machine, "exec python3 /lab/guest/refused.py", lab=lab, directory=directory, timeout=DRILL_TIMEOUT,
        survives=False, files=(lab.part("sdei-refused") / "sdei_refused.ko",),
    )  # fmt: skip


def wedge_cpu(machine: Machine, *, lab: Lab, directory: Path) -> VmRun:
    """Wedge a CPU where the kernel has LKDTM, ask for backtraces, panic; leave record.json."""
    return run_in_vm(
        machine, "exec python3 /lab/guest/wedge.py", lab=lab, directory=directory,
        timeout=WEDGE_TIMEOUT, survives=False,
    )  # fmt: skip


STALL_PARAMETERS = "rcupdate.rcu_cpu_stall_timeout=5 workqueue.watchdog_thresh=10 csdlock_debug=1"


def stall_cpus(machine: Machine, *, lab: Lab, directory: Path) -> VmRun:
    """Wedge a CPU and let others wait for it: CSD lock, RCU stalls, workqueue lockup; then panic."""
    return run_in_vm(
        machine._replace(cmdline=f"{machine.cmdline} {STALL_PARAMETERS}".strip()),
        "exec python3 /lab/guest/stall.py", lab=lab, directory=directory, timeout=WEDGE_TIMEOUT,
        survives=False,
    )  # fmt: skip


def make_sos_report(machine: Machine, *, lab: Lab, directory: Path) -> VmRun:
    """Leave sos.tar.xz, a report of sos, and probe.json of the same boot."""
    files = (lab.part("sos") / "sos.tar",)
    return run_in_vm(
        machine, "exec python3 /lab/guest/sos.py", lab=lab, directory=directory, timeout=CAPTURE_TIMEOUT,
        files=files,
    )  # fmt: skip


def run_drills(machine: Machine, rounds: int, look: float, *, lab: Lab, directory: Path) -> VmRun:
    """Run a plain drill and many masked ones; leave {drills,cpus,status}.json and drills/."""
    return run_in_vm(
        machine, f"exec python3 /lab/guest/drill.py {rounds} {look}", lab=lab, directory=directory,
        timeout=DRILL_TIMEOUT + rounds * ROUND_SECONDS,
    )  # fmt: skip


def stop_drills(machine: Machine, number: str, provider: str, *, lab: Lab, directory: Path) -> VmRun:
    """Stop a drill by a signal at each of its steps; leave kills.json."""
    return run_in_vm(
        machine, f"exec python3 /lab/guest/kill.py {number} {provider}", lab=lab, directory=directory,
        timeout=DRILL_TIMEOUT,
    )  # fmt: skip


def drill_beside_watchdog(machine: Machine, rounds: int, *, lab: Lab, directory: Path) -> VmRun:
    """Run masked drills as long as the watchdog allows; leave watchdog.json. A bite ends the guest."""
    job = f"PYTHONPATH=/lab/site:/lab/guest exec python3 /lab/guest/watchdog.py {rounds}"
    return run_in_vm(machine, job, lab=lab, directory=directory, timeout=DRILL_TIMEOUT)


def fail_calls(machine: Machine, first: int, every: int, *, lab: Lab, directory: Path) -> VmRun:
    """Let each `every`-th call of the C library fail in masked drills; leave {faults,cpus}.json."""
    library = directory.with_suffix(".faults") / "faults.so"
    library.parent.mkdir(parents=True)
    source = PROJECT / "tests/tools/faults.c"
    subprocess.run(
        ["aarch64-linux-gnu-gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True
    )
    return run_in_vm(
        machine, f"LD_PRELOAD=/lab/faults.so exec python3 /lab/guest/faults.py {first} {every}", lab=lab,
        directory=directory, timeout=DRILL_TIMEOUT + CALLS_OF_A_DRILL / every * ROUND_SECONDS,
        files=(library,),
    )  # fmt: skip


def refuse_drills(machine: Machine, *, lab: Lab, directory: Path) -> VmRun:
    """Put one obstacle after the other in a drill's way; leave refusals.json."""
    return run_in_vm(
        machine, "exec python3 /lab/guest/refuse.py", lab=lab, directory=directory, timeout=DRILL_TIMEOUT,
        last="refusals.json",
    )  # fmt: skip


def ask_unguarded(machine: Machine, *, lab: Lab, directory: Path) -> VmRun:
    """Write l to sysrq-trigger with nothing held; leave {deep,control}.json.

    Where a CPU is lost, a system call may wait for it: after control.json, nothing is sure to come.
    """
    return run_in_vm(
        machine, "exec python3 /lab/guest/control.py", lab=lab, directory=directory,
        timeout=CONTROL_TIMEOUT, last="control.json",
    )  # fmt: skip


def rotate_log(machine: Machine, *, lab: Lab, directory: Path) -> VmRun:
    """Push the kernel's log out of its ring; leave {rotated,journal,kcore}.json and deep.trace."""
    return run_in_vm(
        machine, "exec python3 /lab/guest/deep.py", lab=lab, directory=directory, timeout=CAPTURE_TIMEOUT
    )


def climb_ladder(machine: Machine, commands: Sequence[str], *, lab: Lab, directory: Path) -> VmRun:
    """Run drills that can cost the host, over its resets; leave {ladder,cpus,status}.json."""
    job = f"exec python3 /lab/guest/ladder.py {shlex.join(commands)}"
    return run_across_resets(_ready(machine), job, lab=lab, directory=directory, timeout=LADDER_TIMEOUT)


def fall_at_each_step(machine: Machine, command: str, first: int, *, lab: Lab, directory: Path) -> VmRun:
    """Kill a drill that can cost the host at each step from `first` on; leave falls.json."""
    job = f"exec python3 /lab/guest/fall.py {first} {command}"
    return run_across_resets(_ready(machine), job, lab=lab, directory=directory, timeout=LADDER_TIMEOUT)


def lose_power(machine: Machine, command: str, *, lab: Lab, directory: Path, said: str) -> VmRun:
    """Cut the power when a drill that can cost the host has said a step, boot again; leave ended.json."""
    job = f"exec python3 /lab/guest/cut.py {command}"
    ready = _ready(machine)
    cut_power(ready, job, lab=lab, directory=directory / "cut", timeout=CAPTURE_TIMEOUT, said=said)
    return run_across_resets(ready, job, lab=lab, directory=directory / "vm", timeout=CAPTURE_TIMEOUT)


def crash_boots(machine: Machine, ends: Sequence[str], *, lab: Lab, directory: Path) -> VmRun:
    """End boots of a Debian with kdump-tools in these ways; leave {crashes,postmortem}.json and root.ext4."""
    ready = _ready(machine)._replace(root="kdump")
    job = f"PYTHONPATH=/lab/site:/lab/guest exec python3 /lab/guest/crashes.py {' '.join(ends)}"
    if "cut" in ends:
        cut_power(ready, job, lab=lab, directory=directory / "cut", timeout=CRASHES_TIMEOUT, said="cut")
    return run_across_resets(ready, job, lab=lab, directory=directory / "vm", timeout=CRASHES_TIMEOUT)


def try_both(
    machine: Machine, boots: int, step: int, *, lab: Lab, directory: Path, cut_at: str = ""
) -> VmRun:
    """Run `bench ab` through its boots, killed at a step (-1: never); leave ab.json.

    With `cut_at` the power is cut when it says that, and comes back.
    """
    reference = directory / "reference"
    source = Path(__file__).parent / "guest/reference.c"
    subprocess.run(["aarch64-linux-gnu-gcc", "-O2", "-static", "-o", reference, source], check=True)
    job = f"exec python3 /lab/guest/ab.py {boots} {step}"
    files = (reference,)
    if cut_at:
        cut_power(
            machine, job, lab=lab, directory=directory / "cut", timeout=AB_TIMEOUT, said=cut_at, files=files
        )
    return run_across_resets(
        machine, job, lab=lab, directory=directory / "vm", timeout=AB_TIMEOUT, files=files
    )


def _ready(machine: Machine) -> Machine:
    """Return a machine with a crash kernel and, where it has a device tree, a ramoops console."""
    return machine._replace(
        ramoops=machine.boot is Boot.TRUSTED_FIRMWARE,
        cmdline=f"{machine.cmdline} crashkernel={CRASH_KERNEL}".strip(),
    )
