"""A captured host with edited files, to its report: valid, printable, and the same from a capture of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sdeictl.errors import SdeictlError
from sdeictl.host.recording import RecordingRoot
from sdeictl.probe import kernel, settings
from sdeictl.probe.acpi import Tables
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.metrics import exposition
from sdeictl.probe.nagios import plugin_line
from sdeictl.probe.report import build_report
from sdeictl.probe.settings import SETTINGS
from sdeictl.probe.stored_drills import read_stored_drills
from sdeictl.probe.text import render_report
from sdeictl.text import to_plain
from tests.conftest import validate
from tests.fuzz.harness import Target
from tests.fuzz.hosts import NAMES, MemoryRoot, again, captured
from tests.fuzz.shapes import Dice, patched

MORE = (
    *SETTINGS, "/sys/kernel/security/lockdown", "/sys/module/pstore/parameters/backend",
    "/sys/hypervisor/type", "/sys/module/ramoops/parameters/console_size", "/sys/class/dmi/id/sys_vendor",
    "/proc/consoles", "/sys/devices/system/cpu/cpuidle/current_driver",
    "/sys/devices/system/cpu/cpu0/cpuidle/state1/usage", "/sys/devices/system/cpu/hotplug/states",
    "/sys/devices/system/cpu/cpu0/cpuidle/state1/name", "/sys/bus/soc/devices/soc0/soc_id",
    "/proc/sys/net/core/bpf_jit_enable", "/proc/version", "/acpidump.txt",
    "/sys/module/cpuidle/parameters/off", "/usr/bin/makedumpfile",
)  # fmt: skip
WORDS = (
    "(null)\n",
    "[none] integrity\n",
    "ttyAMA0 -W- (EC p)\n",
    "Linux version 7.3.4 ",
    "psci_idle\n",
    "online\n",
)
NOT_COMPARED = frozenset({"generated_at", "gaps"})


def seeds() -> Iterator[bytes]:
    yield from (bytes([number, 0]) for number in range(len(NAMES)))
    for file in range(0, 60, 7):
        yield bytes([file % len(NAMES), 1, file, 0])
        yield bytes([file % len(NAMES), 1, file, 1, 3, 0, 2]) + b"0\n"
        yield bytes([file % len(NAMES), 1, file, 2]) + b"1\n"


def check(data: bytes) -> None:
    """The first bytes choose the host and a file, and what happens to the file: it is lost, edited or new."""
    dice = Dice(data)
    files, links = captured(dice.pick(NAMES))
    files = dict(files)
    if dice.number(2):
        path = dice.pick([*sorted(files), *MORE])
        what = dice.number(3)
        content = dice.rest() if what == 2 else patched(files.get(path, b""), dice)
        files = {**files, path: content} if what else {name: files[name] for name in files if name != path}
    try:
        root = MemoryRoot(files, links)
    except SdeictlError:
        return  # its manifest is damaged; the target `manifest` looks at these
    report = build_report(collect(root))
    check_report(report)
    assert statements(build_report(collect(again(root)))) == statements(report)


def check_report(report: ReportDocument) -> None:
    validate("report-1", json.loads(json.dumps(report)))
    assert "\x1b" not in to_plain(render_report(report))
    exposition(report)
    assert "\n" not in plugin_line(report).rstrip("\n")


def statements(report: ReportDocument) -> dict[str, object]:
    """Return what a report says, without its time, and without what only the details of gaps say."""
    gaps = {(gap["source"], gap["kind"]) for gap in report["gaps"]}
    return {**{name: value for name, value in report.items() if name not in NOT_COMPARED}, "gaps": gaps}


TARGET = Target(
    check, seeds,
    (
        kernel.read_command_line, kernel.read_configs, kernel.read_devices, kernel.read_hotplug_states,
        kernel.read_sdei_driver, kernel.read_symbols, settings.read_cpuidle_off,
        settings.read_drill_abilities, settings.read_evidence, settings.read_idle_states,
        settings.read_makedumpfile, settings.read_settings, read_stored_drills, Tables.read, Tables.parse,
        RecordingRoot.read,
    ),
    WORDS, 1024,
)  # fmt: skip
