"""The plan of a drill that masks a CPU for a bounded time: which CPU does what, what it expects."""

from __future__ import annotations

from sdeictl.host.paths import CONSOLE_LEVEL, CPU_LATENCY, SYSCTLS, SYSRQ_TRIGGER
from sdeictl.interlock.dry_run import PlanLine
from sdeictl.interlock.journal import Setting
from sdeictl.interlock.refusals import load_words
from sdeictl.interlock.survey import Survey, default_target
from sdeictl.interlock.window import BPF, PROVIDERS, Provider, WindowRequest, provider_problem
from sdeictl.probe.settings import setting
from sdeictl.text import NamedTuple, list_cpus

ASK_ALL = (
    "hardlockup_all_cpu_backtrace", "softlockup_all_cpu_backtrace", "hung_task_all_cpu_backtrace",
)  # fmt: skip
"""Settings of the kernel by which a report of one CPU becomes a request to all."""
QUIET_CONSOLE = 1
"""Console level while a drill runs: emergencies only."""


class Plan(NamedTuple):
    """Which CPU does what. Every CPU number is an online CPU."""

    request: WindowRequest
    online: tuple[int, ...]
    trigger: int
    """Writes to /proc/sysrq-trigger, and waits in the kernel until the request is over."""
    watcher: int
    """Reads the kernel log."""
    target: int | None = None
    """The CPU that is masked."""
    caller: int | None = None
    """Runs the BPF program on the target."""
    provider: Provider | None = None
    module: str | None = None
    """Path of the module test_lockup."""


def make_plan(request: WindowRequest, survey: Survey) -> Plan:
    """Choose CPUs and provider, once there is no reason to refuse."""
    if not request.masked:
        cpus = _by_use(survey)
        return Plan(request, survey.online, trigger=cpus[1], watcher=cpus[0])
    wanted = [
        each for each in PROVIDERS
        if request.provider in (None, each.name) and not provider_problem(each, survey)
    ]  # fmt: skip
    # The first that leaves a CPU free to watch: otherwise bpf cannot prove a missing answer.
    provider = max(wanted, key=lambda each: len(survey.online) > each.cpus)
    target = request.cpu if request.cpu is not None else default_target(survey)
    others = [cpu for cpu in _by_use(survey) if cpu != target]
    if provider is BPF:
        caller = others.pop(2 if len(others) > 2 else 1)
        return Plan(request, survey.online, others[:2][-1], others[0], target, caller, provider)
    found = survey.providers.test_lockup
    module = found.path if found else None
    return Plan(request, survey.online, others[:2][-1], others[0], target, None, provider, module)


def occupied_cpus(plan: Plan) -> tuple[int, ...]:
    """Return the CPUs that run nothing else while the window is open."""
    return tuple(cpu for cpu in (plan.target, plan.caller) if cpu is not None)


def _by_use(survey: Survey) -> list[int]:
    """Return the online CPUs, those that the administrator reserved last."""
    return sorted(survey.online, key=lambda cpu: (cpu in survey.isolated, cpu))


def quiet_console(level: int | None) -> tuple[Setting, ...]:
    """Return the change that keeps the backtraces of many CPUs off a slow console."""
    if level is None or level <= QUIET_CONSOLE:
        return ()
    return (Setting(CONSOLE_LEVEL, level, QUIET_CONSOLE),)


def plan_lines(plan: Plan, console_level: int | None) -> list[PlanLine]:
    """Return what `drill backtrace` will write, expects and leaves."""
    lines = [("write", f"{CPU_LATENCY}: 0, held open until the end: no CPU enters a deeper idle state")]
    lines += [setting_line(setting) for setting in quiet_console(console_level)]
    if plan.provider:
        lines.append(
            ("write", f"{mask_words(plan)}: CPU {plan.target} is masked for {plan.request.seconds:g} s")
        )
    lines.append(("write", f"{SYSRQ_TRIGGER}: l, from CPU {plan.trigger}"))
    lines += _expectations(plan)
    lines.append(
        (
            "way back",
            "the window ends by itself, and the drill restores the console level and the latency limit",
        )
    )
    lines.append(("way back", "if this process is killed: sdeictl drill resume"))
    return lines


def risk_lines(survey: Survey, target: int | None) -> list[PlanLine]:
    """Return what masking the target holds up, and what the armed hardware watchdogs promise."""
    load = load_words(survey, target) if target is not None else ""
    held_up = [("risk", f"this is held up: {load}")] if load else []
    watchdogs = [
        (
            "risk",
            f"the hardware watchdog {each.name} resets the host if it is not fed for {each.sure_seconds:g} s",
        )
        for each in survey.watchdogs
        if each.active is not False and each.sure_seconds
    ]
    asking = [name for name in ASK_ALL if setting(survey.facts, f"{SYSCTLS}/{name}") not in (None, "0")]
    reports = (
        [("risk", f"{', '.join(asking)} is set: a report makes the kernel ask every CPU")] if asking else []
    )
    return [*held_up, *watchdogs, *reports]


def mask_words(plan: Plan) -> str:
    """Return what masks the target, as a plan words it."""
    writes = plan.provider.writes if plan.provider else ""
    return writes.format(target=plan.target, caller=plan.caller, module=plan.module)


def _expectations(plan: Plan) -> list[PlanLine]:
    if plan.target is None:
        lines = [("expect", f"an answer from each of CPUs {list_cpus(plan.online)}, by SDEI or pseudo-NMI")]
    else:
        text = f"the stack of CPU {plan.target} from inside the window, its interrupts masked"
        lines = [("expect", text)]
        if plan.watcher == plan.trigger:
            text = "with so few CPUs bpf cannot prove a missing answer: the outcome is then unknown"
            lines.append(("expect", text))
    return [*lines, ("expect", "every CPU is alive afterwards")]


def setting_line(setting: Setting) -> PlanLine:
    """Return a change of a setting as a line of a plan."""
    return ("write", f"{setting.path}: {setting.chosen} (now {setting.found})")
