"""The drills that end in a reset or a crash: `stop`, `crash`, `lockup --permanent`.

They fire here and are judged after the next boot, by what outlasted it.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from sdeictl.drill.helper import Helper, find_stuck
from sdeictl.drill.lockup import THRESHOLDS, about_detector
from sdeictl.drill.plan import default_target
from sdeictl.drill.session import LOST_SECONDS, DrillRefusedError, Say, Session
from sdeictl.host.kmsg import is_kernel
from sdeictl.host.root import Root
from sdeictl.interlock.danger import (
    Consent,
    Danger,
    about_danger,
    about_lkdtm,
    about_way_back,
)
from sdeictl.interlock.host import CONSOLE_LEVEL, HARDLOCKUP_PANIC, DrillHost, read_setting
from sdeictl.interlock.journal import Aftermath, Entry, JournalError, Setting, write_journal
from sdeictl.interlock.lkdtm import ENTRY, HARDLOCKUP, PANIC, PANIC_STOP_IRQOFF
from sdeictl.interlock.refusals import POLICY, PROVIDER, Reason, about_target
from sdeictl.interlock.writes import fire_affinities, fire_lkdtm, fire_marker, fire_printers_off, fire_sysrq
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import COUNTERS, SYSCTLS

LOUD_CONSOLE = 7
"""The rungs of the stop ladder are logged as information."""
MIN_CRASH_BYTES = 128 << 20
SYNC_SECONDS = 120.0
WEDGE_SECONDS = 20.0
SETTLED_SECONDS = 2.0
"""Between the wedge and what follows: the CPU must be in its loop."""
DOWN_SECONDS = 120.0
"""How long the host may take to go down: the stop ladder has 1 s and what an emulator makes of it."""
ANSWER_SECONDS = 30.0
LOOK_SECONDS = 0.2
NO_ANSWER = b"haven't responded to the NMI"
REPORT = "Watchdog detected hard LOCKUP on cpu "
LOG, VMCORE = "log", "vmcore"
RESET, DETECTOR = "reset", "detector"


class Kind(NamedTuple):
    """One of these drills."""

    drill: str
    variant: str | None
    wedges: bool
    """One CPU is masked for good first, by LKDTM HARDLOCKUP."""
    waits: bool
    """For the hard-lockup detector's report, or what it does then."""
    ending: str
    """RESET: sysrq-b; DETECTOR: its own panic; else what LKDTM does."""
    outlasts: str
    """What it is judged by: LOG, or VMCORE."""

    @property
    def crash_types(self) -> tuple[str, ...]:
        """Return what it needs LKDTM to have."""
        return (HARDLOCKUP,) * self.wedges + (self.ending,) * (self.ending not in (RESET, DETECTOR))


KINDS = (
    Kind("lockup", "permanent", wedges=True, waits=True, ending=RESET, outlasts=LOG),
    Kind("stop", None, wedges=True, waits=False, ending=RESET, outlasts=LOG),
    Kind("crash", "wedged", wedges=True, waits=False, ending=PANIC, outlasts=VMCORE),
    Kind("crash", "all-masked", wedges=False, waits=False, ending=PANIC_STOP_IRQOFF, outlasts=VMCORE),
    Kind("crash", "hardlockup-panic", wedges=True, waits=True, ending=DETECTOR, outlasts=VMCORE),
)


def find_kind(drill: str, variant: str | None) -> Kind:
    """Return a drill by its name."""
    return next(kind for kind in KINDS if (kind.drill, kind.variant) == (drill, variant))


class Channel(NamedTuple):
    """Where the kernel's last lines are after a reset."""

    name: str
    """`ramoops`, or `stated`: a file that the operator names."""
    path: str | None


def choose_channel(facts: HostFacts, stated: str | None) -> Channel | None:
    """Return what will carry the log across the reset, None if nothing does.

    Not a record of kmsg_dump (ERST, EFI, ramoops' own dumps): it is written before the CPUs are stopped.
    """
    evidence = facts.evidence
    if stated:
        return Channel("stated", stated)
    if evidence and evidence.pstore == "ramoops" and evidence.ramoops_console:
        return Channel("ramoops", None)
    return None


