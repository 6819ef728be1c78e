"""Build the lab from Debian packages: kernel, firmware, root file system.

Each part is one shell script in parts/. Its results lie in the cache under
<part>-<key>, where the key is a digest of the script and of what it reads, so
a changed recipe builds anew and an unchanged one never does. The work
directory <part>.work survives an interruption: the next build goes on there.

    python -m tests.lab.build [PART...]
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.archive import SUITES, ArchiveError, Index, choose_image, choose_source, read_index
from tests.lab.recipes import PARTS_TABLE, Kernel, Part
from tests.support import toml

PROJECT = Path(__file__).resolve().parents[2]
PARTS = Path(__file__).resolve().parent / "parts"
PROGRESS_SECONDS = 20.0
LISTS_SECONDS = 86400.0
"""How long lists of packages are good for: the archive moves on."""
ORIGIN = "origin"
"""The file that says of which packages a kernel was made."""
_KEY_LENGTH = 12
EXTRA = bool(os.environ.get("SDEICTL_LAB_EXTRA"))

# Debian packages the recipes and the guests' driver call, by the command that proves them.
TOOLS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "mmdebstrap": "mmdebstrap",
    "fdtput": "device-tree-compiler",
    "dtc": "device-tree-compiler",
    "make": "make",
    "gcc": "gcc",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "depmod": "kmod",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "cpio": "cpio",
    "xz": "xz-utils",
    "rsync": "rsync",
    "perl": "perl",
    "openssl": "openssl",
    "patch": "patch",
    "g++": "g++",
    "iasl": "acpica-tools",
    "npm": "npm",
    "journalctl": "systemd",
}
LIBRARIES = {
    "/usr/include/openssl/ssl.h": "libssl-dev",
    "/usr/include/libelf.h": "libelf-dev",
    "/usr/include/uuid/uuid.h": "uuid-dev",
    "/usr/aarch64-linux-gnu/include/stdio.h": "libc6-dev-arm64-cross",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}


FOR_ARM64 = {"CC": "aarch64-linux-gnu-gcc", "_PYTHON_HOST_PLATFORM": "linux-aarch64"}
"""For the wheel that the guests get (setup.py)."""


class LabError(Exception):
    """The lab cannot be built; the message says what to do."""


class Lab:
    """The cache of built parts, by default ~/.cache/sdeictl-lab (SDEICTL_LAB overrides)."""

    def __init__(self, cache: Path | None = None) -> None:
        default = Path.home() / ".cache" / "sdeictl-lab"
        self.cache = cache or Path(os.environ.get("SDEICTL_LAB", default))
        self.cache.mkdir(parents=True, exist_ok=True)
        self._site: tempfile.TemporaryDirectory[str] | None = None
        self._index: Index = {}

    def part(self, name: str) -> Path:
        """Return the directory of a built part; raise LabError if it is not built."""
        directory = self._directory(next(part for part in PARTS_TABLE if part.name == name))
        if not directory.is_dir():
            raise LabError(f"the lab's {name} is not built: run `make lab`")
        return directory

    def command(self, part: str, program: str) -> list[str]:
        """Return how a program of a part is called that brings its own libraries: by its own loader."""
        usr = self.part(part) / "usr"
        libraries = usr / "lib/x86_64-linux-gnu"
        return [
            str(usr / "lib64/ld-linux-x86-64.so.2"),
            "--library-path", f"{libraries}:{libraries}/pulseaudio",
            str(usr / "bin" / program),
        ]  # fmt: skip

    def build(self, names: tuple[str, ...] = ()) -> None:
        """Build what is missing of the named parts, or of all; the extra ones if that is asked for."""
        wanted = [part for part in PARTS_TABLE if part.name in names or not (names or part.extra > EXTRA)]
        with self._lock():
            missing = [part for part in wanted if not self._directory(part).is_dir()]
            ensure_tools()
            for part in missing:
                self._build_part(part)
        _say(f"lab: ready in {self.cache}")

    def site(self) -> Path:
        """Return site.tar: this checkout's wheel, installed. It is built once and goes with the Lab."""
        if not self._site:
            self._site = tempfile.TemporaryDirectory(prefix="site-", dir=self.cache)
            base = Path(self._site.name)
            pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
            with self._lock("wheel.lock"):  # two at once would meet in the checkout's build directory
                _run(
                    [*pip, "wheel", "--no-deps", "--wheel-dir", str(base), str(PROJECT)],
                    os.environ | FOR_ARM64,
                )
            (wheel,) = base.glob("*_aarch64.whl")
            # A directory of its own: unlike a temporary one, every user in the guest can read it.
            target = ["--target", str(base / "site"), "--platform", "linux_aarch64", "--only-binary", ":all:"]
            _run([*pip, "install", "--no-deps", "--no-compile", *target, str(wheel)])
            # By the guest's own Python, as it is in the root file system.
            python = [*self.command("rootfs", "python3.13"), "-m", "compileall", "-q"]
            places = [
                "--invalidation-mode",
                "unchecked-hash",
                "-s",
                str(base),
                "-p",
                "/lab",
                str(base / "site"),
            ]
            home = {"PYTHONHOME": str(self.part("rootfs") / "usr")}
            _run([*python, *places], os.environ | home)
            _run(["tar", "-C", str(base / "site"), "-cf", str(base / "site.tar"), "."])
        return Path(self._site.name) / "site.tar"

    def _directory(self, part: Part) -> Path:
        digest = hashlib.sha256()
        for name in ("lib.sh", part.script, *part.inputs):
            digest.update((PARTS / name).read_bytes())
        if part.kernel:
            digest.update(repr(part.kernel).encode())
        digest.update(part.suite.encode())
        if part.name == "rootfs":
            digest.update(requirements().encode())
        if "python.sh" in part.inputs:
            digest.update(dev_requirements().encode())
        return self.cache / f"{part.name}-{digest.hexdigest()[:_KEY_LENGTH]}"

    @contextmanager
    def _lock(self, name: str = "lock") -> Iterator[None]:
        with (self.cache / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _apt(self, name: str, types: str, architectures: str, *suites: str) -> Path:
        """Return an apt configuration of our own whose lists are of today."""
        base = self.cache / name
        ready = base / "ready"
        recipe = f"{types} {architectures} {suites}\n" + (PARTS / "apt.sh").read_text()
        fresh = ready.exists() and time.time() - ready.stat().st_mtime < LISTS_SECONDS
        if not (fresh and ready.read_text() == recipe):
            _run(["bash", str(PARTS / "apt.sh"), str(base), types, architectures, *suites])
            ready.write_text(recipe)
        return base

    def _kernel_environment(self, kernel: Kernel, work: Path) -> dict[str, str]:
        """Return what the recipe of a kernel wants to know, and leave what it will be made of in `origin`."""
        apt = self._apt("apt-kernels", "deb", "arm64", *SUITES)
        self._index = self._index or read_index(apt / "apt.conf")
        if kernel.options:
            choice = choose_source(kernel.role, self._index)
        else:
            choice = choose_image(kernel.role, kernel.flavour, self._index)
        (work / ORIGIN).write_text(choice.origin + "\n")
        return {
            "APT_CONFIG": str(apt / "apt.conf"),
            "LAB_PACKAGES": " ".join(choice.packages),
            "LAB_RELEASE": choice.release,
            "LAB_OPTIONS": " ".join(kernel.options),
            "LAB_BASE": kernel.base,
        }

    def _build_part(self, part: Part) -> None:
        if part.suite:
            apt = self._apt(f"apt-{part.suite}", "deb", "amd64", part.suite)
        else:
            apt = self._apt("apt", "deb deb-src", "amd64,arm64", "trixie", "trixie-backports")
        work = self.cache / f"{part.name}.work"
        work.mkdir(exist_ok=True)
        (work / "requirements.txt").write_text(requirements())
        (work / "dev-requirements.txt").write_text(dev_requirements())
        environment = os.environ | {
            "LAB_PART": part.name,
            "LAB_PARTS": str(PARTS),
            "LAB_CACHE": str(self.cache),
            "LAB_JOBS": str(os.cpu_count() or 1),
            "LAB_PYTHON": sys.executable,
            "LAB_SOURCES": str(apt / "sources.list"),
            "LAB_REQUIREMENTS": str(work / "requirements.txt"),
            "LAB_DEV_REQUIREMENTS": str(work / "dev-requirements.txt"),
            "APT_CONFIG": str(apt / "apt.conf"),
            "LANG": "C.UTF-8",
        }
        if part.kernel:
            environment |= self._kernel_environment(part.kernel, work)
        started = time.monotonic()
        log = self.cache / f"{part.name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", str(PARTS / part.script)],
                cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            while True:
                try:
                    status = process.wait(PROGRESS_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    _say(f"lab: {part.name} {_clock(started)} {_last_line(log)}")
        if status:
            tail = log.read_text(errors="replace")[-3000:]
            raise LabError(f"{tail}\nlab: {part.name} failed with status {status}; whole log: {log}")
        self._keep(part, work)
        _say(f"lab: {part.name} built in {_clock(started)}")

    def _keep(self, part: Part, work: Path) -> None:
        fresh = self.cache / f"{part.name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for name in (*part.outputs, *([ORIGIN] if part.kernel else [])):
            if not (work / name).exists():
                raise LabError(f"lab: {part.name} left no {name} in {work}")
            if (work / name).is_dir():
                shutil.copytree(work / name, fresh / name, symlinks=True)
            else:
                shutil.copy(work / name, fresh)
        for old in self.cache.glob(f"{part.name}-{'?' * _KEY_LENGTH}"):
            shutil.rmtree(old)
        fresh.rename(self._directory(part))


def requirements() -> str:
    """Return the project's run-time dependencies, one requirement for each line."""
    project = toml.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return "".join(f"{line}\n" for line in project["dependencies"])


def dev_requirements() -> str:
    """Return what the tests need too, one requirement for each line."""
    project = toml.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return requirements() + "".join(f"{line}\n" for line in project["optional-dependencies"]["dev"])


def ensure_tools() -> None:
    """Install the Debian packages that the lab needs and this machine lacks."""
    missing = {package for command, package in TOOLS.items() if not _which(command)}
    missing |= {package for path, package in LIBRARIES.items() if not Path(path).exists()}
    if not missing:
        return
    names = sorted(missing)
    if os.geteuid():
        raise LabError(f"missing Debian packages: apt-get install {' '.join(names)}")
    _say(f"lab: installing {' '.join(names)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update"], environment)
    _run(["apt-get", "install", "--yes", "--no-install-recommends", *names], environment)


def _which(command: str) -> str | None:
    return shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _clock(started: float) -> str:
    seconds = int(time.monotonic() - started)
    return f"{seconds // 60}:{seconds % 60:02d}"


def _last_line(log: Path) -> str:
    lines = log.read_bytes()[-400:].decode(errors="replace").splitlines()
    return lines[-1].strip()[:80] if lines else ""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Build the parts named on the command line, or all of them."""
    try:
        Lab().build(tuple(sys.argv[1:]))
    except (LabError, ArchiveError) as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
