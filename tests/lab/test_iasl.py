"""What iasl compiles is what acpi.py reads: its own templates, with fields that we set."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from sdeictl.formats.acpi import Agdi, Fadt, parse_agdi, parse_fadt, parse_hest, parse_length, parse_madt
from tests.lab.build import Lab


class Iasl:
    """The compiler of trixie."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self._command = lab.command("iasl", "iasl")
        self._directory = directory

    def table(self, signature: str, fields: Mapping[str, str] | None = None) -> bytes:
        """Return the compiled template with these fields set, wherever they are."""
        self._run("-T", signature)
        source = self._directory / f"{signature.lower()}.asl"
        text = source.read_text()
        for name, value in (fields or {}).items():
            text, found = re.subn(rf"(?m)^(.*\b{re.escape(name)} : )\w+", rf"\g<1>{value}", text)
            assert found, f"the template of {signature} has no {name}"
        source.write_text(text)
        self._run(source.name)
        return source.with_suffix(".aml").read_bytes()

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [*self._command, *arguments], cwd=self._directory, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def iasl(lab: Lab, tmp_path: Path) -> Iasl:
    return Iasl(lab, tmp_path)


def test_sdei(iasl: Iasl) -> None:
    assert parse_length(iasl.table("SDEI"), "SDEI") == 36


def test_agdi(iasl: Iasl) -> None:
    assert parse_agdi(iasl.table("AGDI")) == Agdi(0x40000001, None)
    assert parse_agdi(iasl.table("AGDI", {"Flags (decoded below)": "01", "Gsiv": "0000002A"})) == Agdi(
        None, 42
    )


@pytest.mark.parametrize(("psci", "hvc"), [("0", "0"), ("1", "0"), ("1", "1")])
def test_facp(psci: str, hvc: str, iasl: Iasl) -> None:
    table = iasl.table("FACP", {"PSCI Compliant": psci, "Must use HVC for PSCI": hvc})
    assert parse_fadt(table) == Fadt(hvc == "1")


def test_apic(iasl: Iasl) -> None:
    """The template has one entry of every type that iasl knows, of other architectures too."""
    madt = parse_madt(iasl.table("APIC", {"ARM MPIDR": "0000000100000010", "Version": "03"}))
    assert (madt.gic_version, madt.mpidrs) == (3, (0x1_0000_0010,))


def test_hest(iasl: Iasl) -> None:
    fields = {"Error Source Count": "00000008", "Notify Type": "0B", "Vector": "00000324"}
    sources = parse_hest(iasl.table("HEST", fields))
    assert [source.type for source in sources] == [0, 1, 7, 8, 9, 9, 10, 11]
    assert [source.sdei_event for source in sources] == [None] * 4 + [804] * 3 + [None]
