"""A host with systemd, from `apt install` to `apt purge`, seen by a Prometheus outside of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sdeictl_agent.config import DEFAULT_PORT

from tests.lab.build import Lab
from tests.lab.deb import Package
from tests.lab.machines import MACHINES
from tests.lab.prometheus import RULES, Prometheus, free_port, running_prometheus, wait_until
from tests.lab.vm import running_vm

Json = dict[str, Any]
MACHINE = MACHINES["dt-sdei"]._replace(root="system")
STEP_SECONDS = 420.0
AGENT, WATCH, COLLECT = "sdeictl-agent.service", "sdeictl-watch.service", "sdeictl-collect.service"
TEXTFILE = "sdeictl-textfile.service"
QUERIES = re.findall(r"(?m)^\| ([^|`]+) \| `([^`]+)` \|$", (RULES / "README.md").read_text())
NOTHING_TO_TELL = {
    "Which hosts cannot reach a masked CPU?",
    "On which hosts is it unknown whether a masked CPU can be reached?",
    "Which products and firmwares do not advertise SDEI?",
    "Which ready hosts lack a passed drill that still counts?",
    "On which hosts did the path change this week?",
    "On which hosts did a CPU not answer in time since the boot?",
    "On which hosts does the agent lack a source?",
    "Which hosts crashed this week?",
    "Which of the last crashes left too little of the CPU that was stuck?",
    "How long does a call take with and without pseudo-NMI?",
}
"""Documented queries to which this host, whose path serves and on which nothing was timed, is no answer."""
OWN_FILES = {
    AGENT: set(),
    WATCH: {"/run/sdeictl-watch/watch.json", "/run/sdeictl-watch/anything"},
    COLLECT: {"/run/sdeictl/report.json", "/run/sdeictl/drill.lock"},
    TEXTFILE: set(),
}
OWN_DIRECTORIES = {"agent": "nothing", "watch": "/run/sdeictl-watch/", "collect": "/run/sdeictl/"}
OWNERS = {
    "/run/sdeictl": ["root", "root", "0o755"],
    "/run/sdeictl/report.json": "root",
    "/run/sdeictl/postmortem.json": "root",
    "/run/sdeictl/boot.kmsg": "root",
    "/run/sdeictl-watch": ["sdeictl", "sdeictl", "0o755"],
    "/run/sdeictl-watch/watch.json": "sdeictl",
}
NO_FILE, NO_ADDRESS, NO_CALL = ("EROFS", "EACCES", "EPERM", "ENOENT"), "EAFNOSUPPORT", "SIGSYS"
"""How a sandbox refuses; the calls have wrong arguments, for which the kernel has other errors."""
WRITES = re.compile(r'open(?:at)?\((?:[^"]*, )?"([^"]+)", [^)]*O_(?:WRONLY|RDWR)[^)]*\)\s*=\s*(?:\d+)')
CHANGES = re.compile(r'\b(?:unlink|rename|mkdir|chmod|chown|link|symlink|truncate|mknod)\w*\(.*"([^"]+)"')
OUTSIDE = re.compile(r"connect\(.*sa_family=AF_(?!UNIX)")


class Story:
    """The guest does a step and waits until it was looked at."""

    def __init__(self, share: Path, server: Prometheus) -> None:
        self.share = share
        self.server = server

    def after(self, step: str) -> Json:
        path = self.share / f"{step}.json"
        wait_until(step, lambda: path.exists() or self.ended(), STEP_SECONDS)
        assert path.exists(), (self.share / "stderr").read_text()
        content: Json = json.loads(path.read_text())
        return content

    def ended(self) -> bool:
        return (self.share / "status").exists()

    def seen(self, step: str) -> None:
        (self.share / f"{step}.seen").touch()


def test_a_host_from_installation_to_removal(lab: Lab, package: Package, tmp_path: Path) -> None:
    port = free_port()
    with (
        running_vm(
            MACHINE, "exec python3 /lab/guest/service.py", lab=lab, directory=tmp_path / "vm",
            ports={port: DEFAULT_PORT},
            files=(package.file,),
        ) as share,
        running_prometheus(lab, tmp_path / "prometheus", port) as server,
    ):  # fmt: skip
        story = Story(share, server)
        for step, look in STEPS.items():
            look(server, story.after(step))
            story.seen(step)
        wait_until("the end", story.ended)
        assert (share / "status").read_text() == "0\n", (share / "stderr").read_text()


def installed(server: Prometheus, seen: Mapping[str, Any]) -> None:
    assert seen["active"] == [True, True, False]
    assert seen["failed"] == ""
    assert seen["owners"] == OWNERS
    # Its sandbox hides nothing from the collector that a probe by hand sees.
    same = ("verdict", "findings", "gaps", "host")
    assert {name: seen["report"][name] for name in same} == {name: seen["probe"][name] for name in same}
    wait_until("a scrape", lambda: server.value("up") == 1)
    wait_until("the path", lambda: server.value('sdeictl_nmi_path{sdeictl_nmi_path="sdei"}') == 1)
    assert server.value("sdeictl_ready") == 1
    assert server.value("sdeictl_cpus_online") == 4
    assert {value for _, value in server.query("sdeictl_source_up")} == {1}
    assert server.value("count({job='sdeictl', __name__=~'sdeictl_.*'})") <= 150  # type: ignore[operator]


def drilled(server: Prometheus, seen: Mapping[str, Any]) -> None:
    assert (seen["status"], seen["result"]["outcome"], seen["result"]["path"]) == (0, "pass", "sdei")
    wait_until("it", lambda: server.value('sdeictl_drill_outcome{drill="backtrace-masked"}') == 1)
    assert server.value('sdeictl_drill_masked_delivery{drill="backtrace-masked"}') == 1
    latency = server.value("sdeictl_drill_delivery_latency_seconds")
    assert latency == pytest.approx(seen["result"]["target"]["latency_seconds"])
    assert server.value('sdeictl_drill_cpus{state="silent"}') == 0
    assert server.value("sdeictl_backtrace_requests_total") >= 1  # type: ignore[operator]


def locked_up(server: Prometheus, seen: Mapping[str, Any]) -> None:
    assert (seen["drill"]["status"], seen["drill"]["result"]["outcome"]) == (0, "pass")
    assert seen["runs"]
    wait_until("the alert", lambda: "SdeictlHardLockup" in server.firing())
    count = seen["after"]["hard_lockups"]
    wait_until("the count", lambda: server.value("sdeictl_hard_lockups_total") >= count)
    wait_until("its end", lambda: "SdeictlHardLockup" not in server.firing())


def hotplugged(server: Prometheus, seen: Mapping[str, Any]) -> None:
    before, after = seen["before"], seen["after"]
    assert (after["cpu_offline"] - before["cpu_offline"], after["cpu_online"] - before["cpu_online"]) == (
        1,
        1,
    )
    assert after["requests"] > before["requests"]
    assert seen["report"] > seen["back"]
    wait_until("the report", lambda: server.value("sdeictl_report_timestamp_seconds") >= int(seen["back"]))  # type: ignore[operator]


def killed(server: Prometheus, seen: Mapping[str, Any]) -> None:
    before, after = seen["before"], seen["after"]
    assert after["hard_lockups"] == before["hard_lockups"] >= 1
    assert after["records_lost"] == before["records_lost"]
    assert after["backtrace_requests"] == before["backtrace_requests"]
    assert f"sdeictl_hard_lockups_total {float(after['hard_lockups'])}" in seen["scrape"]
    wait_until("a scrape", lambda: server.value("up") == 1)
    assert server.value("resets(sdeictl_hard_lockups_total[1h])") == 0


def forged(server: Prometheus, seen: Mapping[str, Any]) -> None:
    for name in ("hard_lockups", "secondary_hard_lockups"):
        assert seen["after"][name] == seen["before"][name]
    # What is wrong with this host, and was so from the start: nobody has loaded a crash kernel.
    wait_until("the alert", lambda: server.firing() == {"SdeictlKdumpNotLoaded"})
    assert {question for question, query in QUERIES if not server.query(query)} == NOTHING_TO_TELL
    assert server.value("job:sdeictl_ready:ratio") == 1
    assert server.value('job_path:sdeictl_nmi_path:sum{sdeictl_nmi_path="sdei"}') == 1


def written(server: Prometheus, seen: Mapping[str, Any]) -> None:
    """The textfile is what is served, but for the moment."""
    assert same_lines(seen["textfile"]) == same_lines(seen["scrape"])
    assert server.value("sdeictl_agent_timestamp_seconds") == pytest.approx(
        float(re.findall(r"(?m)^sdeictl_agent_timestamp_seconds (.*)", seen["textfile"])[0]), abs=600
    )


def same_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if "timestamp_seconds" not in line]


def upgraded(server: Prometheus, seen: Mapping[str, Any]) -> None:
    """Counts, results and configuration are kept, and nothing is left of what the watcher could do before."""
    assert seen["after"].items() >= {name: seen["before"][name] for name in seen["before"]}.items()
    assert seen["before"]["hard_lockups"] >= 1
    assert seen["before"]["cpu_online"] >= 1
    assert (seen["kept"], seen["config"]) == (True, "[exporter]\ntextfile_seconds = 30\n")
    assert seen["owners"] == OWNERS
    # fs.protected_regular may refuse it before sdeictl does.
    assert (seen["forged"]["status"], "drill.lock" in str(seen["forged"]["result"]["reasons"])) == (3, True)
    assert seen["drill"]["status"] == 0
    assert 'sdeictl_source_up{source="watch"} 1.0' in seen["scrape"]
    assert 'sdeictl_source_up{source="report"} 1.0' in seen["scrape"]
    wait_until("a scrape", lambda: server.value("up") == 1)


def compromised(_server: Prometheus, seen: Mapping[str, Any]) -> None:
    assert len(seen["tried"]) >= 6
    assert all(seen["tried"].values()), seen["tried"]
    assert 'sdeictl_source_up{source="watch"} 0.0' in seen["linked"]
    assert 'sdeictl_source_up{source="watch"} 1.0' in seen["again"]
    assert OWNERS.items() <= seen["owners"].items()


def tried(_server: Prometheus, seen: Mapping[str, Any]) -> None:
    """What none of them may do was refused in each unit's sandbox."""
    for unit, attempts in seen.items():
        assert len(attempts) > 20
        for name, outcome in attempts.items():
            if name.startswith("/"):
                assert outcome in NO_FILE or name in OWN_FILES[unit], (unit, name, outcome)
            else:
                assert outcome == (NO_ADDRESS if name.startswith("a") else NO_CALL), (unit, name, outcome)


