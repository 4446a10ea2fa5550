"""What studies cost: jobs a minute with one worker and with two, single jobs by voxels and classes, a store of 100,000 rows.

    python Testing/Benchmarks/study_scale.py [rate] [jobs] [parts] [store] [--rounds 2] [--jobs 40]

`rate` runs the same jobs with one worker and with two in turns, and counts them once the workers are warm; then in processes
without a study, for the machine's own share in this. `jobs` does single jobs in this process. `parts` says what of a job at
BraTS' size no GPU makes quicker. `store` writes and reads a store of made-up rows. Memory needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402
from common import machine  # noqa: E402
from measuring import memory_bytes  # noqa: E402

from SegAdversarialLib.cohorts.entry import Entry, PhantomSubject  # noqa: E402
from SegAdversarialLib.evaluation.tables import format_table  # noqa: E402
from SegAdversarialLib.phantom import LABEL_NAMES  # noqa: E402
from SegAdversarialLib.studies import execution, report  # noqa: E402
from SegAdversarialLib.studies.records import CHANNEL_COLUMNS, STRUCTURE_COLUMNS, Cell, Outcome  # noqa: E402
from SegAdversarialLib.studies.schedule import Schedule  # noqa: E402
from SegAdversarialLib.studies.store import Store  # noqa: E402
from SegAdversarialLib.studies.study import Study  # noqa: E402
from SegAdversarialLib.studies.work import run_cell  # noqa: E402

BUILTIN = {"path": "builtin:brain-tumour-phantom", "device": "cpu"}


def attack(case: int, size: int, epsilon: float, model: dict[str, Any] = BUILTIN, **settings: Any) -> Cell:
    """FGSM on a phantom."""
    entry = Entry(name=f"phantom-{case}", patient=str(case), phantom=PhantomSubject(seed=case, shape=(size,) * 3))
    return Cell(
        kind="attack",
        network="network",
        case=entry.name,
        patient=entry.patient,
        attack="FGSM",
        settings={"attack": "fgsm", "epsilon": epsilon, **settings},
        work={"model": model, "case": entry.model_dump(mode="json"), "regions": None},
    )


def rate(rounds: int, jobs: int, size: int = 64) -> None:
    """Jobs a minute with one worker and with two, the same number of jobs for each worker, in turns to and fro."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds):
        for workers in (1, 2) if turn % 2 == 0 else (2, 1):
            cells = [attack(case, size, e / 100) for case in range(2 * workers) for e in range(jobs // 2)]
            done: list[tuple[float, float, float]] = []
            with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "study.sqlite", "scale") as store:
                store.add(cells)
                execution.run(
                    *(store, store.waiting(), folder),
                    **{"workers": workers, "threads": 1},
                    on_outcome=lambda _, x, done=done: done.append((time.perf_counter(), x.seconds, time.process_time())),
                )
            # from when all are warm until the first worker may have nothing left
            counted = done[4 * workers : len(done) - workers]
            elapsed, number = counted[-1][0] - counted[0][0], len(counted) - 1
            found[workers].append(60 * number / elapsed)
            busy = sum(seconds for _, seconds, _ in counted[1:]) / (workers * elapsed)
            client = 1000 * (counted[-1][2] - counted[0][2]) / number
            load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
            print(
                f"  {workers} worker(s): {found[workers][-1]:.1f} jobs a minute; workers are at a job {busy:.0%} of the time; "
                f"{client:.0f} ms of the client's CPU for each job; load of the machine {load}",
                flush=True,
            )
    one, two = (float(np.median(found[n])) for n in (1, 2))
    print(f"Median: {one:.1f} with one, {two:.1f} with two: {two / one:.2f} times.")


def bare_rate(rounds: int, jobs: int, size: int) -> None:
    """The same jobs in one and in two processes that know nothing of studies: what the machine itself allows."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    found: dict[int, list[float]] = {1: [], 2: []}
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(_loop, (0, 1), (4, 4), (size, size)))  # imports, and the network is opened
        for turn in range(rounds):
            for processes in (1, 2) if turn % 2 == 0 else (2, 1):
                began = time.perf_counter()
                list(pool.map(_loop, range(processes), [jobs] * processes, [size] * processes))
                found[processes].append(60 * jobs * processes / (time.perf_counter() - began))
    one, two = (float(np.median(found[n])) for n in (1, 2))
    print(f"Without a study: {one:.1f} jobs a minute in one process, {two:.1f} in two: {two / one:.2f} times.")


def _loop(case: int, jobs: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for n in range(jobs):
            run_cell(attack(2 * case + n % 2, size, n / 100), Path(folder), threads=1)


def single_jobs() -> None:
    """CPU seconds of single jobs in this process, by voxels, by structures, and of the first and the later ones of a case."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def took(cell: Cell) -> float:
            begun = time.process_time()  # which a busy machine does not change
            run_cell(cell, place, threads=1)
            return round(time.process_time() - begun, 2)

        took(attack(99, 32, 0.01))  # imports, and the network is opened
        for size in (32, 64, 96):
            rows.append({"voxels": f"4x{size}^3", "first FGSM of a case, s": took(attack(1, size, 0.01))})
            rows[-1]["further ones, s"] = min(took(attack(1, size, e / 100)) for e in (2, 3))
            if size <= 64:
                rows[-1]["i-FGSM of 10 steps, s"] = took(attack(1, size, 0.01, attack="i-fgsm", steps=10))
            print(f"  {rows[-1]}", flush=True)
        rows = []
        for classes in (4, 8, 16):
            model = _network(place, classes)
            took(attack(1, 32, 0.01, model))
            seconds = min(took(attack(1, 32, e / 100, model)) for e in (2, 3))
            rows.append({"classes": classes, "FGSM at 4x32^3, s": seconds})
    print(format_table(rows))


def _network(folder: Path, classes: int) -> dict[str, Any]:
    """An untrained U-Net of four classes or more: the phantom's, and some that it has not."""
    import torch
    from monai.networks.nets import UNet
    from safetensors.torch import save_file

    arguments = {"spatial_dims": 3, "in_channels": 4, "out_channels": classes, "channels": [8, 16], "strides": [2]}
    torch.manual_seed(0)
    save_file(UNet(**arguments).state_dict(), folder / f"of-{classes}.safetensors")
    named = [{"label": value, "name": name} for value, name in LABEL_NAMES.items()]
    named += [{"label": 20 + n, "name": f"structure {n}"} for n in range(classes - len(named))]
    settings = {"network": {"name": "UNet", "arguments": arguments}, "channels": ["T1", "T1ce", "T2", "FLAIR"]}
    text = json.dumps({**settings, "classes": named})
    (folder / f"of-{classes}.json").write_text(text, encoding="utf-8")
    return {"path": str(folder / f"of-{classes}.safetensors"), "device": "cpu"}


def parts(shape: tuple[int, int, int] = (155, 240, 240)) -> None:
    """What of a job a GPU makes no quicker: reading, measuring and writing one case of BraTS' size, in CPU seconds."""
    from SegAdversarialLib import open_model, phantom
    from SegAdversarialLib.attacks.fgsm import FGSM
    from SegAdversarialLib.attacks.files import write_attack
    from SegAdversarialLib.evaluation.measuring import evaluate
    from SegAdversarialLib.model.segmentation_model import Prediction
    from SegAdversarialLib.studies.outcomes import qq_lines

    def clocked(what: str, work: Callable[[], Any]) -> Any:
        begun, cpu = time.perf_counter(), time.process_time()
        found = work()
        print(f"  {what}: {time.process_time() - cpu:.1f} s of CPU, {time.perf_counter() - begun:.1f} s", flush=True)
        return found

    model = open_model(BUILTIN["path"], device="cpu")
    made = phantom.subject(1, shape)
    masks = np.stack([made.label == value for value in model.head.labels])
    clean, attacked = Prediction(made.label, masks), Prediction(np.roll(made.label, 2, 0), np.roll(masks, 2, 1))
    with tempfile.TemporaryDirectory() as folder:
        files = made.write(Path(folder) / "case")
        channels = {name: str(path) for name, path in files.items() if name in made.channels}
        label = next(str(path) for name, path in files.items() if name not in made.channels)
        entry = Entry(name="case", patient="case", channels=channels, label=label)
        case = clocked(f"reading 4x{'x'.join(map(str, shape))} (.nii.gz)", lambda: entry.read(model.head))
        result = _result(FGSM(epsilon=0.05), case)
        found = clocked("measuring", lambda: evaluate(result, model, None, clean, attacked, warn=False))
        clocked("the lines of the normal QQ plots", lambda: qq_lines(case, result.adversarial))
        clocked("writing volumes", lambda: write_attack(Path(folder) / "kept", result, found, model))


def _result(attack: Any, case: Any) -> Any:
    """What an attack would give, with noise in the place of what it finds."""
    from SegAdversarialLib.attacks.result import AttackResult
    from SegAdversarialLib.changes.perturbation import Perturbation

    noise = np.random.default_rng(0).normal(0, 5, case.image.shape).astype(np.float32)
    adversarial = case.with_image(np.rint(case.image + noise * (case.image > 0)))
    return AttackResult(case, adversarial, Perturbation.between(case, adversarial), attack, "network")


def store_of(rows: int, structures: int = 5) -> None:
    """A store of so many rows: what it takes to plan, write and read it, and the memory of the process that does."""
    started, count = memory_bytes("VmRSS"), rows // structures
    source = np.random.default_rng(0)

    def cells() -> Iterator[Cell]:
        yield from (attack(n // 20, 64, (n % 20) / 100) for n in range(count))

    def told(what: str, begun: float) -> None:
        grown = (memory_bytes("VmRSS") - started) / 2**20
        print(f"  {what}: {time.perf_counter() - begun:.1f} s, memory {grown:+.0f} MiB", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.sqlite"
        with Store.open(path, "scale") as store:
            begun = time.perf_counter()
            store.add(cells())
            told(f"planned {count:,} jobs", begun)
            begun = time.perf_counter()
            waiting = store.waiting()
            schedule = Schedule(waiting)
            while cell := schedule.next("one"):
                schedule.done(cell)
            told("read as waiting, and handed out", begun)
            begun = time.perf_counter()
            for cell in waiting:
                store.finish(cell, _outcome(source, structures), worker="tcp://127.0.0.1:40000")
            told(f"written, {count * structures:,} rows of structures, each job by itself", begun)
            begun = time.perf_counter()
            found = sum(1 for _ in store.results()), sum(1 for _ in store.channels())
            told(f"read one after the other: {found[0]:,} of structures, {found[1]:,} of channels", begun)
            begun = time.perf_counter()
            attacks = [{"attack": "fgsm", "epsilon": [n / 100 for n in range(20)]}]
            asked = {"study": "scale", "cohort": "phantom:0-1@64", "networks": {"unet": BUILTIN["path"]}, "attacks": attacks}
            page = report.write(Study.of(asked, Path(folder)), store, Path(folder) / "report.html")
            told(f"the report, {page.stat().st_size / 2**20:.1f} MiB", begun)
        print(f"  {path.stat().st_size / 2**20:.0f} MiB on disk, peak memory {memory_bytes('VmHWM') / 2**20:.0f} MiB")


def _outcome(source: np.random.Generator, structures: int) -> Outcome:
    def row(columns: tuple[str, ...], name: str) -> dict[str, Any]:
        return dict(zip(columns, (name, *source.random(len(columns) - 1).tolist())))

    return Outcome(
        structures=[{**row(STRUCTURE_COLUMNS, f"S{n}"), "success": True, "region": False} for n in range(structures)],
        channels=[row(CHANNEL_COLUMNS, f"C{n}") for n in range(4)],
        trace=[{"iteration": n, "loss": source.random(), "dice mean": source.random()} for n in range(2)],
        seconds=1.0,
        versions={"SegAdversarial": "0"},
    )


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["rate", "jobs", "parts", "store", []], default=[])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=20, help="for each worker")
    parser.add_argument("--size", type=int, default=64, help="voxels along each axis")
    given = parser.parse_args()
    wanted = given.what or ["store", "parts", "jobs", "rate"]
    print(machine())
    if "store" in wanted:
        print("A store of 100,000 rows:")
        store_of(100_000)
    if "parts" in wanted:
        print("Parts of a job, one thread:")
        parts()
    if "jobs" in wanted:
        print("Single jobs, one thread:")
        single_jobs()
    if "rate" in wanted:
        print(f"Jobs of FGSM at 4x{given.size}^3, one thread for each worker:")
        rate(given.rounds, given.jobs, given.size)
        bare_rate(given.rounds, given.jobs, given.size)


if __name__ == "__main__":
    main()
