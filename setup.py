"""Builds what pyproject.toml cannot say: the small C library of `sdeictl bench`, where there is a compiler.

It has no part of Python's interface: one wheel serves every Python of an architecture. CC chooses the
compiler; for another architecture's wheel set _PYTHON_HOST_PLATFORM too, such as linux-aarch64.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

# Without a linkage table the loop calls syscall(2) in as many instructions as a program's own would.
FLAGS = ("-O2", "-fPIC", "-fno-plt", "-shared", "-Wall", "-Wextra")


class BuildLoop(build_ext):
    """Compiles one plain shared library; without a compiler the installation goes on."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return a name without Python's version in it."""
        return fullname.replace(".", "/") + ".so"

    def build_extension(self, ext: Extension) -> None:
        """Compile it, or say why not."""
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, "-o", str(target), *ext.sources]
        try:
            subprocess.run(command, check=True)  # noqa: S603 - the compiler that CC names
        except (OSError, subprocess.CalledProcessError) as error:
            self.warn(f"sdeictl bench will use a loop of Python's: {error}")


class LoopWheel(bdist_wheel):
    """Names the wheel after what is in it."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tag of an architecture's wheel, or of one for all if there is no library in it."""
        built = Path(self.bdist_dir or "", "sdeictl/bench/libbench.so").exists()
        return ("py3", "none", super().get_tag()[2] if built else "any")


setup(
    ext_modules=[Extension("sdeictl.bench.libbench", ["sdeictl/bench/loop.c"], optional=True)],
    cmdclass={"build_ext": BuildLoop, "bdist_wheel": LoopWheel},
)
