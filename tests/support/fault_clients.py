"""The clients of a daemon whose calls fail: the kernel that logs, a Prometheus, systemd."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.fault_stand_ins import use_as_kmsg

SECONDS = 10.0
"""How long a client waits for anything."""
PAGES = ("/metrics", "/", "/healthz", "/metrics")
EVENTS = (
    "2,0,9000000,-;watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 3\n",
    "3,1,9100000,-;rcu: INFO: rcu_preempt self-detected stall on CPU\n",
    "0,2,9200000,-;watchdog: BUG: soft lockup - CPU#2 stuck for 23s! [thing:77]\n",
    "6,3,9300000,-;the end\n",
)
Runs = Callable[[], bool]
"""Tells whether the daemon still runs."""


class Client:
    """The clients of one run of a daemon. As a context manager they are gone at the end.

    They take the messages to systemd too: the daemon waits for whoever receives them.
    """

    def __init__(self, place: Path, command: Sequence[str]) -> None:
        self.place = place
        self.command = command
        address = str(place / "notify")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
        self._systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._systemd.bind(address)
        self._systemd.setblocking(False)
        os.environ["NOTIFY_SOCKET"] = address

    def begin(self) -> Sequence[str]:
        """Return the words of the daemon; called in its process."""
        return self.command

    def use(self, runs: Runs) -> dict[str, Any]:
        """Use the daemon; return what was seen."""
        raise NotImplementedError

    def await_end(self, runs: Runs) -> None:
        """Wait until the daemon has ended."""
        self.wait(lambda: False, runs)

    def wait(self, condition: Callable[[], object], runs: Runs) -> bool:
        """Wait for a condition; tell whether it came, while the daemon runs and the time is not over."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            self._take_messages()
            if not runs() or time.monotonic() > deadline:
                return bool(condition())
            time.sleep(0.001)
        return True

    def _take_messages(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._systemd.recv(4096):
                pass

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._systemd.close()


class Kernel(Client):
    """Logs the records of the recorded host, and then some events, to the watcher."""

    def __init__(self, place: Path, command: Sequence[str]) -> None:
        super().__init__(place, command)
        # One read of such a socket returns one record, and selectors know it.
        self._log, self._read_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log.setblocking(False)
        self._file = place / "host/run/sdeictl-watch/watch.json"
        self._before = self._written_at()

    def begin(self) -> Sequence[str]:
        self._log.close()
        use_as_kmsg(self._read_end.fileno())
        return self.command

    def use(self, runs: Runs) -> dict[str, Any]:
        self._read_end.close()
        self.wait(lambda: self._written_at() != self._before, runs)
        for record in EVENTS:
            self.wait(lambda record=record: self._sent(record.encode()), runs)  # type: ignore[misc]
        return {}

    def _written_at(self) -> object:
        with contextlib.suppress(FileNotFoundError):
            return os.stat(self._file).st_ino
        return None

    def _sent(self, record: bytes) -> bool:
        try:
            return self._log.send(record) > 0
        except BlockingIOError:
            return False
        except OSError:  # nobody reads any more
            return True

    def __exit__(self, *_: object) -> None:
        self._log.close()
        super().__exit__()


class Prometheus(Client):
    """Asks the exporter for each of its pages, or waits for its textfile."""

    def __init__(self, place: Path, command: Sequence[str]) -> None:
        super().__init__(place, command)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = free.getsockname()

    def begin(self) -> Sequence[str]:
        # A textfile is written where the program runs.
        return self.command if "--textfile" in self.command else [*self.command, "--listen", self._where()]

    def _where(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"

    def use(self, runs: Runs) -> dict[str, Any]:
        if "--textfile" in self.command:
            return {"textfiles": [*self._textfiles(runs)]}
        connected: list[socket.socket] = []
        self.wait(lambda: self._connect(connected), runs)
        pages = []
        for page in PAGES:
            if not connected:
                self.wait(lambda: self._connect(connected), runs)
            pages.append(fetch(connected.pop(), page) if connected else None)
        return {"pages": pages}

    def _connect(self, connected: list[socket.socket]) -> bool:
        with contextlib.suppress(OSError):
            connected.append(socket.create_connection(self._address, SECONDS))
        return bool(connected)

    def _textfiles(self, runs: Runs) -> Iterator[str]:
        """Yield the contents of the file: that of the first write, and that of another one."""
        path = self.place / "work/sdeictl.prom"
        before = None
        for _write in range(2):
            self.wait(lambda before=before: self._inode(path) not in (None, before), runs)  # type: ignore[misc]
            before = self._inode(path)
            with contextlib.suppress(FileNotFoundError):
                yield path.read_text()

    def _inode(self, path: Path) -> int | None:
        with contextlib.suppress(FileNotFoundError):
            return os.stat(path).st_ino
        return None


def fetch(connection: socket.socket, page: str) -> str | None:
    """Return the whole response to a request; None if it did not come, or not whole."""
    with connection:
        try:
            connection.sendall(f"GET {page} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            data = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        except OSError:
            return None
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split()[1] for line in head.splitlines() if line.lower().startswith(b"content-length:")]
    return data.decode() if lengths == [b"%d" % len(body)] else None


CLIENTS: Mapping[str, type[Client]] = {"sdeictl-agent-watch": Kernel, "sdeictl-agent": Prometheus}
"""By the name of the daemon."""
