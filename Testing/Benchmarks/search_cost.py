"""What a step of an attack's search costs: as attacks search by themselves, in single precision, and in another checkout.

Each is a process of its own (this file with a task as JSON) that makes a step, its trace row included, whenever it is told to;
they are told in turns, so that a busy moment hits all of them. Seconds are those of the processor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch

NETWORKS = {"built-in": 96, "UNet 16-64": 64, "UNet 32-256": 64, "DynUNet 32-320": 64, "glioma": 0}
"""What is measured, and the size of its cube; the glioma network sees the crop of its case that lies beside it."""
PROMISED = {"built-in": 0.55, "UNet 16-64": 0.3, "UNet 32-256": 0.3, "DynUNet 32-320": 0.3, "glioma": 0.38}
"""The most that a step may cost where the processor computes in bfloat16, as a share of single precision's."""


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
        seconds = {key: float("inf") for key in runners}
        for number in range(rounds):
            for key in list(runners) if number % 2 == 0 else reversed(runners):
                seconds[key] = min(seconds[key], runners[key].step())
        row: dict[str, Any] = {"network": name, "searches in": runners["search"].precision}
        row |= {f"{key} s": value for key, value in seconds.items()}
        row |= {f"search / {key}": seconds["search"] / value for key, value in seconds.items() if key != "search"}
        rows.append({**row, "promised": PROMISED[name]})
        print("  " + ", ".join(f"{key} {x:.3g}" if isinstance(x, float) else str(x) for key, x in row.items()), flush=True)
        for runner in runners.values():
            runner.end()
    return rows


class _Stepper:
    """A process that makes a step whenever it is told to.

    Args:
        checkout: whose library it uses.
        task: what it does.
    """

    def __init__(self, checkout: Path, task: dict[str, Any]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONWARNINGS": "ignore"}
        words = [sys.executable, __file__, json.dumps(task)]
        self._process = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.precision = str(self._answer())

    def step(self) -> float:
        """Make one; its seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        return float(self._answer())

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
            raise RuntimeError("A step failed; its process says why above.")
        return json.loads(line)


def _serve(task: dict[str, Any], orders: IO[str]) -> None:
    """The process's side."""
    torch.set_num_threads(task["threads"])
    switches = {} if task["precision"] is None else {"mixed_precision": task["precision"]}
    model, case = _glioma(Path(task["data"]), switches) if task["name"] == "glioma" else _made(task["name"], switches)
    with _Stepping(model, case) as step:
        for _ in range(2):  # the first is always in single precision, and the second may measure
            step()
        print(json.dumps(model.describe()["acceleration"].get("searches_in", "")), flush=True)
        for _ in orders:
            started = time.process_time()
            step()
            print(json.dumps(time.process_time() - started), flush=True)


def _made(name: str, switches: dict[str, Any]) -> tuple[Any, Any]:
    from gpu_networks import model_of, scored_case

    return model_of(name, "cpu", switches), scored_case((NETWORKS[name],) * 3)


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


class _Stepping:
    """Makes the steps of an i-FGSM; a context."""

    def __init__(self, model: Any, case: Any) -> None:
        from SegAdversarialLib import attacks

        self._attack, self._model, self._case = attacks.IFGSM(epsilon=0.02), model, case
        self._running = self._attack.running(model, case)

    def __enter__(self) -> Callable[[], None]:
        from SegAdversarialLib import objectives
        from SegAdversarialLib.attacks.engine.watch import Watch

        attack, run = self._attack, self._running.__enter__()
        loss = objectives.SoftDice(self._case.label).bind(self._model.head, "cpu", torch.float32)
        score = partial(attack._score, run)
        watch = Watch(run, score, best_step=attack.keeps_best, enough=None, steps=10, snapshot_every=0)
        watch.begin(0)

        def step() -> None:
            value, gradient, logits = run.differentiate(run.original, loss)
            watch.see(1, value, logits, run.original)
            run.project(attack._step(run, run.original, gradient, 0.005))

        return step

    def __exit__(self, *error: object) -> None:
        self._running.__exit__(None, None, None)


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]), sys.stdin)
