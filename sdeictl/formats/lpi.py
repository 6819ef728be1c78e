"""_LPI, the low-power idle states of CPUs and of their containers (ACPI 6.5, 8.4.3.3). No I/O.

drivers/acpi/acpi_processor.c makes the list of a CPU's states of its own and those of its containers;
drivers/acpi/arm64/cpuidle.c runs the kernel's CPU_PM notifiers in a state that loses context.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from sdeictl.formats.aml import MAX_CODE_BYTES, Tables, Unknown, Value
from sdeictl.text import NamedTuple

_FIRST_STATE = 3
"""Before the states: revision, level, number of states."""
_FIELDS = 7
"""A state has 10 elements; the first seven decide."""
_FIXED_HARDWARE = 0x7F
"""The address space of an entry method that is a PSCI state."""
_REGISTER_BYTES = 15
_NAME_FIELD = 9
_MAX_DEVICES = 4096
_MAX_STATES = 64
TOO_MANY_OBJECTS = "the tables have too many objects"
TOO_MUCH_CODE = f"the tables DSDT and SSDT have more than {MAX_CODE_BYTES >> 20} MiB"

_REASONS = (
    r"names that go in a circle"
    r"|other code uses [\w^.]{0,4}, and may change it|[\w^.]{0,4} is not defined here"
    r"|defined under a condition|defined twice|a method that computes|_LPI is no package of states"
    r"|_LPI has another number of states than it says|no package|too many states"
    r"|state \d{1,3} has no numbers or no entry method"
    r"|not all of the tables DSDT and SSDT can be read|the CPUs have different states|no table has _LPI"
    rf"|too many objects|{TOO_MANY_OBJECTS}|{TOO_MUCH_CODE}"
)


def is_known_reason(text: str) -> bool:
    """Tell whether a text is a reason why the states cannot be told: a file can hold any other."""
    return re.fullmatch(rf"(?:state \d{{1,3}}(?:: | is ))?(?:{_REASONS})", text, re.ASCII) is not None


class LpiState(NamedTuple):
    """One state, as the kernel takes it."""

    name: str
    residency: int
    """Microseconds."""
    latency: int
    """Microseconds, for the way out of the state."""
    context_lost: int
    """Flags of the architecture: 0 for a state that keeps everything."""
    parent: int
    """The deepest state of the container that this one allows."""
    entry: int | tuple[int, int]
    """A number that is added to the address of the lower state, or (address space, address)."""
    enabled: bool
    number: int
    """Its place in its own _LPI, from 1 on."""


LpiStates = tuple[LpiState, ...]


def read_lpi(tables: Sequence[bytes]) -> dict[str, LpiStates | Unknown]:
    """Return the states of each device that has _LPI, by its path, with those of its containers.

    The DSDT comes first. Unknown where they cannot be told.
    """
    parsed = Tables(tables)
    if not parsed.is_whole:
        return {"\\": Unknown(TOO_MANY_OBJECTS)}
    own: dict[str, list[LpiState] | Unknown] = {}
    for path, value in parsed.names.items():
        if path.endswith("._LPI") and len(own) < _MAX_DEVICES:
            own[path[: -len("._LPI")]] = _states(parsed.resolve(value))
    containers = {device.rpartition(".")[0] for device in own}
    return {device: _flatten(own, device) for device in own if device not in containers}


def _states(package: Value) -> list[LpiState] | Unknown:
    if isinstance(package, Unknown):
        return package
    if not isinstance(package, list) or len(package) < _FIRST_STATE + 1:
        return Unknown("_LPI is no package of states")
    states = package[_FIRST_STATE:]
    if package[2] != len(states) or len(states) > _MAX_STATES:
        return Unknown("_LPI has another number of states than it says")
    found = []
    for index, item in enumerate(states, 1):
        state = _state(item, index)
        if isinstance(state, Unknown):
            return state
        found.append(state)
    return found


def _state(item: Value, index: int) -> LpiState | Unknown:
    if not isinstance(item, list) or len(item) < _FIELDS:
        return Unknown(f"state {index} is no package")
    for element in (*item[:4], *item[5:_FIELDS]):
        if isinstance(element, Unknown):
            return Unknown(f"state {index}: {element.why}")
    residency, latency, flags, context, parent = (item[number] for number in (0, 1, 2, 3, 5))
    entry = _entry(item[6])
    numbers = (residency, latency, flags, context, parent)
    if entry is None or not all(isinstance(number, int) for number in numbers):
        return Unknown(f"state {index} has no numbers or no entry method")
    name = item[_NAME_FIELD] if len(item) > _NAME_FIELD else ""
    small = [number & 0xFFFFFFFF for number in numbers if isinstance(number, int)]
    return LpiState(
        name=name if isinstance(name, str) else "",
        residency=small[0],
        latency=small[1],
        context_lost=small[3],
        parent=small[4],
        entry=entry,
        enabled=bool(small[2] & 1),
        number=index,
    )


def _entry(value: Value) -> int | tuple[int, int] | None:
    if isinstance(value, int):
        return value
    if isinstance(value, bytes) and len(value) >= _REGISTER_BYTES:
        return value[3], struct.unpack_from("<Q", value, 7)[0]
    return None


def _flatten(own: dict[str, list[LpiState] | Unknown], device: str) -> LpiStates | Unknown:
    """Return what the kernel makes of a CPU's states and those of its containers (combine_lpi_states())."""
    lowest = own[device]
    if isinstance(lowest, Unknown):
        return lowest
    previous = [
        state for state in lowest
        if state.enabled and not isinstance(state.entry, int) and state.entry[0] == _FIXED_HARDWARE
    ]  # fmt: skip
    result = list(previous)
    path = device
    while (path := path.rpartition(".")[0]) in own:
        above = own[path]
        if isinstance(above, Unknown):
            return above
        current = [
            _combined(state, upper)
            for upper in above if upper.enabled
            for state in previous if upper.number <= state.parent and upper.entry != 0
        ]  # fmt: skip
        result += current
        previous = current
        if len(result) > _MAX_STATES:
            return Unknown("too many states")
    return tuple(result)


def _combined(state: LpiState, upper: LpiState) -> LpiState:
    """Return a state of a CPU together with one of its container: the flags are the container's."""
    entry = upper.entry
    if isinstance(entry, int) and not isinstance(state.entry, int):
        entry = (_FIXED_HARDWARE, state.entry[1] + entry)
    return LpiState(
        name=f"{state.name}+{upper.name}",
        residency=max(state.residency, upper.residency),
        latency=state.latency + upper.latency,
        context_lost=upper.context_lost,
        parent=upper.parent,
        entry=entry,
        enabled=True,
        number=upper.number,
    )
