"""All reasons to refuse a drill. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sdeictl.drill.plan import MIN_SECONDS, PROVIDERS, Request, longest_window, usable
from sdeictl.interlock.host import DrillHost
from sdeictl.probe.facts import HostFacts

PLAN_SCHEMA = "sdeictl.plan/1"
PRIVILEGE, PLATFORM, PROVIDER, POLICY = "privilege", "platform", "provider", "policy"
CANNOT = (PRIVILEGE, PLATFORM, PROVIDER)
"""What is missing to do it at all; a policy is what forbids it though it could be done."""


class Reason(NamedTuple):
    """Why a drill is refused."""

    kind: str
    text: str
    """A sentence."""


def plan_json(plan: Sequence[tuple[str, str]] | None, reasons: Iterable[Reason]) -> dict[str, Any]:
    """Return as `sdeictl.plan/1` what --dry-run prints: a plan, or why it would be refused."""
    return {
        "schema": PLAN_SCHEMA,
        "plan": None if plan is None else [list(line) for line in plan],
        "reasons": [reason._asdict() for reason in reasons],
    }


def guard(facts: HostFacts, host: DrillHost, request: Request) -> tuple[Reason, ...]:
    """Return every reason against `drill backtrace`; none means it may run."""
    reasons = about_host(facts, host)
    if request.masked and facts.architecture == "arm64":
        reasons += _about_window(host, request)
    return tuple(reasons)


def about_host(facts: HostFacts, host: DrillHost) -> list[Reason]:
    """Return what speaks against any drill on this host."""
    if facts.architecture != "arm64":
        known = facts.architecture or "unknown"
        return [Reason(PLATFORM, f"This is no arm64 host ({known}): there is nothing to prove.")]
    reasons = []
    if not host.privileged:
        reasons.append(Reason(PRIVILEGE, "A drill writes to the kernel's triggers: run it as root."))
    if not host.has_sysrq:
        text = "This kernel has no /proc/sysrq-trigger (CONFIG_MAGIC_SYSRQ)."
        reasons.append(Reason(PROVIDER, text))
    if not host.online:
        reasons.append(Reason(PLATFORM, "The list of online CPUs cannot be read."))
    if len(host.online) == 1:
        text = f"CPU {host.online[0]} is the only one online: there is no other to ask."
        reasons.append(Reason(PLATFORM, text))
    if host.deep_idle and not host.has_cpu_latency:
        text = "There is no /dev/cpu_dma_latency to keep the CPUs out of their deeper idle states."
        reasons.append(Reason(POLICY, text))
    if host.moving:
        cpus = ", ".join(map(str, host.moving))
        reasons.append(Reason(POLICY, f"CPU {cpus} is being taken on or off line: wait until it is done."))
    return reasons


def about_target(host: DrillHost, cpu: int | None) -> list[Reason]:
    """Return why a CPU cannot be the one that is masked."""
    if cpu is not None and host.online and cpu not in host.online:
        return [Reason(POLICY, f"CPU {cpu} is not online.")]
    return []


def _about_window(host: DrillHost, request: Request) -> list[Reason]:
    reasons = about_target(host, request.cpu)
    longest = longest_window(host)
    if request.seconds > longest:
        half_of = (
            f"half of watchdog_thresh ({host.watchdog_thresh} s)" if host.watchdog_thresh else "the limit"
        )
        text = f"A window of {request.seconds:g} s is longer than {longest:g} s, {half_of}."
        reasons.append(Reason(POLICY, text))
    if request.seconds < MIN_SECONDS:
        text = f"A window of {request.seconds:g} s is too short to ask into: take {MIN_SECONDS:g} s or more."
        reasons.append(Reason(POLICY, text))
    wanted = [provider for provider in PROVIDERS if request.provider in (None, provider.name)]
    problems = [usable(provider, host) for provider in wanted]
    if all(problems):
        text = "Nothing here can mask a CPU for a bounded time: " + "; ".join(problems) + "."
        reasons.append(Reason(PROVIDER, text))
    return reasons
