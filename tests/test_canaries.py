"""No text of users, drivers or firmware leaves in a capture or a report: canaries in every place show it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.open import open_root
from sdeictl.host.root import Root
from sdeictl.host.sos import SosRoot
from sdeictl.klog import boot_reader, bootlog, public
from sdeictl.klog.messages.message import Message
from sdeictl.klog.public import public_log
from sdeictl.probe import clean
from sdeictl.probe.capture import make_capture, pack
from sdeictl.probe.clean_acpi import clean_table
from sdeictl.probe.collect import collect
from sdeictl.probe.metrics import exposition
from sdeictl.probe.report import build_report
from tests.conftest import HOST_NAMES, TESTS, load_host
from tests.support import canaries as plants
from tests.support.canaries import Canaries, Plant, Planted, leaks_of
from tests.test_acpi import agdi, ghes, hest

NUMBER = plants.plant_nothing
STAYS = plants.plant_nothing
STATE = r"/sys/devices/system/cpu/cpu\d+/cpuidle/state\d+"
DRILLS = "/var/lib/sdeictl/drills"
PLANTS: dict[str, Plant] = {
    "/proc/cpuinfo": lambda data, canary: plants.plant_lines("Serial\t: {}", "model name\t: {}", "{}: {}")(
        plants.plant_in_lines(data, canary), canary
    ),
    "/proc/version": plants.plant_in_version,
    "/proc/cmdline": plants.plant_in_cmdline,
    r"/proc/config\.gz": plants.plant_in_packed_config,
    r"/boot/config-.*|/lib/modules/.*/config": plants.plant_in_config,
    "/proc/kallsyms": plants.plant_in_symbols,
    "/sys/devices/system/cpu/hotplug/states": plants.plant_lines("77: {}:online", "{}"),
    "/proc/interrupts": plants.plant_lines(" 99: 1 2 GICv3 120 Level {}@{}", "{}: 1 2 {}", "IPI9: 1 {}"),
    "/proc/consoles": plants.plant_lines(
        "tty{} -W- (EC p {}) 4:64", "ramoops-{} -W- (E)", "netcon{} -W- (E)"
    ),
    "/dev/kmsg": plants.plant_in_kmsg,
    "/sys/firmware/acpi/tables/(?:DSDT|SSDT.*)": plants.plant_in_code,
    "/sys/firmware/acpi/tables/.*": plants.plant_in_table,
    "/sys/class/dmi/id/.*|/sys/bus/soc/devices/soc0/(?:soc_id|machine)": STAYS,
    "/sys/firmware/devicetree/base/model": plants.plant_in_strings,
    "/sys/bus/soc/devices/soc0/revision": plants.plant_everywhere,
    "/sys/hypervisor/type": plants.plant_everywhere,
    "/sys/firmware/devicetree/base/.*/compatible": plants.plant_in_strings,
    "/sys/firmware/devicetree/base/firmware/.*/(?:method|status)": plants.plant_in_strings,
    r"/proc/sys/kernel/(?:watchdog_cpumask|panic_on_warn)": plants.plant_everywhere,
    "/sys/kernel/oops_count|/proc/sys/kernel/sysrq": plants.plant_without_end,
    "/proc/sys/.*|/sys/kernel/.*_count|/sys/kernel/kexec_.*|/sys/module/(?!pstore).*": NUMBER,
    "/sys/kernel/security/lockdown": lambda _data, canary: f"none [{canary()}] integrity\n".encode(),
    "/sys/module/pstore/parameters/backend": plants.plant_everywhere,
    "/sys/devices/system/cpu/cpuidle/current_driver": NUMBER,  # a known word; the next test replaces it
    "/sys/devices/system/cpu/cpu1/cpuidle/driver/name": plants.plant_everywhere,
    "/sys/devices/system/cpu/.*/cpuidle/driver/name": NUMBER,
    f"{STATE}/(?:name|desc)": lambda data, canary: data if data == b"WFI\n" else f"{canary()}\n".encode(),
    f"{STATE}/(?:latency|residency|usage)": NUMBER,
    rf"{DRILLS}/.*000001Z-\w+\.json": plants.plant_in_words_of_result,
    rf"{DRILLS}/.*\.json": plants.plant_in_result,
}
"""How each file is planted. A file that the probe reads and that is not here fails the test."""


def extra_files(name: str) -> dict[str, bytes]:
    """Return files that the recorded hosts lack: a source of each further kind."""
    release = (load_host(name).root / "proc/version").read_text().split()[2]
    result = json.loads((TESTS / "hosts/acpi-idle/drills/bpf.json").read_bytes())
    results = {
        f"{DRILLS}/20260101T000000.00000{number}Z-{drill}.json": json.dumps(
            result
            | {
                "id": f"20260101T000000.00000{number}Z-{drill}",
                "drill": drill,
                "outcome": outcome,
                "lost_cpus": [2],
            }
        ).encode()
        for number, (drill, outcome) in enumerate(
            (("backtrace", "lost"), ("lockup", "fail"), ("stop", "pass"))
        )
    }
    others = {
        "/sys/bus/soc/devices/soc0/soc_id": b"jep106:036b:0241\n",
        "/sys/bus/soc/devices/soc0/machine": b"Grace\n",
        "/sys/bus/soc/devices/soc0/revision": b"0x0\n",
        "/sys/hypervisor/type": b"xen\n",
        f"/boot/config-{release}": b"CONFIG_ARM64=y\n",
        f"/lib/modules/{release}/config": b"CONFIG_ARM64=y\n",
        f"/lib/modules/{release}/kernel/lib/test_lockup.ko.xz": b"",
        "/usr/sbin/makedumpfile": b"",
        "/sys/kernel/debug/provoke-crash/DIRECT": b"",
    }
    tables = {
        "/sys/firmware/acpi/tables/HEST": hest(ghes(1, 11, 804)),
        "/sys/firmware/acpi/tables/AGDI": agdi(0, 804),
    }
    nodes = {
        "/sys/firmware/devicetree/base/firmware/zqxfff/compatible": b"arm,sdei-1.0\0",
        "/sys/firmware/devicetree/base/firmware/zqxfff/method": b"smc\0",
        "/sys/firmware/devicetree/base/hypervisor/compatible": b"linux,kvm\0",
    }
    return results | others | (tables if name.startswith("acpi") else nodes)


def planted_host(name: str, canaries: Canaries, plants_of: dict[str, Plant] = PLANTS) -> Planted:
    return Planted(DirectoryRoot(str(load_host(name).root)), canaries, plants_of, extra_files(name))


def without_time(root: Root) -> dict[str, Any]:
    return {**build_report(collect(root)), "generated_at": None}


@pytest.fixture
def make_canaries(record_property: Callable[[str, object], None]) -> Iterator[Callable[[], Canaries]]:
    """Return what makes canaries that must not leave; how many there were is recorded."""
    made: list[Canaries] = []

    def make() -> Canaries:
        made.append(Canaries())
        return made[-1]

    yield make
    record_property("canaries planted", sum(len(each.places) for each in made))
    record_property("places of the canaries", sum(len({*each.places.values()}) for each in made))
    record_property("canaries that left", sum(len(each.left) for each in made))


def check_clean(root: Planted, canaries: Canaries, tmp_path: Path) -> None:
    """Assert that no canary leaves, and that the capture has the report of the host."""
    packed = pack(make_capture(root))
    assert leaks_of(canaries, packed) == {}
    (tmp_path / "c.tar.gz").write_bytes(packed)
    captured = open_root(str(tmp_path / "c.tar.gz"))
    host, capture = without_time(root), without_time(captured)
    assert canaries.leaks_in(json.dumps(host).encode()) == {}
    assert host == capture
    assert canaries.leaks_in(exposition(build_report(collect(captured)))) == {}
    assert pack(make_capture(captured)) == packed


@pytest.mark.parametrize("name", HOST_NAMES)
def test_no_canary_leaves(name: str, tmp_path: Path, make_canaries: Callable[[], Canaries]) -> None:
    canaries = make_canaries()
    root = planted_host(name, canaries)
    check_clean(root, canaries, tmp_path)
    assert root.unknown == set()


HOSTS_OF_EACH_KIND = ("acpi-idle", "acpi-sdei", "dt-idle", "dt-sdei", "debian-12")


BINARY = r"/proc/config\.gz|/sys/firmware/acpi/tables/.*|/sys/firmware/devicetree/.*"


@pytest.mark.parametrize("plant", [plants.plant_everywhere, plants.plant_without_end, plants.plant_in_lines])
@pytest.mark.parametrize("name", HOSTS_OF_EACH_KIND)
def test_no_canary_of_broken_sources(
    name: str, plant: Plant, tmp_path: Path, make_canaries: Callable[[], Canaries]
) -> None:
    """Whatever stands in a file, it does not leave; the gaps of the host stay."""
    kept = "/proc/version|/sys/class/dmi/id/.*|/sys/bus/soc/.*|/sys/firmware/devicetree/base/model"
    of_binary = plants.plant_everywhere if plant is plants.plant_in_lines else plant
    for planted in (
        {BINARY: of_binary},
        *({BINARY: plants.plant_nothing, group: plant} for group in ("/dev/kmsg", "/proc/.*", "/sys/.*")),
    ):
        canaries = make_canaries()
        check_clean(planted_host(name, canaries, {kept: STAYS, **planted, **PLANTS}), canaries, tmp_path)


def test_leak_names_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the rule of a file, its canaries leave."""
    for path in ("/proc/cpuinfo", "/kmsg.txt", f"{DRILLS}/20260101T000000.000000Z-backtrace.json"):
        canaries = Canaries()
        rules = [
            (pattern, rule._replace(clean=lambda _c, _m, data: data) if pattern.fullmatch(path) else rule)
            for pattern, rule in clean._PATTERNS
        ]
        with monkeypatch.context() as patch:
            patch.setattr(clean, "_PATTERNS", rules)
            leaks = leaks_of(canaries, pack(make_capture(planted_host("acpi-idle", canaries))))
        assert path.replace("/kmsg.txt", "/dev/kmsg") in set(leaks.values())


