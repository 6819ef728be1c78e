"""Puts a unique word, a canary, into every place of a host that a capture reads, and looks for them."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from sdeictl.formats.cmdline import PUBLIC_PARAMETERS
from sdeictl.host.files import find_words
from sdeictl.host.paths import KMSG
from sdeictl.host.root import Root

_CANARY = re.compile(rb"(?:zqx|5ec4e7)[0-9a-z]{3}", re.IGNORECASE)
_DIGITS = "0123456789abcdef"


class Canaries:
    """Makes canaries and remembers where each was put."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}
        self.left: set[str] = set()
        """Those that were found where none may be."""

    def at(self, place: str, kind: str = "zqx") -> str:
        """Return a new canary for a place; of the kind `5ec4e7` it is hexadecimal."""
        number = len(self.places)
        digits = "".join(_DIGITS[number >> shift & 15] for shift in (8, 4, 0))
        self.places[kind + digits] = place
        return kind + digits

    def found_in(self, data: bytes) -> dict[str, str]:
        """Return the canaries in some bytes, packed or in hexadecimal, with the places that they name."""
        text = b"\n".join([data, *_unpacked(data)])
        found = {match.decode().lower() for match in _CANARY.findall(text)}
        return {name: self.places.get(name, "?") for name in sorted(found)}

    def leaks_in(self, data: bytes) -> dict[str, str]:
        """As found_in(), of bytes in which none may be."""
        leaks = self.found_in(data)
        self.left.update(leaks)
        return leaks


def _unpacked(data: bytes) -> Iterable[bytes]:
    with contextlib.suppress(OSError, EOFError, zlib.error):
        yield gzip.decompress(data)
    dumped = re.findall(rb"^ +[0-9A-F]+: ((?:[0-9A-F]{2} ){1,16})", data, re.MULTILINE)
    yield b"".join(bytes.fromhex(row.decode()) for row in dumped)


