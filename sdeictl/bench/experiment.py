"""`sdeictl bench ab`: measurements in alternating boots, with and without pseudo-NMI. Pure.

kexec passes each boot its command line for that boot only. Nothing that the host stores for its boots
changes, so that any reset leads back to the original boot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TypedDict

from sdeictl.bench.compare import ComparisonDocument
from sdeictl.bench.kexec import Kexec, refusals_for_kexec
from sdeictl.bench.loop import DEFAULT_CALLS
from sdeictl.bench.measure import Timing
from sdeictl.bench.words import PseudoNmi
from sdeictl.formats.cmdline import PSEUDO_NMI, split_words, wants_pseudo_nmi
from sdeictl.host.paths import PANIC_SECONDS
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.dry_run import PlanLine
from sdeictl.interlock.refusals import (
    Reason,
    ReasonKind,
    refusals_for_heartbeats,
    refusals_for_memory,
    refusals_for_risk,
    refusals_for_way_back,
)
from sdeictl.interlock.survey import Survey
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import setting
from sdeictl.text import NamedTuple

AB_SCHEMA = "sdeictl.bench-ab/1"
MARKER = "sdeictl.ab"
"""The parameter that names the boot of an experiment. It belongs to no module, so the kernel ignores it."""
STATES = (PseudoNmi.OFF, PseudoNmi.ON)
"""The states of pseudo-NMI in turns; the first boot is without it."""
MAX_ATTEMPTS = 2
UNIT = "sdeictl-bench-resume.service"


class Experiment(NamedTuple):
    """The request and the progress of an experiment; bench/experiment_journal.py stores it."""

    id: str
    timing: Timing
    pairs: int
    """How many boots with pseudo-NMI, and as many without."""
    image: str
    initrd: str | None
    original_line: str
    """The command line of the original boot."""
    build: str
    """/proc/version: every boot must run this kernel."""
    runs: tuple[str, ...] = ()
    """File names of the finished runs, in the order of the boots."""
    boot_attempts: int = 0
    """How many times the next boot, or the return to the original boot, was tried."""
    measure_attempts: int = 0
    """How many times a measurement began in this boot."""
    written_at: float = 0.0
    """When this was stored, in seconds since 1970."""
    returning: bool = False
    """The only step left is the return to the original boot."""
    reasons: tuple[str, ...] = ()
    """Why the experiment ended early, sentences."""

    @property
    def boots(self) -> int:
        """Return how many boots the experiment has."""
        return len(STATES) * self.pairs

    def command_line(self, number: int) -> str:
        """Return the command line of one boot, counted from 0."""
        words = [word for word in split_words(self.original_line) if not word.startswith(f"{PSEUDO_NMI}=")]
        # The words after "--" belong to init.
        at = words.index("--") if "--" in words else len(words)
        value = int(state_of(number) is PseudoNmi.ON)
        words[at:at] = [f"{PSEUDO_NMI}={value}", f"{MARKER}={self.id}.{number}"]
        return " ".join(words)

    def boot_name(self, number: int) -> str:
        """Return one boot as messages name it: `boot 1 of 6`."""
        return f"boot {number + 1} of {self.boots}"


class ThisBoot(NamedTuple):
    """The boot that the host runs."""

    line: str
    """/proc/cmdline"""
    build: str
    """/proc/version"""


class Action(Enum):
    """What to do next."""

    MEASURE = "measure"
    """Measure in this boot."""
    BOOT = "boot"
    """Start the next boot of the experiment."""
    RETURN = "return"
    """Reset the host into its original boot."""
    FINISH = "finish"
    """Compare the runs; the host is in its original boot."""
    STOP = "stop"
    """End here: the host cannot return to its original boot."""


class Step(NamedTuple):
    """The next action, and the experiment to store before it."""

    action: Action
    experiment: Experiment


def state_of(number: int) -> PseudoNmi:
    """Return the state of pseudo-NMI in one boot, counted from 0."""
    return STATES[number % len(STATES)]


def next_step(experiment: Experiment, boot: ThisBoot) -> Step:
    """Return what to do in this boot."""
    if not experiment.returning and len(experiment.runs) == experiment.boots:
        experiment = experiment._replace(returning=True, boot_attempts=0)
    if not experiment.returning and (reason := _reason_to_end(experiment, boot)):
        experiment = end_early(experiment, reason)
    if experiment.returning:
        return _return_step(experiment, boot)
    if _is_next_boot(experiment, boot):
        attempts = experiment.measure_attempts + 1
        return Step(Action.MEASURE, experiment._replace(measure_attempts=attempts))
    return Step(Action.BOOT, experiment._replace(boot_attempts=experiment.boot_attempts + 1))


def _return_step(experiment: Experiment, boot: ThisBoot) -> Step:
    # Without a marker any boot counts as the original one, even if the firmware now starts another kernel.
    if not is_experiment_boot(boot.line):
        return Step(Action.FINISH, experiment)
    if experiment.boot_attempts < MAX_ATTEMPTS:
        return Step(Action.RETURN, experiment._replace(boot_attempts=experiment.boot_attempts + 1))
    text = f"The host did not return to its original boot in {MAX_ATTEMPTS} attempts: reboot this host."
    reasons = experiment.reasons if text in experiment.reasons else (*experiment.reasons, text)
    return Step(Action.STOP, experiment._replace(reasons=reasons))


def _reason_to_end(experiment: Experiment, boot: ThisBoot) -> str | None:
    """Return why the experiment cannot continue in this boot, a sentence; None if it can."""
    if boot.build != experiment.build:
        return "The host now runs another kernel."
    original = split_words(boot.line) == split_words(experiment.original_line)
    own = original or _is_own_boot(experiment, boot)
    if not own:
        return "The host was booted with another command line."
    name = experiment.boot_name(len(experiment.runs)).capitalize()
    if _is_next_boot(experiment, boot):
        too_often = experiment.measure_attempts >= MAX_ATTEMPTS
        return f"{name} was not measured in {MAX_ATTEMPTS} attempts." if too_often else None
    too_often = experiment.boot_attempts >= MAX_ATTEMPTS
    return f"{name} did not start in {MAX_ATTEMPTS} attempts." if too_often else None


def _is_own_boot(experiment: Experiment, boot: ThisBoot) -> bool:
    return is_experiment_boot(boot.line) and f"{MARKER}={experiment.id}." in boot.line


def _is_next_boot(experiment: Experiment, boot: ThisBoot) -> bool:
    """Report whether this is the boot in which the next run is due.

    A kernel may add words of its own to its command line (CONFIG_CMDLINE_EXTEND, a boot configuration).
    """
    number = len(experiment.runs)
    words = split_words(boot.line)
    intended = state_of(number) is PseudoNmi.ON
    return _words_are_in(split_words(experiment.command_line(number)), words) and (
        wants_pseudo_nmi(boot.line) is intended
    )


def _words_are_in(wanted: Sequence[str], words: Sequence[str]) -> bool:
    """Tell whether a command line has all these words in this order."""
    rest = iter(words)
    return all(word in rest for word in wanted)


def is_experiment_boot(line: str) -> bool:
    """Report whether a command line belongs to a boot of any experiment."""
    return any(word.startswith(f"{MARKER}=") for word in line.split())


def end_early(experiment: Experiment, reason: str) -> Experiment:
    """Return an experiment that ends early: the only step left is the return to the original boot."""
    return experiment._replace(returning=True, boot_attempts=0, reasons=(*experiment.reasons, reason))


def add_run(experiment: Experiment, run: str) -> Experiment:
    """Return the experiment with the run of this boot finished."""
    return experiment._replace(runs=(*experiment.runs, run), boot_attempts=0, measure_attempts=0)


def wrong_states(states: Sequence[str | None]) -> list[str]:
    """Return the boots in which pseudo-NMI was not in its intended state, as sentences."""
    return [
        f"Boot {number + 1} ran with pseudo-NMI {state or 'unknown'}, not {state_of(number)}."
        for number, state in enumerate(states)
        if state != state_of(number)
    ]


class Readiness(NamedTuple):
    """Whether this host can go through the boots of an experiment."""

    kexec: Kexec
    resumes: bool
    """After each boot something calls `bench resume`."""
    in_experiment: bool
    """This boot belongs to an experiment."""
    pending: str | None
    """Which experiment or drill has not ended, a sentence."""


def refusals_for_experiment(survey: Survey, ready: Readiness, consent: Consent) -> Iterator[Reason]:
    """Yield every reason against an experiment on this host."""
    facts = survey.facts
    if facts.architecture != "arm64":
        text = f"This host is not arm64 ({facts.architecture or 'unknown'}): it has no pseudo-NMI to measure."
        yield Reason(ReasonKind.PLATFORM, text)
        return
    if not survey.privileged:
        yield Reason(ReasonKind.PRIVILEGE, "An experiment reboots the host: run it as root.")
    yield from refusals_for_risk(survey, consent)
    yield from refusals_for_heartbeats(survey)
    yield from refusals_for_memory(survey)
    yield from refusals_for_way_back(survey, consent, by_kexec=True)
    yield from _refusals_for_pseudo_nmi(facts)
    yield from refusals_for_kexec(facts, ready.kexec)
    yield from _refusals_for_boots(facts, ready)


def _refusals_for_pseudo_nmi(facts: HostFacts) -> Iterator[Reason]:
    values = [dict(config.values).get("ARM64_PSEUDO_NMI") for config in facts.configs]
    if "y" not in values:
        text = "No configuration of this kernel shows CONFIG_ARM64_PSEUDO_NMI=y."
        yield Reason(ReasonKind.PROVIDER, text)
    gic = facts.interrupts.gic if facts.interrupts else None
    if gic != "GICv3":
        text = f"Pseudo-NMI needs a GICv3; the interrupt controller of this host is {gic or 'unknown'}."
        yield Reason(ReasonKind.PROVIDER, text)
    if facts.bootlog and facts.bootlog.pseudo_nmi_error:
        text = f"The kernel refuses pseudo-NMI on this host: {facts.bootlog.pseudo_nmi_error}."
        yield Reason(ReasonKind.PROVIDER, text)


def _refusals_for_boots(facts: HostFacts, ready: Readiness) -> Iterator[Reason]:
    """Yield the reasons why the host could not go through all boots, and back."""
    if ready.pending:
        yield Reason(ReasonKind.POLICY, ready.pending)
    if not ready.resumes:
        text = (
            "Nothing would continue the experiment after its first boot: install sdeictl in /usr/bin and run"
            f" `systemctl enable {UNIT}`, or give --own-resume if something of your own calls"
            " `sdeictl bench resume` in each boot."
        )
        yield Reason(ReasonKind.POLICY, text)
    if ready.in_experiment:
        text = f"This boot belongs to an experiment ({MARKER}=): reboot the host first."
        yield Reason(ReasonKind.POLICY, text)
    if setting(facts, PANIC_SECONDS) in (None, "0"):
        text = "kernel.panic is 0: if a boot of the experiment panics, the host hangs and never resets."
        yield Reason(ReasonKind.POLICY, text)


def experiment_lines(experiment: Experiment) -> list[PlanLine]:
    """Return the plan of an experiment."""
    initrd = f" and {experiment.initrd}" if experiment.initrd else ""
    boots = [
        (
            "boot",
            f"{number + 1} of {experiment.boots}, pseudo-NMI {state_of(number)}:"
            f" {experiment.command_line(number)}",
        )
        for number in range(experiment.boots)
    ]
    return [
        (
            "kexec",
            f"{experiment.image}{initrd}, {experiment.boots} times; the services of the host stop and start"
            " each time",
        ),
        *boots,
        ("measure", f"in each boot: {_timing_words(experiment.timing)}"),
        ("way back", f"a reboot into the original command line: {experiment.original_line}"),
        ("way back", f"if a boot fails {MAX_ATTEMPTS} times: the original boot, and the end"),
    ]


def _timing_words(timing: Timing) -> str:
    calls = timing.calls or (() if timing.workload else DEFAULT_CALLS)
    return ", ".join([*calls, *([" ".join(timing.workload)] if timing.workload else [])])


class AbDocument(TypedDict):
    """`sdeictl.bench-ab/1`."""

    schema: str
    id: str
    complete: bool
    reasons: list[str]
    boots: int
    runs: list[str]
    comparison: ComparisonDocument | None


def ab_document(
    experiment: Experiment, reasons: Sequence[str], comparison: ComparisonDocument | None
) -> AbDocument:
    """Return the result of an experiment; `reasons`: why it is not complete."""
    return {
        "schema": AB_SCHEMA,
        "id": experiment.id,
        "complete": len(experiment.runs) == experiment.boots and not reasons,
        "reasons": list(reasons),
        "boots": experiment.boots,
        "runs": list(experiment.runs),
        "comparison": comparison,
    }
