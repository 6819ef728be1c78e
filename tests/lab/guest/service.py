"""Runs in a guest with systemd: install the package, then what a host goes through in its life.

After each step it leaves /lab/<step>.json and waits for /lab/<step>.seen: the other side looks at what
Prometheus says of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import observe
from observe import keep_interrupts_here, run, runs_on, sdeictl, wait_for

Json = dict[str, Any]
RUN, WATCH = Path("/run/sdeictl"), Path("/run/sdeictl-watch")
CONFIG, RESULTS = Path("/etc/sdeictl/config.toml"), Path("/var/lib/sdeictl/drills")
UNITS = ("sdeictl-agent.service", "sdeictl-watch.service", "sdeictl-collect.service")
TEXTFILE, NODE_EXPORTER = "sdeictl-textfile.service", Path("/var/lib/prometheus/node-exporter")
ROLES = {"agent": "sdeictl-agent", "watch": "sdeictl-agent-watch", "collect": "sdeictl-agent-collect"}
DROP_INS = {
    # The documented way to be scraped from elsewhere.
    "sdeictl-agent.socket": "[Socket]\nListenStream=\nListenStream=0.0.0.0:10054\n",
    "sdeictl-collect.timer": "[Timer]\nRandomizedDelaySec=0\n",
}
CALM_LOAD = 1.5
OTHER = 2
FORGED = "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 2\n"


def leave(step: str, document: Json) -> None:
    """Leave what was seen, and wait until the other side has looked."""
    new = Path(f"/lab/{step}.new")
    new.write_text(json.dumps(document, indent=1))
    new.rename(f"/lab/{step}.json")
    wait_for(f"{step}.seen", Path(f"/lab/{step}.seen").exists)


def read(path: Path) -> Json:
    """Return a file of the agent; they are replaced as a whole."""
    content: Json = json.loads(path.read_text())
    return content


def counters() -> Json:
    counted: Json = observe.counters(WATCH)
    return counted


def scrape() -> str:
    with urllib.request.urlopen("http://127.0.0.1:10054/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def show(unit: str, name: str) -> str:
    return str(run("systemctl", "show", "--value", f"--property={name}", unit)).strip()


def is_active(unit: str) -> bool:
    return show(unit, "ActiveState") == "active"


def install() -> Json:
    for unit, text in DROP_INS.items():
        directory = Path(f"/etc/systemd/system/{unit}.d")
        directory.mkdir(parents=True)
        (directory / "lab.conf").write_text(text)
    (package,) = Path("/lab").glob("sdeictl_*.deb")
    began = time.monotonic()
    said = run("apt-get", "install", "--yes", "--no-install-recommends", str(package))
    wait_for("report", (RUN / "report.json").exists)
    wait_for("account of earlier boots", (RUN / "postmortem.json").exists)
    wait_for("watcher", (WATCH / "watch.json").exists)
    scrape()
    failed = run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    return {
        "said": said, "active": [is_active(unit) for unit in (*UNITS[:2], TEXTFILE)], "failed": failed,
        "seconds": time.monotonic() - began,
        "report": read(RUN / "report.json"), "probe": sdeictl("probe", "--format", "json")["result"],
        "owners": owners(),
        "enabled": run("sh", "-c", "systemctl list-unit-files 'sdeictl*' --no-legend --plain"),
    }  # fmt: skip


def owners() -> Json:
    """Return the owner, the group and the mode of the agent's directories, and the owners of their files."""
    found: Json = {
        str(path): [path.owner(), path.group(), oct(path.stat().st_mode & 0o7777)] for path in (RUN, WATCH)
    }
    return found | {str(path): path.owner() for each in (RUN, WATCH) for path in each.iterdir()}


def masked_drill() -> Json:
    done: Json = sdeictl("drill", "backtrace", "--masked", "--format", "json")
    return done


def lockup() -> Json:
    wait_for("calm", lambda: os.getloadavg()[0] < CALM_LOAD)  # a host at work is refused
    before = counters()
    assert sdeictl("drill", "arm", "--for", "10m")["status"] == 0
    done = sdeictl("drill", "lockup", "--thresh", "4", "--host", "lab", "--format", "json")
    assert done["status"] == 0, done
    wait_for("count", lambda: counters()["hard_lockups"] > before["hard_lockups"])
    return {
        "drill": done,
        "before": before,
        "after": counters(),
        "runs": runs_on(done["result"]["target"]["cpu"]),
    }