def test_every_canary_was_planted() -> None:
    """The control: what the probe reads has each canary, so that it could leave."""
    canaries = Canaries()
    root = planted_host("acpi-idle", canaries)
    collect(root)
    raw = b"\n".join(root._cache.values())
    seen = {name for data in (raw, *root._cache.values()) for name in canaries.found_in(data)}
    missing = {name: place for name, place in canaries.places.items() if name not in seen}
    assert {place for place in missing.values() if not place.startswith("the ")} <= {
        f"/sys/firmware/acpi/tables/{table}"
        for table in ("AGDI", "APIC", "DSDT", "FACP", "HEST", "SDEI", "SSDT")
    }  # four bytes of a table hold the beginning of a canary only
    assert len(seen) > 300


def test_new_source_needs_a_canary() -> None:
    canaries = Canaries()
    root = planted_host(
        "dt-sdei", canaries, {path: plant for path, plant in PLANTS.items() if "cpuinfo" not in path}
    )
    collect(root)
    assert root.unknown == {"/proc/cpuinfo"}


@pytest.mark.parametrize("name", HOST_NAMES)
def test_every_source_has_a_rule(name: str) -> None:
    root = planted_host(name, Canaries(), {".*": plants.plant_nothing})
    made = make_capture(root)
    cleaner = clean.Cleaner(made.facts)
    assert [path for path in root.read_paths if cleaner.path(path) is None] == []
    assert [item for item in made.left_out if "no rule" in item.what] == []


