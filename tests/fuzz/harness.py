"""Runs a fuzz target: under atheris for some seconds of CPU time, or over its corpus alone.

    python -m tests.fuzz TARGET SECONDS

The corpus of a target is what its seeds() make of the captured hosts. build/fuzz/TARGET holds what fuzzing
finds on this machine: `corpus`, with which the next run begins, and `findings`, one file for each kind of
failure.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
TARGETS = PROJECT / "tests" / "fuzz" / "targets"
WORK = PROJECT / "build" / "fuzz"
PACKAGES = ("sdeictl", "sdeictl_agent")
LIBRARIES = ("elftools", "prometheus_client", "tarfile", "tomllib")
"""What parses for them and is written in Python."""
SECONDS_PER_INPUT = 30
"""What DESIGN allows for any input."""
MIB = 1024
"""Far above the need of any input of a few kilobytes, with the interpreter and the fuzzer."""
FINDING = "fuzz: finding: "
"""How the line begins that reports a new kind of failure."""


class Target(NamedTuple):
    """What a module of targets/ defines as TARGET."""

    check: Callable[[bytes], None]
    """Raises if something does not hold for an input. What a parser declares, it catches."""
    seeds: Callable[[], Iterable[bytes]]
    """Yields inputs to begin with."""
    reads: tuple[Callable[..., object], ...]
    """The parsers and readers that the seeds reach."""
    words: tuple[str, ...] = ()
    """Words of the format, for the fuzzer to insert."""
    max_bytes: int = 4096


def target_names() -> list[str]:
    """Return the names of all targets. Nothing is imported."""
    return sorted(path.stem for path in TARGETS.glob("*.py") if path.stem != "__init__")


def load_target(name: str) -> Target:
    """Import a target, and with it what it reads."""
    target: object = importlib.import_module(f"tests.fuzz.targets.{name}").TARGET
    assert isinstance(target, Target)
    return target


def corpus_of(target: Target) -> Iterator[bytes]:
    """Yield the empty input, and the seeds of a target."""
    yield b""
    yield from target.seeds()


def fuzz(name: str, seconds: float) -> None:
    """Fuzz a target for some seconds of CPU time. libFuzzer ends the process."""
    import atheris  # noqa: PLC0415 - it exists for few versions of Python, and only fuzzing needs it

    with atheris.instrument_imports(include=[*PACKAGES, *LIBRARIES]):
        for package in PACKAGES:
            _import_all(importlib.import_module(package))
    target = load_target(name)
    work = WORK / name
    for directory in ("corpus", "findings", "seeds"):
        (work / directory).mkdir(parents=True, exist_ok=True)
    for data in corpus_of(target):
        (work / "seeds" / _digest(data)).write_bytes(data)
    options = [
        f"-max_len={target.max_bytes}", f"-timeout={SECONDS_PER_INPUT}", f"-rss_limit_mb={MIB}",
        f"-artifact_prefix={work / 'findings'}/", "-print_final_stats=1", "-verbosity=1",
    ]  # fmt: skip
    if target.words:
        (work / "words").write_text("".join(map(_dictionary_line, sorted(set(target.words)))))
        options.append(f"-dict={work / 'words'}")
    run = _Run(target.check, work / "findings", time.process_time() + seconds)
    atheris.Setup([name, *options, str(work / "corpus"), str(work / "seeds")], run.check)
    atheris.Fuzz()


class _Run:
    """One run of the fuzzer. A failure does not end it: each kind of failure is kept once."""

    def __init__(self, check: Callable[[bytes], None], findings: Path, end: float) -> None:
        self._check = check
        self._findings = findings
        self._end = end
        """The CPU time of this process at which to stop, in seconds."""
        self._known: set[str] = set()

    def check(self, data: bytes) -> None:
        """Take one input of the fuzzer."""
        try:
            self._check(data)
        except Exception as error:  # whatever a parser raises
            self._keep(data, error)
        if time.process_time() >= self._end:
            os.kill(os.getpid(), signal.SIGUSR1)  # libFuzzer prints its figures and exits

    def _keep(self, data: bytes, error: Exception) -> None:
        kind = _kind_of(error)
        if kind not in self._known:
            self._known.add(kind)
            path = self._findings / _digest(kind.encode())
            path.write_bytes(data)
            traceback.print_exception(type(error), error, error.__traceback__)
            print(f"{FINDING}{kind}: {path}", file=sys.stderr, flush=True)


def _kind_of(error: Exception) -> str:
    """Return the type of an error, and the innermost line of the project that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if frame.filename.startswith(f"{PROJECT}/") and ".venv" not in frame.filename
    ]
    last = own[-1]
    return f"{type(error).__name__} at {os.path.relpath(last.filename, PROJECT)}:{last.lineno}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _dictionary_line(word: str) -> str:
    """Return a word as a line of libFuzzer's dictionary."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word.encode()
    )
    return f'"{escaped}"\n'


def _import_all(package: ModuleType) -> None:
    """Import every module: one that is imported later is not instrumented."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith((".__main__", ".libbench")):
            importlib.import_module(module.name)
