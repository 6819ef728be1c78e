"""A core as text, in lines of styled pieces."""

from collections.abc import Iterator
from datetime import UTC, datetime

from sdeictl.klog.document import ladder_line
from sdeictl.probe.report import Json
from sdeictl.text import Line
from sdeictl.vmcore.report import PARKED

_MASKED = {True: "masked", False: "not masked", None: "mask not known"}
_MAX_TIME = 1 << 36


def render_vmcore(report: Json) -> Iterator[Line]:
    """Return a report on a core as text: the CPUs first, then how they were stopped."""
    yield (_headline(report),)
    yield ((f"{report['format']} core, Linux {report['kernel']}{_when(report['crash_time'])}", ""),)
    if report["panic"] is not None:
        on = "" if report["panic_cpu"] is None else f" on CPU {report['panic_cpu']}"
        yield ((f"panic{on}: {report['panic']}", ""),)
    for cpu in report["cpus"]:
        yield from _cpu_lines(cpu)
    for registers in report["unmatched"]:
        yield (("  cpu ?   ", "yellow"), (_register_words(registers), ""))
    if stop := report["stop"]:
        yield ladder_line(stop)
    for gap in report["gaps"]:
        yield ((f"gap: {gap}", "yellow"),)


def _headline(report: Json) -> tuple[str, str]:
    if report["missing"]:
        return f"INCOMPLETE  no registers of CPU {_list(report['missing'])}", "bold red"
    if report["unmatched"] or not report["cpus"]:
        count = len(report["unmatched"])
        whose = "a CPU whose number" if count == 1 else f"{count} CPUs whose numbers"
        return f"UNKNOWN  registers of {whose} cannot be told", "bold yellow"
    doubtful = [cpu["cpu"] for cpu in report["cpus"] if cpu["online"] is not False and not cpu["registers"]]
    if doubtful:
        return f"UNKNOWN  whether CPU {_list(doubtful)} left registers", "bold yellow"
    return "COMPLETE  the registers of every CPU that was online are in it", "bold green"


def _cpu_lines(cpu: Json) -> Iterator[Line]:
    label = (f"  cpu {cpu['cpu']:<4}", "bold")
    registers = cpu["registers"]
    if registers:
        yield (label, (_register_words(registers), ""))
        if cpu["parked"]:
            yield ((f"            {PARKED}", "dim"),)
    elif not cpu["known"]:
        yield (
            label,
            ("not known: the memory in which it would have left registers is not in the core", "yellow"),
        )
    elif cpu["online"] is False:
        yield (label, ("was off line", "dim"))
    else:
        yield (label, ("NO REGISTERS: it was not stopped", "bold red"))


def _register_words(registers: Json) -> str:
    where = "user program" if registers["user"] else registers["function"] or f"pc {registers['pc']}"
    return (
        f"{_MASKED[registers['masked']]}  {where}  pstate {registers['pstate']}"
        f"  sp {registers['sp']}  pid {registers['pid']}"
    )


def _when(crash_time: int | None) -> str:
    if crash_time is None or crash_time > _MAX_TIME:
        return ""
    return f", crashed {datetime.fromtimestamp(crash_time, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _list(cpus: list[int]) -> str:
    return ", ".join(map(str, cpus))