def test_texts_of_the_contract_stay(tmp_path: Path) -> None:
    """The report shows these four texts, and so a capture has them."""
    texts = {
        "/proc/version": b"Linux version 7.3.4-mine (x) #1\n",
        "/sys/class/dmi/id/product_name": b"A Machine\n",
        "/sys/class/dmi/id/bios_version": b"9.9\n",
        "/sys/bus/soc/devices/soc0/soc_id": b"jep106:036b:0241\n",
        "/sys/bus/soc/devices/soc0/machine": b"A Chip\n",
    }
    root = Planted(DirectoryRoot(str(load_host("acpi-sdei").root)), Canaries(), {".*": STAYS}, texts)
    (tmp_path / "c.tar.gz").write_bytes(pack(make_capture(root)))
    host = build_report(collect(open_root(str(tmp_path / "c.tar.gz"))))["host"]
    assert (host["kernel"], host["soc"]) == ("7.3.4-mine", "A Chip")
    assert "A Machine" in (host["model"] or "")
    assert "9.9" in (host["firmware"] or "")


SOS_PLANTS: dict[str, Plant] = {
    "/sos_commands/kernel/dmesg": plants.plant_in_dmesg,
    "/sos_commands/kernel/uname_-a": plants.plant_in_lines,
    "/sos_commands/kernel/sysctl_-a": plants.plant_lines(
        "kernel.{} = {}", "kernel.hostname = {}", "net.{} = 1"
    ),
    "/sos_commands/boot/.*": plants.plant_lines("-r--r--r-- 1 {} {} 1 Jan 1 2026 {}"),
    **PLANTS,
}