def guard_reset(
    kind: Kind, facts: HostFacts, host: DrillHost, danger: Danger, consent: Consent, cpu: int | None
) -> Iterator[Reason]:
    """Yield every reason against it, besides the host itself and the channel."""
    yield from about_danger(danger, consent, len(host.online))
    yield from about_lkdtm(facts, danger, kind.crash_types)
    yield from about_way_back(danger, consent)
    yield from about_target(host, cpu)
    if kind.waits:
        yield from about_detector(facts, host, default_target(host) if cpu is None else cpu)
    if kind.outlasts == VMCORE:
        yield from _about_kdump(facts)
    settings = dict(facts.settings or ())
    if kind.waits and kind.ending == RESET and settings.get(f"{SYSCTLS}/hardlockup_panic", "0") != "0":
        yield Reason(POLICY, "The detector would make the host panic: hardlockup_panic is set.")


def _about_kdump(facts: HostFacts) -> Iterator[Reason]:
    settings = dict(facts.settings or ())
    if settings.get(f"{COUNTERS}/kexec_crash_loaded") != "1":
        yield Reason(
            PROVIDER, "No crash kernel is loaded: there would be no dump (kdump-tools, kexec-tools)."
        )
    size = settings.get(f"{COUNTERS}/kexec_crash_size", "0")
    if size.isdecimal() and 0 < int(size) < MIN_CRASH_BYTES:
        text = f"Only {int(size) >> 20} MiB are reserved for the crash kernel (crashkernel=)."
        yield Reason(POLICY, text)
    if settings.get(f"{SYSCTLS}/panic", "0") == "0":
        text = "kernel.panic is 0: if the crash kernel did not start, the host would hang and never reset."
        yield Reason(POLICY, text)


def about_channel(kind: Kind, channel: Channel | None, facts: HostFacts) -> Iterator[Reason]:
    """Yield that nothing would carry the kernel's last lines across the reset."""
    if kind.outlasts == LOG and channel is None:
        consoles = ", ".join(facts.evidence.consoles) if facts.evidence else "unknown"
        text = (
            "Nothing carries the kernel's last lines across a reset: there is no ramoops console. If somebody"
            f" records a serial or net console (here: {consoles}), name the file it will be in by --evidence."
        )
        yield Reason(PROVIDER, text)


def reset_settings(kind: Kind, root: Root) -> tuple[Setting, ...]:
    """Return what is set before it fires."""
    wanted = [(CONSOLE_LEVEL, LOUD_CONSOLE)] if kind.outlasts == LOG else []
    if kind.ending == DETECTOR:
        wanted.append((HARDLOCKUP_PANIC, 1))
    found = [(path, read_setting(root, path), value) for path, value in wanted]
    return tuple(Setting(path, now, value) for path, now, value in found if now is not None and now < value)


def reset_lines(kind: Kind, target: int | None, channel: Channel | None) -> list[tuple[str, str]]:
    """Return what the drill will do besides its settings, and expects, as (what, sentence)."""
    lines = [("write", "all file systems are synced to their disks")]
    if kind.wedges:
        lines.append(("write", f"LKDTM HARDLOCKUP on CPU {target}: it is masked until the host is reset"))
    endings = {
        RESET: "sysrq-b: THIS HOST IS RESET AT ONCE, nothing is shut down",
        DETECTOR: "THIS HOST PANICS when the detector reports that CPU",
    }
    lines.append(("write", endings.get(kind.ending, f"LKDTM {kind.ending}: THIS HOST PANICS")))
    if kind.outlasts == VMCORE:
        lines.append(
            ("expect", "a crash dump with the registers of every CPU, the masked ones in their loop")
        )
    elif channel:
        where = channel.path or "the ramoops console in /sys/fs/pstore"
        what = "the detector's report with its stack" if kind.waits else "the rungs of the stop ladder"
        lines.append(("expect", f"after the boot, in {where}: {what}"))
    lines.append(("way back", "the host boots; then `sdeictl drill resume` judges what outlasted the reset"))
    return lines


class Returned(NamedTuple):
    """The host did not go down."""

    why: str
    """A sentence."""
    stuck: tuple[int, ...]
    """CPUs on which nothing runs any more."""


