"""The drills and their variants: what each proves, risks and needs, and how it ends. One row for each."""

from __future__ import annotations

from enum import Enum

from sdeictl.interlock.lkdtm import HARDLOCKUP, PANIC, PANIC_STOP_IRQOFF
from sdeictl.probe.drills import DrillKind
from sdeictl.text import NamedTuple


class Ending(Enum):
    """How a drill takes the host down."""

    RESET = "sysrq-b"
    DETECTOR = "the hard-lockup detector panics"
    PANIC = PANIC
    """By LKDTM, as the next one."""
    PANIC_STOP_IRQOFF = PANIC_STOP_IRQOFF

    @property
    def crash_types(self) -> tuple[str, ...]:
        """Return what it needs LKDTM to have."""
        return (self.value,) if self in (Ending.PANIC, Ending.PANIC_STOP_IRQOFF) else ()


class Survivor(Enum):
    """The evidence that survives the reset, and that the drill is judged from."""

    LOG = "log"
    DUMP = "dump"


class Reset(NamedTuple):
    """How a variant takes the host down."""

    wedges: bool
    """LKDTM HARDLOCKUP masks one CPU for good first."""
    waits: bool
    """It waits for the hard-lockup detector: for its report, or for its panic."""
    ending: Ending
    survivor: Survivor

    @property
    def crash_types(self) -> tuple[str, ...]:
        """Return what it needs LKDTM to have."""
        return (HARDLOCKUP,) * self.wedges + self.ending.crash_types


class Variant(NamedTuple):
    """One variant of a drill."""

    name: str | None
    title: str
    reset: Reset | None = None
    """None: the host stays up."""


class Drill(NamedTuple):
    """One row of `sdeictl drill list`."""

    kind: DrillKind
    command: str
    """The words after `sdeictl drill`."""
    variants: tuple[Variant, ...]
    proves: str
    risks: str
    needs: str


DRILLS = (
    Drill(
        DrillKind.BACKTRACE,
        "backtrace",
        (Variant(None, "backtrace of every CPU"),),
        "every CPU answers a backtrace request (sysrq-l), and by which path",
        "none known, because the drill holds the CPUs out of deep idle; if a CPU does not answer, the asking"
        " CPU waits for 10 s and more",
        "root, CONFIG_MAGIC_SYSRQ, two CPUs",
    ),
    Drill(
        DrillKind.BACKTRACE,
        "backtrace --masked",
        (Variant("masked", "backtrace of a masked CPU"),),
        "a CPU that has its interrupts masked answers, with its stack from inside the window",
        "one CPU takes no interrupt for a bounded time, 1.5 s by default (with bpf a second CPU runs nothing"
        " else in that time)",
        "the same, and BPF with three CPUs or the module test_lockup",
    ),
    Drill(
        DrillKind.LOCKUP,
        "lockup",
        (Variant(None, "lockup of a CPU for a bounded time"),),
        "the hard-lockup detector reports a masked CPU, with its stack from inside the window",
        "one CPU takes no interrupt for 25 s (2.5 times watchdog_thresh): the kernel may report RCU stalls"
        " and soft lockups, and everything that needs this CPU waits",
        "the same, arming, and the module test_lockup",
    ),
    Drill(
        DrillKind.LOCKUP,
        "lockup --permanent",
        (
            Variant(
                "permanent",
                "lockup of a CPU for good",
                Reset(wedges=True, waits=True, ending=Ending.RESET, survivor=Survivor.LOG),
            ),
        ),
        "the same for a CPU that never comes back",
        "THE HOST IS RESET, nothing is shut down",
        "the same, LKDTM instead of test_lockup, and a console log that survives the reset",
    ),
    Drill(
        DrillKind.STOP,
        "stop",
        (
            Variant(
                None,
                "reset with a masked CPU",
                Reset(wedges=True, waits=False, ending=Ending.RESET, survivor=Survivor.LOG),
            ),
        ),
        "a reset stops a masked CPU, and by which rung of the stop ladder",
        "THE HOST IS RESET, nothing is shut down",
        "arming, LKDTM, and a console log that survives the reset: ramoops, or a recorded serial console",
    ),
    Drill(
        DrillKind.CRASH,
        "crash",
        (
            Variant(
                "wedged",
                "crash with a masked CPU",
                Reset(wedges=True, waits=False, ending=Ending.PANIC, survivor=Survivor.DUMP),
            ),
            Variant(
                "all-masked",
                "crash with all CPUs masked",
                Reset(wedges=False, waits=False, ending=Ending.PANIC_STOP_IRQOFF, survivor=Survivor.DUMP),
            ),
            Variant(
                "hardlockup-panic",
                "crash by the hard-lockup detector",
                Reset(wedges=True, waits=True, ending=Ending.DETECTOR, survivor=Survivor.DUMP),
            ),
        ),
        "the crash dump holds the registers of a masked CPU (--variant wedged), of all CPUs (all-masked), or"
        " of the CPU that the hard-lockup detector panicked for (hardlockup-panic)",
        "THE HOST CRASHES and boots",
        "arming, LKDTM, and a loaded crash kernel",
    ),
)


def find_variant(kind: str, name: str | None) -> Variant:
    """Return a variant of a drill; raise KeyError if there is none."""
    variants = {(drill.kind.value, each.name): each for drill in DRILLS for each in drill.variants}
    return variants[kind, name]


class NamedDrill(NamedTuple):
    """A drill and its variant, by the name that metrics and plans give it."""

    name: str
    costs_host: bool


def named_drills() -> tuple[NamedDrill, ...]:
    """Return each drill and variant, such as `backtrace-masked`."""
    return tuple(
        NamedDrill("-".join(filter(None, (drill.kind, each.name))), drill.kind.costs_host)
        for drill in DRILLS for each in drill.variants
    )  # fmt: skip


def variants_of(kind: DrillKind) -> tuple[str, ...]:
    """Return the names of the variants of a drill."""
    return tuple(each.name for drill in DRILLS if drill.kind is kind for each in drill.variants if each.name)
