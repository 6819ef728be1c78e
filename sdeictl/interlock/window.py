"""The window, a bounded time in which a CPU is masked: what the user asks for, providers, limits."""

from __future__ import annotations

from sdeictl.interlock.survey import Survey
from sdeictl.text import NamedTuple

MIN_SECONDS = 0.2
"""A shorter window can be over before the request is sent."""
_DEFAULT_THRESH = 10
"""kernel.watchdog_thresh of a kernel that does not show it (kernel/watchdog.c)."""


class Provider(NamedTuple):
    """A way to mask the interrupts of one CPU for a bounded time."""

    name: str
    cpus: int
    """How many CPUs must be online: the target, a caller if the target cannot call, and the trigger."""
    inner_frame: str
    """A pattern of the function that is on the target's stack only inside the window."""
    writes: str
    """What a plan says about it."""


BPF = Provider(
    "bpf",
    3,
    r"bpf_prog_[0-9a-f]{16}_sdeictl_win",
    "bpf(2): BPF_PROG_LOAD and BPF_PROG_TEST_RUN on CPU {target}, called from CPU {caller},"
    " which runs nothing else while the window is open",
)
TEST_LOCKUP = Provider(
    "test_lockup",
    2,
    r"test_wait",
    "finit_module(2): {module} with disable_irq=1 on CPU {target}; it does not stay loaded"
    " (unsigned, it taints the kernel)",
)
PROVIDERS = (BPF, TEST_LOCKUP)


class WindowRequest(NamedTuple):
    """What the user asked for."""

    masked: bool
    """False: no CPU is masked."""
    cpu: int | None = None
    seconds: float = 1.5
    provider: str | None = None
    accepted_load: str | None = None
    """What runs on the chosen CPU, as the plan names it: the user accepts that it is held up."""


def longest_window(survey: Survey) -> float:
    """Return how many seconds a CPU may be masked: half of kernel.watchdog_thresh."""
    return (survey.watchdog_thresh or _DEFAULT_THRESH) / 2


def provider_problem(provider: Provider, survey: Survey) -> str:
    """Return why a provider cannot be used on a host, a clause; "" if it can."""
    found = survey.providers
    problem = found.no_bpf if provider is BPF else found.no_test_lockup
    if not problem and len(survey.online) < provider.cpus:
        return f"{provider.name} needs {provider.cpus} CPUs online, and this host has {len(survey.online)}"
    return problem
