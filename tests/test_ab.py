"""`bench ab` without a host: which boot comes next, whatever happens, and what forbids it."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.bench import experiment_run as abrun
from sdeictl.bench.experiment import (
    BOOT,
    FINISH,
    HOME,
    MAX_ATTEMPTS,
    MEASURE,
    STOP,
    Experiment,
    Kexec,
    ThisBoot,
    ab_lines,
    about_ab,
    homeward,
    measured,
    next_step,
    result_json,
    wrong_states,
)
from sdeictl.bench.experiment_run import find_kernel, keep, read_experiment
from sdeictl.bench.text import render_ab
from sdeictl.errors import SdeictlError, Status
from sdeictl.formats.cmdline import wants_pseudo_nmi
from sdeictl.interlock.danger import Consent, Danger
from sdeictl.klog.bootlog import BootLog
from sdeictl.probe.facts import DrillAbilities, HostFacts, Interrupts, KernelConfig
from sdeictl.text import plain
from tests.test_analysis_properties import EXAMPLES

ORIGINAL = "root=/dev/vda ro irqchip.gicv3_pseudo_nmi=1 quiet -- single"
BUILD = "Linux version 7.3.4 #1 SMP"
EXPERIMENT = Experiment("X", ("getppid",), 5.0, (), 10, 2, "/boot/vmlinuz", None, ORIGINAL, BUILD)
HOME_BOOT = ThisBoot(ORIGINAL, BUILD)


def test_each_boot_differs_by_the_state_and_by_its_own_mark() -> None:
    assert EXPERIMENT.line(0) == "root=/dev/vda ro quiet irqchip.gicv3_pseudo_nmi=0 sdeictl.ab=X.0 -- single"
    assert [wants_pseudo_nmi(EXPERIMENT.line(number)) for number in range(4)] == [False, True, False, True]
    assert len({EXPERIMENT.line(number) for number in range(4)} | {ORIGINAL}) == 5


class World:
    """A host that does what it is told, or not."""

    def __init__(self, experiment: Experiment, events: list[str]) -> None:
        self.experiment = experiment
        self.boot = HOME_BOOT
        self.events = iter(events)
        self.measures = self.boots = 0

    def run(self) -> str:
        for _turn in range(200):
            step = next_step(self.experiment, self.boot)
            self.experiment = step.experiment
            if step.do in (FINISH, STOP):
                return step.do
            self.do(step.do, next(self.events, "well"))
        raise AssertionError("it does not end")

    def do(self, what: str, event: str) -> None:
        if event == "killed":  # it is resumed in the same boot
            return
        if event == "power":  # the host comes up again as it always does
            self.boot = HOME_BOOT
        elif what == MEASURE:
            self.measures += 1
            self.experiment = measured(self.experiment, f"{self.measures}.json")
        elif what == BOOT:
            self.boots += 1
            line = self.experiment.line(len(self.experiment.done))
            self.boot = HOME_BOOT if event == "fails" else ThisBoot(line, BUILD)
        elif what == HOME and event != "fails":
            self.boot = HOME_BOOT


def test_it_goes_through_all_boots_and_home() -> None:
    world = World(EXPERIMENT, [])
    assert world.run() == FINISH
    assert (world.boots, world.measures, world.experiment.reasons) == (4, 4, ())
    assert world.experiment.done == ("1.json", "2.json", "3.json", "4.json")


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(["well", "killed", "power", "fails"]), max_size=60))
def test_whatever_happens_it_ends_in_the_original_boot_or_says_that_it_does_not(events: list[str]) -> None:
    world = World(EXPERIMENT, events)
    ended = world.run()
    assert len(world.experiment.done) <= world.experiment.boots
    if ended == FINISH:
        assert world.boot == HOME_BOOT
        assert bool(world.experiment.reasons) == (len(world.experiment.done) < world.experiment.boots)
    else:
        assert world.experiment.reasons[-1].endswith("reboot this host.")
        assert world.run() == STOP  # and says it once
        assert len(set(world.experiment.reasons)) == len(world.experiment.reasons)
        # And once somebody has done that, it ends too.
        world.boot = HOME_BOOT
        assert world.run() == FINISH


def test_a_boot_is_measured_in_two_attempts_or_not_at_all() -> None:
    world = World(EXPERIMENT, ["well", "killed", "killed", "killed"])
    assert world.run() == FINISH
    assert world.experiment.reasons == ("Boot 1 of 4 was not measured in 2 attempts.",)


def test_home_is_whatever_the_firmware_boots() -> None:
    done = EXPERIMENT._replace(done=("1", "2", "3", "4"))
    assert next_step(done, ThisBoot("BOOT_IMAGE=another " + ORIGINAL, "another build")).do == FINISH


def test_runs_in_another_state_than_their_boot_was_for_are_named() -> None:
    assert wrong_states(["off", "on", "off", "on"]) == []
    assert wrong_states(["off", "off", None]) == [
        "Boot 2 ran with pseudo-NMI off, not on.", "Boot 3 ran with pseudo-NMI unknown, not off.",
    ]  # fmt: skip


def test_a_boot_is_tried_twice_and_then_no_more() -> None:
    world = World(EXPERIMENT, ["fails"] * 10)
    assert world.run() == FINISH
    assert world.boots == MAX_ATTEMPTS
    assert world.experiment.reasons == ("Boot 1 of 4 did not come in 2 attempts.",)


@pytest.mark.parametrize(
    ("boot", "reason"),
    [
        (ThisBoot(ORIGINAL, "another build"), "Another kernel runs now."),
        (ThisBoot("somebody's=own", BUILD), "The host was booted with another command line."),
    ],
)
def test_a_host_that_was_changed_meanwhile_is_not_driven_on(boot: ThisBoot, reason: str) -> None:
    step = next_step(EXPERIMENT, boot)
    assert step.experiment.reasons == (reason,)
    assert step.do == FINISH


def test_one_that_is_stopped_only_goes_home() -> None:
    stopped = homeward(EXPERIMENT, "It was stopped.")
    assert next_step(stopped, ThisBoot(EXPERIMENT.line(0), BUILD)).do == HOME
    assert next_step(stopped, HOME_BOOT).do == FINISH


def test_a_boot_of_another_experiment_is_none_of_this_one() -> None:
    other = EXPERIMENT._replace(id="Y").line(0)
    assert next_step(EXPERIMENT, ThisBoot(other, BUILD)).do == HOME


FACTS = HostFacts(
    architecture="arm64",
    tables="acpi",
    configs=(KernelConfig("/proc/config.gz", True, (("ARM64_PSEUDO_NMI", "y"),)),),
    interrupts=Interrupts("GICv3", 4, True),
    drills=DrillAbilities(True, True, True, "none"),
    settings=(("/proc/sys/kernel/panic", "10"),),
)
KEXEC = Kexec(
    privileged=True, program=True, image="/boot/vmlinuz", initrd=None, disabled=False, has_its=True, efi=True,
    resumes=True, pending=None, no_initrd=True, within=False,
)  # fmt: skip
CALM = Danger("lab", 60.0, 0, (), 0.1, (), 1 << 30, 0, ())
CONSENT = Consent("lab", "BMC at ...")


def reasons(facts: HostFacts = FACTS, kexec: Kexec = KEXEC, danger: Danger = CALM) -> list[str]:
    return [reason.text for reason in about_ab(facts, kexec, danger, CONSENT, 4)]


def test_nothing_against_a_good_host() -> None:
    assert reasons() == []
    devicetree = FACTS._replace(tables="devicetree")
    assert reasons(devicetree) == reasons(devicetree, KEXEC._replace(efi=False, has_its=False)) == []


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (reasons(HostFacts(architecture="x86")), "This is no arm64 host (x86)"),
        (reasons(kexec=KEXEC._replace(privileged=False)), "run it as root"),
        (reasons(danger=CALM._replace(armed=None)), "It is not armed on this boot"),
        (reasons(FACTS._replace(configs=())), "CONFIG_ARM64_PSEUDO_NMI"),
        (reasons(FACTS._replace(interrupts=Interrupts("GICv2", 4, True))), "needs a GICv3; this is GICv2"),
        (reasons(FACTS._replace(bootlog=BootLog(pseudo_nmi_error="no"))), "refuses pseudo-NMI here: no"),
        (reasons(FACTS._replace(drills=DrillAbilities(True, True, True, "integrity"))), "locked down"),
        (reasons(kexec=KEXEC._replace(disabled=True)), "kernel.kexec_load_disabled"),
        (reasons(kexec=KEXEC._replace(program=False)), "kexec-tools is not installed"),
        (reasons(kexec=KEXEC._replace(image=None)), "name it by --kernel"),
        (reasons(kexec=KEXEC._replace(no_initrd=False)), "No initrd of /boot/vmlinuz is known"),
        (reasons(kexec=KEXEC._replace(within=True)), "This boot is one of an experiment's"),
        (reasons(FACTS._replace(settings=None)), "kernel.panic is 0"),
        (reasons(kexec=KEXEC._replace(pending="A drill")), "A drill has not ended yet."),
        (reasons(kexec=KEXEC._replace(resumes=False)), "systemctl enable sdeictl-bench-resume.service"),
        (
            reasons(FACTS._replace(tables="devicetree"), KEXEC._replace(efi=False)),
            "a kernel that is started by kexec would die",
        ),
        (
            reasons(FACTS._replace(tables="devicetree"), KEXEC._replace(efi=False, has_its=None)),
            "cannot be read",
        ),
    ],
)  # fmt: skip
def test_what_speaks_against_it(found: list[str], sentence: str) -> None:
    (reason,) = found
    assert sentence in reason


def test_the_plan_names_every_boot_and_the_way_back() -> None:
    text = "\n".join(f"{what}: {line}" for what, line in ab_lines(EXPERIMENT))
    assert all(EXPERIMENT.line(number) in text for number in range(4))
    assert f"a reboot into the original command line: {ORIGINAL}" in text


def test_an_experiment_is_kept_and_a_damaged_journal_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ab.journal"
    monkeypatch.setattr(abrun, "JOURNAL", str(path))
    monkeypatch.setattr(abrun, "DIRECTORY", str(tmp_path))
    experiment = measured(EXPERIMENT, "1.json")._replace(workload=("true",))
    kept = keep(experiment)
    assert kept.kept_at > 0
    assert read_experiment(str(path)) == kept
    whole = path.read_bytes()
    fields = json.loads(whole)
    damaged = [whole[: len(whole) // 2], b"", b"[]", b"{}", json.dumps(fields | {"original": 5}).encode()]
    damaged += [json.dumps(fields | {"attempts": "x"}).encode(), json.dumps(fields | {"more": 1}).encode()]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(SdeictlError, match="is damaged") as found:
            read_experiment(str(path))
        assert found.value.status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("vmlinuz-7.3", "initrd.img-7.3"), ("vmlinuz-7.3", "initrd.img-7.3")),
        (("vmlinuz-7.3", "initramfs-7.3.img"), ("vmlinuz-7.3", "initramfs-7.3.img")),
        (("Image-7.3", "vmlinuz-7.2"), ("Image-7.3", None)),
        (("vmlinuz-7.2",), (None, None)),
    ],
)
def test_the_running_kernel_is_found_as_distributions_name_it(
    tmp_path: Path, names: tuple[str, ...], expected: tuple[str | None, str | None]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    found = find_kernel("7.3", str(tmp_path))
    assert found == tuple(name and str(tmp_path / name) for name in expected)


def test_what_came_of_it_in_words() -> None:
    ended = EXPERIMENT._replace(done=("1.json",), reasons=("Boot 2 of 4 did not come in 2 attempts.",))
    text = plain(render_ab(result_json(ended, None)))
    assert text == "not complete  1 of 4 boots were measured\nBoot 2 of 4 did not come in 2 attempts.\n"
