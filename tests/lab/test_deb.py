"""The package of arm64, cross-built as by `make deb`: all of the project in its place, and nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from sdeictl_agent.config import KEYS, parse_config

from sdeictl import __version__
from tests.conftest import PROJECT, installed_modules
from tests.lab.deb import Package
from tests.support import toml

AARCH64 = 183
"""EM_AARCH64, an ELF file's machine."""
BY_HAND = "sdeictl-textfile.service"
"""For who wants it: an upgrade enables it again where it was, and nothing starts what is not enabled."""
UNITS = sorted(path for path in (PROJECT / "systemd").iterdir() if path.suffix != ".conf")
PYTHON = Path("usr/lib/python3/dist-packages")
LIBRARY = str(PYTHON / "sdeictl/bench/libbench.so")


@pytest.fixture(scope="module")
def tree(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's files in ROOT, its scripts in DEBIAN."""
    target = tmp_path_factory.mktemp("tree")
    subprocess.run(["dpkg-deb", "--raw-extract", package.file, target], check=True)
    return target


def test_what_it_says_of_itself(package: Package, tree: Path) -> None:
    control = (tree / "DEBIAN/control").read_text()
    fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", control, re.MULTILINE))
    assert (fields["Package"], fields["Version"], fields["Architecture"]) == ("sdeictl", __version__, "arm64")
    assert package.file.name == f"sdeictl_{__version__}_arm64.deb"
    project = toml.loads((PROJECT / "pyproject.toml").read_text())["project"]
    # Debian trixie's Python needs no package that is only for older ones.
    lines = [line for line in project["dependencies"] if ";" not in line]
    wanted = {f"python3-{re.split('[^a-z-]', line)[0]}" for line in lines}
    assert len(wanted) == 6
    assert {"libc6", "systemd", *wanted} <= set(re.findall(r"[a-z][\w.+-]*", fields["Depends"]))
    assert re.findall(r"(?m)^[EW]: .*", package.lintian) == []


def test_what_it_installs(tree: Path) -> None:
    files = {path.relative_to(tree) for path in tree.rglob("*") if not path.is_dir()}
    installed = {str(path) for path in files if path.parts[0] != "DEBIAN"}
    assert {path.split("/")[0] for path in installed} == {"usr"}
    assert not {path for path in installed if "/local/" in path or path.endswith((".pyc", ".c"))}

    project = toml.loads((PROJECT / "pyproject.toml").read_text())
    programs = {f"usr/bin/{name}" for name in project["project"]["scripts"]}
    modules = {str(PYTHON / module) for module in installed_modules()}
    units = {f"usr/lib/systemd/system/{unit.name}" for unit in UNITS}
    pages = {f"usr/share/man/man{page.suffix[1:]}/{page.name}.gz" for page in (PROJECT / "man").iterdir()}
    prometheus = {f"usr/share/sdeictl/{path.relative_to(PROJECT)}" for path in PROJECT.glob("prometheus/*.*")}
    wanted = {
        *programs, *modules, *units, *pages, *prometheus,
        "usr/lib/sysusers.d/sdeictl.conf", "usr/lib/tmpfiles.d/sdeictl.conf", LIBRARY,
    }  # fmt: skip
    assert (len(programs), len(prometheus) > 3) == (4, True)
    assert wanted - installed == set()
    assert {
        path for path in installed if path.startswith(("usr/bin/", "usr/lib/systemd"))
    } == programs | units
    for program in programs:
        assert (tree / program).stat().st_mode & 0o777 == 0o755
        assert re.match("#! ?/usr/bin/python3\n", (tree / program).read_text())
        assert any((tree / "usr/share/man").glob(f"man[18]/{Path(program).name}.[18].gz"))

    library = (tree / LIBRARY).read_bytes()
    assert (library[:4], int.from_bytes(library[18:20], "little")) == (b"\x7fELF", AARCH64)


@pytest.mark.parametrize("program", ["sdeictl", "sdeictl-agent"])
def test_completions(tree: Path, program: str) -> None:
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    for shell, name in (
        ("bash", f"bash-completion/completions/{program}"),
        ("zsh", f"zsh/vendor-completions/_{program}"),
        ("fish", f"fish/vendor_completions.d/{program}.fish"),
    ):
        text = (tree / "usr/share" / name).read_text()
        assert f"{variable}={shell}_complete" in text
        assert program in text


def test_what_its_scripts_start(tree: Path) -> None:
    """A unit that is for the next boot is enabled, and never started by dpkg."""
    script = (tree / "DEBIAN/postinst").read_text()
    enabled = set(re.findall(r"deb-systemd-helper enable '([^']+)'", script))
    assert enabled == {unit.name for unit in UNITS if "[Install]" in unit.read_text()}
    assert re.findall(r"if deb-systemd-helper debian-installed '([^']+)'", script) == [BY_HAND]
    started = {
        name for line in re.findall(r"deb-systemd-invoke .*", script) for name in re.findall(r"'(.+?)'", line)
    }
    assert started == {unit.name for unit in UNITS if not unit.name.endswith("-resume.service")}


def test_example_configuration_is_valid(tree: Path) -> None:
    example = (tree / "usr/share/doc/sdeictl/examples/config.toml").read_text()
    parse_config(example.encode(), "as it is")
    every = re.sub(r"(?m)^# (?=\[|\w+ = )", "", example)
    parse_config(every.encode(), "with every key")
    document = toml.loads(every)
    assert [f"{section}.{key}" for section, keys in document.items() for key in keys] == list(KEYS)
