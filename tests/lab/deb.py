"""Build the Debian package in a trixie of its own, and let lintian judge it: `make deb`.

    python -m tests.lab.deb [ARCHITECTURE] [DIRECTORY]

The root of the lab's part `debian` is unpacked, and thrown away after; the build sees no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from sdeictl import __version__
from tests.lab.build import PROJECT, Lab, LabError

DEFAULT = "arm64"
BUILD = """
cd /build/sdeictl
dpkg-buildpackage --build=binary --no-sign --host-arch "$1"
"""
JUDGE = "lintian --allow-root --fail-on error --tag-display-limit 0 /build/*.changes"


class Package(NamedTuple):
    """What was built."""

    file: Path
    lintian: str
    """What lintian said: lines of warnings, for an error is none that is built."""


def build_deb(lab: Lab, architecture: str, directory: Path, revision: str = "") -> Package:
    """Return the package of this checkout, or of a revision, put into a directory; raise LabError."""
    with tempfile.TemporaryDirectory(prefix="deb-", dir=lab.cache) as root:
        subprocess.run(["tar", "-C", root, "-xf", lab.part("debian") / "root.tar"], check=True)
        copy_sources(Path(root, "build/sdeictl"), revision)
        run_in(root, BUILD, architecture)
        said = run_in(root, JUDGE)
        name = f"sdeictl_{__version__}_{architecture}.deb"
        directory.mkdir(parents=True, exist_ok=True)
        return Package(Path(shutil.copy(Path(root, "build", name), directory)), said)


def copy_sources(target: Path, revision: str) -> None:
    """Copy what git keeps, or would; the tests are no part of a package."""
    if revision:
        target.mkdir(parents=True)
        tar = subprocess.run(
            ["git", "archive", revision], cwd=PROJECT, check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-C", target, "-x"], input=tar, check=True)
        return
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".", ":!tests"],
        cwd=PROJECT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, names.split("\0")):
        if (PROJECT / name).is_file():  # one may have been removed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, target / name)


def run_in(root: str, script: str, *arguments: str) -> str:
    """Return what a script prints in the root, which it sees as its own; raise LabError if it fails."""
    done = subprocess.run(
        [
            "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc",
            "chroot", root, "sh", "-ec", script, "sh", *arguments,
        ],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise LabError(f"{done.stdout}\nthe package cannot be built: {script.strip().splitlines()[-1]}")
    return done.stdout


def main() -> int:
    """Build the package of the architecture named on the command line, or arm64's, into dist."""
    architecture, directory = (*sys.argv[1:], *(DEFAULT, "dist")[len(sys.argv) - 1 :])
    if os.geteuid():
        print(
            "make deb: only root can build the package: it runs chroot(8) in a Debian of its own",
            file=sys.stderr,
        )
        return 1
    try:
        lab = Lab()
        lab.build(("debian",))
        package = build_deb(lab, architecture, Path(directory))
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    print(package.lintian, end="", file=sys.stderr)
    print(package.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