class _PlantedTree(Planted):
    live = False


@pytest.mark.parametrize("name", ["acpi-sdei", "dt-sdei"])
def test_no_canary_of_sos_leaves(name: str, tmp_path: Path, make_canaries: Callable[[], Canaries]) -> None:
    canaries = make_canaries()
    tree = _PlantedTree(DirectoryRoot(str(TESTS / "hosts" / name / "sos")), canaries, SOS_PLANTS)
    root = SosRoot(tree)
    packed = pack(make_capture(root))
    assert leaks_of(canaries, packed) == {}
    assert tree.unknown == set()
    (tmp_path / "c.tar.gz").write_bytes(packed)
    captured = open_root(str(tmp_path / "c.tar.gz"))
    assert without_time(captured) == without_time(root)
    assert canaries.leaks_in(json.dumps(without_time(root)).encode()) == {}
    assert pack(make_capture(captured)) == packed


def as_syslog(lines: list[str]) -> str:
    return "".join(
        f"Nov 27 10:00:00 zqxfff kernel: [{at:5d}.000000] {line}\n" for at, line in enumerate(lines)
    )


def as_journal(lines: list[str]) -> str:
    entries = (
        {
            "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "PRIORITY": "4", "_HOSTNAME": "zqxfff",
            "_SOURCE_MONOTONIC_TIMESTAMP": str(at * 1000000), "MESSAGE": line, "_BOOT_ID": "zqxfff",
        }
        for at, line in enumerate(lines)
    )  # fmt: skip
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


LOG_FORMS = {
    "dmesg": lambda lines: "".join(f"[{at:5d}.000000][ T{at}] {line}\n" for at, line in enumerate(lines)),
    "dmesg of one time": lambda lines: "".join(f"[    0.000000] {line}\n" for line in lines),
    "dmesg -r": lambda lines: "".join(f"<4>[{at:5d}.000000] {line}\n" for at, line in enumerate(lines)),
    "dmesg -T": lambda lines: "".join(f"[Fri Nov 27 10:00:00 2026] {line}\n" for line in lines),
    "no times": lambda lines: "".join(f"{line}\n" for line in lines),
    "syslog": as_syslog,
    "journal": as_journal,
}


