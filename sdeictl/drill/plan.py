"""The drills there are, and the plan of one: what it will write, expects to see, and how it ends."""

from collections.abc import Iterable
from typing import NamedTuple

from sdeictl.interlock.host import CONSOLE_LEVEL, DrillHost
from sdeictl.interlock.journal import Setting

SETTLE_SECONDS = 1.0
"""How long the latency request is held before anything is asked of a CPU."""
QUIET_CONSOLE = 1
"""Console level while a drill runs: emergencies only."""
MIN_SECONDS = 0.2


class Drill(NamedTuple):
    """A line of `sdeictl drill list`."""

    name: str
    proves: str
    risks: str
    needs: str


DRILLS = (
    Drill(
        "backtrace",
        "every CPU answers a backtrace request (sysrq-l), and by which path",
        "none known with the idle states held; on a host with a CPU that does not answer the asking CPU"
        " waits for 10 s and more",
        "root, CONFIG_MAGIC_SYSRQ, two CPUs",
    ),
    Drill(
        "backtrace --masked",
        "a CPU that has its interrupts masked answers, with its stack from inside",
        "one CPU answers no interrupt for a bounded time, 1.5 s by default (with bpf a second CPU runs"
        " nothing else meanwhile)",
        "the same, and BPF with three CPUs or the module test_lockup",
    ),
    Drill(
        "lockup",
        "the hard-lockup detector reports a masked CPU, with its stack from inside",
        "one CPU answers no interrupt for 25 s (2.5 times watchdog_thresh): RCU stalls and soft lockups may"
        " be reported, and what waits for it waits",
        "the same, arming, and the module test_lockup",
    ),
    Drill(
        "lockup --permanent",
        "the same by a CPU that never comes back",
        "THE HOST IS RESET, nothing is shut down",
        "the same, LKDTM instead of test_lockup, and a console log that outlasts the reset",
    ),
    Drill(
        "stop",
        "a reset stops a masked CPU, and by which rung",
        "THE HOST IS RESET, nothing is shut down",
        "arming, LKDTM, and a console log that outlasts the reset: ramoops, or a recorded serial console",
    ),
    Drill(
        "crash",
        "the crash dump holds the registers of a masked CPU (--variant wedged), of all of them (all-masked),"
        " or of the one whose lockup made the host panic (hardlockup-panic)",
        "THE HOST CRASHES and boots",
        "arming, LKDTM, and a loaded crash kernel",
    ),
)


class Provider(NamedTuple):
    """A way to mask one CPU's interrupts for a bounded time."""

    name: str
    cpus: int
    """How many CPUs must be online: the target, its caller if that cannot be the target, the trigger."""
    inner_frame: str
    """A pattern of the function that is on the target's stack only inside the window."""
    writes: str


PROVIDERS = (
    Provider(
        "bpf",
        3,
        r"bpf_prog_[0-9a-f]{16}_sdeictl_win",
        "bpf(2): BPF_PROG_LOAD and BPF_PROG_TEST_RUN on CPU {target}, called from CPU {caller},"
        " which runs nothing else meanwhile",
    ),
    Provider(
        "test_lockup",
        2,
        r"test_wait",
        "finit_module(2): {module} with disable_irq=1 on CPU {target}; it does not stay loaded"
        " (unsigned, it taints the kernel)",
    ),
)


class Request(NamedTuple):
    """What the user asked for."""

    masked: bool
    cpu: int | None = None
    seconds: float = 1.5
    provider: str | None = None


class Plan(NamedTuple):
    """Who does what. Every CPU number is an online CPU."""

    request: Request
    online: tuple[int, ...]
    trigger: int
    """Writes to /proc/sysrq-trigger, and waits there in the kernel."""
    watcher: int
    """Reads the kernel log."""
    target: int | None = None
    caller: int | None = None
    """Runs the BPF program on the target."""
    provider: Provider | None = None
    module: str | None = None


