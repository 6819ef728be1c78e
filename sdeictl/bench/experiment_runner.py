"""Takes an experiment of `sdeictl bench ab` through its boots, and the host back to its original boot."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial

import psutil

from sdeictl.bench.compare import ComparisonDocument, compare_runs
from sdeictl.bench.document import BenchDocument, encode, parse_bench
from sdeictl.bench.experiment import (
    UNIT,
    AbDocument,
    Action,
    Experiment,
    Readiness,
    ThisBoot,
    ab_document,
    add_run,
    end_early,
    experiment_lines,
    is_experiment_boot,
    next_step,
    refusals_for_experiment,
    wrong_states,
)
from sdeictl.bench.experiment_journal import read_experiment, write_experiment
from sdeictl.bench.kexec import KernelFiles, read_kexec
from sdeictl.bench.labels import IDLE_LOAD_PER_CPU
from sdeictl.bench.measure import Timing
from sdeictl.bench.run import WORKLOAD_SECONDS, run_bench, store_bench
from sdeictl.errors import SdeictlError, Status, error_text
from sdeictl.host.files import exists, write_whole
from sdeictl.host.live import LiveRoot
from sdeictl.host.paths import (
    BENCH_RESULTS,
    CMDLINE,
    EXPERIMENT_JOURNAL,
    INSTALLED_SDEICTL,
    SYSTEMD_RUNS,
    VERSION,
)
from sdeictl.host.programs import output_of, run_program
from sdeictl.host.root import Root
from sdeictl.interlock.arming import disarm
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.dry_run import PlanLine
from sdeictl.interlock.journal import JournalError, read_journal
from sdeictl.interlock.lock import BusyError, Lock
from sdeictl.interlock.refusals import Reason, ReasonKind
from sdeictl.interlock.survey import read_survey
from sdeictl.interlock.writes import fire_kexec, fire_return, fire_unload
from sdeictl.probe.collect import collect
from sdeictl.probe.drills import time_stamp
from sdeictl.probe.facts import HostFacts
from sdeictl.text import NamedTuple

IDLE_SECONDS = 120.0
"""How long to wait for a fresh boot to become idle; after that it is measured, and labelled, as it is."""
DOWN_SECONDS = 600.0
"""How long a reboot may take to end this process."""
MAX_PAUSE_SECONDS = 3600.0
"""A boot takes minutes. After a longer pause the operator no longer expects the experiment to continue."""

Tell = Callable[[str], None]
"""Shows the operator the next step."""


class AbRequest(NamedTuple):
    """The experiment that the operator asks for."""

    timing: Timing
    pairs: int
    kernel: KernelFiles = KernelFiles()
    own_resume: bool = False
    """Something of the operator's own calls `bench resume` in each boot; UNIT need not be enabled."""


class Ended(NamedTuple):
    """How a command ended that took an experiment further."""

    status: Status
    result: AbDocument | None = None
    """None if no experiment has ended."""
    sentence: str = ""
    """What to show instead of a result."""


class ExperimentRefusedError(Exception):
    """The experiment must not begin."""

    def __init__(self, reasons: tuple[Reason, ...]) -> None:
        super().__init__(*(reason.text for reason in reasons))
        self.reasons = reasons


def plan_experiment(request: AbRequest, consent: Consent) -> list[PlanLine]:
    """Return what an experiment would do; raise ExperimentRefusedError, SdeictlError."""
    return experiment_lines(_prepare(LiveRoot(), request, consent))


def begin_experiment(request: AbRequest, consent: Consent, tell: Tell) -> Ended:
    """Begin an experiment; `resume_experiment` continues it in the boots that follow.

    Returns only if the host did not go down. Raises ExperimentRefusedError, SdeictlError.
    """
    root = LiveRoot()
    experiment = _prepare(root, request, consent)
    with _lock():
        if pending := _read_pending():
            raise ExperimentRefusedError((Reason(ReasonKind.POLICY, pending),))
        _try_workload(request.timing.workload)
        try:
            disarm()
            return _carry_on(root, experiment, tell)
        except OSError as error:
            text = f"the experiment could not begin: {error.strerror}"
            raise SdeictlError(text, Status.UNKNOWN) from error
        finally:
            # The host did not go down. No later boot may start the experiment by itself.
            fire_unload()
            _remove_journal(experiment)


