"""The text of acpidump(8) in place of the ACPI tables gives the same findings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.formats.acpidump import parse_acpidump
from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.report import build_report
from tests.conftest import HOST_NAMES, load_host
from tests.test_analysis_properties import EXAMPLES

TABLES = "sys/firmware/acpi/tables"
ACPI_HOSTS = [name for name in HOST_NAMES if (load_host(name).root / TABLES / "SDEI").exists()]
# As acpidump of ACPICA 20200925 prints a table of the lab's firmware.
PRINTED = """\
SDEI @ 0x0000000000000000
    0000: 53 44 45 49 24 00 00 00 01 9A 53 44 45 49 43 54  SDEI$.....SDEICT
    0010: 4C 41 42 20 20 20 20 20 01 00 00 00 4C 41 42 20  LAB     ....LAB
    0020: 01 00 00 00                                      ....

"""


def dump(tables: dict[str, bytes]) -> str:
    out = ""
    for name, data in tables.items():
        out += f"{name} @ 0x0000000000000000\n"
        for at in range(0, len(data), 16):
            row = data[at : at + 16]
            shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
            out += f"    {at:04X}: {' '.join(f'{byte:02X}' for byte in row):<47}  {shown}\n"
        out += "\n"
    return out


def tables_of(name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((load_host(name).root / TABLES).iterdir())}


def dumped(tmp_path: Path, name: str, text: str) -> ReportDocument:
    tree = tmp_path / "tree"
    shutil.copytree(load_host(name).root, tree, symlinks=True)
    shutil.rmtree(tree / TABLES)
    (tree / "sdeictl-capture.json").unlink(missing_ok=True)
    (tree / "acpidump.txt").write_text(text)
    return build_report(collect(open_root(str(tree))))


def test_what_acpidump_prints() -> None:
    (name, data), *others = parse_acpidump(PRINTED).items()
    assert (name, len(data), data[:4], others) == ("SDEI", 36, b"SDEI", [])
    assert [line.rstrip() for line in dump({"SDEI": data}).splitlines()] == PRINTED.splitlines()


@pytest.mark.parametrize("name", ACPI_HOSTS)
def test_same_findings_as_the_tables(tmp_path: Path, name: str) -> None:
    tree = tmp_path / "with tables"
    shutil.copytree(load_host(name).root, tree, symlinks=True)
    (tree / "sdeictl-capture.json").unlink(missing_ok=True)
    from_tables = build_report(collect(open_root(str(tree))))
    from_dump = dumped(tmp_path, name, dump(tables_of(name)))
    assert from_dump["findings"] == from_tables["findings"]
    assert from_dump["verdict"] == from_tables["verdict"]
    assert from_dump["host"] == from_tables["host"]


@pytest.mark.parametrize("text", ["", "hello\n", "SDEI @ nowhere\n"])
def test_text_without_tables_is_a_gap(tmp_path: Path, text: str) -> None:
    found = dumped(tmp_path, ACPI_HOSTS[0], text)
    assert {gap["kind"] for gap in found["gaps"] if gap["source"] == "/acpidump.txt"} == {"broken"}


def test_table_with_a_lost_line_is_damaged(tmp_path: Path) -> None:
    lines = dump(tables_of(ACPI_HOSTS[0])).splitlines(keepends=True)
    start = next(at for at, line in enumerate(lines) if line.startswith("APIC"))
    found = dumped(tmp_path, ACPI_HOSTS[0], "".join([*lines[: start + 3], *lines[start + 4 :]]))
    assert "/sys/firmware/acpi/tables/APIC" in {gap["source"] for gap in found["gaps"]}


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 5000))
def test_cut_table_is_never_longer(cut: int) -> None:
    tables = tables_of(ACPI_HOSTS[0])
    for name, data in parse_acpidump(dump(tables)[:cut]).items():
        assert tables[name].startswith(data)


@settings(max_examples=EXAMPLES)
@given(st.text(alphabet="SDEIAPC@ 0x:4f\n", max_size=300))
def test_any_text_is_read(text: str) -> None:
    for name, data in parse_acpidump(text).items():
        assert (len(name), type(data)) == (4, bytes)
