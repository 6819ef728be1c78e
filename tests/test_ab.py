"""`sdeictl bench ab` without a host: which step comes next, and what forbids an experiment."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.bench import experiment_runner
from sdeictl.bench.experiment import (
    MAX_ATTEMPTS,
    Action,
    Experiment,
    Readiness,
    ThisBoot,
    ab_document,
    add_run,
    end_early,
    experiment_lines,
    next_step,
    refusals_for_experiment,
    wrong_states,
)
from sdeictl.bench.experiment_journal import (
    experiment_document,
    parse_experiment,
    read_experiment,
    write_experiment,
)
from sdeictl.bench.experiment_runner import resume_experiment
from sdeictl.bench.kexec import KernelFiles, Kexec, find_encrypted, find_kernel
from sdeictl.bench.measure import Timing
from sdeictl.bench.text import render_ab
from sdeictl.errors import SdeictlError, Status
from sdeictl.formats.cmdline import wants_pseudo_nmi
from sdeictl.formats.interrupts import Interrupts
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.lock import Lock
from sdeictl.interlock.survey import Survey
from sdeictl.klog.bootlog import BootLog
from sdeictl.probe.facts import DrillAbilities, HostFacts, KernelConfig
from sdeictl.text import to_plain
from tests.test_analysis_properties import EXAMPLES

ORIGINAL = "root=/dev/vda ro irqchip.gicv3_pseudo_nmi=1 quiet -- single"
BUILD = "Linux version 7.3.4 #1 SMP"
EXPERIMENT = Experiment("X", Timing(("getppid",)), 2, "/boot/vmlinuz", None, ORIGINAL, BUILD)
ORIGINAL_BOOT = ThisBoot(ORIGINAL, BUILD)
FORMER_JOURNAL = (
    b'{"id": "X", "calls": ["getppid"], "seconds": 5, "workload": ["/bin/true"], "workload_rounds": 10,'
    b' "rounds": 2, "image": "/boot/vmlinuz", "initrd": null, "original": "ro", "build": "Linux",'
    b' "done": ["1.json"], "attempts": 1, "measures": 2, "kept_at": 1795630000.5, "homeward": true,'
    b' "reasons": ["It was stopped."]}\n'
)
"""As release 0.1.0 wrote it."""


def test_command_lines_of_the_boots() -> None:
    first = "root=/dev/vda ro quiet irqchip.gicv3_pseudo_nmi=0 sdeictl.ab=X.0 -- single"
    lines = [EXPERIMENT.command_line(number) for number in range(4)]
    assert lines[0] == first
    assert [wants_pseudo_nmi(line) for line in lines] == [False, True, False, True]
    assert len({*lines, ORIGINAL}) == 5


class World:
    """A host that carries out the actions, except those that an event spoils."""

    def __init__(self, experiment: Experiment, events: list[str]) -> None:
        self.experiment = experiment
        self.boot = ORIGINAL_BOOT
        self.events = iter(events)
        self.measures = self.boots = 0

    def run(self) -> Action:
        for _turn in range(200):
            step = next_step(self.experiment, self.boot)
            self.experiment = step.experiment
            if step.action in (Action.FINISH, Action.STOP):
                return step.action
            self.carry_out(step.action, next(self.events, "well"))
        raise AssertionError("it does not end")

    def carry_out(self, action: Action, event: str) -> None:
        if event == "killed":  # something resumes it in the same boot
            return
        if event == "power":  # the host starts again as it always does
            self.boot = ORIGINAL_BOOT
        elif action is Action.MEASURE:
            self.measures += 1
            self.experiment = add_run(self.experiment, f"{self.measures}.json")
        elif action is Action.BOOT:
            self.boots += 1
            line = self.experiment.command_line(len(self.experiment.runs))
            self.boot = ORIGINAL_BOOT if event == "fails" else ThisBoot(line, BUILD)
        elif event != "fails":
            self.boot = ORIGINAL_BOOT


def test_all_boots_and_the_return() -> None:
    world = World(EXPERIMENT, [])
    assert world.run() is Action.FINISH
    assert (world.boots, world.measures, world.experiment.reasons) == (4, 4, ())
    assert world.experiment.runs == ("1.json", "2.json", "3.json", "4.json")


@settings(max_examples=EXAMPLES)
@given(st.lists(st.sampled_from(["well", "killed", "power", "fails"]), max_size=60))
def test_every_experiment_ends(events: list[str]) -> None:
    world = World(EXPERIMENT, events)
    ended = world.run()
    assert len(world.experiment.runs) <= world.experiment.boots
    if ended is Action.FINISH:
        assert world.boot == ORIGINAL_BOOT
        assert bool(world.experiment.reasons) == (len(world.experiment.runs) < world.experiment.boots)
    else:
        assert world.experiment.reasons[-1].endswith("reboot this host.")
        assert world.run() is Action.STOP
        assert len(set(world.experiment.reasons)) == len(world.experiment.reasons)
        # It also ends after somebody has rebooted the host.
        world.boot = ORIGINAL_BOOT
        assert world.run() is Action.FINISH


def test_measurement_is_tried_twice() -> None:
    world = World(EXPERIMENT, ["well", "killed", "killed", "killed"])
    assert world.run() is Action.FINISH
    assert world.experiment.reasons == ("Boot 1 of 4 was not measured in 2 attempts.",)


def test_any_unmarked_boot_is_original() -> None:
    complete = EXPERIMENT._replace(runs=("1", "2", "3", "4"))
    other = ThisBoot("BOOT_IMAGE=another " + ORIGINAL, "another build")
    assert next_step(complete, other).action is Action.FINISH


def test_runs_in_the_wrong_state() -> None:
    assert wrong_states(["off", "on", "off", "on"]) == []
    assert wrong_states(["off", "off", None]) == [
        "Boot 2 ran with pseudo-NMI off, not on.", "Boot 3 ran with pseudo-NMI unknown, not off.",
    ]  # fmt: skip


def test_boot_is_tried_twice() -> None:
    world = World(EXPERIMENT, ["fails"] * 10)
    assert world.run() is Action.FINISH
    assert world.boots == MAX_ATTEMPTS
    assert world.experiment.reasons == ("Boot 1 of 4 did not start in 2 attempts.",)


@pytest.mark.parametrize(
    ("boot", "reason"),
    [
        (ThisBoot(ORIGINAL, "another build"), "The host now runs another kernel."),
        (ThisBoot("somebody's=own", BUILD), "The host was booted with another command line."),
    ],
)
def test_changed_host_ends_the_experiment(boot: ThisBoot, reason: str) -> None:
    step = next_step(EXPERIMENT, boot)
    assert step.experiment.reasons == (reason,)
    assert step.action is Action.FINISH


def test_stopped_experiment_only_returns() -> None:
    stopped = end_early(EXPERIMENT, "The operator stopped the experiment.")
    assert next_step(stopped, ThisBoot(EXPERIMENT.command_line(0), BUILD)).action is Action.RETURN
    assert next_step(stopped, ORIGINAL_BOOT).action is Action.FINISH


def test_boot_of_another_experiment() -> None:
    other = EXPERIMENT._replace(id="Y").command_line(0)
    assert next_step(EXPERIMENT, ThisBoot(other, BUILD)).action is Action.RETURN


FACTS = HostFacts(
    architecture="arm64",
    tables="acpi",
    configs=(KernelConfig("/proc/config.gz", True, (("ARM64_PSEUDO_NMI", "y"),)),),
    interrupts=Interrupts("GICv3", 4, True),
    drills=DrillAbilities(True, True, True, "none"),
    settings=(("/proc/sys/kernel/panic", "10"),),
)
DEVICE_TREE = FACTS._replace(tables="devicetree")
FILES = KernelFiles("/boot/vmlinuz", no_initrd=True)
KEXEC = Kexec(installed=True, files=FILES, disabled=False, has_its=True, efi=True)
READY = Readiness(KEXEC, resumes=True, in_experiment=False, pending=None)
SURVEY = Survey(FACTS, online=(0, 1, 2, 3), host_name="lab", armed=60.0, load=0.1)
CONSENT = Consent("lab", "BMC at ...")


def refusals(
    facts: HostFacts = FACTS, kexec: Kexec = KEXEC, ready: Readiness = READY, survey: Survey = SURVEY
) -> list[str]:
    checked = survey._replace(facts=facts), ready._replace(kexec=kexec)
    return [reason.text for reason in refusals_for_experiment(*checked, CONSENT)]


def test_good_host_is_not_refused() -> None:
    assert refusals() == []
    assert refusals(DEVICE_TREE) == []
    assert refusals(DEVICE_TREE, KEXEC._replace(efi=False, has_its=False)) == []


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (refusals(HostFacts(architecture="x86")), "This host is not arm64 (x86)"),
        (refusals(survey=SURVEY._replace(privileged=False)), "run it as root"),
        (refusals(survey=SURVEY._replace(armed=None)), "is not armed"),
        (refusals(FACTS._replace(configs=())), "CONFIG_ARM64_PSEUDO_NMI"),
        (
            refusals(FACTS._replace(interrupts=Interrupts("GICv2", 4, True))),
            "needs a GICv3; the interrupt controller of this host is GICv2",
        ),
        (refusals(FACTS._replace(bootlog=BootLog(pseudo_nmi_error="no"))), "on this host: no"),
        (refusals(FACTS._replace(drills=DrillAbilities(True, True, True, "integrity"))), "locked down"),
        (refusals(kexec=KEXEC._replace(disabled=True)), "kernel.kexec_load_disabled"),
        (refusals(kexec=KEXEC._replace(encrypted="dm-0")), "may wait for its passphrase for ever"),
        (refusals(kexec=KEXEC._replace(installed=False)), "kexec-tools is not installed"),
        (refusals(kexec=KEXEC._replace(files=KernelFiles())), "name it with --kernel"),
        (
            refusals(kexec=KEXEC._replace(files=KernelFiles("/boot/vmlinuz"))),
            "The initrd of /boot/vmlinuz is unknown",
        ),
        (refusals(ready=READY._replace(in_experiment=True)), "This boot belongs to an experiment"),
        (refusals(FACTS._replace(settings=None)), "kernel.panic is 0"),
        (refusals(ready=READY._replace(pending="A drill has not ended.")), "A drill has not ended."),
        (refusals(ready=READY._replace(resumes=False)), "systemctl enable sdeictl-bench-resume.service"),
        (refusals(DEVICE_TREE, KEXEC._replace(efi=False)), "a kernel that kexec starts would die"),
        (refusals(DEVICE_TREE, KEXEC._replace(efi=False, has_its=None)), "cannot read"),
    ],
)  # fmt: skip
def test_host_is_refused(found: list[str], sentence: str) -> None:
    (reason,) = found
    assert sentence in reason


def test_plan_names_every_boot() -> None:
    text = "\n".join(f"{what}: {line}" for what, line in experiment_lines(EXPERIMENT))
    assert all(EXPERIMENT.command_line(number) in text for number in range(4))
    assert f"a reboot into the original command line: {ORIGINAL}" in text


@pytest.mark.parametrize(
    ("timing", "words"),
    [
        (Timing(), "in each boot: getppid"),
        (Timing(workload=("gzip", "-k")), "in each boot: gzip -k"),
        (Timing(("pipe", "timer"), workload=("gzip",)), "in each boot: pipe, timer, gzip"),
    ],
)
def test_plan_names_what_is_timed(timing: Timing, words: str) -> None:
    assert ("measure", words) in experiment_lines(EXPERIMENT._replace(timing=timing))


def test_journal_is_read_back(tmp_path: Path) -> None:
    path = str(tmp_path / "bench" / "ab.journal")
    experiment = add_run(EXPERIMENT, "1.json")._replace(timing=Timing(workload=("true",)))
    stored = write_experiment(experiment, path)
    assert stored.written_at > 0
    assert stored == experiment._replace(written_at=stored.written_at)
    assert read_experiment(path) == stored


def test_journal_of_the_former_release() -> None:
    experiment = parse_experiment(FORMER_JOURNAL)
    assert experiment == Experiment(
        "X", Timing(("getppid",), 5, ("/bin/true",), 10), 2, "/boot/vmlinuz", None, "ro", "Linux",
        ("1.json",), 1, 2, 1795630000.5, True, ("It was stopped.",),
    )  # fmt: skip
    assert json.dumps(experiment_document(experiment)).encode() + b"\n" == FORMER_JOURNAL


@pytest.mark.parametrize(
    "change",
    [
        {"original": 5}, {"attempts": "x"}, {"more": 1}, {"calls": "getppid"}, {"done": [1]}, {"initrd": 1},
        {"homeward": None}, {"seconds": None},
    ],
)  # fmt: skip
def test_journal_with_a_wrong_value(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "ab.journal"
    path.write_text(json.dumps(json.loads(FORMER_JOURNAL) | change))
    with pytest.raises(SdeictlError, match="is damaged") as found:
        read_experiment(str(path))
    assert found.value.status is Status.UNKNOWN


@pytest.mark.parametrize("data", [FORMER_JOURNAL[:100], b"", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff"])
def test_journal_is_damaged(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ab.journal"
    path.write_bytes(data)
    with pytest.raises(SdeictlError, match="is damaged"):
        read_experiment(str(path))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("vmlinuz-7.3", "initrd.img-7.3"), ("vmlinuz-7.3", "initrd.img-7.3")),
        (("vmlinuz-7.3", "initramfs-7.3.img"), ("vmlinuz-7.3", "initramfs-7.3.img")),
        (("Image-7.3", "vmlinuz-7.2"), ("Image-7.3", None)),
        (("vmlinuz-7.2",), (None, None)),
    ],
)
def test_kernel_files_of_distributions(
    tmp_path: Path, names: tuple[str, ...], expected: tuple[str | None, str | None]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    found = find_kernel("7.3", str(tmp_path))
    assert found == tuple(name and str(tmp_path / name) for name in expected)


def test_result_in_words() -> None:
    ended = EXPERIMENT._replace(runs=("1.json",))
    text = to_plain(render_ab(ab_document(ended, ["Boot 2 of 4 did not start in 2 attempts."], None)))
    assert text == "not complete  1 of 4 boots were measured\nBoot 2 of 4 did not start in 2 attempts.\n"


def test_unreadable_device_is_an_error(tmp_path: Path) -> None:
    """It may be the encrypted one."""
    mounts = "22 1 254:0 / / rw - ext4 /dev/mapper/root rw\n"
    (tmp_path / "254:0/dm/uuid").mkdir(parents=True)
    with pytest.raises(OSError, match="not a regular file"):
        find_encrypted(mounts, str(tmp_path))
    (tmp_path / "254:0/dm/uuid").rmdir()
    (tmp_path / "254:0/slaves").touch()
    with pytest.raises(NotADirectoryError):
        find_encrypted(mounts, str(tmp_path))


class Resuming:
    """A host whose resume finds a journal, and fails; it notes whether it returns to its original boot."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path, line: str) -> None:
        self.returned = False
        self.journal = directory / "ab.journal"
        self.journal.write_text(json.dumps(experiment_document(EXPERIMENT)))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(experiment_runner, "EXPERIMENT_JOURNAL", str(self.journal))
        monkeypatch.setattr(experiment_runner, "Lock", partial(Lock, str(directory)))
        monkeypatch.setattr(experiment_runner, "read_boot", lambda _root: ThisBoot(line, BUILD))
        monkeypatch.setattr(experiment_runner, "_return", self._return)

    def _return(self, _tell: object, *, again: bool) -> None:
        self.returned = not again

    def resume(self) -> SdeictlError:
        with pytest.raises(SdeictlError) as found:
            resume_experiment(print)
        return found.value


