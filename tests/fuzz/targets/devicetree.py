"""The nodes of a device tree: SDEI only from a node that is compatible and in use, and as in a capture."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.host.paths import DEVICE_TREE
from sdeictl.probe.collect import collect
from sdeictl.probe.firmware import SDEI_COMPATIBLE
from tests.fuzz.harness import Target
from tests.fuzz.hosts import MemoryRoot, again, captured
from tests.fuzz.shapes import Dice

FILES = (
    "firmware/sdei/compatible", "firmware/sdei/method", "firmware/sdei/status", "model",
    "hypervisor/compatible", "firmware/sdei@0/compatible", "firmware/sdei@0/method",
    "firmware/other/compatible", "firmware/other/status", "compatible",
)  # fmt: skip
WORDS = (SDEI_COMPATIBLE, "okay\0", "disabled\0", "smc\0", "hvc\0", "linux,dummy-virt\0", "xen,xen-4.16\0")


def seeds() -> Iterator[bytes]:
    for number, word in enumerate(
        (f"{SDEI_COMPATIBLE}\0", "smc\0", "okay\0", "linux,dummy-virt\0", "xen,xen\0x\0")
    ):
        yield bytes([number, len(word)]) + word.encode()
    yield bytes([5, 13]) + f"{SDEI_COMPATIBLE}\0".encode() + bytes([6, 4]) + b"hvc\0"


def check(data: bytes) -> None:
    """An input is a list of files: the number of the file, the length of its content, and the content."""
    dice = Dice(data)
    files = {
        f"{DEVICE_TREE}/compatible": b"linux,dummy-virt\0",
        f"{DEVICE_TREE}/firmware/name": b"firmware\0",
    }
    while dice:
        path = f"{DEVICE_TREE}/{dice.pick(FILES)}"
        files[path] = dice.piece()
    root = MemoryRoot({"/proc/cpuinfo": captured("dt-sdei")[0]["/proc/cpuinfo"], **files})
    facts = collect(root)
    assert facts.tables == "devicetree"
    for node in facts.sdei_nodes or ():
        known = [path for path, content in files.items() if SDEI_COMPATIBLE.encode() in content]
        assert known, node
        assert node.method in (None, "smc", "hvc", "(another name)")
    other = collect(again(root))
    assert (other.sdei_nodes, other.model, other.virtual) == (facts.sdei_nodes, facts.model, facts.virtual)


TARGET = Target(check, seeds, (), WORDS, 1024)