def longest_window(host: DrillHost) -> float:
    """Return how long a CPU may be masked: half of what the lockup detectors are set to, in seconds."""
    return (host.watchdog_thresh or 10) / 2


def usable(provider: Provider, host: DrillHost) -> str:
    """Return why a provider cannot be used on a host, a sentence; "" if it can."""
    problem = host.no_bpf if provider.name == "bpf" else host.no_test_lockup
    if not problem and len(host.online) < provider.cpus:
        return f"{provider.name} needs {provider.cpus} CPUs online, and there are {len(host.online)}"
    return problem


def make_plan(request: Request, host: DrillHost) -> Plan:
    """Choose CPUs and provider. The guard has found nothing against it."""
    if not request.masked:
        cpus = _by_use(host)
        return Plan(request, host.online, trigger=cpus[1], watcher=cpus[0])
    wanted = [p for p in PROVIDERS if request.provider in (None, p.name) and not usable(p, host)]
    # The first that leaves a CPU free to watch: without it a missing answer cannot be proven by bpf.
    provider = max(wanted, key=lambda p: len(host.online) > p.cpus)
    target = request.cpu if request.cpu is not None else default_target(host)
    others = [cpu for cpu in _by_use(host) if cpu != target]
    if provider.name == "bpf":
        caller = others.pop(2 if len(others) > 2 else 1)
        return Plan(request, host.online, others[:2][-1], others[0], target, caller, provider)
    module = host.test_lockup.path if host.test_lockup else None
    return Plan(request, host.online, others[:2][-1], others[0], target, None, provider, module)


def _by_use(host: DrillHost) -> list[int]:
    """Return the online CPUs, those that are set apart for other work last."""
    return sorted(host.online, key=lambda cpu: (cpu in host.isolated, cpu))


def default_target(host: DrillHost) -> int:
    """Return the last CPU that is not set apart: the first ones have most to do."""
    common = [cpu for cpu in host.online if cpu not in host.isolated]
    return (common or host.online)[-1]


def quiet_console(level: int | None) -> tuple[Setting, ...]:
    """Return the change that keeps a backtrace of many CPUs off a slow console."""
    if level is None or level <= QUIET_CONSOLE:
        return ()
    return (Setting(CONSOLE_LEVEL, level, QUIET_CONSOLE),)


def plan_lines(plan: Plan, console_level: int | None) -> list[tuple[str, str]]:
    """Return what the drill will do, expects and leaves, as (what, sentence)."""
    request = plan.request
    lines = [
        ("write", "/dev/cpu_dma_latency: 0, held open until the end: no CPU enters a deeper idle state"),
    ]
    lines += [setting_line(setting) for setting in quiet_console(console_level)]
    if plan.provider:
        how = plan.provider.writes.format(target=plan.target, caller=plan.caller, module=plan.module)
        lines.append(("write", f"{how}: CPU {plan.target} is masked for {request.seconds:g} s"))
    lines.append(("write", f"/proc/sysrq-trigger: l, from CPU {plan.trigger}"))
    if plan.target is None:
        lines.append(("expect", f"an answer of each of CPUs {_list(plan.online)}, by SDEI or pseudo-NMI"))
    else:
        lines.append(
            ("expect", f"the stack of CPU {plan.target} from inside the window, its interrupts masked")
        )
        if plan.watcher == plan.trigger:
            lines.append(
                (
                    "expect",
                    "with so few CPUs a missing answer cannot be proven by bpf: the outcome is then unknown",
                )
            )
    lines.append(("expect", "every CPU is alive afterwards"))
    lines.append(("way back", "the window ends by itself; the console level is put back, the request ends"))
    lines.append(("way back", "if this process is killed: sdeictl drill resume"))
    return lines


def setting_line(setting: Setting) -> tuple[str, str]:
    """Return a change of a setting as a line of a plan."""
    return ("write", f"{setting.path}: {setting.chosen} (now {setting.found})")


def _list(cpus: Iterable[int]) -> str:
    return ",".join(map(str, cpus))
