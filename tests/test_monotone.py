"""Whatever is lost of a host, a definite verdict may become unknown, never the other definite one."""

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.collect import collect
from sdeictl.root import Root, open_root
from sdeictl.verdict import decide
from tests.conftest import HOST_NAMES, load_host
from tests.test_analysis_properties import EXAMPLES

T = TypeVar("T")
ROOTS = {name: open_root(str(load_host(name).root)) for name in HOST_NAMES}
SOURCES = (
    "/sys",
    *(f"/proc/{name}" for name in ("cpuinfo", "version", "config.gz", "cmdline", "kallsyms")),
    "/kmsg.txt",
    "/lib/modules",
    "/sys/bus/platform",
    "/sys/bus/platform/devices",
    "/sys/devices/system/cpu/hotplug",
    "/sys/devices/system/cpu/hotplug/states",
    "/sys/firmware/devicetree",
    "/sys/firmware/devicetree/base/firmware",
)
# Missing in a directory that is there, these are evidence and no loss.
ITEMS = tuple(f"/sys/firmware/devicetree/base/firmware/sdei{part}" for part in ("", "/compatible"))
ERRORS = {
    "absent": FileNotFoundError(2, "absent"),
    "denied": PermissionError(13, "denied"),
    "broken": OSError(5, "I/O"),
}


class Damaged:
    """A root some of whose sources are lost, cut or replaced by garbage."""

    live = False

    def __init__(self, root: Root, damage: dict[str, str | float | bytes]) -> None:
        self._root = root
        self._damage = damage

    def _call(self, path: str, call: Callable[[str], T]) -> T:
        for source, damage in self._damage.items():
            if isinstance(damage, str) and (path == source or path.startswith(f"{source}/")):
                raise ERRORS[damage]
        return call(path)

    def read(self, path: str) -> bytes:
        data = self._call(path, self._root.read)
        damage = self._damage.get(path)
        if isinstance(damage, bytes):
            return damage
        return data[: int(damage * len(data))] if isinstance(damage, float) else data

    def names(self, path: str) -> tuple[str, ...]:
        return self._call(path, self._root.names)

    def link(self, path: str) -> str:
        return self._call(path, self._root.link)


cuts_and_garbage = st.floats(0, 1, exclude_max=True) | st.binary(max_size=64) | st.just(os.urandom(300))
losses = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(SOURCES, st.sampled_from(sorted(ERRORS)) | cuts_and_garbage),
        **dict.fromkeys(ITEMS, st.sampled_from(["denied", "broken"]) | cuts_and_garbage),
    },
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(name=st.sampled_from(HOST_NAMES), damage=losses)
def test_no_loss_turns_a_verdict(name: str, damage: dict[str, str | float | bytes]) -> None:
    whole, findings = decide(collect(ROOTS[name]))
    partial, left = decide(collect(Damaged(ROOTS[name], damage)))
    assert partial.nmi_path in (whole.nmi_path, "unknown")
    before = {finding.id: finding.outcome for finding in findings}
    after = {finding.id: finding.outcome for finding in left}
    for check, outcome in after.items():
        assert {before[check], outcome} != {"pass", "fail"}, check
