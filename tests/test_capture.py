"""A capture gives the same report as the host, and contains no secret."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sdeictl.errors import SdeictlError
from sdeictl.formats.cpuinfo import parse_architecture, parse_cpuinfo
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.kmsg import open_kmsg
from sdeictl.host.live import LiveRoot
from sdeictl.host.open import holds_nothing, open_root
from sdeictl.host.paths import KMSG
from sdeictl.host.root import Root
from sdeictl.klog.analysis import analyze
from sdeictl.klog.bootlog import read_bootlog
from sdeictl.klog.log import parse_log
from sdeictl.klog.messages.architecture import architecture_of_line
from sdeictl.klog.public import public_log
from sdeictl.probe.capture import make_capture, pack
from sdeictl.probe.clean_text import clean_cpuinfo, clean_interrupts
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.conftest import HOST_NAMES, TESTS, CapturedHost, load_host
from tests.test_analysis_properties import as_kmsg
from tests.test_cli import sdeictl

HOSTS = TESTS / "hosts"
LOCKUP = "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1"
SECRETS = {
    "proc/version": "Linux version 7.3.4 (alice@secret-builder) (gcc 12) #1 SMP\n",
    "proc/cmdline": "root=UUID=secret-uuid crashkernel=512M rd.luks.key=secret-key quiet\n",
    "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\n\nSerial\t\t: secret-serial\n",
    "proc/kallsyms": "ffff8000805a5e40 t sdei_probe\nffff800080cd0000 B _end\n",
    "boot/config-7.3.4": 'CONFIG_ARM_SDEI_NMI=y\nCONFIG_CMDLINE="secret"\nCONFIG_BUILD_SALT="secret"\n',
    "sys/bus/platform/devices/secret-device/uevent": "",
}
KMSG_TEXT = """\
6,0,0,-;Booting Linux on physical CPU 0x0000000000 [0x411fd070]
5,1,0,-;Linux version 7.3.4 (alice@secret-builder) (gcc 12) #1 SMP
5,2,0,-;Kernel command line: root=UUID=secret-uuid rd.luks.key=secret-key
6,3,10,-;usb 1-1: SerialNumber: secret-serial
12,4,20,-;secret: from user space
6,5,30,-;Run /sbin/init as init process
6,6,40,-;Sending NMI from CPU 0 to CPUs 1:
4,7,50,-;NMI backtrace for cpu 1
4,8,60,-;CPU: 1 UID: 0 PID: 81 Comm: secret task Not tainted 7.3.4 #1
4,8,60,-;watchdog: BUG: soft lockup - CPU#3 stuck for 26s! [secret task:42]
3,8,60,-;INFO: task secret task:77 blocked for more than 120 seconds.
5,8,60,-;reboot: Restarting system with command 'secret task'
5,8,60,-;INFO: secret task of another kind
4,9,70,-;pstate: 600000c5 (nZCv daIF -PAN)
4,10,80,-;pc : 0000ffff5ec4e700
4,11,90,-;sp : ffff800081fa3cf0
4,12,95,-;x29: 5ec4e70000000000 x28: ffff0000006bee00 x27: 0000000000000000
"""


class WithKmsg(DirectoryRoot):
    """A tree that is read like the running host."""

    live = True

    def read(self, path: str) -> bytes:
        return super().read("/kmsg.txt" if path == KMSG else path)


@pytest.fixture
def secretive(tmp_path: Path) -> Root:
    for name, text in {**SECRETS, "kmsg.txt": KMSG_TEXT}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return WithKmsg(str(tmp_path))


def unpack(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {m.name: archive.extractfile(m) for m in archive.getmembers() if m.isfile()}
        return {name: file.read() for name, file in files.items() if file}


def without_time(root: Root) -> dict[str, object]:
    return build_report(collect(root)) | {"generated_at": None}


def test_report_of_capture_and_host(host: CapturedHost, tmp_path: Path) -> None:
    live = WithKmsg(str(host.root))
    (tmp_path / "c.tar.gz").write_bytes(pack(make_capture(live)))
    assert without_time(open_root(str(tmp_path / "c.tar.gz"))) == without_time(live)
    (tmp_path / "tree").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "tree", "-xf", tmp_path / "c.tar.gz"], check=True, timeout=60)
    assert without_time(open_root(str(tmp_path / "tree"))) == without_time(live)


def test_capture_has_no_secrets(secretive: Root) -> None:
    capture = make_capture(secretive)
    for name, content in unpack(pack(capture)).items():
        for secret in (b"secret-", b"secret:", b"secret task", b"alice", b'"secret"', b"5ec4e7", b"ffff8"):
            assert secret not in content, (name, secret)


def test_left_out_parts_are_listed(secretive: Root) -> None:
    manifest = json.loads(unpack(pack(make_capture(secretive)))["sdeictl-capture.json"])
    listed = {item["path"]: item["what"] for item in manifest["left_out"]}
    assert set(listed) == {
        "/proc/version", "/proc/cmdline", "/proc/cpuinfo", "/proc/kallsyms",
        "/boot/config-7.3.4", "/dev/kmsg", "/sys/bus/platform/devices",
    }  # fmt: skip
    assert listed["/proc/cmdline"] == "parameters other than the known public ones"


def test_capture_shows_the_masked_cpu(secretive: Root) -> None:
    log = unpack(pack(make_capture(secretive)))["kmsg.txt"]
    assert b"pstate: 600000c5" in log
    assert log.count(b"\n") == KMSG_TEXT.count("\n")


def test_captured_log_has_same_episodes(host: CapturedHost, tmp_path: Path) -> None:
    (tmp_path / "kmsg.txt").write_bytes(as_kmsg(host.console))
    log = unpack(pack(make_capture(WithKmsg(str(tmp_path)))))["kmsg.txt"]
    assert analyze(parse_log(log)).episodes == analyze(parse_log(host.console)).episodes


def test_capture_keeps_the_gap_kinds(tmp_path: Path) -> None:
    class Denying(WithKmsg):
        def read(self, path: str) -> bytes:
            if path == KMSG:
                raise PermissionError(13, "Permission denied", path)
            return super().read(path)

    live = Denying(str(load_host("dt-sdei").root))
    (tmp_path / "c.tar.gz").write_bytes(pack(make_capture(live)))
    gaps = {gap.source: gap.kind for gap in collect(open_root(str(tmp_path / "c.tar.gz"))).gaps}
    assert gaps == {"/dev/kmsg": "denied"}


def test_endless_and_huge_files_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "zeroes").open("wb") as file:
        file.truncate(3 << 30)
    for path, reason in (("/dev/zero", "not a regular file"), (tmp_path / "zeroes", "it is not text")):
        with pytest.raises(SdeictlError, match=reason):
            open_root(str(path))


def test_other_device_is_no_log() -> None:
    with pytest.raises(OSError, match="it is not the kernel log device, as in a container") as error:
        open_kmsg("/dev/null")
    assert error.value.filename == "/dev/null"


GZIPPED = gzip.compress(b"no tar", mtime=0)


@pytest.mark.parametrize("data", [b"", b"no tar", GZIPPED, GZIPPED[:20]])
def test_other_file_is_no_capture(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c").write_bytes(data)
    done = sdeictl("probe", "--root", str(tmp_path / "c"))
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"cannot be read as a capture" in done.stderr


def test_cut_capture_is_refused(tmp_path: Path) -> None:
    data = pack(make_capture(WithKmsg(str(load_host("dt-sdei").root))))
    # The first byte alone does not show that it is packed.
    for cut in (*range(2, len(data), 997), *range(len(data) - 40, len(data))):
        (tmp_path / "c").write_bytes(data[:cut])
        with pytest.raises(SdeictlError):
            open_root(str(tmp_path / "c"))


@pytest.mark.parametrize("manifest", [b"{", b"[" * 100_000, b'{"schema": "sdeictl.capture/2"}'])
def test_damaged_manifest_is_an_error(tmp_path: Path, manifest: bytes) -> None:
    (tmp_path / "sdeictl-capture.json").write_bytes(manifest)
    with pytest.raises(SdeictlError, match="damaged"):
        open_root(str(tmp_path))


@pytest.mark.parametrize(
    "manifest", [b"[]", b'{"listings": [], "failures": 3}', b'{"failures": {"/x": "ENOSUCH"}}']
)
def test_unexpected_manifest_is_ignored(tmp_path: Path, manifest: bytes) -> None:
    (tmp_path / "sdeictl-capture.json").write_bytes(manifest)
    assert open_root(str(tmp_path)).names("/") == ("sdeictl-capture.json",)


def test_directory_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: str) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", denied)
    assert str(holds_nothing(str(tmp_path))) == f"{tmp_path} cannot be read: Permission denied"


def test_listed_names_are_sorted_once(tmp_path: Path) -> None:
    (tmp_path / "sdeictl-capture.json").write_text('{"listings": {"/a": ["c", "b", "c", 1]}}')
    assert open_root(str(tmp_path)).names("/a") == ("1", "b", "c")


def test_member_names_cannot_escape(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        for name in ("../../proc/version", "/proc/../proc/cpuinfo", "sdeictl-capture.json"):
            member = tarfile.TarInfo(name)
            member.size = 2
            archive.addfile(member, io.BytesIO(b"{}"))
    assert open_root(str(tmp_path / "c.tar.gz")).names("/proc") == ("cpuinfo", "version")


def test_live_sysctl_can_be_read() -> None:
    # The kernel refuses a read(2) for more than kmalloc can serve, even if the file is short.
    assert LiveRoot().read("/proc/sys/kernel/ostype") == b"Linux\n"


SOURCES: dict[str, Callable[[Path], Path]] = {
    "tree": lambda _tmp: HOSTS / "dt-both" / "root",
    "sos": lambda _tmp: HOSTS / "acpi-sdei" / "sos",
    "capture": lambda tmp: write_capture(tmp / "first.tar.gz", HOSTS / "dt-sdei" / "root"),
    "log": lambda _tmp: HOSTS / "dt-pnmi" / "console.log",
    "kmsg": lambda _tmp: HOSTS / "debian-12" / "root" / "kmsg.txt",
}


def write_capture(out: Path, root: Path) -> Path:
    done = sdeictl("capture", "--root", str(root), str(out))
    assert (done.returncode, done.stdout) == (0, b"")
    return out


@pytest.mark.parametrize("kind", SOURCES)
def test_capture_of_other_host(kind: str, tmp_path: Path) -> None:
    source = SOURCES[kind](tmp_path)
    out = write_capture(tmp_path / "c.tar.gz", source)
    reports = [without_time(open_root(str(path))) for path in (source, out)]
    assert reports[0] == reports[1]
    assert write_capture(tmp_path / "again.tar.gz", out).read_bytes() == out.read_bytes()


def test_archive_of_sos_is_captured(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "sos.tar.xz", "w:xz") as archive:
        archive.add(HOSTS / "dt-sdei" / "sos", "sosreport-db7-2026-11-26-abcdefg")
    out = write_capture(tmp_path / "c.tar.gz", tmp_path / "sos.tar.xz")
    assert without_time(open_root(str(out))) == without_time(open_root(str(tmp_path / "sos.tar.xz")))


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (None, 2, b"source does not exist"),
        (b'{"schema": "sdeictl.report/1"}', 2, b"is a report of `sdeictl probe`"),
        (b'{"schema": "sdeictl.plan/1"}', 3, b"is not a sdeictl.report/1"),
        (b"no log\n", 3, b"none of a host's files and no kernel record"),
        (GZIPPED[:20], 3, b"cannot be read"),
    ],
)
def test_what_is_no_host_is_refused(
    content: bytes | None, status: int, sentence: bytes, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "source").write_bytes(content)
    done = sdeictl("capture", "--root", str(tmp_path / "source"), str(tmp_path / "c.tar.gz"))
    assert (done.returncode, done.stdout, (tmp_path / "c.tar.gz").exists()) == (status, b"", False)
    assert sentence in done.stderr
    assert b"Traceback" not in done.stderr


def test_empty_directory_is_no_host(tmp_path: Path) -> None:
    done = sdeictl("capture", "--root", str(tmp_path), str(tmp_path / "c.tar.gz"))
    assert (done.returncode, (tmp_path / "c.tar.gz").exists()) == (3, False)


def test_denied_and_absent_stay_so(tmp_path: Path) -> None:
    """Access was denied when the source was made, not now."""
    for name in ("proc/version", "proc/cpuinfo"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((HOSTS / "dt-sdei" / "root" / name).read_bytes())
    failures = {"/kmsg.txt": "EACCES", "/proc/kallsyms": "EPERM", "/proc/consoles": "EIO"}
    (tmp_path / "sdeictl-capture.json").write_text(json.dumps({"failures": failures}))
    done = sdeictl("capture", "--root", str(tmp_path), str(tmp_path / "c.tar.gz"))
    assert done.returncode == 3
    assert b"capture that host as root" in done.stderr
    gaps = [collect(open_root(str(path))).gaps for path in (tmp_path, tmp_path / "c.tar.gz")]
    assert gaps[0] == gaps[1]
    kinds = {gap.source: gap.kind for gap in gaps[1]}
    assert (kinds["/dev/kmsg"], kinds["/proc/kallsyms"]) == ("denied", "denied")
    assert (kinds["/proc/consoles"], kinds["/proc/cmdline"]) == ("broken", "absent")


def changed_host(tmp_path: Path, **files: str) -> Path:
    """Return a copy of a host with other files: `proc_cmdline` is /proc/cmdline."""
    tree = tmp_path / "host"
    shutil.copytree(HOSTS / "dt-none" / "root", tree, symlinks=True)
    for name, text in files.items():
        (tree / name.replace("_", "/")).write_text(text)
    return tree


@pytest.mark.parametrize(
    "line",
    [
        "irqchip.gicv3-pseudo-nmi=1", "irqchip.gicv3_pseudo_nmi=yes", "quiet -- irqchip.gicv3_pseudo_nmi=1",
        "irqchip.gicv3_pseudo_nmi=1 irqchip.gicv3_pseudo_nmi=maybe", "irqchip.gicv3_pseudo_nmi=e",
        '"irqchip.gicv3_pseudo_nmi=1"', "crashkernel=x", '"quiet root=x"',
        'a="-- irqchip.gicv3_pseudo_nmi=1"',
    ],
)  # fmt: skip
def test_command_line_means_the_same(line: str, tmp_path: Path) -> None:
    tree = changed_host(tmp_path, proc_cmdline=f"{line}\n")
    out = write_capture(tmp_path / "c.tar.gz", tree)
    assert without_time(open_root(str(tree))) == without_time(open_root(str(out)))


def test_two_interrupt_controllers_stay_two(tmp_path: Path) -> None:
    rows = "  CPU0 CPU1\n 11:  1  2  GICv3  27 Level  arch_timer\n 12:  1  2  GICv2  9 Level  x\n"
    tree = changed_host(tmp_path, proc_interrupts=rows)
    out = write_capture(tmp_path / "c.tar.gz", tree)
    found = [collect(open_root(str(path))).interrupts for path in (tree, out)]
    assert found[0] == found[1]
    assert found[1] is not None
    assert found[1].gic is None


@pytest.mark.parametrize(
    "text",
    [
        " CPU0 CPU1\n 5: 1 2 Timer broadcast interrupts\n",
        " CPU0 CPU1\n 5: 1 2 other Timer broadcast interrupts\n IPI4:\t1\t2\tTimer broadcast interrupts\n",
        " CPU0 CPU1\n 5: 1 Timer broadcast interrupts\n",
        " CPU0 CPU1\n 5: 1 2 Timer broadcast interrupts\n" + "x Timer broadcast interrupts x\n" * 70,
        " CPU0 CPU1\n 5: 1 2 \x1d3: 4 5 Timer broadcast interrupts\n",
        " CPU0 CPU1\n 5: 1 2 Timer broadcast interrupts\x1d\n",
        " CPU0 CPU1\n 5: " + "9" * 5000 + " 2 Timer broadcast interrupts\n",
        "no header with CPU backtrace interrupts\n 5: 1 2 Timer broadcast interrupts\n",
        "",
    ],
)
def test_captured_interrupts_say_the_same(text: str, tmp_path: Path) -> None:
    tree = changed_host(tmp_path, proc_interrupts=text)
    out = write_capture(tmp_path / "c.tar.gz", tree)
    found = [collect(open_root(str(path))).interrupts for path in (tree, out)]
    assert found[0] == found[1]
    cleaned = clean_interrupts(text.encode())
    assert clean_interrupts(cleaned) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "processor\t: 0CPU implementer\t: 0x41\nCPU part\t: 0xd4f\n",
        "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f 5\nprocessor\t: 123456\n",
        "processor\n: 0\nCPU implementer\n: 0x41\n",
        "processor\t: \u0663\nCPU implementer\t: 0x41\nCPU part\t: \u0663\n",
        "processor\t: 0\nhart\t: s\n", "hart\t: 0\n", "cpu family\t: 6\n", "isa : rv64\n",
        "CPU architecture: 7x\n",
    ],
)  # fmt: skip
def test_captured_cpuinfo_says_the_same(text: str) -> None:
    cleaned = clean_cpuinfo(text)
    assert parse_architecture(cleaned) == parse_architecture(text)
    assert parse_cpuinfo(cleaned) == parse_cpuinfo(text)
    assert clean_cpuinfo(cleaned) == cleaned


def test_older_capture_leaves_names_unknown(tmp_path: Path) -> None:
    """What the version that made a capture did not look for may exist."""
    made = make_capture(WithKmsg(str(load_host("stock-debian").root)))
    kept = made.manifest["kept"]
    kept["symbols"] = [name for name in kept["symbols"] if name != "sdei_nmi_stop_cpus"]
    kept["options"] = [name for name in kept["options"] if name != "ARM_SDEI_NMI"]
    (tmp_path / "c.tar.gz").write_bytes(pack(made))
    facts = collect(open_root(str(tmp_path / "c.tar.gz")))
    assert facts.symbols is not None
    assert not facts.symbols.complete
    assert not any(config.of_running_kernel for config in facts.configs)
    assert "another version" in next(gap.detail for gap in facts.gaps if gap.source == "/proc/kallsyms")


@pytest.mark.parametrize(
    "lines",
    [
        # Two lines of the same time and text count twice at the beginning of a boot.
        [(0.0, LOCKUP), (0.001, "Modules linked in:"), (0.0, LOCKUP), (0.007, "pc : spin+0x8/0x24")],
        [(0.0, LOCKUP), (0.0, LOCKUP), (2.0, "x"), (0.0, LOCKUP), (3.0, "y")],
        [
            (1.0, "sysrq: x"),
            (1.1, " spin+0x8/0x24junk"),
            (1.2, " spin+0x8/0x24 [module]"),
            (1.3, "pc : 0x12"),
        ],
    ],
)
def test_clean_lines_stay_apart(lines: list[tuple[float, str]]) -> None:
    log = "".join(f"[{at:12.6f}] {text}\n" for at, text in lines).encode()
    clean = public_log(log)
    assert public_log(clean) == clean
    raw, found = parse_log(log), parse_log(clean)
    assert len(found.records) == len(raw.records)
    assert analyze(found).episodes == analyze(raw).episodes


@pytest.mark.parametrize(
    "log",
    [
        # Two lines of one time, of which the same is kept.
        b"[    1.000000] Kernel panic - not syncing: a\n[    2.000000] x\n"
        b"[    1.000000] Kernel panic - not syncing: b\n[    2.000000] y\n",
        # Without a time and without a line that is kept, nothing else shows that these are records.
        b"[Fri Nov 27 10:00:00 2026] SMP: stop\n[Fri Nov 27 10:00:01 2026] usb 1-1: new\n",
        b"[Fri Nov 27 10:00:00 2026] WARNING: CPU: 3 PID: 9 at fs/x.c:1\n"
        b"[Fri Nov 27 10:00:00 2026] pstate: 60001005 (nZCv daif -PAN -UAO)\n",
        # A mark alone shows where a boot begins.
        b"[    0.000000] x\n"
        b"[    0.000000] GICv3: Pseudo-NMIs enabled using relaxed ICC_PMR_EL1 synchronisation\n"
        b"-- Reboot --\n[    0.000000] y\n",
        b"[    0.000000] Linux version 7.3.4 (x) #1\n[    1.000000] x\n"
        b"-- Reboot --\n[    0.000000] Linux version 7.3.4 (y) #1\n",
        b"[    0.000000] Linux version 7.3.4 (x) #1\n[    1.000000] x\n-- Reboot --\n"
        b"[    0.000000] Linux version 7.3.4 (x) #1\n[    1.000001] y\n",
        b"kernel: Booting Linux on physical CPU 0x0000000000 [0x411fd070]\n"
        b"kernel: Run /init as init process\n"
        b"kernel: Booting Linux on physical CPU 0x0\nkernel: Linux version 7.3.5 (x) #1\n",
        # Firmware may print before the first line of a boot; what the kernel prints there is an earlier boot.
        b"rcu: Hierarchical SRCU\nusb 1-1: new\n"
        b"Booting Linux on physical CPU 0x0000000000 [0x411fd070]\nLinux version 7.3.5 (x) #1\n",
        # A name that looks like the words after it.
        b"[    1.000000] CPU: 0 PID: 5 Comm: Not tainted 9.9 Not tainted 6.1.0-x #1\n"
        b"[    2.000000] SMP: stopping secondary CPUs\n"
        b"[    3.000000] SMP: failed to stop secondary CPUs 0-2\n",
        # A frame has a blank of its own.
        b"h kernel: Sending NMI from CPU 0 to CPUs 1:\nh kernel: NMI backtrace for cpu 0\n"
        b"h kernel:  arch_trigger_cpumask_backtrace+0x34/0x40\n",
        # 32-bit ARM.
        b"[    0.000000] Booting Linux on physical CPU 0x0\n[    0.000000] Linux version 6.1.0 (x) #1\n",
        b"[    1.000000] pc : [<c0123456>]    lr : [<c0123456>]    psr: 60000013\n[    2.000000] x\n",
        # Of two lines of one time, the same is kept, but names of others.
        b"[    1.000000] NMI backtrace for cpu 1\n[    1.000001] CPU: 1 PID: 8 Comm: a Not tainted 7.3.4-x\n"
        b"[    1.000001] CPU: 1 PID: 8 Comm: b Not tainted 7.3.4-x\n"
        b"[    1.000002] pstate: 600000c5 (nZCv daIF -PAN -UAO)\n",
        # A console without times says that it dropped records.
        b"Booting Linux on physical CPU 0x0000000000 [0x411fd070]\n** 7 printk messages dropped **\n"
        b"Linux version 7.3.4 (x** 8 printk messages dropped **\n",
        # The log ends in the first 10 ms of a boot.
        b"[    0.000000] x\n[    1.000000] x\n[    0.500000] x\n[    2.000000] x\n[    0.000000] y\n",
        # Words that the driver does not print follow without a blank.
        b"[    1.000000] sdei: failed to unmask CPUx\n[    2.000000] x\n",
        b"[    0.000000] Booting Linux\n[    1.000000] CPU features: Pseudo-NMI disabled due tox\n",
        # Noise of a serial line: it splits a record, and it hides the end of a frame.
        b"6,1,5000000,-;x11: 0\\x0a1 x10: 0\\x0ax11: 0\n6,2,5000001,-;x\n",
        b"6,1,5000000,-;x\\x0ax\n6,2,5,-;y\\x0ay\\x0az\n6,3,5000002,-;x\n",
        b"[    1.000000] NMI backtrace for cpu 0\n[    1.000001] CPU: 0 PID: 5 Comm: x\n"
        b"[    1.000002]  sdei_nmi_trigger_cpumask_backtrace+0x24/0x36]x\n"
        b"[    1.000003] Sending NMI from CPU 0 to CPUs 1:\n",
        b"6,1,0,-;Machine model: a\\x5cx0d\\x0db\n6,2,1,-;DMI: a\\x0db, BIOS 2025.0\n",
    ],
)
def test_clean_records_are_as_many(log: bytes) -> None:
    clean = public_log(log)
    assert public_log(clean) == clean
    raw, found = parse_log(log), parse_log(clean)
    assert len(found.records) == len(raw.records) >= 2
    assert [record.boot for record in found.records] == [record.boot for record in raw.records]
    assert analyze(found).episodes == analyze(raw).episodes or b"panic" in log
    assert len(analyze(found).episodes) == len(analyze(raw).episodes)
    assert read_bootlog(found.last_boot()) == read_bootlog(raw.last_boot())
    lines = [[architecture_of_line(record.text) for record in log.records] for log in (raw, found)]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    "words",
    ["INFO: rcu_sched self-detected stall on zqxhost", "INFO: x detected stalls on zqx/zqx { 1-... } (y)"],
)
def test_words_after_a_stall_stay_here(words: str) -> None:
    """The kernel prints CPU, CPUs/tasks or tasks there; a damaged line has anything."""
    for begins in ("", "rcu: "):
        assert b"zqx" not in public_log(
            b"[    0.500000] Booting Linux\n" + f"[    1.000000] {begins}{words}\n".encode()
        )


def test_cleaning_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is cheap to read may be long to clean. Then it is left out, as one that is too long."""
    log = b"Booting Linux on physical CPU 0x0000000000 [0x411fd070]\n" + b"a\n" * 400_000
    assert public_log(log).count(b"\n") == 400_001
    monkeypatch.setattr("sdeictl.klog.lines._CLEAN_WORK", 1000)
    assert public_log(log) == b"(left out)"