def leaks_of(canaries: Canaries, packed: bytes) -> dict[str, str]:
    """Return the canaries in a capture: in the names, the contents, the links and the manifest."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            for data in (member.name.encode(), member.linkname.encode(), file.read() if file else b""):
                found.update(canaries.leaks_in(data))
    return found


class Planted:
    """A host with canaries in all that is read through it, as the running one."""

    live = True

    def __init__(
        self, root: Root, canaries: Canaries, plants: dict[str, Plant], extra: dict[str, bytes] | None = None
    ) -> None:
        self._root, self._canaries, self._plants = root, canaries, plants
        self._extra = extra or {}
        self.read_paths: set[str] = set()
        self.unknown: set[str] = set()
        self._cache: dict[str, bytes] = {}

    def read(self, path: str) -> bytes:
        if path not in self._cache:
            place = "/kmsg.txt" if path == KMSG and self.live else path
            data = self._extra[place] if place in self._extra else self._root.read(place)
            self._cache[path] = self._plant(path)(data, lambda kind="zqx": self._canaries.at(path, kind))
        return self._cache[path]

    def _plant(self, path: str) -> Plant:
        self.read_paths.add(path)
        for pattern, plant in self._plants.items():
            if re.fullmatch(pattern, path):
                return plant
        self.unknown.add(path)
        return lambda data, _canary: data

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        return find_words(self.read(path), words, ends)

    def names(self, path: str) -> tuple[str, ...]:
        below = {
            name[len(path) + 1 :].partition("/")[0] for name in self._extra if name.startswith(f"{path}/")
        }
        try:
            names = set(self._root.names(path)) | below
        except OSError:
            if not below:
                raise
            names = below
        return tuple(sorted({*names, self._canaries.at(f"the names in {path}")}))

    def link(self, path: str) -> str:
        if path in self._extra:
            return f"/{self._canaries.at(f'the target of {path}')}/driver"
        return self._root.link(path).replace("sdei", f"sdei-{self._canaries.at(f'the target of {path}')}")


Canary = Callable[..., str]
Plant = Callable[[bytes, Canary], bytes]


def plant_nothing(data: bytes, _canary: Canary) -> bytes:
    """For a file whose whole text stays by contract, and for a file with only a number."""
    return data


def plant_everywhere(_data: bytes, canary: Canary) -> bytes:
    return f"{canary()}\n".encode()


def plant_without_end(_data: bytes, canary: Canary) -> bytes:
    return f"{canary()}\n{canary()}".encode()


def plant_in_lines(data: bytes, canary: Canary) -> bytes:
    lines = data.decode().split("\n")
    return "\n".join(f"{line} {canary()}" if line else line for line in lines).encode()


def plant_lines(*texts: str) -> Plant:
    """Put lines with canaries at `{}` before the last line of a file."""

    def plant(data: bytes, canary: Canary) -> bytes:
        lines = data.decode().splitlines()
        new = [re.sub(r"\{\}", lambda _match: canary(), text) for text in texts]
        return "\n".join([*lines[:-1], *new, *lines[-1:], ""]).encode()

    return plant


def plant_in_version(data: bytes, canary: Canary) -> bytes:
    release = data.decode().split()[2]
    builder = f"({canary()}@{canary()}) ({canary()}-gcc {canary()})"
    return f"Linux version {release} {builder} #1 {canary()}\n".encode()


def plant_in_cmdline(data: bytes, canary: Canary) -> bytes:
    words = [f"{name}={canary()}" for name in sorted(PUBLIC_PARAMETERS)]
    words += [
        f"{canary()}={canary()}",
        canary(),
        f'"quiet {canary()}"',
        f'quiet="{canary()}"',
        f"panic=1,{canary()}",
    ]
    return f"{data.decode().strip()} {' '.join(words)} -- {canary()}=1 quiet={canary()}\n".encode()


def plant_in_config(data: bytes, canary: Canary) -> bytes:
    lines = [f'CONFIG_LOCALVERSION="{canary()}"', f"CONFIG_{canary().upper()}=y", f"# {canary()}"]
    return data + "".join(f"{line}\n" for line in (*lines, f'CONFIG_LKDTM="{canary()}"')).encode()


def plant_in_packed_config(data: bytes, canary: Canary) -> bytes:
    return gzip.compress(plant_in_config(gzip.decompress(data), canary))


def plant_in_symbols(data: bytes, canary: Canary) -> bytes:
    new = (
        f"{canary('5ec4e7')}0000000 t {canary()}\n",
        f"0 t sdei_probe.{canary()}\n",
        f"0 t x\t[{canary()}]\n",
    )
    return "".join(new).encode() + data


def plant_in_table(data: bytes, canary: Canary) -> bytes:
    """Put canaries into the names of the vendor, behind the table, and where no field is read."""
    table = bytearray(data)
    table[10:16], table[28:32] = canary()[:6].encode(), canary()[:4].encode()
    if data[:4] == b"APIC" and len(data) > 44 + 66:
        table[44 + 32 : 44 + 41] = canary().encode()
    if data[:4] == b"FACP":
        table[60:69] = canary().encode()
    if data[:4] == b"HEST":
        table[40 + 48 : 40 + 57] = canary().encode()
    (length,) = struct.unpack_from("<I", table, 4)
    table[9] = (table[9] - sum(table[:length])) & 0xFF
    return bytes(table) + canary().encode()


def plant_in_code(data: bytes, canary: Canary) -> bytes:
    return plant_in_table(data + b"\x08ZQXA\x0d" + canary().encode() + b"\0", canary)


def plant_in_strings(data: bytes, canary: Canary) -> bytes:
    return data + canary().encode() + b"\0"


_WORDS = ("id", "drill", "variant", "outcome", "path", "state", "kernel", "firmware")


def plant_in_result(data: bytes, canary: Canary) -> bytes:
    """Put canaries into every key of a stored result that the probe does not read, and into new ones."""

    def planted(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: planted(part, key) for key, part in value.items()} | {canary(): canary()}
        if isinstance(value, list):
            return [planted(part, name) for part in value] or [canary()] * (name == "reasons")
        return canary() if (isinstance(value, str) or value is None) and name not in _WORDS else value

    return json.dumps(planted(json.loads(data), "")).encode()


def plant_in_words_of_result(data: bytes, canary: Canary) -> bytes:
    """Put canaries into the words of a stored result too, but for its identifier."""
    result = json.loads(data)
    for key in ("drill", "variant", "outcome", "path"):
        result[key] = canary()
    result["host"]["kernel"], result["host"]["firmware"] = canary(), canary()
    for cpu in result["cpus"]:
        cpu["state"] = canary()
    return plant_in_result(json.dumps(result).encode(), canary)


LINES_OF_KERNEL = """\
CPU: 1 UID: 0 PID: 81 Comm: {} Not tainted 7.3.4 #1 {}
CPU: 2 PID: 82 Comm: {} {} Tainted: G        W  OE       6.1.0 #1 {}
Hardware name: {} {}/{}, BIOS {} 01/01/2026
Modules linked in: {}(OE) {} [last unloaded: {}]
watchdog: BUG: soft lockup - CPU#3 stuck for 26s! [{}:42]
watchdog: BUG: soft lockup - CPU#3 stuck for 26s! [{}]
BUG: soft lockup - CPU#3 stuck for 26s! [{} {}:42]
watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 2
Watchdog detected hard LOCKUP on cpu 2Modules linked in: {}
watchdog: {} permanently disabled
NMI watchdog: Enabled. Permanently consumes {}
watchdog: Delayed init of {} failed: {}
INFO: task {}:77 blocked for more than 120 seconds.
INFO: task {}:77 blocked for more than 120 seconds. {}
INFO: task {}:77 blocked in I/O wait for more than 120 seconds.
INFO: task {}:77 is blocked on a mutex likely owned by task {}:78.
INFO: task {}:77 is blocked on an rw-semaphore, but the owner is not found {}
INFO: task {}:77 <reader> blocked on an rw-semaphore likely owned by task {}:78 <writer>
INFO: task {}:77 is blocked on a semaphore likely last held by task {}:78
task:{} state:D stack:0 pid:77 tgid:77 ppid:1 flags:0x{}
Showing all locks held in the system: {}
1 lock held by {}/77:
rcu: INFO: {} detected stalls on CPUs/tasks: {}
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
rcu: \t1-...!: (0 ticks this GP) idle={} softirq={}
rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-3): P77 {}
INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-...D P88 {} } 5 jiffies s: {}
rcu: rcu_preempt kthread starved for {} jiffies! g{} f0x0 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=1
rcu: {}
smp: csd: Detected non-responsive CSD lock (#1) on CPU#0, waiting 5000000000 ns for CPU#1 {}({}).
BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for {}!
workqueue {}: flags=0x{}
Showing busy workqueues and worker pools: {}
Out of memory: Killed process 77 ({}) total-vm:1kB, UID:{} pgtables:1kB
{} invoked oom-killer: gfp_mask=0x{}, order=0, oom_score_adj=0
oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/{},task={},pid=77,uid={}
Kernel panic - not syncing: {}
Kernel panic - not syncing: Fatal exception {}
Kernel panic - not syncing: {}: Fatal exception
Kernel panic - not syncing: VFS: Unable to mount root fs on {}
---[ end Kernel panic - not syncing: {} ]---
Internal error: Oops - {}: 0000000096000004 [#1] SMP {}
Unable to handle kernel paging request at virtual address {}
Unable to handle kernel {} at virtual address 0000000000000000
reboot: Restarting system with command '{}'
sysrq: {}
sysrq: Show backtrace of all active CPUs {}
Sending NMI from CPU 0 to CPUs 1: {}
NMI backtrace for cpu 1 skipped: idling at {}+0x1/0x2
NMI backtrace for cpu {}
pstate: 600000c5 (nZCv daIF -PAN -UAO {} BTYPE=--) {}
pc : {}+0x10/0x20 [{}]
pc : bpf_prog_0123456789abcdef_{}+0x10/0x20
lr : {}+0x10/0x20 [{}]
PC is at {}+0x10/0x20 [{}]
 {}+0x10/0x20 [{}]
 {}+0x10/0x20 [{} 0123456789abcdef]
[<ffff800010001000>] {}+0x10/0x20 [{}]
Call trace: {}
Run /{}/init as init process
  with arguments: {}
    HOME={}
Kernel command line: root={} quiet={} crashkernel=512M,{} {}=1
Linux version 7.3.4 ({}@{}) ({}-gcc (Debian) 14) #1 SMP {}
sdei: invalid "method" property: {}
sdei: {}
sdei_nmi: {}
sdei_nmi: SDEI_EVENT_SIGNAL to CPU 3 failed: {}
SDEI NMI watchdog: {} registered successfully
agdi agdi.0: Failed to {}
agdi: probe of {} failed with error -22
GICv3: {}
CPU features: detected: {}
CPU features: Pseudo-NMI disabled due to {}
psci: {}
hw perfevents: enabled with {} PMU driver
lkdtm: Performing direct entry {}
test_lockup: {}
crashkernel reserved: {}
usb 1-1: SerialNumber: {}
usb 1-1: Manufacturer: {}
nvme nvme0: {} serial {}
mlx5_core 0000:01:00.0 {}: renamed from eth0
igb 0000:01:00.0: MAC: 5e:c4:e7:{}, addr {}
EXT4-fs (dm-0): mounted filesystem {} ro. {}
audit: type=1400 comm="{}" exe="/{}/{}" uid={}
device-mapper: ioctl: {}
SELinux: {}
Lockdown: {}: hibernation is restricted
{}[77]: segfault at {} ip {} sp {} error 4 in {}[400000+1000]
traps: {}[77] trap
process '{}/{}' started with executable stack
systemd[1]: Hostname set to <{}>.
systemd[1]: {}: Main process exited
DMAR: {}
x86/{}
{}
""".splitlines()
REGISTERS = (
    "x29: {} x28: {} x27: {}", "x2 : {} x1 : {}", "sp : {}", "pc : {}0000000", "lr : {}0000000",
    "PC is at 0x{}", "pc : [<{}0000000>] lr : [<{}0000000>] pstate: 600001c5", "GICv3: CPU0: region 0:0x{}",
    "IPv6 address {}::1", "Code: {} {} (d5032d)", "user pgtable: 4k pages, pgdp={}",
)  # fmt: skip
"""Lines with hexadecimal text of users: registers, addresses."""


def log_lines(canary: Canary) -> list[str]:
    """Return a line of each kind, with canaries."""
    words = [re.sub(r"\{\}", lambda _match: canary(), line) for line in LINES_OF_KERNEL]
    return words + [re.sub(r"\{\}", lambda _match: canary("5ec4e7"), line) for line in REGISTERS]


def plant_in_kmsg(data: bytes, canary: Canary) -> bytes:
    """Put lines into the records of /dev/kmsg: of the kernel, of user space, and with properties."""
    records = data.decode().splitlines()
    last = re.match(r"\d+,(\d+),(\d+),", records[-1])
    assert last
    number, micros = int(last[1]), int(last[2])
    new = []
    for at, line in enumerate(log_lines(canary), 1):
        text = line.replace("\t", "\\x09")
        new.append(
            f"4,{number + at},{micros + 1000 * at},-,caller=T{at};{text}\n"
            f" SUBSYSTEM={canary()}\n DEVICE={canary()}"
        )
    number += len(new)
    new += [
        f"12,{number + 1},{micros + 900000},-;{canary()}: from user space",
        f"30,{number + 2},{micros + 900001},-;systemd[1]: Started {canary()}.",
        f"4,{number + 3},{micros + 900002},-,{canary()},caller={canary()};NMI backtrace for cpu 1"
        f"\\x0a{canary()}\\x0a {canary()}+0x1/0x2 [m]",
        f"4,{number + 4},{micros + 900003},c;{canary()}",
    ]
    return "\n".join([*records, *new, ""]).encode()


def plant_in_dmesg(data: bytes, canary: Canary) -> bytes:
    lines = data.decode("utf-8", "replace").splitlines()
    new = [f"[{9000 + at:5d}.000000] {line}" for at, line in enumerate(log_lines(canary))]
    return "\n".join([*lines, *new, ""]).encode()
