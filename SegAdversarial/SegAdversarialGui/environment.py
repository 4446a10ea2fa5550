"""What this Python and this computer have, read from the disk: nothing is imported."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from pathlib import Path

_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[A-Za-z0-9.]+)?")
_BACKEND = re.compile(r"^(cuda|hip|rocm|xpu)\b.*=\s*(None|['\"].*['\"])\s*$", re.MULTILINE)


class Environment:
    """The Python packages and the graphics hardware that are there now."""

    def version(self, name: str) -> str | None:
        """A distribution's version, or None where nothing says it."""
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None
        return version if version and _VERSION.fullmatch(version) else None

    def holds(self, module: str) -> bool:
        """Whether a top-level module can be imported; a folder that an uninstallation left behind cannot."""
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            return False
        return spec is not None and spec.origin is not None

    def satisfies(self, name: str, module: str, minimum: str) -> bool:
        """Whether a package is there and new enough; one whose version is not known is taken as new enough."""
        version = self.version(name)
        return self.holds(module) and (version is None or _numbers(version) >= _numbers(minimum))

    def torchIsForProcessorOnly(self) -> bool:
        """Whether the installed PyTorch was built without any graphics processor; False where that is not known."""
        spec = importlib.util.find_spec("torch") if self.holds("torch") else None
        if spec is None or spec.origin is None:
            return False
        try:
            text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return (self.version("torch") or "").endswith("+cpu")
        backends = dict(_BACKEND.findall(text))
        return "cuda" in backends and all(value == "None" for value in backends.values())

    def hasNvidiaGpu(self) -> bool:
        """Whether NVIDIA's driver is installed, which computers without such a GPU do not have."""
        windows = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvidia-smi.exe"
        return shutil.which("nvidia-smi") is not None or (os.name == "nt" and windows.is_file())

    def isIntelMac(self) -> bool:
        """Whether this Python is one for Macs with Intel processors, on whatever Mac it runs."""
        return sys.platform == "darwin" and platform.machine() == "x86_64"

    def downloadOptions(self) -> list[str]:
        """Options of `pip download` that fetch, on any computer, what this Python can install."""
        machine = platform.machine().lower()
        if sys.platform == "win32":
            platforms = ["win_arm64" if machine == "arm64" else "win_amd64"]
        elif sys.platform == "darwin":
            platforms = [f"macosx_14_0_{machine}"]
        else:
            platforms = [f"{tag}_{machine}" for tag in ("manylinux_2_28", "manylinux_2_27", "manylinux2014", "manylinux_2_17")]
        major, minor = sys.version_info[:2]
        python = ["--python-version", f"{major}.{minor}", "--implementation", "cp", "--abi", f"cp{major}{minor}"]
        return ["--only-binary", ":all:", *python, *(part for tag in platforms for part in ("--platform", tag))]


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (2, 13, 0) of "2.13.0+cpu"."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in found.group().split(".")) if found else ()
