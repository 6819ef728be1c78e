"""A Chromium of the lab without a window, steered by the DevTools protocol over a pair of pipes."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.build import Lab

SECONDS = 60.0
"""How long the browser may take for one answer."""
OPTIONS = (
    "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--disable-background-networking", "--force-device-scale-factor=1", "--no-first-run",
    "--remote-debugging-pipe",
)  # fmt: skip
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


class Browser:
    """A running browser with one page."""

    def __init__(self, commands: int, answers: int) -> None:
        """Take the ends of the pipes: messages end with a zero byte."""
        self._commands, self._answers = commands, answers
        self._unread = b""
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        """What the page did: its requests, and what it wrote to the console."""

    def attach(self) -> None:
        """Open an empty page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Return the result of a method of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]
            self.events.append(answer)

    def show(self, path: Path, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Load a file anew, in a window of a size in pixels."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + SECONDS
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next(deadline))

    def value(self, expression: str) -> Any:
        """Return the value of an expression, awaited, in the page; its policy does not forbid that."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )  # fmt: skip
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press a key and let it go; `code` is its number in Windows."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text
            )

    def picture(self) -> bytes:
        """Return the whole page, also what is below the window, as PNG."""
        return b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def printed(self) -> bytes:
        """Return the page printed on A4, as PDF."""
        return b64decode(
            self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)["data"]
        )

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            left = deadline - time.monotonic()
            assert left > 0, "the browser does not answer"
            assert select.select([self._answers], [], [], left)[0], "the browser does not answer"
            data = os.read(self._answers, 1 << 20)
            assert data, "the browser ended"
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextmanager
def running_browser(lab: Lab, directory: Path) -> Iterator[Browser]:
    """Run a browser whose files are in a directory; it ends with the context."""
    wrapper, environment = _program(lab, directory)
    to_browser, commands = _pipe()
    answers, from_browser = _pipe()
    # The browser reads from descriptor 3 and writes to 4.
    command = ["bash", "-c", f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}', str(wrapper), *OPTIONS]
    command += [f"--browser-subprocess-path={wrapper}", f"--user-data-dir={directory / 'profile'}"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], env=environment,
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    os.close(to_browser)
    os.close(from_browser)
    try:
        browser = Browser(commands, answers)
        browser.attach()
        yield browser
    finally:
        # It ends, and its children with it, when nobody can ask it any more.
        os.close(commands)
        os.close(answers)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pipe() -> tuple[int, int]:
    """Return the ends of a new pipe, above the descriptors that a child process gets."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]


def _program(lab: Lab, directory: Path) -> tuple[Path, dict[str, str]]:
    """Return a program that runs the browser, and its environment.

    The browser starts its child processes by the same program: by its own loader, as itself.
    """
    usr = lab.part("chromium") / "usr"
    own, libraries = usr / "bin/chromium", usr / "lib/x86_64-linux-gnu"
    wrapper = directory / "chromium"
    wrapper.write_text(
        f"#!/bin/sh\nexec {own}/ld-linux-x86-64.so.2 --library-path {libraries}:{libraries}/pulseaudio"
        f' {own}/chromium-headless-shell "$@"\n'
    )
    wrapper.chmod(0o755)
    fonts = directory / "fonts.conf"
    fonts.write_text(FONTS.format(fonts=usr / "share/fonts", cache=directory / "fonts"))
    return wrapper, {
        "PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8", "FONTCONFIG_FILE": str(fonts),
    }  # fmt: skip