@pytest.mark.parametrize("form", LOG_FORMS)
def test_no_canary_of_a_log(form: str, make_canaries: Callable[[], Canaries]) -> None:
    canaries = make_canaries()
    lines = plants.log_lines(lambda kind="zqx": canaries.at("the log", kind))
    first = "Booting Linux on physical CPU 0x0000000000 [0x411fd070]"
    log = LOG_FORMS[form]([first, *lines]).encode()
    cleaned = public_log(log)
    assert canaries.leaks_in(cleaned) == {}
    assert len(canaries.found_in(log)) > 150
    assert b"Booting Linux on physical CPU" in cleaned
    assert public_log(cleaned) == cleaned


def test_manifest_of_source_is_cleaned(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/version").write_text("Linux version 7.3.4 (x) #1\n")
    manifest = {
        "captured_at": "zqx001", "tool": {"name": "zqx002", "version": "zqx003"},
        "listings": {"/sys/bus/platform/devices": ["zqx004"], "/zqx005": ["zqx006"]},
        "failures": {"/zqx007": "EACCES", "/proc/cmdline": "EACCES", "/proc/cpuinfo": "zqx008"},
        "left_out": [{"path": "/zqx009", "what": "zqx00a"}, {"path": "/proc/version", "what": "zqx00b"}],
        "kept": {"symbols": ["zqx00c"], "options": ["zqx00d"], "lpi": {"unknown": "zqx00e"}, "zqx00f": 1},
    }  # fmt: skip
    (tmp_path / "sdeictl-capture.json").write_text(json.dumps(manifest))
    made = make_capture(open_root(str(tmp_path)))
    assert leaks_of(Canaries(), pack(made)) == {}
    assert made.manifest["failures"]["/proc/cmdline"] == "EACCES"


# What a report or a capture may say of a message comes from a pattern of it. Such a part takes any text.
_ANY_TEXT = ("ANY", "NOT_LITERAL", "NEGATE", "CATEGORY_NOT_SPACE", "CATEGORY_WORD", "CATEGORY_NOT_DIGIT")
MACHINE = ("Machine model: ", "DMI: ")


def takes_any_text(pattern: str) -> bool:
    """Tell whether a regular expression takes words that do not stand in it."""
    try:
        from re import _parser as parser  # type: ignore[attr-defined] # noqa: PLC0415 - from Python 3.11 on
    except ImportError:
        import sre_parse as parser  # noqa: PLC0415
    without_lookahead = re.sub(r"\(\?![^)]*\)", "", pattern)
    return any(word in repr(parser.parse(without_lookahead)) for word in _ANY_TEXT)


def test_kept_messages_take_no_text() -> None:
    exact = [message for message, render in public.MESSAGES if render is public.whole]
    loose = {message.begins for message in exact if takes_any_text(message.pattern)}
    assert loose == set(MACHINE)
    assert takes_any_text("INFO: task (.{1,64}):")
    assert not takes_any_text(r"CPU(\d+): [a-f]{2}")


def test_every_known_message_has_a_rule() -> None:
    """The analysis and the boot log read the same from a clean log."""
    known: set[Message] = {message for message, _render in public.MESSAGES}
    read = {message for message, _method in boot_reader._RULES} | {
        message for _field, message in bootlog._FIELDS
    }
    assert read - known == set()


@pytest.mark.parametrize("signature", ["SDEI", "FACP", "APIC", "HEST", "AGDI"])
def test_damaged_table_stays_damaged(signature: str) -> None:
    from tests.test_acpi import CORPUS, PARSERS  # noqa: PLC0415 - the corpus of that test

    def outcome(data: bytes) -> object:
        try:
            return PARSERS[signature](data)
        except ValueError as error:
            return str(error)

    data = CORPUS[signature]
    for cut in range(len(data) + 1):
        for table in (
            data[:cut],
            data[:cut] + b"\xff" + data[cut + 1 :],
            data[:cut] + b"\0\0" + data[cut + 2 :],
            data[:4] + cut.to_bytes(4, "little") + data[8:],
        ):
            cleaned = clean_table(signature, table)
            assert outcome(cleaned) == outcome(table), (cut, table[:44].hex())
            assert clean_table(signature, cleaned) == cleaned