def _prepare(root: Root, request: AbRequest, consent: Consent) -> Experiment:
    facts = collect(root)
    ready = read_readiness(root, facts, request)
    survey = read_survey(root, facts, providers=False)
    reasons = tuple(refusals_for_experiment(survey, ready, consent))
    if reasons:
        raise ExperimentRefusedError(reasons)
    boot, files = read_boot(root), ready.kexec.files
    assert files.image is not None  # noqa: S101 - refusals_for_kexec() has checked it
    return Experiment(
        time_stamp(), request.timing, request.pairs, files.image, files.initrd, boot.line, boot.build
    )


def read_readiness(root: Root, facts: HostFacts, request: AbRequest) -> Readiness:
    """Read whether this host can go through the boots of an experiment; raise SdeictlError."""
    return Readiness(
        kexec=read_kexec(root, facts, request.kernel),
        resumes=request.own_resume or (_has_systemd() and _is_unit_enabled()),
        in_experiment=is_experiment_boot(read_boot(root).line),
        pending=_read_pending(),
    )


def read_boot(root: Root) -> ThisBoot:
    """Read which boot the host runs."""
    line, build = (root.read(path).decode("utf-8", "replace").strip() for path in (CMDLINE, VERSION))
    return ThisBoot(line, build)


def _has_systemd() -> bool:
    return exists(SYSTEMD_RUNS)


def _is_unit_enabled() -> bool:
    try:
        # systemctl(1): a unit in another state, such as enabled-runtime, does not start in the next boot.
        enabled = output_of("systemctl", "is-enabled", UNIT).strip() == b"enabled"
    except OSError:
        return False
    return enabled and os.access(INSTALLED_SDEICTL, os.X_OK)


def _read_pending() -> str | None:
    """Return which experiment or drill has not ended, a sentence; raise OSError if that cannot be told."""
    if exists(EXPERIMENT_JOURNAL):
        return "An experiment has not ended: `sdeictl bench resume` continues it, and with --stop ends it."
    try:
        return "A drill has not ended: `sdeictl drill resume` ends it." if read_journal() else None
    except JournalError as error:
        return str(error)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Keep drills and other experiments away."""
    try:
        lock = Lock()
    except BusyError as error:
        text = f"a drill or an experiment is running (`systemctl stop {UNIT}` ends the experiment's process)"
        raise SdeictlError(text, Status.REFUSED) from error
    except JournalError as error:
        raise SdeictlError(str(error), Status.REFUSED) from error
    try:
        yield
    finally:
        lock.release()


def _try_workload(words: tuple[str, ...]) -> None:
    """Run the program once: if it fails, the experiment ends before its first boot."""
    try:
        if words:
            run_program(words, WORKLOAD_SECONDS)
    except OSError as error:
        raise SdeictlError(f"{words[0]} cannot be run: {error.strerror}", Status.UNKNOWN) from error


def _remove_journal(experiment: Experiment) -> None:
    """Remove the journal if it is this experiment's."""
    with contextlib.suppress(SdeictlError, OSError):
        if read_experiment().id == experiment.id:
            os.unlink(EXPERIMENT_JOURNAL)


def resume_experiment(tell: Tell, *, stop: bool = False) -> Ended:
    """Continue an experiment in this boot; with `stop` return to the original boot. Raises SdeictlError."""
    if os.geteuid():
        raise SdeictlError("only root can continue or end an experiment", Status.UNKNOWN)
    try:
        if not exists(EXPERIMENT_JOURNAL):
            return Ended(Status.GOOD, sentence="no experiment is pending")
        with _lock():
            return _carry_on_or_return(LiveRoot(), tell, stop=stop)
    except OSError as error:
        # Not with Status.UNKNOWN: after that the unit does not try again.
        text = f"the experiment could not continue: {error_text(error)}"
        raise SdeictlError(text, Status.REFUSED) from error


def _carry_on_or_return(root: Root, tell: Tell, *, stop: bool) -> Ended:
    """Take the experiment on; if that fails, the host must not stay in a boot of the experiment."""
    try:
        return _carry_on(root, _end_if_late(read_experiment(), stop=stop), tell)
    except (SdeictlError, OSError):
        if is_experiment_boot(read_boot(root).line):
            _return(tell, again=False)
        raise


