"""What the probe predicts of each emulated host beside what the host did: docs/truth-table.md.

python -m tests.tools.truth_table, from tests/hosts; `make truth-table` boots every host first.
"""

from __future__ import annotations

import json
import re
import sys
from typing import NamedTuple

from sdeictl.host.open import open_root
from sdeictl.interlock.results import DrillDocument
from sdeictl.klog.analysis import analyze
from sdeictl.klog.episodes import Backtrace
from sdeictl.klog.log import parse_log
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.conftest import HOST_NAMES, PROJECT, CapturedHost, load_host
from tests.lab.machines import MACHINES

PAGE = PROJECT / "docs" / "truth-table.md"
NOT_THERE = "not there"
_TRUSTED_FIRMWARE = re.compile(rb"BL31: v([\w.]+)")

INTRODUCTION = """\
# Predicted and observed

Written by `make truth-table`, which boots every emulated host of the lab; a test keeps it in step with what
is stored of them in `tests/hosts`. `make test-lab` and `make soak` ask the booted hosts anew.

- *Probe*: the path that `sdeictl probe` names from the host's capture.
- *BPF*, *test_lockup*: the path that `sdeictl drill backtrace --masked` saw with that provider, and whether
  the CPU answered while its interrupts were masked. "not there": the kernel has no test_lockup, or refuses.
- *LKDTM*: the path of the request that followed when a CPU was wedged for good (HARDLOCKUP of LKDTM), and
  whether it answered. "not there": the kernel has no LKDTM, or is locked down.

The host `up`, with one CPU, has no other to ask: a drill is refused there.
"""


class Row(NamedTuple):
    """One host: what is said of it, and what it did."""

    name: str
    about: str
    kernel: str
    firmware: str
    exception_level: str
    probe: str
    bpf: str
    test_lockup: str
    lkdtm: str

    def agrees(self) -> bool:
        """Tell whether the host did by every provider what was predicted: the path, and who answers by it."""
        answer = "no answer" if self.probe == "none" else "answered"
        observed = {self.bpf, self.test_lockup, self.lkdtm} - {NOT_THERE}
        return observed == {f"{self.probe}, {answer}"}


def row_of(name: str) -> Row:
    """Return the row of one directory of tests/hosts."""
    host = load_host(name)
    report = build_report(collect(open_root(str(host.root)), None))
    return Row(
        name,
        MACHINES[name].about,
        str(report["host"]["kernel"]),
        firmware_of(host),
        str(report["host"]["exception_level"]),
        str(report["verdict"]["nmi_path"]),
        drilled(host, "bpf"),
        drilled(host, "test_lockup"),
        wedged(host),
    )


def firmware_of(host: CapturedHost) -> str:
    """Return what started the kernel: Trusted Firmware-A by its console, UEFI by DMI."""
    parts = [f"TF-A {match[1].decode()}" for match in list(_TRUSTED_FIRMWARE.finditer(host.console))[:1]]
    bios = host.root / "sys/class/dmi/id/bios_version"
    if bios.exists():
        parts.append(f"EDK II {bios.read_text().strip()}")
    return ", ".join(parts) or "none (QEMU)"


def drilled(host: CapturedHost, provider: str) -> str:
    """Return what the masked drill saw there."""
    path = host.root.parent / "drills" / f"{provider}.json"
    if not path.exists():
        return NOT_THERE
    result: DrillDocument = json.loads(path.read_text())
    answers = {True: "answered", False: "no answer", None: "unknown"}
    target = result["target"]
    return f"{result['path']}, {answers[target['in_window'] if target else None]}"


def wedged(host: CapturedHost) -> str:
    """Return what the analysis of the console says of the first request after a CPU was wedged."""
    if host.wedged is None:
        return NOT_THERE
    episodes = analyze(parse_log(host.console)).episodes
    request = next(episode for episode in episodes if isinstance(episode, Backtrace))
    answered = any(cpu.cpu == host.wedged and cpu.state == "backtrace" for cpu in request.cpus)
    return f"{request.path}, {'answered' if answered else 'no answer'}"


def render(rows: list[Row]) -> str:
    """Return the page."""
    titles = ("host", "what it is", "kernel", "firmware", "EL", "probe", "BPF", "test_lockup", "LKDTM")
    lines = [titles, ("---",) * len(titles), *rows]
    return INTRODUCTION + "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    """Write the page; fail if a host did something else than was predicted."""
    rows = [row_of(name) for name in HOST_NAMES]
    PAGE.write_text(render(rows))
    wrong = [row.name for row in rows if not row.agrees()]
    print(f"truth table: {len(rows)} hosts, predicted is not observed on {len(wrong)}: {' '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
