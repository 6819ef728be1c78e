"""What do the crashed kernel's own variables say about its CPUs?"""

from __future__ import annotations

from collections.abc import Mapping

from sdeictl.text import NamedTuple
from sdeictl.vmcore.corefile import MissingDataError
from sdeictl.vmcore.memory import KernelMemory
from sdeictl.vmcore.symbols import KernelSymbols
from sdeictl.vmcore.vmcoreinfo import VmcoreInfo

_MAX_CPUS = 8192
_ADDRESSES = 1 << 64


class KernelState(NamedTuple):
    """The variables that say which CPUs existed, and where each of them saved its registers."""

    symbols: KernelSymbols | None = None
    """None if the dump lacks the symbol table; the other fields are then None or empty too."""
    online: frozenset[int] | None = None
    """CPUs that were online when the kernel crashed; None if the dump lacks this."""
    panic_cpu: int | None = None
    """The CPU that panicked; None if there was none or the dump lacks this."""
    note_addresses: Mapping[int, int] = {}
    """Physical address of the note of each possible CPU; empty if the dump lacks this."""


def read_state(memory: KernelMemory, info: VmcoreInfo) -> KernelState:
    """Return what the dump holds of the kernel's state."""
    try:
        symbols = KernelSymbols(memory, info)
        memory.set_image(symbols.address_of("_text"), symbols.address_of("_end"))
    except MissingDataError:
        return KernelState()
    return KernelState(
        symbols, _read_online(memory, symbols), _read_panic_cpu(memory, symbols), _find_notes(memory, symbols)
    )


def _read_mask(memory: KernelMemory, symbols: KernelSymbols, name: str) -> frozenset[int]:
    count = min(memory.u32(symbols.address_of("nr_cpu_ids")), _MAX_CPUS)
    words = memory.u64s(symbols.address_of(name), (count + 63) // 64)
    return frozenset(64 * at + bit for at, word in enumerate(words) for bit in range(64) if word >> bit & 1)


def _read_online(memory: KernelMemory, symbols: KernelSymbols) -> frozenset[int] | None:
    try:
        # A CPU that stops clears its bit in the online mask only (arch/arm64/kernel/smp.c).
        active = _read_mask(memory, symbols, "__cpu_active_mask")
        return active | _read_mask(memory, symbols, "__cpu_online_mask")
    except MissingDataError:
        return None


def _read_panic_cpu(memory: KernelMemory, symbols: KernelSymbols) -> int | None:
    try:
        cpu = memory.u32(symbols.address_of("panic_cpu"))
    except MissingDataError:
        return None
    return cpu if cpu < _MAX_CPUS else None  # PANIC_CPU_INVALID is -1


def _find_notes(memory: KernelMemory, symbols: KernelSymbols) -> dict[int, int]:
    """Return the address of each CPU's element of the per-CPU variable crash_notes (kernel/crash_core.c)."""
    try:
        possible = _read_mask(memory, symbols, "__cpu_possible_mask")
        crash_notes = memory.u64(symbols.address_of("crash_notes"))
        count = max(possible, default=-1) + 1
        offsets = memory.u64s(symbols.address_of("__per_cpu_offset"), count)
        return {cpu: memory.physical((crash_notes + offsets[cpu]) % _ADDRESSES) for cpu in possible}
    except MissingDataError:
        return {}
