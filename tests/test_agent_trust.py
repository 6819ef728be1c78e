"""What the agent and the drills read is their own or root's: no link, no device, no stranger's file."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest
from sdeictl_agent import trust
from sdeictl_agent.sources import Source
from sdeictl_agent.trust import UntrustedError, open_trusted, read_trusted, require_trusted, trusted_users
from sdeictl_agent.watch_file import MAX_WATCH_BYTES, Counters, Events, Progress, State, encode_state
from sdeictl_agent.watcher import Watcher

from sdeictl.interlock.journal import JournalError
from sdeictl.interlock.lock import Lock
from tests.test_agent_families import Agent, down

STRANGER = 4242
LINK, OTHER_KIND = "It is a symbolic link.", "It is not a regular file."
KINDS = {
    "link": LINK,
    "dangling link": LINK,
    "FIFO": OTHER_KIND,
    "directory": OTHER_KIND,
    "socket": OTHER_KIND,
}
SOURCES = tuple(Source)


def replace(path: Path, kind: str) -> None:
    """Put something else in the place of a file; a link leads to its content."""
    kept = path.with_name("kept")
    path.rename(kept)
    if kind == "link":
        path.symlink_to(kept)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        here = os.getcwd()
        os.chdir(path.parent)  # the path may be too long for an address
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    made = Agent(tmp_path)
    made.add_drills()
    made.add_bench()
    return made


@pytest.fixture
def as_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let neither the user of the tests nor root be trusted."""
    monkeypatch.setattr(trust, "ROOT", STRANGER)
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)


def file_of(agent: Agent, source: str) -> Path:
    if source in ("drills", "bench"):
        return max((agent.state / source).iterdir())
    return (agent.watch if source == "watch" else agent.run) / f"{source}.json"


def problem_of(agent: Agent, source: str, problem: str) -> str:
    name = file_of(agent, source).name
    return f"{name} cannot be read. {problem}" if source in ("drills", "bench") else problem


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", SOURCES)
def test_other_kind_takes_source_down(agent: Agent, source: str, kind: str) -> None:
    assert down(agent.snapshot()) == {}
    path = file_of(agent, source)
    problem = problem_of(agent, source, KINDS[kind])
    replace(path, kind)
    assert down(agent.snapshot()) == {source: problem}
    samples = agent.samples()
    assert {name: samples[f"sdeictl_source_up,{name}"] for name in SOURCES} == {
        name: float(name != source) for name in SOURCES
    }


@pytest.mark.usefixtures("as_stranger")
def test_only_owner_of_watch_is_trusted(agent: Agent) -> None:
    problem = f"It belongs to user {os.getuid()}, which is not trusted."
    wanted = {name: problem_of(agent, name, problem) for name in SOURCES if name != "watch"}
    assert down(agent.snapshot()) == wanted
    samples = agent.samples()
    assert samples["sdeictl_hard_lockups_total"] == 3
    assert not {name for name in samples if name.startswith(("sdeictl_nmi_path", "sdeictl_drill_outcome"))}


@pytest.mark.usefixtures("as_stranger")
def test_linked_directory_vouches_for_nobody(agent: Agent) -> None:
    agent.watch.rename(agent.watch.with_name("elsewhere"))
    agent.watch.symlink_to("elsewhere")
    assert down(agent.snapshot())["watch"] == f"It belongs to user {os.getuid()}, which is not trusted."


def test_counts_have_a_small_limit(agent: Agent) -> None:
    size = MAX_WATCH_BYTES + 1
    (agent.watch / "watch.json").write_bytes((agent.watch / "watch.json").read_bytes().ljust(size))
    assert down(agent.snapshot()) == {"watch": f"It has {size} bytes."}


@pytest.mark.parametrize("kind", KINDS)
def test_forged_journal_is_not_pending(agent: Agent, kind: str) -> None:
    journal = agent.state / "drills/journal.json"
    journal.write_text("{}")
    assert agent.samples()["sdeictl_drill_pending"] == 1
    replace(journal, kind)
    assert down(agent.snapshot()) == {"drills": f"journal.json cannot be read. {KINDS[kind]}"}
    assert "sdeictl_drill_pending" not in agent.samples()