def test_records_of_others_stay_theirs() -> None:
    log = b"14,1,0,-;x\n14,2,1,-;y\n"
    assert public_log(log) == b"14,1,0,-;(left out)\n14,2,1,-;(left out)\n"
    assert not parse_log(public_log(log)).records


@pytest.mark.parametrize(
    "text",
    [
        "Kernel panic - not syncing: Oops - zqxhost: Fatal exception",
        "pc : zqx_start+0x1",
        "pc : zqx_start+0x10/0x20 [zqx]",
        "CPU: 0 PID: 5 Comm: zqx Not tainted zqx",
    ],
)
def test_names_of_others_stay_here(text: str) -> None:
    """The second line was cut, before its end shows whether the function belongs to a module."""
    clean = public_log(f"[    0.500000] Booting Linux\n[    1.000000] {text}\n".encode())
    assert clean.count(b"\n") == 2
    assert b"zqx" not in clean


@pytest.mark.parametrize("name", HOST_NAMES[::3])
def test_clean_text_has_same_episodes(name: str) -> None:
    """A log in another format than /dev/kmsg stays text: with two boots, with lost lines, without times."""
    text = load_host(name).console
    later = text.replace(b"[    0.00", b"[   90.00")
    dropped = text.replace(b"\n", b"\n** 7 printk messages dropped **\n", 20)
    untimed = re.sub(rb"^\[ *\d+\.\d+\] ", b"", text, flags=re.MULTILINE)
    syslog = re.sub(rb"^(?=\[ *\d+\.)", b"Nov 27 10:00:00 db7 kernel: ", text, flags=re.MULTILINE)
    for log in (text, text + text, text + b"-- Reboot --\n" + later, dropped, untimed, syslog):
        clean = public_log(log)
        raw, found = parse_log(log), parse_log(clean)
        assert analyze(found).episodes == analyze(raw).episodes
        assert (found.lost, found.relayed, len(found.records)) == (raw.lost, raw.relayed, len(raw.records))
        first, second = (read_bootlog(parsed.last_boot()) for parsed in (raw, found))
        assert second._replace(command_line=None) == first._replace(command_line=None)
        assert public_log(clean) == clean
