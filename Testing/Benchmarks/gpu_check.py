"""One look at a GPU: does the library compute there what it computes on a CPU, how fast, and in how much memory?

    python Testing/Benchmarks/gpu_check.py [--output FOLDER] [--seconds 470] [--parts PART ...] [--device auto]

Needs torch, numpy, scipy, safetensors, pydantic
and MONAI; nothing of SimpleITK, nibabel or Slicer. Ends within --seconds, whatever happens: each part runs in a process of its
own that is ended when its time is over, and each row by itself, so that a failure loses one row. Rows are printed as they
come and kept in FOLDER/rows.jsonl; in the end one table for each part is printed and written as CSV. Without a GPU it runs
small on the CPU and leaves the GPU's rows out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEGAN = time.time()  # the imports that follow count
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gpu_cost  # noqa: E402
import gpu_exact  # noqa: E402
import monai.networks.nets  # noqa: E402, F401  no row shall pay for its import, or interrupt it
import torch  # noqa: E402
from common import machine, save_table  # noqa: E402
from gpu_rows import Rows, read_rows  # noqa: E402

from SegAdversarialLib import attacks  # noqa: E402, F401
from SegAdversarialLib.evaluation.tables import format_table  # noqa: E402

LATE = 12
"""Seconds after which a part that does not end by itself is ended."""
QUESTION = "import torch; print(torch.cuda.is_available())"
WHOLE = 470
"""Seconds that the shares are made for."""

SHARES = {
    "facts": 20,
    "agreement": 75,
    "attacks": 70,
    "volume": 110,
    "memory": 45,
    "steps": 110,
    "bits": 35,
    "bits again": 25,
    "switches": 30,
    "compiled": 100,
}
"""The parts in their order, with the seconds that each may take at most."""


def facts(rows: Rows, device: str) -> None:
    """The machine and its versions."""
    rows.add("machine", lambda: {"is": machine()})
    for name in ("numpy", "scipy", "monai", "pydantic", "safetensors"):
        rows.add(name, lambda name=name: {"is": _version(name)})
    if device == "cpu":
        return
    properties = torch.cuda.get_device_properties(0)
    rows.add("GPU", lambda: {"is": properties.name, "memory GiB": properties.total_memory / 2**30})
    rows.add("GPU, more", lambda: {"capability": f"{properties.major}.{properties.minor}", "CUDA": torch.version.cuda})
    rows.add("cuDNN", lambda: {"is": torch.backends.cudnn.version()})
    rows.add("TF32 in convolutions by default", lambda: {"is": torch.backends.cudnn.allow_tf32})
    rows.add("free memory", lambda: {"GiB": torch.cuda.mem_get_info()[0] / 2**30})


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def run_part(part: str, device: str, seconds: float, patience: float, path: Path) -> None:
    """One part, in this process."""
    if hasattr(os, "setsid"):
        os.setsid()  # whatever it starts ends with it
    rows = Rows(path, part, seconds, patience)
    parts: dict[str, Callable[[Rows, str], None]] = {
        "facts": facts,
        "agreement": gpu_exact.agreement,
        "attacks": gpu_exact.whole_attacks,
        "volume": gpu_cost.whole_volume,
        "memory": gpu_cost.out_of_memory,
        "steps": gpu_cost.steps,
        "bits": gpu_exact.bits,
        "bits again": gpu_exact.bits,
        "switches": gpu_cost.switches_left_to_be_measured,
        "compiled": gpu_cost.compiled,
    }
    parts[part](rows, device)


def in_own_process(start: str, part: str, device: str, seconds: float, patience: float, path: Path) -> None:
    """One part in a process of its own, which is ended with all that it has started when it overruns."""
    context: Any = multiprocessing.get_context(start)
    process = context.Process(target=run_part, args=(part, device, seconds, patience, path))
    process.start()
    process.join(seconds + LATE)
    if process.exitcode is None:
        print(f"{part} | overran and was ended", flush=True)
        _end(process)
    elif process.exitcode:
        print(f"{part} | ended with status {process.exitcode}", flush=True)


def _end(process: Any) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, ProcessLookupError, PermissionError):  # no groups here, or it had not made its own yet
        process.kill()
    process.join(10)


def place() -> tuple[str, str]:
    """The device, "cuda" where there is a GPU, and how processes are started.

    A fork has all imported already. It can use a GPU unless something here has touched CUDA, so that a fork is asked first;
    and it can compute, as this process never does.
    """
    if "fork" in multiprocessing.get_all_start_methods():
        context: Any = multiprocessing.get_context("fork")
        asked = context.Process(target=_touch)
        asked.start()
        asked.join(60)
        if asked.exitcode == 0:
            return "cuda", "fork"
        if asked.exitcode is None:
            _end(asked)
    answer = subprocess.run([sys.executable, "-c", QUESTION], capture_output=True, text=True, timeout=120)
    if answer.stdout.strip().endswith("True"):
        return "cuda", "spawn"
    return "cpu", "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def _touch() -> None:
    """Ends with status 0 where a process like this one can use a GPU."""
    try:
        torch.zeros(1, device="cuda").add(1).item()
    except Exception:  # whatever it is that stands in the way
        os._exit(1)
    os._exit(0)


def tables(rows: list[dict[str, Any]], folder: Path) -> None:
    """Print and write a table for each part."""
    for part in SHARES:
        own = [{key: value for key, value in row.items() if key != "part"} for row in rows if row["part"] == part]
        if own:
            print(f"\n{part}\n{format_table(own)}", flush=True)
            save_table(own, folder / f"{part.replace(' ', '_')}.csv")


def main() -> int:
    """Run the parts one after another; print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu-check"), help="folder of the rows and tables")
    parser.add_argument("--seconds", type=float, default=WHOLE, help="when it ends at the latest; more is for slow machines")
    parser.add_argument("--parts", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "rows.jsonl"
    path.write_text("", encoding="utf-8")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # some deterministic algorithms ask for this
    patience = max(1.0, options.seconds / WHOLE)
    device, start = place()
    device = device if options.device == "auto" else options.device
    print(f"device {device}, processes by {start}, started after {time.time() - BEGAN:.1f} s", flush=True)
    for part in options.parts:
        left = BEGAN + options.seconds - time.time() - LATE - 5
        if left < 10:
            print(f"{part} | left out: no time", flush=True)
            continue
        in_own_process(start, part, device, min(SHARES[part] * patience, left), patience, path)
    tables(read_rows(path), options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
