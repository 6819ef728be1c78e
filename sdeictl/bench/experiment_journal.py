"""The journal of an experiment: it is on disk before each step, so that the next boot can continue."""

from __future__ import annotations

import json
import os
import time
from typing import TypedDict, cast

from sdeictl.bench.experiment import Experiment
from sdeictl.bench.measure import Timing
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.files import read_file, write_whole
from sdeictl.host.json_text import parse_json
from sdeictl.host.paths import EXPERIMENT_JOURNAL


class ExperimentDocument(TypedDict):
    """The stored form of an experiment. It keeps the keys of release 0.1.0, which may have begun it."""

    id: str
    calls: list[str]
    seconds: float
    workload: list[str]
    workload_rounds: int
    rounds: int
    image: str
    initrd: str | None
    original: str
    build: str
    done: list[str]
    attempts: int
    measures: int
    kept_at: float
    homeward: bool
    reasons: list[str]


def experiment_document(experiment: Experiment) -> ExperimentDocument:
    """Return the stored form of an experiment."""
    return {
        "id": experiment.id,
        "calls": list(experiment.timing.calls),
        "seconds": experiment.timing.seconds,
        "workload": list(experiment.timing.workload),
        "workload_rounds": experiment.timing.rounds,
        "rounds": experiment.pairs,
        "image": experiment.image,
        "initrd": experiment.initrd,
        "original": experiment.original_line,
        "build": experiment.build,
        "done": list(experiment.runs),
        "attempts": experiment.boot_attempts,
        "measures": experiment.measure_attempts,
        "kept_at": experiment.written_at,
        "homeward": experiment.returning,
        "reasons": list(experiment.reasons),
    }


def parse_experiment(data: bytes) -> Experiment:
    """Return the experiment in a journal; raise ValueError, TypeError or AttributeError for anything else."""
    document = cast("ExperimentDocument", parse_json(data, file_names=True))
    if document.keys() != ExperimentDocument.__annotations__.keys():
        raise ValueError("other keys")
    _check_types(document)
    return Experiment(
        id=document["id"],
        timing=Timing(
            tuple(document["calls"]),
            document["seconds"],
            tuple(document["workload"]),
            document["workload_rounds"],
        ),
        pairs=document["rounds"],
        image=document["image"],
        initrd=document["initrd"],
        original_line=document["original"],
        build=document["build"],
        runs=tuple(document["done"]),
        boot_attempts=document["attempts"],
        measure_attempts=document["measures"],
        written_at=document["kept_at"],
        returning=document["homeward"],
        reasons=tuple(document["reasons"]),
    )


def _check_types(document: ExperimentDocument) -> None:
    lists = (document["calls"], document["workload"], document["done"], document["reasons"])
    texts = [document["id"], document["image"], document["original"], document["build"]]
    texts += [text for values in lists for text in values]
    counts = (
        document["workload_rounds"], document["rounds"], document["attempts"], document["measures"],
        document["homeward"],
    )  # fmt: skip
    if not (
        all(isinstance(values, list) for values in lists)
        and all(isinstance(text, str) for text in texts)
        and isinstance(document["initrd"], (str, type(None)))
        and all(isinstance(count, int) for count in counts)
        and all(isinstance(value, (int, float)) for value in (document["seconds"], document["kept_at"]))
    ):
        raise TypeError("a value of another type")


def write_experiment(experiment: Experiment, path: str = EXPERIMENT_JOURNAL) -> Experiment:
    """Store an experiment and return it as stored; raise SdeictlError."""
    experiment = experiment._replace(written_at=time.time())
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        write_whole(path, json.dumps(experiment_document(experiment)).encode() + b"\n", 0o600)
    except OSError as error:
        raise SdeictlError(f"{path} cannot be written: {error.strerror}", Status.REFUSED) from error
    return experiment


def read_experiment(path: str = EXPERIMENT_JOURNAL) -> Experiment:
    """Return the experiment that has not ended; raise OSError, or SdeictlError for a damaged journal."""
    data = read_file(path)
    try:
        return parse_experiment(data)
    except (ValueError, TypeError, AttributeError) as error:
        text = (
            f"the journal {path} is damaged: reboot the host if its command line is not the usual one,"
            " then remove the journal"
        )
        raise SdeictlError(text, Status.UNKNOWN) from error
