"""Every reason to refuse a drill or `bench ab`. Pure, but for the trial of makedumpfile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sdeictl.errors import Status
from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.host.paths import (
    DRILL_RESULTS,
    KCORE,
    LKDTM_DIRECT,
    NMI_WATCHDOG,
    PANIC_SECONDS,
    SYSCTLS,
    WATCHDOG_CPUMASK,
    WORKQUEUE_STALL,
)
from sdeictl.host.programs import output_of
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.survey import Survey
from sdeictl.interlock.watchdogs import MARGIN
from sdeictl.interlock.window import MIN_SECONDS, PROVIDERS, WindowRequest, longest_window, provider_problem
from sdeictl.probe.drills import DrillOutcome
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import setting
from sdeictl.probe.stored_drills import Build
from sdeictl.text import NamedTuple, Word, list_cpus

MIN_FREE_BYTES = 64 << 20
"""Journal, log slice and result take less than 1 MiB; a disk that is nearly full has trouble of its own."""
TRIAL_SECONDS = 900.0
MAX_LOAD_PER_CPU = 0.5
MAX_UNRESOLVED = 3
"""After so many drills in a row without a known outcome, a person has to look."""
WORKQUEUE_PANIC = "workqueue.panic_on_stall"
PANIC_SETTINGS = (
    *(
        f"{SYSCTLS}/{name}"
        for name in (
            "hardlockup_panic", "softlockup_panic", "panic_on_rcu_stall", "hung_task_panic", "panic_on_warn",
        )
    ),
    WORKQUEUE_STALL,
)  # fmt: skip
"""What makes a lost CPU a panic. panic_on_oops does not: a CPU that waits makes no oops."""
_TAINTS = {4: "a machine check", 5: "a bad page", 7: "an oops", 9: "a warning", 14: "a soft lockup"}
"""Bits that say the kernel has had trouble (Documentation/admin-guide/tainted-kernels.rst)."""


class ReasonKind(Word):
    """What kind of reason it is. All but a policy mean that the drill cannot be done here at all."""

    PRIVILEGE = "privilege"
    PLATFORM = "platform"
    PROVIDER = "provider"
    POLICY = "policy"


class Reason(NamedTuple):
    """One reason to refuse."""

    kind: ReasonKind
    text: str
    """A sentence."""


def refused_status(reasons: Iterable[Reason]) -> Status:
    """Return UNKNOWN if something is missing here, REFUSED if only a policy forbids it."""
    missing = any(reason.kind is not ReasonKind.POLICY for reason in reasons)
    return Status.UNKNOWN if missing else Status.REFUSED


def refusals_for_host(survey: Survey) -> Iterator[Reason]:
    """Yield what speaks against any drill on this host."""
    architecture = survey.facts.architecture
    if architecture != "arm64":
        text = f"This host is not arm64 ({architecture or 'unknown'}): there is nothing to prove."
        yield Reason(ReasonKind.PLATFORM, text)
        return
    if not survey.privileged:
        yield Reason(ReasonKind.PRIVILEGE, "A drill writes to the kernel's triggers: run it as root.")
    if not survey.has_sysrq:
        text = "This kernel has no /proc/sysrq-trigger (CONFIG_MAGIC_SYSRQ)."
        yield Reason(ReasonKind.PROVIDER, text)
    if not survey.online:
        yield Reason(ReasonKind.PLATFORM, "The list of online CPUs cannot be read.")
    if len(survey.online) == 1:
        text = f"CPU {survey.online[0]} is the only one online: there is no other CPU to ask."
        yield Reason(ReasonKind.PLATFORM, text)
    if survey.deep_idle and not survey.has_cpu_latency:
        text = "Without /dev/cpu_dma_latency the CPUs cannot be kept out of their deeper idle states."
        yield Reason(ReasonKind.POLICY, text)
    if survey.moving:
        text = f"CPU {list_cpus(survey.moving)} is going online or offline: wait until that is done."
        yield Reason(ReasonKind.POLICY, text)


def refusals_for_target(survey: Survey, cpu: int | None, accepted_load: str | None) -> Iterator[Reason]:
    """Yield why the CPU that the user chose cannot be the one that is masked."""
    if cpu is None:
        return
    if survey.online and cpu not in survey.online:
        yield Reason(ReasonKind.POLICY, f"CPU {cpu} is not online.")
    load = load_words(survey, cpu)
    if load and (accepted_load or "").split() != load.split():
        text = f"CPU {cpu} is in use: {load}. Choose another CPU, or accept that by --accept-load '{load}'."
        yield Reason(ReasonKind.POLICY, text)


def load_words(survey: Survey, cpu: int) -> str:
    """Return what masking a CPU would hold up, as plans and refusals name it; "" if it is nothing."""
    return "; ".join(survey.loads.get(cpu, ()))


def refusals_for_window(survey: Survey, request: WindowRequest) -> Iterator[Reason]:
    """Yield why the window that the user asked for cannot be opened here."""
    yield from refusals_for_target(survey, request.cpu, request.accepted_load)
    longest = longest_window(survey)
    if request.seconds > longest:
        thresh = survey.watchdog_thresh
        limit = f"half of watchdog_thresh ({thresh} s)" if thresh else "the limit"
        text = f"A window of {request.seconds:g} s is longer than {longest:g} s, {limit}."
        yield Reason(ReasonKind.POLICY, text)
    if request.seconds < MIN_SECONDS:
        text = f"A window of {request.seconds:g} s is too short to ask into: take {MIN_SECONDS:g} s or more."
        yield Reason(ReasonKind.POLICY, text)
    wanted = [provider for provider in PROVIDERS if request.provider in (None, provider.name)]
    problems = [provider_problem(provider, survey) for provider in wanted]
    if all(problems):
        text = "Nothing here can mask a CPU for a bounded time: " + "; ".join(problems) + "."
        yield Reason(ReasonKind.PROVIDER, text)


def refusals_for_risk(survey: Survey, consent: Consent) -> Iterator[Reason]:
    """Yield what speaks against anything that can cost the host."""
    if survey.armed is None:
        text = (
            "This host is not armed: `sdeictl drill arm --for 10m` allows one drill that can take the host"
            " down."
        )
        yield Reason(ReasonKind.POLICY, text)
    if consent.host_name is None:
        yield Reason(ReasonKind.POLICY, "The name of the host was not given (--host).")
    elif consent.host_name != survey.host_name:
        yield Reason(ReasonKind.POLICY, f"This host is {survey.host_name}, not {consent.host_name}.")
    if survey.in_container:
        text = "This is a container: its name is not that of the host, which the drill would take down."
        yield Reason(ReasonKind.POLICY, text)
    seen = [what for bit, what in _TAINTS.items() if survey.tainted >> bit & 1]
    if seen:
        text = f"This kernel has already had {' and '.join(seen)}: boot afresh first."
        yield Reason(ReasonKind.POLICY, text)
    yield from _refusals_for_use(survey)
    if survey.unresolved is None:
        yield Reason(ReasonKind.POLICY, f"The drill results in {DRILL_RESULTS} cannot be read.")
    elif survey.unresolved >= MAX_UNRESOLVED:
        text = (
            f"The last {survey.unresolved} drills that can cost the host ended unknown or lost: look into"
            f" them, and remove their results from {DRILL_RESULTS}."
        )
        yield Reason(ReasonKind.POLICY, text)


def _refusals_for_use(survey: Survey) -> Iterator[Reason]:
    cpus = len(survey.online)
    if survey.users:
        yield Reason(ReasonKind.POLICY, f"Others are logged in: {', '.join(survey.users)}.")
    if survey.load > MAX_LOAD_PER_CPU * max(cpus, 1):
        text = f"The host is busy: its load is {survey.load:.1f} on {cpus} CPUs."
        yield Reason(ReasonKind.POLICY, text)
    if survey.free_bytes < MIN_FREE_BYTES:
        text = f"The journal in {DRILL_RESULTS} has only {survey.free_bytes >> 20} MiB of free space."
        yield Reason(ReasonKind.POLICY, text)


def refusals_for_memory(survey: Survey) -> Iterator[Reason]:
    """Yield that a reset would empty the place of the journal."""
    if survey.forgets:
        text = (
            f"{DRILL_RESULTS} is on a file system of the type {survey.forgets}: after the reset nothing would"
            " know of the drill. Put it on a disk."
        )
        yield Reason(ReasonKind.POLICY, text)


def refusals_for_lkdtm(survey: Survey, wanted: tuple[str, ...]) -> Iterator[Reason]:
    """Yield why LKDTM cannot do what a drill needs."""
    lockdown = survey.facts.drills.lockdown if survey.facts.drills else None
    if lockdown not in (None, "none"):
        text = f"The kernel is locked down ({lockdown}): LKDTM accepts nothing."
        yield Reason(ReasonKind.PROVIDER, text)
    elif not survey.crash_types:
        text = f"This kernel has no LKDTM (CONFIG_LKDTM, and debugfs mounted: {LKDTM_DIRECT})."
        yield Reason(ReasonKind.PROVIDER, text)
    elif missing := [kind for kind in wanted if kind not in survey.crash_types]:
        yield Reason(ReasonKind.PROVIDER, f"LKDTM of this kernel has no {', '.join(missing)}.")


def refusals_for_detector(facts: HostFacts, thresh: int | None, target: int | None) -> Iterator[Reason]:
    """Yield why no detector would see a lockup of this CPU."""
    if setting(facts, NMI_WATCHDOG) != "1" or not thresh:
        text = "No hard-lockup detector runs here (kernel.nmi_watchdog, kernel.watchdog_thresh)."
        yield Reason(ReasonKind.PROVIDER, text)
        return
    watched = setting(facts, WATCHDOG_CPUMASK)
    if watched is not None and target is not None and target not in parse_cpulist(watched):
        text = f"The hard-lockup detector does not watch CPU {target} (watchdog_cpumask)."
        yield Reason(ReasonKind.POLICY, text)


def refusals_for_watchdogs(survey: Survey, seconds: float, cpus: Iterable[int | None]) -> Iterator[Reason]:
    """Yield the hardware watchdogs that could reset the host while these CPUs do nothing else for a time."""
    busy = {cpu for cpu in cpus if cpu is not None}
    for watchdog in survey.watchdogs:
        if watchdog.active is False:
            continue
        sure = watchdog.sure_seconds
        doubt = "" if watchdog.active else ", if it is armed, which the kernel does not show"
        if sure is None:
            text = f"The hardware watchdog {watchdog.name} may reset the host at any time{doubt}."
            yield Reason(ReasonKind.POLICY, text)
        elif seconds > sure * MARGIN:
            text = (
                f"The hardware watchdog {watchdog.name} surely waits only {sure:g} s{doubt}: a CPU may be"
                f" masked for {sure * MARGIN:g} s, not for {seconds:g} s."
            )
            yield Reason(ReasonKind.POLICY, text)
        for feeder in watchdog.feeders:
            if busy and set(feeder.cpus) <= busy:
                text = (
                    f"{feeder.name} (process {feeder.pid}) feeds the hardware watchdog {watchdog.name}, and"
                    f" may run only on CPU {list_cpus(feeder.cpus)}, which the drill occupies."
                )
                yield Reason(ReasonKind.POLICY, text)


def refusals_for_dump_watchdogs(survey: Survey) -> Iterator[Reason]:
    """Yield the hardware watchdogs that would reset the host while the crash kernel saves the dump."""
    for watchdog in survey.watchdogs:
        if watchdog.active is not False:
            armed = "is armed" if watchdog.active else "may be armed"
            after = f"{watchdog.timeout} s" if watchdog.timeout else "an unknown time"
            text = (
                f"The hardware watchdog {watchdog.name} {armed} and stays so in the crash kernel: it would"
                f" reset the host {after} after it was fed last, in the middle of the dump. Disarm it first."
            )
            yield Reason(ReasonKind.POLICY, text)


def refusals_for_heartbeats(survey: Survey) -> Iterator[Reason]:
    """Yield that other hosts, or a daemon, would reset this one if it was silent for some seconds."""
    if survey.heartbeats:
        text = (
            f"{', '.join(survey.heartbeats)} runs here, and its peers reset a host that is silent for some"
            " seconds: take this host out of its cluster first."
        )
        yield Reason(ReasonKind.POLICY, text)


def panics_on(facts: HostFacts) -> list[str]:
    """Return the settings that are on and make the kernel panic when a CPU does not answer for a time."""
    found = [path for path in PANIC_SETTINGS if setting(facts, path) not in (None, "0")]
    return [path.rpartition("/")[2] if path.startswith(SYSCTLS) else WORKQUEUE_PANIC for path in found]


def refusals_for_panics(survey: Survey) -> Iterator[Reason]:
    """Yield that a CPU which stays masked would make the host panic, or that this is unknown."""
    if names := panics_on(survey.facts):
        hangs = ""
        if setting(survey.facts, PANIC_SECONDS) in (None, "0"):
            hangs = " Then it would hang for good, because kernel.panic is 0."
        verb = "is" if len(names) == 1 else "are"
        text = f"The host would panic if a CPU was lost: {', '.join(names)} {verb} set.{hangs}"
        yield Reason(ReasonKind.POLICY, text)
    unread = [gap.source for gap in survey.facts.gaps if gap.source in (SYSCTLS, *PANIC_SETTINGS)]
    if unread:
        text = (
            "sdeictl cannot tell whether the host would panic if it lost a CPU: it could not read"
            f" {', '.join(unread)}."
        )
        yield Reason(ReasonKind.POLICY, text)


def is_proven(survey: Survey) -> bool:
    """Tell whether the last masked drill on this kernel and firmware passed."""
    now = Build(survey.facts.release, survey.facts.firmware)
    masked = [drill for drill in survey.facts.stored_drills if drill.is_masked_backtrace]
    return bool(masked) and not masked[-1].build.is_stale(now) and masked[-1].outcome == DrillOutcome.PASS


def refusals_for_way_back(survey: Survey, consent: Consent, *, by_kexec: bool = False) -> Iterator[Reason]:
    """Yield that nothing would bring the host back if its reset, or a kernel that kexec boots, failed."""
    armed = [
        watchdog for watchdog in survey.watchdogs
        if (watchdog.survives_kexec if by_kexec else watchdog.active)
    ]  # fmt: skip
    if consent.way_back or armed:
        return
    disarmed = [watchdog.name for watchdog in survey.watchdogs if watchdog.active]
    what = "its reset failed"
    if by_kexec:
        what = "a boot failed"
        if disarmed:
            what += f" ({', '.join(disarmed)} is stopped before a kexec: see KExecWatchdogSec=)"
    text = (
        f"Nothing would bring this host back if {what}: arm a hardware watchdog, or say how somebody resets"
        " the host (--way-back 'BMC at ...')."
    )
    yield Reason(ReasonKind.POLICY, text)


def refusals_for_dump(problem: str | None, consent: Consent) -> Iterator[Reason]:
    """Yield that the crash kernel may not be able to save a dump; try_makedumpfile() gives `problem`."""
    if problem and not consent.plain_dump:
        text = (
            f"makedumpfile cannot read this kernel ({problem}): `makedumpfile --mem-usage {KCORE}` says more."
            " Install a newer one, or say that the kdump service also saves a dump without it (--plain-dump)."
        )
        yield Reason(ReasonKind.PROVIDER, text)


def try_makedumpfile() -> str | None:
    """Return why makedumpfile cannot read this kernel, None if it can.

    It reads the memory of the running kernel, because the crash kernel is of the same build. No list of
    versions knows which page size and address width a distribution's makedumpfile supports.
    """
    try:
        # It goes through all memory: on hosts with much of it that takes minutes.
        output_of("makedumpfile", "--mem-usage", KCORE, seconds=TRIAL_SECONDS)
    except FileNotFoundError:
        return "it is not installed"
    except OSError as error:
        return str(error.strerror)
    return None