def traced(_server: Prometheus, seen: Mapping[str, Any]) -> None:
    """Each writes into its own directory, and none speaks to anybody it was not spoken to by."""
    for name, lines in seen.items():
        assert len(lines.splitlines()) > 5, name
        written = set(WRITES.findall(lines)) - {"/dev/null"}
        assert all(path.startswith(OWN_DIRECTORIES[name]) for path in written), (name, written)
        assert bool(written) is (name != "agent"), name
        changed = {path for line in lines.splitlines() if " = 0" in line for path in CHANGES.findall(line)}
        assert all(path.startswith(OWN_DIRECTORIES[name]) for path in changed), (name, changed)
        assert not OUTSIDE.search(lines), name
        assert "execve(" not in lines.split("\n", 1)[1], name


def wrapped(_server: Prometheus, seen: Mapping[str, Any]) -> None:
    """The journal has what the kernel has no more; the collector may ask it in its sandbox."""
    assert (seen["path"], seen["saved"]) == ("sdei", False)
    assert [gap["source"] for gap in seen["gaps"]] == ["/dev/kmsg"]


def stopped(server: Prometheus, _seen: Mapping[str, Any]) -> None:
    wait_until("the alert", lambda: "SdeictlAgentDown" in server.firing())


def gone_on(server: Prometheus, _seen: Mapping[str, Any]) -> None:
    wait_until("the end of it", lambda: "SdeictlAgentDown" not in server.firing())
    assert server.value("up") == 1


def removed(_server: Prometheus, seen: Mapping[str, Any]) -> None:
    assert seen["files"] > 100
    assert (seen["left"], seen["units"]) == ([], "")


STEPS: dict[str, Callable[[Prometheus, Mapping[str, Any]], None]] = {
    "install": installed,
    "masked_drill": drilled,
    "lockup": locked_up,
    "hotplug": hotplugged,
    "kill_each": killed,
    "forge": forged,
    "write_textfile": written,
    "upgrade": upgraded,
    "compromise": compromised,
    "try_sandboxes": tried,
    "trace": traced,
    "wrap": wrapped,
    "stop": stopped,
    "go_on": gone_on,
    "remove": removed,
}