def test_changed_owner_is_noticed(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    assert down(agent.snapshot()) == {}
    monkeypatch.setattr(trust, "ROOT", STRANGER)
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    assert set(down(agent.snapshot())) == {"report", "drills", "bench", "postmortem"}


@pytest.mark.parametrize(
    ("mode", "owner", "problem"),
    [
        (stat.S_IFREG, 0, ""),
        (stat.S_IFREG, 7, ""),
        (stat.S_IFREG, 8, "It belongs to user 8, which is not trusted."),
        (stat.S_IFLNK, 0, LINK),
        (stat.S_IFCHR, 0, OTHER_KIND),
        (stat.S_IFBLK, 0, OTHER_KIND),
    ],
)
def test_who_is_trusted(mode: int, owner: int, problem: str) -> None:
    found = os.stat_result((mode | 0o644, 1, 1, 1, owner, 0, 10, 0, 0, 0))
    if not problem:
        require_trusted(found, {0, 7}, 10)
        with pytest.raises(UntrustedError, match="It has 10 bytes"):
            require_trusted(found, {0, 7}, 9)
        return
    with pytest.raises(UntrustedError) as error:
        require_trusted(found, {0, 7}, 10)
    assert str(error.value) == problem


def test_device_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr("builtins.open", lambda *names, **_: opened.append(names))
    with pytest.raises(UntrustedError, match="not a regular file"), open_trusted("/dev/null", {0}, 10):
        pass
    assert not opened


def test_link_put_in_place_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may write to the directory can swap the file after the first check."""
    path = tmp_path / "file"
    path.write_text("x")
    found = os.lstat(path)
    replace(path, "link")
    monkeypatch.setattr(os, "lstat", lambda _path: found)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        read_trusted(str(path), {os.getuid()}, 10)


def test_growing_file_is_not_read_whole() -> None:
    """The kernel says that its files are empty, and then they are not."""
    with pytest.raises(UntrustedError, match="It has more than 10 bytes"):
        read_trusted("/proc/self/mountinfo", {os.geteuid()}, 10)


def test_trusted_users_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert trusted_users(str(tmp_path)) == {0, os.geteuid(), tmp_path.stat().st_uid}
    assert (
        trusted_users(str(tmp_path / "link"))
        == trusted_users("/nonexistent")
        == trusted_users()
        == {0, os.geteuid()}
    )


@pytest.mark.parametrize("kind", [*KINDS, "stranger's"])
def test_watcher_believes_only_its_own(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    state = State("boot", Progress(counters=Counters(7)), Events())
    (tmp_path / "watch.json").write_bytes(encode_state(state, 1.0))
    assert Watcher(str(tmp_path), "boot").state == state
    if kind == "stranger's":
        request.getfixturevalue("as_stranger")
    else:
        replace(tmp_path / "watch.json", kind)
    assert Watcher(str(tmp_path), "boot").state == State("boot", Progress(), Events())


@pytest.mark.parametrize("kind", KINDS)
def test_lock_of_another_kind_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "drill.lock").touch()
    replace(tmp_path / "drill.lock", kind)
    with pytest.raises(JournalError, match=r"drill\.lock (?:cannot be created|is not a file of root)"):
        Lock(str(tmp_path))
    assert not (tmp_path / "nowhere").exists()


def test_strangers_lock_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command does not wait for it, and does not take it for a running drill."""
    path = tmp_path / "drill.lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = list(os.stat(path))
        found[stat.ST_UID] = STRANGER
        monkeypatch.setattr(os, "fstat", lambda _descriptor: os.stat_result(found))
        with pytest.raises(JournalError, match="is not a file of root: remove it"):
            Lock(str(tmp_path), wait_seconds=60)
