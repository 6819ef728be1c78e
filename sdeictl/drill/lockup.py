"""`sdeictl drill lockup`: mask a CPU past the hard-lockup threshold; is it reported, with its stack?"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack

from sdeictl.drill.mask import make_window, read_marks
from sdeictl.drill.plan import PROVIDERS, Plan, Request, default_target, quiet_console, usable
from sdeictl.drill.result import Observed
from sdeictl.drill.session import POLL_SECONDS, Say, Session
from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.formats.interrupts import TIMER_ROW
from sdeictl.host.root import Root
from sdeictl.interlock.danger import Consent, Danger, about_danger, about_watchdogs
from sdeictl.interlock.host import WATCHDOG_THRESH, DrillHost, read_setting
from sdeictl.interlock.journal import Entry, Setting
from sdeictl.interlock.refusals import POLICY, PROVIDER, Reason, about_target
from sdeictl.klog.log import parse_log
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import COUNTERS, SYSCTLS

TEST_LOCKUP = PROVIDERS[1]
THRESHOLDS = 2.5
"""How often watchdog_thresh a CPU is masked: the buddy detector looks every 0.4 of it and reports a CPU after
1.6 of it at the latest (kernel/watchdog.c); the rest is for its request."""
RETURN_SECONDS = 60.0
COUNT = f"{COUNTERS}/hardlockup_count"
PANICS = ("hardlockup_panic", "softlockup_panic", "panic_on_rcu_stall", "hung_task_panic", "panic_on_warn")
"""Settings by which the host would go down in the middle of it."""


def guard_lockup(
    facts: HostFacts, host: DrillHost, danger: Danger, consent: Consent, request: Request
) -> Iterator[Reason]:
    """Yield every reason against it, besides the host itself; `request.seconds` is the masked time."""
    yield from about_danger(danger, consent, len(host.online))
    yield from about_target(host, request.cpu)
    if problem := usable(TEST_LOCKUP, host):
        yield Reason(PROVIDER, f"Nothing here can mask a CPU for so long: {problem}.")
    yield from about_detector(facts, host, default_target(host) if request.cpu is None else request.cpu)
    settings = dict(facts.settings or ())
    on = [name for name in PANICS if settings.get(f"{SYSCTLS}/{name}", "0") != "0"]
    if on:
        yield Reason(POLICY, f"The host would panic in the middle of it: {', '.join(on)} is set.")
    yield from about_watchdogs(danger, request.seconds)


def about_detector(facts: HostFacts, host: DrillHost, target: int | None) -> Iterator[Reason]:
    """Yield why no detector would see a lockup of this CPU."""
    settings = dict(facts.settings or ())
    if settings.get(f"{SYSCTLS}/nmi_watchdog") != "1" or not host.watchdog_thresh:
        text = "No hard-lockup detector runs here (kernel.nmi_watchdog, kernel.watchdog_thresh)."
        yield Reason(PROVIDER, text)
        return
    watched = settings.get(f"{SYSCTLS}/watchdog_cpumask")
    if watched is not None and target is not None and target not in parse_cpulist(watched):
        yield Reason(POLICY, f"The hard-lockup detector does not watch CPU {target} (watchdog_cpumask).")


def lockup_plan(request: Request, host: DrillHost) -> Plan:
    """Choose the CPUs. The guard has found nothing against it."""
    target = default_target(host) if request.cpu is None else request.cpu
    others = [cpu for cpu in host.online if cpu != target]
    module = host.test_lockup.path if host.test_lockup else None
    return Plan(request, host.online, others[0], others[0], target, None, TEST_LOCKUP, module)


def lockup_settings(host: DrillHost, thresh: int | None) -> tuple[Setting, ...]:
    """Return what is set meanwhile: a quiet console, and a lower threshold if one is asked for."""
    lower = () if thresh is None else (Setting(WATCHDOG_THRESH, host.watchdog_thresh or 0, thresh),)
    return (*quiet_console(host.console_level), *lower)


def lockup_lines(plan: Plan) -> list[tuple[str, str]]:
    """Return what the drill will do besides its settings, and expects, as (what, sentence)."""
    how = TEST_LOCKUP.writes.format(target=plan.target, module=plan.module)
    return [
        ("write", f"{how}: CPU {plan.target} is masked for {plan.request.seconds:g} s"),
        (
            "risk",
            "RCU stalls and soft lockups may be reported too; what waits for this CPU waits as long",
        ),
        ("expect", f"a report of the hard-lockup detector, with the stack of CPU {plan.target} from inside"),
        ("expect", f"{COUNT} goes up, and every CPU is alive afterwards"),
        ("way back", "the masked time ends by itself; the settings are put back"),
        ("way back", "if this process is killed: sdeictl drill resume"),
    ]


class LockupDrill(Session[Observed]):
    """One run."""

    def __init__(self, root: Root, host: DrillHost, plan: Plan, entry: Entry, say: Say) -> None:
        super().__init__(root, host, entry, say)
        self._plan = plan
        self._over: str | None = None
        self._counted: bool | None = None
        self._stuck: tuple[int, ...] = ()
        self._fired = False

    def place(self, stack: ExitStack) -> None:
        """Place who masks."""
        window = make_window(self._plan, self.host)
        assert window is not None  # noqa: S101 - the plan has a target
        self._log = self.follow_log(stack)
        self._masker = self.helper(stack, window.cpu, window.opens)
        os.sched_setaffinity(0, {self._plan.watcher})

    def fire(self) -> None:
        """Mask the CPU, and wait until it is back."""
        self.say(f"masking CPU {self._plan.target} for {self._plan.request.seconds:g} s")
        self._before = read_setting(self.root, COUNT)
        self._masker.go()
        self._fired = True
        self.say("waiting for the detector, and for the CPU to come back")
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + self._plan.request.seconds + RETURN_SECONDS
        while self._over is None and time.monotonic() < deadline:
            self._log.drain()
            self._over = self._masker.poll()
            self.sleep(POLL_SECONDS)

    def after(self) -> None:
        """See that every CPU is back, and whether the kernel counted a lockup."""
        if not self._fired:
            return
        self._wait()
        if self._over:
            self.trouble.append(f"CPU {self._plan.target} could not be masked: {self._over}.")
        self.say("looking whether every CPU is still alive")
        timers = self.row(TIMER_ROW)
        self.sleep(1.0)
        self._stuck = self.find_stuck(timers)
        self._log.drain()
        now = read_setting(self.root, COUNT)
        if self._before is not None and now is not None:
            self._counted = now > self._before

    def observed(self) -> Observed:
        """Return what was observed."""
        seen = self.slice()
        target = self._plan.target
        assert target is not None  # noqa: S101 - as above
        return Observed(
            log=seen.log if self._fired else b"",
            overruns=seen.overruns if self._fired else 0,
            triggered=self._fired,
            returned=self._over == "",
            window=read_marks(parse_log(seen.log).records, target),
            counted=self._counted,
            stuck=self._stuck,
            changed=self.changed(),
            trouble=tuple(self.trouble),
        )
