"""What a step of an attack's search costs: as attacks search by themselves, in single precision, and in another checkout.

A step, its trace row included, is what an attack of a few more steps takes longer: what an attack does once, such as its first
gradient, which is always in single precision, and the last judgement, does not count. Each is a process of its own (this file
with a task as JSON) that makes both attacks whenever it is told to; they are told in turns, so that a busy moment hits all of
them. Seconds are those of the processor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch

NETWORKS = {"built-in": 96, "UNet 16-64": 64, "UNet 32-256": 64, "DynUNet 32-320": 64, "glioma": 0}
"""What is measured, and the size of its cube; the glioma network sees the crop of its case that lies beside it."""
PROMISED = {"built-in": 0.55, "UNet 16-64": 0.3, "UNet 32-256": 0.3, "DynUNet 32-320": 0.3, "glioma": 0.38}
"""The most that a step may cost where the processor computes in bfloat16, as a share of single precision's."""


STEPS = (2, 5)
"""Of the two attacks."""


def search_costs(names: Sequence[str], rounds: int, threads: int, other: Path | None, data: Path) -> list[dict[str, Any]]:
    """One row for each network: the seconds of a step, and their ratios."""
    rows = []
    for name in names:
        if name == "glioma" and not (data / "glioma_mr4").is_dir():
            print(f"The glioma network is left out: there is no folder {data / 'glioma_mr4'}.")
            continue
        task = {"name": name, "threads": threads, "data": str(data)}
        here = Path(__file__).resolve().parents[2]
        runners = {
            "search": _Stepper(here, {**task, "precision": "auto"}),
            "float32": _Stepper(here, {**task, "precision": False}),
        }
        if other is not None:
            runners["other checkout"] = _Stepper(other, {**task, "precision": None})
        least = {key: [float("inf")] * len(STEPS) for key in runners}
        for number in range(rounds):
            for key in list(runners) if number % 2 == 0 else reversed(runners):
                least[key] = list(map(min, least[key], runners[key].attack()))
        seconds = {key: (more - few) / (STEPS[1] - STEPS[0]) for key, (few, more) in least.items()}
        row: dict[str, Any] = {"network": name, "searches in": runners["search"].precision}
        row |= {f"{key} s": value for key, value in seconds.items()}
        row |= {f"search / {key}": seconds["search"] / value for key, value in seconds.items() if key != "search"}
        rows.append({**row, "promised": PROMISED[name]})
        print("  " + ", ".join(f"{key} {x:.3g}" if isinstance(x, float) else str(x) for key, x in row.items()), flush=True)
        for runner in runners.values():
            runner.end()
    return rows


class _Stepper:
    """A process that attacks whenever it is told to.

    Args:
        checkout: whose library it uses.
        task: what it does.
    """

    def __init__(self, checkout: Path, task: dict[str, Any]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONWARNINGS": "ignore"}
        words = [sys.executable, __file__, json.dumps(task)]
        self._process = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.precision = str(self._answer())

    def attack(self) -> list[float]:
        """The seconds of both attacks."""
        assert self._process.stdin is not None
        self._process.stdin.write("again\n")
        self._process.stdin.flush()
        return [float(x) for x in self._answer()]

    def end(self) -> None:
        """It is not needed any more."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("An attack failed; its process says why above.")
        return json.loads(line)


def _serve(task: dict[str, Any], orders: IO[str]) -> None:
    """The process's side."""
    from SegAdversarialLib import attacks

    torch.set_num_threads(task["threads"])
    switches = {} if task["precision"] is None else {"mixed_precision": task["precision"]}
    model, case = _glioma(Path(task["data"]), switches) if task["name"] == "glioma" else _made(task["name"], switches)
    few, more = (attacks.IFGSM(steps=n, epsilon=0.02) for n in STEPS)

    def seconds(attack: Any) -> float:
        started = time.process_time()
        attack(model, case)
        return time.process_time() - started

    few(model, case)  # measures which precision it searches in, and has some things to do once
    print(json.dumps(model.describe()["acceleration"].get("searches_in", "")), flush=True)
    for _ in orders:
        print(json.dumps([seconds(few), seconds(more)]), flush=True)


def _made(name: str, switches: dict[str, Any]) -> tuple[Any, Any]:
    import numpy as np
    from gpu_networks import model_of, raw_case

    case = raw_case((NETWORKS[name],) * 3)
    head = case.image > case.image.mean((1, 2, 3), keepdims=True)
    scores = [(x - x[inside].mean()) / x[inside].std() * inside for x, inside in zip(case.image, head)]
    return model_of(name, "cpu", switches), case.with_image(np.stack(scores))


def _glioma(data: Path, switches: dict[str, Any]) -> tuple[Any, Any]:
    import numpy as np
    import SimpleITK

    from SegAdversarialLib import Case, open_model

    channels = ("FLAIR", "T1", "T1ce", "T2")
    folder = data / "glioma_mr4"
    names = [next((folder / "crop").glob(f"*_{what}.nii.gz")) for what in ("input_zscored_4ch", "seg_consensus")]
    image, label = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(x))) for x in names)
    image = np.moveaxis(image, -1, 0) if image.shape[-1] == len(channels) else image
    how = {"channels": channels, "classes": {0: "background", 1: "tumour"}, "device": "cpu", "acceleration": switches}
    model = open_model(folder / "whole_tumour_axial.ts", trust=True, **how)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    return model, Case(np.ascontiguousarray(image, np.float32), channels, affine, (label > 0).astype(np.int16), name="crop")


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]), sys.stdin)
