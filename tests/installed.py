"""The wheel, built and installed as its users install it: into an environment of its own, without the source tree.

Nothing is fetched: what the package depends on comes from the environment that runs the tests, by a .pth file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
EPOCH = "1700000000"
"""What SOURCE_DATE_EPOCH is while building, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment with the wheel in it."""

    folder: Path

    @property
    def bin(self) -> Path:
        """Where its programs are."""
        return self.folder / "bin"

    def environment(self, **more: str) -> dict[str, str]:
        """Variables for programs that shall find this environment first, and of the source tree nothing."""
        path = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        kept = {name: os.environ[name] for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME") if name in os.environ}
        return {**kept, "PATH": path, "XDG_CONFIG_HOME": str(self.folder), **more}

    def run(self, *command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs to the end."""
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def build(source: Path, target: Path) -> tuple[Path, Path]:
    """Build from this tree into this folder: the wheel and the archive of sources."""
    _build(source, target)
    return next(target.glob("*.whl")), next(target.glob("*.tar.gz"))


def build_wheel(source: Path, target: Path) -> Path:
    """Build from this tree into this folder: the wheel alone, which takes a quarter of the time."""
    _build(source, target, "--target", "wheel")
    return next(target.glob("*.whl"))


def _build(source: Path, target: Path, *options: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(target), *options]
    variables = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    subprocess.run(command, cwd=source, env=variables, capture_output=True, check=True)


def install(wheel: Path, folder: Path) -> Installed:
    """A new environment in this folder with the wheel, and beside it the packages of the tests' environment."""
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--no-compile", str(wheel)], check=True)
    site = sysconfig.get_path("purelib", vars={"base": str(folder)})
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(folder)
