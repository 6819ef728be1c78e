"""The journal of `bench ab`: SdeictlError, or an experiment that comes to its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sdeictl.bench.experiment import Action, ThisBoot, ab_document, experiment_lines, next_step, wrong_states
from sdeictl.bench.experiment_journal import experiment_document, parse_experiment, read_experiment
from sdeictl.bench.text import render_ab
from sdeictl.errors import SdeictlError, Status
from sdeictl.text import to_plain
from tests.fuzz.files import written
from tests.fuzz.harness import Target
from tests.fuzz.shapes import RAW, edited_json
from tests.test_ab import BUILD, EXPERIMENT, FORMER_JOURNAL, ORIGINAL

BASE: Any = experiment_document(EXPERIMENT._replace(runs=("1.json",), reasons=("why",)))
MOST_STEPS = 500


def seeds() -> Iterator[bytes]:
    yield from (bytes([kind, place, place % 40]) for place in range(20) for kind in (0, 2, 6))
    yield bytes([RAW]) + FORMER_JOURNAL


def check(data: bytes) -> None:
    try:
        experiment = read_experiment(written(edited_json(BASE, data), "ab.journal"))
    except SdeictlError as error:
        assert error.status is Status.UNKNOWN
        return
    if experiment.pairs < 100:
        experiment_lines(experiment)
        document = ab_document(experiment, wrong_states([None, "on"]), None)
        assert "\x1b" not in to_plain(render_ab(document))
    boot = ThisBoot(ORIGINAL, BUILD)
    for _step in range(MOST_STEPS):
        step = next_step(experiment, boot)
        experiment = step.experiment
        if step.action in (Action.FINISH, Action.STOP):
            return
    assert experiment.boot_attempts < 0 or experiment.measure_attempts < 0, "it does not end"


TARGET = Target(check, seeds, (parse_experiment, read_experiment), (), 512)
