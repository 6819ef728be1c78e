"""Carries `sdeictl bench ab` through the boots: the journal, the measurements, and the way home."""

import contextlib
import json
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import psutil

from sdeictl.bench.compare import compare
from sdeictl.bench.conditions import MAX_LOAD_A_CPU
from sdeictl.bench.experiment import (
    BOOT,
    FINISH,
    HOME,
    MEASURE,
    Experiment,
    Kexec,
    ThisBoot,
    ab_lines,
    about_ab,
    homeward,
    is_arm,
    measured,
    next_step,
    result_json,
    wrong_states,
)
from sdeictl.bench.run import DIRECTORY, encode, parse_bench, run_bench, store_bench
from sdeictl.drill.result import refused_status
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.programs import has_program, output_of, run_program
from sdeictl.host.root import LiveRoot, Root
from sdeictl.interlock.arming import disarm
from sdeictl.interlock.danger import Consent, read_danger
from sdeictl.interlock.host import read_setting
from sdeictl.interlock.journal import (
    EXPERIMENT,
    BusyError,
    JournalError,
    Lock,
    read_journal,
    time_stamp,
    write_whole,
)
from sdeictl.interlock.refusals import Reason
from sdeictl.interlock.writes import fire_home, fire_kexec, fire_unload
from sdeictl.probe.collect import VERSION, collect
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.kernel import CMDLINE
from sdeictl.probe.settings import SYSCTLS

Json = dict[str, Any]
JOURNAL = EXPERIMENT
INSTALLED = "/usr/bin/sdeictl"
"""What the unit calls."""
UNIT = "sdeictl-bench-resume.service"
SYSTEMD = "/run/systemd/system"
KEXEC_DISABLED = f"{SYSCTLS}/kexec_load_disabled"
DEVICE_TREE = "/sys/firmware/devicetree/base"
ITS = b"arm,gic-v3-its"
SETTLE_SECONDS = 120.0
"""How long a fresh boot may take to come to rest before it is measured anyway, and labelled."""
DOWN_SECONDS = 600.0
MAX_PAUSE_SECONDS = 3600.0
"""A boot takes minutes; what begins again after longer than this is nobody's intention any more."""
WORKLOAD_SECONDS = 3600.0
Say = Callable[[str], None]


class AbRequest(NamedTuple):
    """What the user asked for."""

    calls: tuple[str, ...]
    seconds: float
    workload: tuple[str, ...]
    workload_rounds: int
    rounds: int
    image: str | None = None
    initrd: str | None = None
    no_initrd: bool = False
    own_resume: bool = False
    """Without the unit: something of the operator's own goes on in each boot."""


class Outcome(NamedTuple):
    """What there is to show: a plan, reasons, or what came of it."""

    status: Status
    plan: list[tuple[str, str]] | None = None
    reasons: tuple[Reason, ...] = ()
    result: Json | None = None
    sentence: str = ""


def begin(request: AbRequest, consent: Consent, *, dry_run: bool, say: Say) -> Outcome:
    """Begin an experiment; it goes on in the boots that follow."""
    root = LiveRoot()
    facts = collect(root)
    kexec = read_kexec(root, facts, request)
    reasons = tuple(about_ab(facts, kexec, read_danger(root), consent, psutil.cpu_count() or 1))
    if reasons:
        return Outcome(refused_status(reasons), reasons=reasons)
    assert kexec.image is not None  # noqa: S101 - the guard has seen it
    boot = read_boot(root)
    identifier = time_stamp()
    experiment = Experiment(
        identifier, request.calls, request.seconds, request.workload, request.workload_rounds,
        request.rounds, kexec.image, kexec.initrd, boot.line, boot.build,
    )  # fmt: skip
    if dry_run:
        return Outcome(Status.GOOD, plan=ab_lines(experiment))
    with _locked():
        if pending := _pending():
            raise SdeictlError(f"{pending} has not ended yet", Status.REFUSED)
        _try_workload(request.workload)
        try:
            disarm()
            return _go_on(root, experiment, say)
        except OSError as error:
            raise SdeictlError(f"it could not be begun: {error.strerror}", Status.UNKNOWN) from error
        finally:
            # Back here the host did not go down; nothing must begin by itself at some later boot.
            fire_unload()
            _forget(identifier)


def _try_workload(words: tuple[str, ...]) -> None:
    """See before the first boot that the program can be run."""
    try:
        if words:
            run_program(words, WORKLOAD_SECONDS)
    except OSError as error:
        raise SdeictlError(f"{words[0]} cannot be run: {error.strerror}", Status.UNKNOWN) from error