def hotplug() -> Json:
    """Take a CPU offline and back; return when, and of when the next reports are."""
    before = counters()
    began = time.time()
    online = Path(f"/sys/devices/system/cpu/cpu{OTHER}/online")
    online.write_text("0")
    wait_for(
        "request", lambda: (WATCH / "probe.request").exists() and counters()["requests"] > before["requests"]
    )
    online.write_text("1")
    back = time.time()
    wait_for("event", lambda: counters()["cpu_online"] > before["cpu_online"])
    wait_for("second request", lambda: counters()["requests"] > before["requests"] + 1)
    wait_for("report after it", lambda: report_time() > (WATCH / "probe.request").stat().st_mtime)
    return {"before": before, "after": counters(), "began": began, "back": back, "report": report_time()}


def report_time() -> float:
    return (RUN / "report.json").stat().st_mtime


def kill_each() -> Json:
    """Kill each role; what was counted goes on, and nothing is counted twice."""
    before = counters()
    for unit in UNITS[:2]:
        restarts = show(unit, "NRestarts")
        run("systemctl", "kill", "--signal=KILL", unit)
        wait_for("restart", partial(lambda unit, then: show(unit, "NRestarts") != then, unit, restarts))
        wait_for("new process", partial(is_active, unit))
    subprocess.run(["systemctl", "--no-block", "start", UNITS[2]], check=True)
    time.sleep(1)
    subprocess.run(["systemctl", "kill", "--signal=KILL", UNITS[2]], check=False)
    wait_for("end of it", lambda: show(UNITS[2], "ActiveState") in ("failed", "inactive"))
    read(RUN / "report.json")  # whole, whichever it is
    then = report_time()
    run("systemctl", "start", UNITS[2])
    wait_for("report", lambda: report_time() > then)
    return {"before": before, "after": counters(), "scrape": scrape()}


def forge() -> Json:
    """Write to the log what the kernel writes of a hard lockup: the record says who wrote it."""
    before = counters()
    for prefix in ("<0>", "<2>", ""):
        Path("/dev/kmsg").write_text(prefix + FORGED)
    began = time.time()
    # Something of the kernel's own, that the watcher has to count: it has read the rest by then.
    Path("/proc/sysrq-trigger").write_text("l")
    wait_for("count", lambda: counters()["backtrace_requests"] > before["backtrace_requests"])
    wait_for("watcher", lambda: read(WATCH / "watch.json")["updated_at"] > began)
    return {"before": before, "after": counters()}


def write_textfile() -> Json:
    """What node_exporter would find in Debian's directory for it."""
    NODE_EXPORTER.mkdir(parents=True)
    run("systemctl", "start", TEXTFILE)
    done = {"textfile": (NODE_EXPORTER / "sdeictl.prom").read_text(), "scrape": scrape()}
    run("systemctl", "stop", TEXTFILE)
    return done


def as_watcher(command: str) -> int:
    """Do what the user of the watcher may do outside of its sandbox; return the status."""
    return subprocess.run(["runuser", "-u", "sdeictl", "--", "sh", "-c", command], check=False).returncode


def upgrade() -> Json:
    """Give the host what the first release and a watcher that was taken over left there; install again."""
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text("[exporter]\ntextfile_seconds = 30\n")
    run("systemctl", "stop", UNITS[1])
    before, results = counters(), sorted(path.name for path in RESULTS.iterdir())
    (WATCH / "watch.json").rename(RUN / "watch.json")
    shutil.rmtree(WATCH)
    (RUN / "drill.lock").unlink()
    run("chown", "root:sdeictl", str(RUN))
    run("chmod", "1775", str(RUN))
    run("systemd-run", "--uid=sdeictl", "--unit=holds", "flock", str(RUN / "drill.lock"), "sleep", "600")
    wait_for("forged lock", (RUN / "drill.lock").exists)
    assert as_watcher(f"cd {RUN} && mkdir report.json.new && ln -s /etc/passwd boot.kmsg.new") == 0
    forged = sdeictl("drill", "backtrace", "--format", "json")
    (package,) = Path("/lab").glob("sdeictl_*.deb")
    run("dpkg", "--install", str(package))
    run("systemctl", "stop", "holds.service")
    wait_for("watcher", (WATCH / "watch.json").exists)
    wait_for("start", partial(is_active, UNITS[1]))
    run("systemctl", "start", UNITS[2])
    return {
        "before": before, "after": counters(), "owners": owners(), "forged": forged,
        "kept": results == sorted(path.name for path in RESULTS.iterdir()), "config": CONFIG.read_text(),
        "drill": sdeictl("drill", "backtrace", "--format", "json"), "scrape": scrape(),
    }  # fmt: skip


