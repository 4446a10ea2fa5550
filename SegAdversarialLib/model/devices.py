"""Where a network runs."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)


def choose_device(wanted: str) -> torch.device:
    """The device that was asked for, or the CPU, with a warning that says so, where it is not to be had.

    Args:
        wanted: "cpu", "cuda", "cuda:1", "mps", or "auto" for the first GPU there is.

    Raises:
        InputError: it is no device name.
    """
    import torch

    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise InputError(f'There is no kind of device "{wanted}"; use auto, cpu, cuda, cuda:1 or mps.') from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        _log.warning("The device %s is not available; running on the CPU instead.", wanted)
        return torch.device("cpu")
    return device


def list_devices() -> list[dict[str, Any]]:
    """The devices that a network can run on: `{"id": "cuda:0", "name": "NVIDIA H100", "memory": 85899345920}`.

    The id is what `choose_device` takes; the memory is in bytes, None where it cannot be told.

    Raises:
        ImportError: PyTorch is not installed.
    """
    import torch

    found: list[dict[str, Any]] = [{"id": "cpu", "name": _processor(), "memory": _memory()}]
    for n in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(n)
        found.append({"id": f"cuda:{n}", "name": properties.name, "memory": properties.total_memory})
    if torch.backends.mps.is_available():
        found.append({"id": "mps", "name": "Apple GPU", "memory": _memory()})  # it shares the machine's memory
    return found


class GpuMemory:
    """What a piece of work takes of a CUDA device's memory, and what is left."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._before = device, 0

    def start(self) -> None:
        """Measure from here."""
        import torch

        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def used(self) -> int:
        """Bytes that were held at most since the start, beyond what was held then."""
        import torch

        return torch.cuda.max_memory_allocated(self._device) - self._before

    def free(self) -> int:
        """Bytes that can still be had: what the driver has left, as far as PyTorch is allowed it, and what PyTorch keeps."""
        import torch

        left, total = torch.cuda.mem_get_info(self._device)
        kept = torch.cuda.memory_reserved(self._device)
        if hasattr(torch.cuda, "get_per_process_memory_fraction"):  # from PyTorch 2.8 on; a limit counts all that is kept
            left = min(left, max(0, int(torch.cuda.get_per_process_memory_fraction(self._device) * total) - kept))
        return left + kept - torch.cuda.memory_allocated(self._device)


def advice() -> str:
    """One sentence on how to mend it where the machine has an NVIDIA GPU that PyTorch cannot use; else an empty text.

    Raises:
        ImportError: PyTorch is not installed.
    """
    import torch

    if torch.cuda.is_available() or not _has_nvidia_gpu():
        return ""
    if torch.version.cuda is None:
        return (
            "This machine has an NVIDIA GPU, but the installed PyTorch is a CPU build; to use the GPU, replace it by a CUDA "
            "build (in Slicer with the PyTorch Utils module, elsewhere as pytorch.org/get-started says)."
        )
    return (
        f"This machine has an NVIDIA GPU, but PyTorch (built for CUDA {torch.version.cuda}) cannot use it; update the NVIDIA "
        "driver, or install a PyTorch build for the CUDA version that the driver supports."
    )


def _has_nvidia_gpu() -> bool:
    """Whether the driver's own tool names a GPU; the tool alone proves none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    window = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows would flash a console
    try:
        listed = subprocess.run(
            [tool, "-L"], capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL, creationflags=window
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU " in listed.stdout


def _processor() -> str:
    """What the processor is called, as far as the system says."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), name)
    except OSError:
        pass
    return f"CPU ({name}, {os.cpu_count() or 1} threads)"


def _memory() -> int | None:
    """The machine's memory in bytes."""
    if sys.platform == "win32":
        import ctypes

        status = (ctypes.c_uint64 * 8)()  # MEMORYSTATUSEX: two 32-bit fields (its size, the load), then 64-bit ones
        status[0] = ctypes.sizeof(status)
        return int(status[1]) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