def _forget(identifier: str) -> None:
    """Remove the journal of an experiment that did not begin."""
    with contextlib.suppress(SdeictlError, OSError):
        if read_experiment().id == identifier:
            os.unlink(JOURNAL)


def resume(say: Say, *, stop: bool = False) -> Outcome:
    """Go on with an experiment in this boot; with `stop` end it and go back to the original boot."""
    if os.geteuid():
        raise SdeictlError("only root can go on with an experiment", Status.UNKNOWN)
    root = LiveRoot()
    if not os.path.exists(JOURNAL):
        return Outcome(Status.GOOD, sentence="no experiment has been left")
    with _locked():
        try:
            experiment = read_experiment()
            if stop and not experiment.homeward:
                experiment = homeward(experiment, "It was stopped.")
            elif time.time() - experiment.kept_at > MAX_PAUSE_SECONDS and not experiment.homeward:
                experiment = homeward(experiment, "It was interrupted for more than an hour.")
            return _go_on(root, experiment, say)
        except SdeictlError:
            # The journal cannot be read or written: at least the host must not stay in such a boot.
            if is_arm(read_boot(root).line):
                say("going back to the original boot")
                _try(partial(fire_home, _has_systemd(), again=False), say)
            raise


class _locked:  # noqa: N801 - a context, used like a function
    """No drill may run meanwhile, and no second experiment."""

    def __enter__(self) -> None:
        try:
            self._lock = Lock()
        except BusyError as error:
            text = f"a drill or an experiment is running (`systemctl stop {UNIT}` ends the latter's process)"
            raise SdeictlError(text, Status.REFUSED) from error
        except JournalError as error:
            raise SdeictlError(str(error), Status.UNKNOWN) from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _go_on(root: Root, experiment: Experiment, say: Say) -> Outcome:
    """Do what is next in this boot, until it goes down or the experiment has ended."""
    while True:
        step = next_step(experiment, read_boot(root))
        experiment = keep(step.experiment)
        if step.do == MEASURE:
            experiment = keep(_measure(experiment, say))
        elif step.do == BOOT:
            number = len(experiment.done)
            say(f"booting the kernel for boot {number + 1} of {experiment.boots}")
            line = experiment.line(number)
            _try(partial(fire_kexec, experiment.image, experiment.initrd, line, _has_systemd()), say)
        elif step.do == HOME:
            say("going back to the original boot")
            again = experiment.attempts > 1
            _try(partial(fire_home, _has_systemd(), again=again), say)
        elif step.do == FINISH:
            return _finish(experiment, say)
        else:
            return Outcome(Status.FAILED, sentence=" ".join(experiment.reasons))


def _measure(experiment: Experiment, say: Say) -> Experiment:
    number = len(experiment.done)
    try:
        say(f"waiting until boot {number + 1} of {experiment.boots} has come to rest")
        _settle()
        say(f"measuring in boot {number + 1} of {experiment.boots}")
        document = run_bench(
            experiment.calls, experiment.seconds, experiment.workload, experiment.workload_rounds
        )
        return measured(experiment, os.path.basename(store_bench(document)))
    except Exception as error:  # whatever it is: the host must not stay in this boot
        return homeward(experiment, f"Boot {number + 1} could not be measured: {error}.")


def _try(fire: Callable[[], None], say: Say) -> None:
    """Take the host down; come back only if it did not go."""
    try:
        fire()
        time.sleep(DOWN_SECONDS)
    except OSError as error:
        say(f"the host cannot be booted: {error.strerror}")
    fire_unload()


def _settle() -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    limit = MAX_LOAD_A_CPU * (psutil.cpu_count() or 1)
    while psutil.getloadavg()[0] > limit and time.monotonic() < deadline:
        time.sleep(1.0)


def _finish(experiment: Experiment, say: Say) -> Outcome:
    say("comparing the runs")
    reasons, comparison = list(experiment.reasons), None
    try:
        runs = [_read_run(name) for name in experiment.done]
        reasons += wrong_states([run["conditions"].get("pseudo_nmi") for run in runs])
        if runs and not reasons:
            comparison = compare(runs[::2], runs[1::2])
    except (SdeictlError, ValueError, OSError) as error:
        reasons.append(f"The runs cannot be compared: {error}.")
    result = result_json(experiment._replace(reasons=tuple(reasons)), comparison)
    try:
        write_whole(f"{DIRECTORY}/{experiment.id}-ab.json", encode(result), 0o644)
        os.unlink(JOURNAL)
    except OSError as error:
        raise SdeictlError(f"the result cannot be kept: {error.strerror}", Status.UNKNOWN) from error
    return Outcome(Status.GOOD if result["complete"] else Status.UNKNOWN, result=result)