class ResetDrill(Session[Returned]):
    """One run. It comes back only if the host did not go down."""

    def __init__(self, root: Root, host: DrillHost, kind: Kind, entry: Entry, say: Say) -> None:
        super().__init__(root, host, entry, say)
        self._kind = kind
        assert entry.aftermath is not None  # noqa: S101 - these drills have one
        self._aftermath: Aftermath = entry.aftermath
        others = [cpu for cpu in host.online if cpu != self._aftermath.target]
        self._watcher, self._trigger = others[0], others[:2][-1]
        self._stuck: tuple[int, ...] = ()

    def place(self, stack: ExitStack) -> None:
        """Place who masks a CPU for good, who writes the file systems, and who ends it."""
        self._log = self.follow_log(stack)
        self._wedger: Helper | None = None
        if self._kind.wedges:
            assert self._aftermath.target is not None  # noqa: S101 - what wedges has a target
            # A console's own thread would stay on the wedged CPU, with everything that it has to print.
            moved = fire_printers_off(self._aftermath.target)
            stack.callback(fire_affinities, moved)
            self._wedger = self.helper(stack, self._aftermath.target, self._wedge, 0)
        # Forked after the one that never comes back, which would keep this one's pipe open, and it alive.
        ending = self._kind.ending
        # Where the detector should have made it panic and did not, a reset takes the masked CPU back.
        resets = ending in (RESET, DETECTOR)
        self._ender = self.helper(
            stack, self._trigger, lambda: fire_sysrq("b") if resets else fire_lkdtm(ending)
        )
        self._syncer = self.helper(stack, self._watcher, os.sync)
        os.sched_setaffinity(0, {self._watcher})

    def fire(self) -> None:
        """Write all file systems to their disks: after a wedge that would wait for ever."""
        self.say("writing all file systems to their disks")
        self._syncer.go()
        if self._syncer.poll(SYNC_SECONDS) != "":
            text = f"The file systems could not be written to their disks within {SYNC_SECONDS:g} s."
            raise DrillRefusedError(Reason(POLICY, text))
        self.say("noting in the journal that it fires now")

    def after(self) -> None:
        """Take the host down, by which it ends; no signal keeps it from that any more."""
        if self.trouble:
            return
        try:
            write_journal(self.entry._replace(aftermath=self._aftermath._replace(fired=True)))
        except JournalError as error:
            self.trouble.append(str(error))
            return
        self.trouble.append(self._take_down())
        self._stuck = find_stuck(self.host.online, LOST_SECONDS)

    def observed(self) -> Returned:
        """Return why the host is still up."""
        return Returned(self.trouble[0], self._stuck)

    def _wedge(self) -> None:
        # This helper never comes back: the lock must not stay with it.
        self.lock.release()
        fire_lkdtm(HARDLOCKUP)

    def _take_down(self) -> str:
        fire_marker(self.entry.id)
        if self._wedger:
            self.tell(f"masking CPU {self._aftermath.target} for good")
            self._wedger.go()
            if not self._sees((f"{ENTRY}{HARDLOCKUP}".encode(),), WEDGE_SECONDS):
                problem = self._wedger.poll() or "the kernel did not log it"
                return f"CPU {self._aftermath.target} could not be masked: {problem}."
            time.sleep(SETTLED_SECONDS)
        if self._kind.waits:
            self.tell("waiting for the hard-lockup detector")
            seconds = 2 * THRESHOLDS * (self.host.watchdog_thresh or 10)
            if self._sees((f"{REPORT}{self._aftermath.target}".encode(),), seconds):
                # Its request for the stack comes next, for which the kernel waits 10 s and more.
                answers = (f"NMI backtrace for cpu {self._aftermath.target}".encode(), NO_ANSWER)
                self._sees(answers, ANSWER_SECONDS)
            time.sleep(SETTLED_SECONDS)
        self.tell("taking this host down")
        self._ender.go()
        error = self._ender.poll(DOWN_SECONDS)
        return f"The host did not go down: {error or 'nothing happened'}."

    def _sees(self, texts: tuple[bytes, ...], seconds: float) -> bool:
        """Wait until the kernel has logged one of these; tell whether it was in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # By its bytes: no file may be read any more, the wedged CPU may have the disk's interrupts.
            if any(text in record for record in self._log.drain() for text in texts if is_kernel(record)):
                return True
            time.sleep(LOOK_SECONDS)
        return False
