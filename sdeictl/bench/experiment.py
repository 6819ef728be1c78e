"""`sdeictl bench ab`: with and without pseudo-NMI, in alternating boots. What comes next, and why not. Pure.

Each boot is for once: kexec hands the next kernel its command line, nothing that is stored for the boot
is changed, and any reset leads back to the original boot.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sdeictl.formats.cmdline import PSEUDO_NMI
from sdeictl.interlock.danger import Consent, Danger, about_danger, about_way_back
from sdeictl.interlock.refusals import PLATFORM, POLICY, PRIVILEGE, PROVIDER, Reason
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import SYSCTLS

MARKER = "sdeictl.ab"
"""A parameter of no module: the kernel passes it by, and it tells which of the boots this is."""
ARMS = ("off", "on")
MAX_ATTEMPTS = 2
MEASURE, BOOT, HOME, FINISH, STOP = "measure", "boot", "home", "finish", "stop"


class Experiment(NamedTuple):
    """What is to be done and how far it is; kept on disk."""

    id: str
    calls: tuple[str, ...]
    seconds: float
    workload: tuple[str, ...]
    workload_rounds: int
    rounds: int
    image: str
    initrd: str | None
    original: str
    """The command line of the original boot."""
    build: str
    """/proc/version: every boot must be of this very kernel."""
    done: tuple[str, ...] = ()
    """The runs, in the order of the boots."""
    attempts: int = 0
    """How often the next boot was tried."""
    measures: int = 0
    """How often it was begun to measure in this one."""
    kept_at: float = 0.0
    """When this was written, in seconds since 1970."""
    homeward: bool = False
    """It only remains to get back to the original boot."""
    reasons: tuple[str, ...] = ()
    """Why it ended early."""

    @property
    def boots(self) -> int:
        """Return how many boots there are."""
        return len(ARMS) * self.rounds

    def line(self, number: int) -> str:
        """Return the command line of a boot, the first is 0."""
        state = int(ARMS[number % len(ARMS)] == "on")
        words = [word for word in self.original.split() if not word.startswith(f"{PSEUDO_NMI}=")]
        # In front of what is the init's own.
        at = words.index("--") if "--" in words else len(words)
        words[at:at] = [f"{PSEUDO_NMI}={state}", f"{MARKER}={self.id}.{number}"]
        return " ".join(words)


class ThisBoot(NamedTuple):
    """Where the host is now."""

    line: str
    build: str


class Step(NamedTuple):
    """What to do now."""

    do: str
    """MEASURE; BOOT the next one; HOME: reset into the original boot; FINISH; STOP: end where it is."""
    experiment: Experiment
    """To be kept before it is done."""


def next_step(experiment: Experiment, boot: ThisBoot) -> Step:
    """Return what to do in this boot."""
    # Home is every boot but an experiment's, whatever the firmware starts there meanwhile.
    at_home = not is_arm(boot.line)
    number = len(experiment.done)
    if experiment.homeward:
        return _go_home(experiment, at_home)
    if number == experiment.boots:
        return _go_home(experiment._replace(homeward=True, attempts=0), at_home)
    if boot.build != experiment.build:
        return _end(experiment, at_home, "Another kernel runs now.")
    if boot.line.split() != experiment.original.split() and (
        at_home or f"{MARKER}={experiment.id}." not in boot.line
    ):
        return _end(experiment, at_home, "The host was booted with another command line.")
    if boot.line.split() == experiment.line(number).split():
        if experiment.measures >= MAX_ATTEMPTS:
            text = f"Boot {number + 1} of {experiment.boots} was not measured in {MAX_ATTEMPTS} attempts."
            return _end(experiment, at_home, text)
        return Step(MEASURE, experiment._replace(measures=experiment.measures + 1))
    if experiment.attempts >= MAX_ATTEMPTS:
        text = f"Boot {number + 1} of {experiment.boots} did not come in {MAX_ATTEMPTS} attempts."
        return _end(experiment, at_home, text)
    return Step(BOOT, experiment._replace(attempts=experiment.attempts + 1))


def is_arm(line: str) -> bool:
    """Tell whether a boot is one of an experiment's."""
    return any(word.startswith(f"{MARKER}=") for word in line.split())


def _go_home(experiment: Experiment, at_home: bool) -> Step:
    if at_home:
        return Step(FINISH, experiment)
    if experiment.attempts >= MAX_ATTEMPTS:
        text = f"The original boot did not come in {MAX_ATTEMPTS} attempts: reboot this host."
        reasons = experiment.reasons if text in experiment.reasons else (*experiment.reasons, text)
        return Step(STOP, experiment._replace(reasons=reasons))
    return Step(HOME, experiment._replace(attempts=experiment.attempts + 1))


def _end(experiment: Experiment, at_home: bool, reason: str) -> Step:
    return _go_home(homeward(experiment, reason), at_home)


def homeward(experiment: Experiment, reason: str) -> Experiment:
    """Return the experiment ended early: it only has to get back to the original boot."""
    return experiment._replace(homeward=True, attempts=0, reasons=(*experiment.reasons, reason))


def measured(experiment: Experiment, run: str) -> Experiment:
    """Return the experiment with one boot's run done."""
    return experiment._replace(done=(*experiment.done, run), attempts=0, measures=0)


def wrong_states(states: list[str | None]) -> list[str]:
    """Return in which boots pseudo-NMI was not what it should have been, as sentences."""
    return [
        f"Boot {number + 1} ran with pseudo-NMI {state or 'unknown'}, not {ARMS[number % len(ARMS)]}."
        for number, state in enumerate(states)
        if state != ARMS[number % len(ARMS)]
    ]