def _read_run(name: str) -> Json:
    with open(os.path.join(DIRECTORY, os.path.basename(name)), "rb") as file:
        return parse_bench(file.read())


# The journal


def keep(experiment: Experiment) -> Experiment:
    """Put an experiment on disk, so that the next boot knows of it; return it as it is there."""
    experiment = experiment._replace(kept_at=time.time())
    try:
        os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
        write_whole(JOURNAL, json.dumps(experiment._asdict()).encode() + b"\n", 0o600)
    except OSError as error:
        raise SdeictlError(f"{JOURNAL} cannot be written: {error.strerror}", Status.REFUSED) from error
    return experiment


def read_experiment(path: str = JOURNAL) -> Experiment:
    """Return the experiment that has not ended; raise SdeictlError if its journal is damaged."""
    try:
        with open(path, "rb") as file:
            found: Json = json.loads(file.read())
        fields: Json = {
            name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
        }
        experiment = Experiment(**fields)
        if not isinstance(experiment.original, str) or not all(
            isinstance(value, (int, float))
            for value in (experiment.attempts, experiment.measures, experiment.kept_at, experiment.seconds)
        ):
            raise TypeError
        experiment.line(0)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        text = (
            f"the journal {path} is damaged: if the command line is not the usual one, reboot; then remove it"
        )
        raise SdeictlError(text, Status.UNKNOWN) from error
    return experiment


# The host


def read_boot(root: Root) -> ThisBoot:
    """Read which boot this is."""
    line, build = (root.read(path).decode("utf-8", "replace").strip() for path in (CMDLINE, VERSION))
    return ThisBoot(line, build)


def read_kexec(root: Root, facts: HostFacts, request: AbRequest) -> Kexec:
    """Read what there is to boot another command line with."""
    image, initrd = (path and os.path.abspath(path) for path in (request.image, request.initrd))
    if not image:
        image, initrd = find_kernel(facts.release)
    elif not os.path.isfile(image) or (initrd and not os.path.isfile(initrd)):
        raise SdeictlError(f"{initrd if os.path.isfile(image) else image} does not exist", Status.USAGE)
    return Kexec(
        privileged=not os.geteuid(),
        program=has_program("kexec"),
        image=image,
        initrd=None if request.no_initrd else initrd,
        no_initrd=request.no_initrd,
        disabled=read_setting(root, KEXEC_DISABLED) == 1,
        has_its=_has_its(root),
        efi=os.path.isdir("/sys/firmware/efi"),
        resumes=request.own_resume or (_has_systemd() and _enabled()),
        within=is_arm(read_boot(root).line),
        pending=_pending(),
    )


def find_kernel(release: str | None, boot: str = "/boot") -> tuple[str | None, str | None]:
    """Return the running kernel's image and its initrd, as Debian, Fedora and SUSE name them."""
    images = [f"{boot}/{name}-{release}" for name in ("vmlinuz", "vmlinux", "Image", "linux")]
    initrds = [
        f"{boot}/{name}"
        for name in (f"initrd.img-{release}", f"initramfs-{release}.img", f"initrd-{release}")
    ]
    image = next((path for path in images if os.path.isfile(path)), None)
    return image, next((path for path in initrds if os.path.isfile(path)), None)


def _has_its(root: Root) -> bool | None:
    """Look for the service below the interrupt controllers of the device tree; False without such a tree."""
    if not os.path.isdir(DEVICE_TREE):
        return False
    try:
        for directory, _names, files in os.walk(DEVICE_TREE):
            if "compatible" in files and ITS in root.read(f"{directory}/compatible").split(b"\0"):
                return True
    except OSError:
        return None
    return False


def _has_systemd() -> bool:
    return os.path.isdir(SYSTEMD)


def _enabled() -> bool:
    try:
        # Its other words, such as enabled-runtime, are of units that the next boot does not start.
        is_enabled = output_of("systemctl", "is-enabled", UNIT).strip() == b"enabled"
    except OSError:
        return False
    return is_enabled and os.access(INSTALLED, os.X_OK)


def _pending() -> str | None:
    if os.path.exists(JOURNAL):
        return "An experiment (`sdeictl bench resume`)"
    try:
        return "A drill (`sdeictl drill resume`)" if read_journal() else None
    except JournalError as error:
        return str(error)