@pytest.mark.parametrize("in_experiment", [False, True])
def test_failed_call_leaves_the_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_experiment: bool
) -> None:
    """A host in a boot of the experiment returns; its unit tries again only after status 4."""
    host = Resuming(monkeypatch, tmp_path, EXPERIMENT.command_line(0) if in_experiment else ORIGINAL)
    monkeypatch.setattr(experiment_runner, "read_experiment", lambda: read_experiment(str(tmp_path)))
    error = host.resume()
    assert error.status is Status.REFUSED
    assert str(error).startswith("the experiment could not continue: ")
    assert host.returned is in_experiment


def test_unknown_journal_is_not_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Resuming(monkeypatch, tmp_path, EXPERIMENT.command_line(0))
    monkeypatch.setattr(experiment_runner, "EXPERIMENT_JOURNAL", str(tmp_path / ("x" * 300)))
    error = host.resume()
    assert (error.status, host.returned) == (Status.REFUSED, False)
    assert str(error).endswith("File name too long")


@pytest.mark.parametrize(
    ("uuids", "found"),
    [
        ({}, ""),
        ({"dm-0": "LVM-abc"}, ""),
        ({"dm-0": "CRYPT-LUKS2-abc"}, "dm-0"),
        ({"dm-0": "LVM-abc", "dm-1": "CRYPT-LUKS2-abc"}, "dm-1"),
    ],
)
def test_encrypted_root_is_found(tmp_path: Path, uuids: dict[str, str], found: str) -> None:
    """dm-0 is the root file system, dm-1 and sda2 lie below it."""
    for name in ("dm-0", "dm-1", "sda2"):
        (tmp_path / f"devices/{name}/slaves").mkdir(parents=True)
    for upper, lower in (("dm-0", "dm-1"), ("dm-1", "sda2")):
        (tmp_path / f"devices/{upper}/slaves/{lower}").symlink_to(tmp_path / f"devices/{lower}")
    for name, uuid in uuids.items():
        (tmp_path / f"devices/{name}/dm").mkdir()
        (tmp_path / f"devices/{name}/dm/uuid").write_text(uuid + "\n")
    (tmp_path / "block").mkdir()
    (tmp_path / "block/254:0").symlink_to(tmp_path / "devices/dm-0")
    mounts = "22 1 254:0 / / rw - ext4 /dev/mapper/root rw\n23 22 0:5 / /proc rw - proc proc rw\nshort\n"
    assert find_encrypted(mounts, str(tmp_path / "block")) == found
    for number in ("254:0\0", "../devices/dm-0", "x", "254"):
        assert find_encrypted(mounts.replace("254:0", number), str(tmp_path / "block")) == ""
