"""What the agent costs beside its peers, as ratios within one run: `make bench`. Not a test.

python -m tests.tools.bench_agent

The peers: an exporter of prometheus_client with nothing to export, and Debian's prometheus-node-exporter.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from tests.lab.build import Lab
from tests.lab.prometheus import free_port
from tests.test_agent_families import Agent
from tests.test_agent_server import SERVE

EMPTY = """
import sys, time
from prometheus_client import CollectorRegistry, start_http_server
start_http_server(int(sys.argv[1]), "127.0.0.1", registry=CollectorRegistry())
time.sleep(1e6)
"""
WATCH = """
import sys
from sdeictl_agent import watcher as watch
watch.WATCH_DIRECTORY = sys.argv[1]
watch.main.callback()
"""
BURST = """
import sys
from sdeictl_agent.watcher import Watcher
watcher = Watcher(sys.argv[1], "boot")
at = 0
while True:
    for _ in range(25):
        watcher.take_records([b"6,%d,%d,-;line of a burst\\n" % (n, 1000 * n) for n in range(at, at + 4000)])
        watcher.write()
        at += 4000
"""
SCRAPES, LONG, STARTS = 2_000, 100_000, 15
IDLE_SECONDS = 60.0
SECONDS = 30.0


class Peer:
    """A process that is scraped."""

    def __init__(self, name: str, command: Sequence[str], port: int) -> None:
        self.name, self._command, self.port = name, command, port
        self.process = self._start()
        self.seconds: list[float] = []

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def scrape(self) -> float:
        """Return how long a scrape takes, in seconds, the connection with it."""
        began = time.perf_counter()
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        ) as client:
            client.request("GET", "/metrics")
            answer = client.getresponse()
            answer.read()
        if answer.status != 200:
            raise SystemExit(f"{self.name} answers {answer.status}")
        return time.perf_counter() - began

    def first_scrape(self) -> float:
        """Return how long it takes from the start to the first scrape."""
        self.end()
        began = time.perf_counter()
        self.process = self._start()
        while time.perf_counter() - began < SECONDS:
            with contextlib.suppress(OSError):
                self.scrape()
                return time.perf_counter() - began
            time.sleep(0.002)
        raise SystemExit(f"{self.name} does not start")

    def runs(self) -> bool:
        """Tell whether it still does."""
        return self.process.poll() is None

    def rss(self) -> int:
        """Return its resident memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def cpu(self) -> float:
        """Return the CPU time that it has used, in seconds."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def part(values: Sequence[float], share: float) -> float:
    """Return a quantile."""
    return sorted(values)[int(share * (len(values) - 1))]


def show(what: str, found: float, limit: float, unit: str = "") -> bool:
    """Print a figure beside its limit; tell whether it keeps it."""
    print(f"{what}: {found:.3f}{unit}; wanted: at most {limit:g}{unit}{'' if found <= limit else '  MISSED'}")
    return found <= limit


def alternate(peers: Sequence[Peer], scrapes: int) -> None:
    """Scrape them in turns, so that the machine's other load meets them all."""
    for peer in peers:
        peer.seconds.clear()
    for _ in range(scrapes):
        for peer in peers:
            peer.seconds.append(peer.scrape())


def starts(agent: Peer, empty: Peer) -> bool:
    ratios = [agent.first_scrape() / empty.first_scrape() for _ in range(STARTS)]
    return show("start to first scrape, agent / empty exporter", statistics.median(ratios), 3)


def scrapes(agent: Peer, empty: Peer, node: Peer) -> bool:
    alternate((agent, empty, node), SCRAPES)
    good = show("resident memory, agent / empty exporter", agent.rss() / empty.rss(), 1.25)
    for share in (0.5, 0.99):
        ratio = part(agent.seconds, share) / part(node.seconds, share)
        text = f"p{share * 100:g} of a scrape, agent / prometheus-node-exporter"
        good &= show(text, ratio, 1)
    return good


def long_run(agent: Peer) -> bool:
    before = agent.rss()
    for _ in range(LONG):
        agent.scrape()
    return show(f"resident memory after {LONG:,} more scrapes / before", agent.rss() / before, 1.02)


def idle(agent: Peer, directory: Path) -> bool:
    words = [sys.executable, "-c", WATCH, str(directory)]
    watcher = Peer("watcher", words, 0)
    try:
        time.sleep(10)
        before = agent.cpu() + watcher.cpu()
        time.sleep(IDLE_SECONDS)
        used = agent.cpu() + watcher.cpu() - before
        assert watcher.runs(), "the watcher has ended"
        return show(
            "CPU of exporter and watcher that have nothing to do", 100 * used / IDLE_SECONDS, 0.1, " %"
        )
    finally:
        watcher.end()


@contextlib.contextmanager
def busy(host: Agent) -> Iterator[None]:
    """A report of 1 MB is written again and again, and records come in bursts of 100,000."""
    stop = threading.Event()
    padding = [{"source": f"/x/{number}", "kind": "absent", "detail": "x" * 80} for number in range(8_000)]
    large = json.dumps(host.report | {"gaps": padding}).encode()
    assert len(large) > 1_000_000

    def write() -> None:
        while not stop.wait(1.0):
            new = host.run / "report.new"
            new.write_bytes(large)
            new.rename(host.run / "report.json")

    writer = threading.Thread(target=write)
    with tempfile.TemporaryDirectory() as directory:
        burst = subprocess.Popen([sys.executable, "-c", BURST, directory])
        writer.start()
        try:
            yield
        finally:
            stop.set()
            writer.join()
            burst.kill()
            burst.wait()


def under_load(agent: Peer, host: Agent) -> bool:
    alternate((agent,), SCRAPES)
    quiet = part(agent.seconds, 0.99)
    with busy(host):
        alternate((agent,), SCRAPES)
    text = "p99 while a 1 MB report and bursts of records come / quiet"
    return show(text, part(agent.seconds, 0.99) / quiet, 3)


def main() -> int:
    lab = Lab()
    lab.build(("prometheus",))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        host = Agent(Path(name))
        host.add_drills()
        host.add_bench()
        config = Path(name) / "config.toml"
        config.touch()
        ports = [free_port() for _ in range(3)]
        serve = [sys.executable, "-c", SERVE, *host.places, str(config), str(ports[0])]
        agent = Peer("agent", serve, ports[0])
        empty = Peer("empty exporter", [sys.executable, "-c", EMPTY, str(ports[1])], ports[1])
        program = lab.command("prometheus", "prometheus-node-exporter")
        node = [*program, f"--web.listen-address=127.0.0.1:{ports[2]}"]
        peers = (agent, empty, Peer("prometheus-node-exporter", node, ports[2]))
        for peer in peers:
            stack.callback(peer.end)
            peer.first_scrape()
        watch = Path(name) / "watcher"
        watch.mkdir()
        good = [
            starts(agent, empty), scrapes(*peers), idle(agent, watch), under_load(agent, host),
            long_run(agent),
        ]  # fmt: skip
    return 0 if all(good) else 1


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main())