class Kexec(NamedTuple):
    """What the host has to boot another command line with."""

    privileged: bool
    program: bool
    """kexec-tools is installed."""
    image: str | None
    initrd: str | None
    no_initrd: bool
    """It needs none, the operator says."""
    disabled: bool
    """kernel.kexec_load_disabled."""
    has_its: bool | None
    """The device tree has an interrupt translation service; None: it could not be read."""
    efi: bool
    resumes: bool
    """After a boot something goes on with it."""
    within: bool
    """This boot is one of an experiment's."""
    pending: str | None
    """What has not ended yet: an experiment or a drill."""


def about_ab(facts: HostFacts, kexec: Kexec, danger: Danger, consent: Consent, cpus: int) -> Iterator[Reason]:
    """Yield every reason against it."""
    if facts.architecture != "arm64":
        text = f"This is no arm64 host ({facts.architecture or 'unknown'}): there is no pseudo-NMI to try."
        yield Reason(PLATFORM, text)
        return
    if not kexec.privileged:
        yield Reason(PRIVILEGE, "It boots the host again and again: run it as root.")
    yield from about_danger(danger, consent, cpus)
    yield from about_way_back(danger, consent)
    yield from _about_pseudo_nmi(facts)
    yield from _about_kexec(facts, kexec)
    if kexec.pending:
        yield Reason(POLICY, f"{kexec.pending} has not ended yet.")
    if not kexec.resumes:
        text = (
            "Nothing would go on after the first boot: install sdeictl in /usr/bin, and `systemctl enable"
            " sdeictl-bench-resume.service`; or say that something of your own calls `bench resume`"
            " (--own-resume)."
        )
        yield Reason(POLICY, text)
    if kexec.within:
        yield Reason(POLICY, f"This boot is one of an experiment's ({MARKER}=): reboot the host first.")
    if dict(facts.settings or ()).get(f"{SYSCTLS}/panic", "0") == "0":
        text = "kernel.panic is 0: if one of the boots panicked, the host would hang and never reset."
        yield Reason(POLICY, text)


def _about_pseudo_nmi(facts: HostFacts) -> Iterator[Reason]:
    values = [dict(config.values).get("ARM64_PSEUDO_NMI") for config in facts.configs]
    if "y" not in values:
        yield Reason(PROVIDER, "That this kernel has pseudo-NMI is not seen (CONFIG_ARM64_PSEUDO_NMI).")
    if not facts.interrupts or facts.interrupts.gic != "GICv3":
        seen = facts.interrupts.gic if facts.interrupts and facts.interrupts.gic else "unknown"
        yield Reason(PROVIDER, f"Pseudo-NMI needs a GICv3; this is {seen}.")
    if facts.bootlog and facts.bootlog.pseudo_nmi_error:
        yield Reason(PROVIDER, f"The kernel refuses pseudo-NMI here: {facts.bootlog.pseudo_nmi_error}.")


def _about_kexec(facts: HostFacts, kexec: Kexec) -> Iterator[Reason]:
    lockdown = facts.drills.lockdown if facts.drills else None
    if lockdown not in (None, "none"):
        yield Reason(PROVIDER, f"The kernel is locked down ({lockdown}): kexec may take nothing.")
    if kexec.disabled:
        yield Reason(POLICY, "kexec is switched off until the next boot (kernel.kexec_load_disabled).")
    if not kexec.program:
        yield Reason(PROVIDER, "kexec-tools is not installed.")
    if not kexec.image:
        yield Reason(PROVIDER, "The running kernel's image is not found below /boot: name it by --kernel.")
    elif not kexec.initrd and not kexec.no_initrd:
        text = f"No initrd of {kexec.image} is known: --initrd names it, --no-initrd says that it needs none."
        yield Reason(PROVIDER, text)
    if facts.tables != "acpi" and not kexec.efi and kexec.has_its is not False:
        text = (
            "This host has a device tree, an interrupt translation service and no UEFI: a kernel that is"
            " started by kexec would die there, for the GIC keeps writing into the first one's tables."
        )
        if kexec.has_its is None:
            text = "Whether this host's GIC has an interrupt translation service cannot be read."
        yield Reason(PLATFORM, text)


def ab_lines(experiment: Experiment) -> list[tuple[str, str]]:
    """Return what will be done, as (what, sentence)."""
    lines = []
    for number in range(experiment.boots):
        arm = ARMS[number % len(ARMS)]
        lines.append(
            ("boot", f"{number + 1} of {experiment.boots}, pseudo-NMI {arm}: {experiment.line(number)}")
        )
    initrd = f" and {experiment.initrd}" if experiment.initrd else ""
    return [
        (
            "kexec",
            f"{experiment.image}{initrd}, {experiment.boots} times; the host's services stop and start",
        ),
        *lines,
        ("measure", f"in each: {' '.join(experiment.workload or experiment.calls)}"),
        ("way back", f"a reboot into the original command line: {experiment.original}"),
        ("way back", f"after {MAX_ATTEMPTS} attempts at a boot: the original boot, and the end"),
    ]


def result_json(experiment: Experiment, comparison: dict[str, Any] | None) -> dict[str, Any]:
    """Return what came of it."""
    return {
        "schema": "sdeictl.bench-ab/1",
        "id": experiment.id,
        "complete": len(experiment.done) == experiment.boots and not experiment.reasons,
        "reasons": list(experiment.reasons),
        "boots": experiment.boots,
        "runs": list(experiment.done),
        "comparison": comparison,
    }
