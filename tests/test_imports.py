"""How the modules depend on each other: layers, no circles, and facts that stand once."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.conftest import PROJECT
from tests.support.tools import run, tool

PACKAGES = ("sdeictl", "agent/sdeictl_agent")
MODULES = sorted(path for package in PACKAGES for path in (PROJECT / package).rglob("*.py"))
HOST_PATHS = ("/proc/", "/sys/", "/dev/")


def test_layers() -> None:
    run(tool("lint-imports"), "--no-cache")


def test_no_import_circle() -> None:
    """Lazy imports count too; grimp reads the source, and runs none of it."""
    graph = grimp.build_graph("sdeictl", "sdeictl_agent", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 100
    list(TopologicalSorter(imports).static_order())


def test_few_files_at_the_top() -> None:
    assert len(list((PROJECT / "sdeictl").glob("*.py"))) <= 5


@cache
def constants(path: Path) -> tuple[tuple[int, str], ...]:
    """Return the string constants of a module with their lines, but for docstrings and the like."""
    tree = ast.parse(path.read_text())
    expressions = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [
        (node.lineno, node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and id(node) not in expressions
    ]
    return tuple((line, text) for line, text in found if isinstance(text, str))


def test_host_paths_stand_once() -> None:
    found = [
        f"{path}:{line}: {text}"
        for path in MODULES
        if path != PROJECT / "sdeictl/host/paths.py"
        for line, text in constants(path)
        if text.startswith(HOST_PATHS)
    ]
    assert found == []


def message_words() -> dict[str, str]:
    """Return the fixed words of the kernel's messages, and the file of each."""
    words: dict[str, str] = {}
    for path in (PROJECT / "sdeictl/klog/messages").glob("*.py"):
        for _line, text in constants(path):
            fixed = text.strip(" :,.'\"^$()|")
            if (
                len(fixed) >= LEAST_WORD
                and fixed.replace(" ", "").replace("-", "").isalnum()
                and " " in fixed
            ):
                words[fixed] = path.name
    return words


LEAST_WORD = 10
"""A message has more letters than this."""
MAX_QUOTES = 10
QUOTES = {
    "Linux version": "host/sos.py writes /proc/version from the output of uname",
    "NMI watchdog": "a check names the watchdog to the user",
    "SDEI NMI watchdog": "as above",
}
"""Words of a message that stand elsewhere too, and why."""


@cache
def text_of(path: Path) -> str:
    return "\n".join(text for _line, text in constants(path))


@pytest.mark.parametrize("word", sorted(message_words()))
def test_messages_stand_once(word: str) -> None:
    found = [path for path in MODULES if "messages" not in path.parts and word in text_of(path)]
    assert len(QUOTES) <= MAX_QUOTES
    assert found == [] or word in QUOTES