def _end_if_late(experiment: Experiment, *, stop: bool) -> Experiment:
    """Return the experiment, ended early if the operator stops it or if the pause was too long."""
    if experiment.returning:
        return experiment
    if stop:
        return end_early(experiment, "The operator stopped the experiment.")
    if time.time() - experiment.written_at > MAX_PAUSE_SECONDS:
        return end_early(experiment, "The experiment was interrupted for more than an hour.")
    return experiment


def _carry_on(root: Root, experiment: Experiment, tell: Tell) -> Ended:
    """Take one step after another until the host goes down or the experiment ends."""
    while True:
        step = next_step(experiment, read_boot(root))
        experiment = write_experiment(step.experiment)
        if step.action is Action.FINISH:
            return _finish(experiment, tell)
        if step.action is Action.STOP:
            return Ended(Status.FAILED, sentence=" ".join(experiment.reasons))
        if step.action is Action.MEASURE:
            experiment = write_experiment(_measure(experiment, tell))
        elif step.action is Action.BOOT:
            _boot_next(experiment, tell)
        else:
            _return(tell, again=experiment.boot_attempts > 1)


def _measure(experiment: Experiment, tell: Tell) -> Experiment:
    number = len(experiment.runs)
    name = experiment.boot_name(number)
    try:
        tell(f"waiting for {name} to become idle")
        _wait_until_idle()
        tell(f"measuring in {name}")
        document = run_bench(experiment.timing)
        return add_run(experiment, os.path.basename(store_bench(document)))
    except Exception as error:  # any failure must end in the return to the original boot
        return end_early(experiment, f"Boot {number + 1} could not be measured: {error}.")


def _wait_until_idle() -> None:
    deadline = time.monotonic() + IDLE_SECONDS
    limit = IDLE_LOAD_PER_CPU * (psutil.cpu_count() or 1)
    while psutil.getloadavg()[0] > limit and time.monotonic() < deadline:
        time.sleep(1.0)


def _boot_next(experiment: Experiment, tell: Tell) -> None:
    number = len(experiment.runs)
    tell(f"booting the kernel for {experiment.boot_name(number)}")
    line = experiment.command_line(number)
    _go_down(partial(fire_kexec, experiment.image, experiment.initrd, line, _has_systemd()), tell)


def _return(tell: Tell, *, again: bool) -> None:
    tell("returning to the original boot")
    _go_down(partial(fire_return, _has_systemd(), again=again), tell)


def _go_down(fire: Callable[[], None], tell: Tell) -> None:
    """Take the host down; return only if it stayed up."""
    try:
        fire()
        time.sleep(DOWN_SECONDS)
    except OSError as error:
        tell(f"the host cannot be rebooted: {error.strerror}")
    fire_unload()


def _finish(experiment: Experiment, tell: Tell) -> Ended:
    tell("comparing the runs")
    reasons, comparison = _compare(experiment)
    result = ab_document(experiment, reasons, comparison)
    try:
        write_whole(f"{BENCH_RESULTS}/{experiment.id}-ab.json", encode(result), 0o644)
        os.unlink(EXPERIMENT_JOURNAL)
    except OSError as error:
        raise SdeictlError(f"the result cannot be stored: {error.strerror}", Status.UNKNOWN) from error
    return Ended(Status.GOOD if result["complete"] else Status.UNKNOWN, result)


def _compare(experiment: Experiment) -> tuple[list[str], ComparisonDocument | None]:
    """Return why the experiment is not complete, and the comparison of its runs if it is."""
    reasons = list(experiment.reasons)
    try:
        runs = [_read_run(name) for name in experiment.runs]
        reasons += wrong_states([run["conditions"].get("pseudo_nmi") for run in runs])
        if runs and not reasons:
            return reasons, compare_runs(runs[::2], runs[1::2])
    except OSError as error:
        reasons.append(f"The runs cannot be compared: {error_text(error)}.")
    except (SdeictlError, ValueError) as error:
        reasons.append(f"The runs cannot be compared: {error}.")
    return reasons, None


def _read_run(name: str) -> BenchDocument:
    with open(os.path.join(BENCH_RESULTS, os.path.basename(name)), "rb") as file:
        return parse_bench(file.read())