COMPROMISED = {
    "hold the lock": f"flock -n {RUN}/drill.lock true",
    "replace the lock": f"rm -f {RUN}/drill.lock",
    "replace the report": f"rm -f {RUN}/report.json",
    "forge a report": f"mkdir {RUN}/report.json.new",
    "leave a link": f"ln -s /etc/passwd {RUN}/anything",
    "move its directory": f"mv {WATCH} {WATCH}.old",
}
"""An intruder in the watcher would try these, and must fail."""


def compromise() -> Json:
    """Act as a watcher that was taken over; its own file becomes a link to one of root."""
    tried = {name: as_watcher(command) for name, command in COMPROMISED.items()}
    run("systemctl", "stop", UNITS[1])
    assert as_watcher(f"ln -sf {RUN}/report.json {WATCH}/watch.json") == 0
    linked = scrape()
    run("systemctl", "start", UNITS[1])
    run("systemctl", "start", UNITS[2])
    return {"tried": tried, "linked": linked, "again": scrape(), "owners": owners()}


def try_sandboxes() -> Json:
    """Put the attempts in the place of each unit's program, all else as the package has it."""
    script = Path("/usr/lib/attempts.py")
    script.write_text(Path("/lab/guest/attempts.py").read_text())
    found: Json = {}
    for unit in (*UNITS, TEXTFILE):
        output = Path(f"/var/tmp/{unit}.json")
        text = Path(f"/usr/lib/systemd/system/{unit}").read_text()
        text = re.sub(r"(?m)^(?:Requires|After|Restart|WatchdogSec|Type|Exec\w+)=.*\n", "", text)
        service = f"Type=oneshot\nExecStart=/usr/bin/python3 {script}\nStandardOutput=truncate:{output}\n"
        Path(f"/run/systemd/system/attempts-{unit}").write_text(
            text.replace("[Service]\n", f"[Service]\n{service}TimeoutStartSec=120\n")
        )
        run("systemctl", "daemon-reload")
        run("systemctl", "start", f"attempts-{unit}")
        found[unit] = json.loads(output.read_text())
    return found


def trace() -> Json:
    """Return what strace(1) saw of each role while it did its work."""
    for unit in UNITS[:2]:
        wait_for(unit, partial(is_active, unit))
    kinds = "--trace=%file,%network,%process"
    traces = {name: f"/var/tmp/{name}.trace" for name in ROLES}
    tracers = []
    for name, unit in (("agent", UNITS[0]), ("watch", UNITS[1])):
        command = ["strace", "-f", kinds, "-o", traces[name], "-p", show(unit, "MainPID")]
        tracers.append(subprocess.Popen(command))
    time.sleep(3)
    scrape()
    Path("/proc/sysrq-trigger").write_text("l")
    began = time.time()
    wait_for("watcher", lambda: read(WATCH / "watch.json")["updated_at"] > began)
    for tracer in tracers:
        tracer.terminate()
        tracer.wait()
    run("strace", "-f", kinds, "-o", traces["collect"], "/usr/bin/sdeictl-agent-collect")
    return {name: Path(path).read_text(errors="replace") for name, path in traces.items()}


def wrap() -> Json:
    """Come to a host whose log was overwritten before anybody saved its start."""
    (RUN / "boot.kmsg").unlink()
    Path("/proc/sys/kernel/printk_devkmsg").write_text("on\n")
    with open("/dev/kmsg", "wb", buffering=0) as log:
        for number in range(6000):
            log.write(b"<7>flood %06d " % number + b"x" * 200)
    run("systemctl", "start", UNITS[2])
    report = read(RUN / "report.json")
    saved = (RUN / "boot.kmsg").exists()
    return {"path": report["verdict"]["nmi_path"], "gaps": report["gaps"], "saved": saved}


def stop() -> Json:
    run("systemctl", "stop", "sdeictl-agent.socket", UNITS[0])
    return {}


def go_on() -> Json:
    run("systemctl", "start", "sdeictl-agent.socket")
    return {}


def remove() -> Json:
    files = [Path(name) for name in run("dpkg", "--listfiles", "sdeictl").splitlines()]
    files = [path for path in files if path.is_file()] + [Path("/var/lib/sdeictl")]
    files += [RUN, WATCH, CONFIG.parent]
    run("apt-get", "purge", "--yes", "sdeictl")
    units = run("systemctl", "list-units", "--all", "--plain", "--no-legend", "sdeictl*")
    return {"files": len(files), "left": [str(path) for path in files if path.exists()], "units": units}


STEPS = (
    install, masked_drill, lockup, hotplug, kill_each, forge, write_textfile, upgrade, compromise,
    try_sandboxes, trace, wrap, stop, go_on, remove,
)  # fmt: skip


keep_interrupts_here()
for _step in STEPS:
    leave(_step.__name__, _step())
