"""Each call fails once in the services: they go on or say why not, and nothing false or partial is served."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import validate
from tests.support.agent_host import BEFORE, make_exported
from tests.support.drillable_host import make_drillable
from tests.support.faults import Inject, Run, check_traces, is_lookup, pairs_of

REPORT = "host/run/sdeictl/report.json"
WATCH = "host/run/sdeictl-watch/watch.json"
REQUEST = "host/run/sdeictl-watch/probe.request"
COLLECT, FOLLOW = ("sdeictl-agent-collect",), ("sdeictl-agent-watch",)
ENDED = -signal.SIGTERM
"""A daemon that ends by itself may receive the signal meanwhile."""

Samples = Mapping[tuple[str, str], float]
"""By the name and the labels."""


def check_service(run: Run, *statuses: int) -> None:
    """Assert that a service ended well, or with a sentence, and left no file that is not whole."""
    check_traces(run)
    assert run["status"] in (0, *statuses, ENDED), run
    if run["status"]:
        assert run["said"].startswith("sdeictl-agent"), run
    assert {name for name in run["before"] if name.startswith("host/run")} <= set(run["files"]), run


def wrap_log(tree: Path) -> None:
    """Let the kernel have overwritten the start of its log, which an earlier collector has saved."""
    log = (tree / "kmsg.txt").read_bytes()
    saved = tree / "run/sdeictl/boot.kmsg"
    saved.parent.mkdir(parents=True)
    saved.write_bytes(log)
    saved.chmod(0o600)
    (tree / "kmsg.txt").write_bytes(b"".join(log.splitlines(keepends=True)[40:]))


@pytest.mark.parametrize("wrapped", [False, True])
def test_collector(inject: Inject, tmp_path: Path, wrapped: bool) -> None:
    tree = make_drillable(tmp_path)
    if wrapped:
        wrap_log(tree)
    for sound, run in pairs_of(inject(program=COLLECT[0], first=(COLLECT,), most=20)):
        check_service(run, 3)
        report, before = json.loads(run["files"][REPORT]), json.loads(run["before"][REPORT])
        validate("report-1", report)
        told, found = json.loads(sound["files"][REPORT])["verdict"], report["verdict"]
        assert told["nmi_path"] == "sdei"
        assert found["nmi_path"] in (told["nmi_path"], "unknown"), run
        assert found["ready"] in (told["ready"], None), run
        if run["status"]:
            assert report == before or run["failed"] in ("open64", "fsync"), run


def counts(run: Run) -> object:
    return json.loads(run["files"][WATCH])["counters"]


def test_watcher(inject: Inject, tmp_path: Path) -> None:
    """Another watcher counts no event twice, and none is lost."""
    make_drillable(tmp_path)
    for sound, run in pairs_of(inject(program=FOLLOW[0], then=FOLLOW, most=20)):
        check_service(run, 3)
        if run["status"] == 0:
            assert counts(run) == counts(sound), run
            assert REQUEST in run["files"], run
        check_service(run["then"])
        assert counts(run["then"]) == counts(sound), run


def parse(page: str) -> Samples:
    return {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def check_samples(found: Samples, told: Samples, run: Run) -> None:
    """Assert that each sample is the true one, and that none is missing if all sources are up."""
    up = {key for key in told if key[0] == "sdeictl_source_up"}
    down = [key for key in up if found[key] == 0]
    for key, value in found.items():
        if key not in down and key[0] != "sdeictl_agent_timestamp_seconds":
            assert value == told.get(key) or is_lookup(run), (key, value, run)
    assert found.keys() == told.keys() or down or is_lookup(run), run


def test_exporter(inject: Inject, tmp_path: Path) -> None:
    make_exported(tmp_path)
    for sound, run in pairs_of(inject(program="sdeictl-agent", first=BEFORE, most=40)):
        check_service(run, 2, 3)
        pages = run["seen"]["pages"]
        # One client at most is not served; none is after the end of the daemon.
        assert pages.count(None) <= 1 or run["status"] != 0, run
        for page, told in zip(pages, sound["seen"]["pages"]):
            if page is None:
                continue
            (head, _, body), (told_head, _, told_body) = (each.partition("\r\n\r\n") for each in (page, told))
            assert head.startswith("HTTP/1.1 200 "), run
            if "version=" in told_head:
                check_samples(parse(body), parse(told_body), run)
            else:
                assert body == told_body or "Sources that are down" in body, run


def test_textfile(inject: Inject, tmp_path: Path) -> None:
    make_exported(tmp_path)
    for sound, run in pairs_of(inject("--textfile", ".", program="sdeictl-agent", first=BEFORE, most=20)):
        check_service(run, 2, 3)
        told = parse(sound["seen"]["textfiles"][-1])
        for text in run["seen"]["textfiles"]:
            assert text.endswith("\n"), run
            check_samples(parse(text), told, run)
        assert len(run["seen"]["textfiles"]) == 2 or run["status"] != 0, run
