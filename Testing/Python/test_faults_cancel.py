"""Cancelled at each word of progress, by a caller of the worker: training, audits, certificates, learning, studies.

For each: one end that says so, nothing half-written, what was finished is there, and the next run is as one undisturbed.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fault_helpers import listing, spread, unfinished
from study_helpers import NETWORK, write_cases, write_network
from training_helpers import CLASSES, block, cohort, trained, weights_of

from SegAdversarialLib import open_model
from SegAdversarialLib.defenses.audit import audit
from SegAdversarialLib.defenses.certifying import certify
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.jobs import worker as worker_module
from SegAdversarialLib.jobs.worker import Request, Worker
from SegAdversarialLib.studies import execution
from SegAdversarialLib.studies.crew import Report
from SegAdversarialLib.studies.records import Cell
from SegAdversarialLib.studies.store import Store
from SegAdversarialLib.studies.work import run_cell

FEW = {"epsilons": 0.1, "steps": 2, "queries": 0, "temperatures": "auto", "losses": "soft_dice", "directions": 2}
PLACES = [pytest.param(3, id="first, middle, last"), pytest.param(9, id="nine places", marks=pytest.mark.slow)]
STUDY = """study: small
cohort: {folder}/cases.csv
networks: {{unet: {model}}}
attacks:
  - {{attack: fgsm, epsilon: [0.01, 0.05]}}
audit: false
"""


class Alone:
    """Stands in for a study's `Crew`: one worker, in this process."""

    address, hopeful = "here", True

    def __init__(self, client: Any, folder: Path, threads: int | None) -> None:
        self._folder, self._given = str(folder), list[tuple[Cell, dict[str, Any]]]()
        self.refused: dict[str, str] = {}

    def __len__(self) -> int:
        return 1

    @property
    def busy(self) -> int:
        return len(self._given)

    def idle(self, queued: int = 0) -> str | None:
        return None if self._given else self.address

    def give(self, cell: Cell, address: str, products: Any, volumes: bool) -> None:
        self._given.append((cell, {"products": dict(products), "volumes": volumes}))

    def report(self, timeout: float) -> list[Report]:
        return [Report(x, "here", "done", run_cell(x, self._folder, **how)) for x, how in [self._given.pop()]]

    def close(self) -> None:
        self._given.clear()


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "connected", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(execution, "Crew", Alone)
    monkeypatch.setattr(worker_module, "_PROGRESS_INTERVAL", 0.0)  # every word is told


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases, a network and a study in files."""
    folder = tmp_path_factory.mktemp("given")
    entries = write_cases(folder / "cases", 2)
    write_network(folder / "network")
    with (folder / "cases.csv").open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["name", "A", "B", "label"])
        rows.writerows([x["name"], *x["channels"].values(), x["label"]] for x in entries)
    (folder / "small.yaml").write_text(STUDY.format(folder=folder, model=folder / "network" / "model.json"))
    return folder


def job_of(kind: str, given: Path, output: Path) -> dict[str, Any]:
    """A job on those files, as JSON data."""
    with (given / "cases.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    cases = [{"channels": {x: row[x] for x in "AB"}, "label": row["label"], "name": row["name"]} for row in rows]
    model = {"path": str(given / "network" / "model.json"), "device": "cpu"}
    training = {"network": NETWORK, "settings": {"epochs": 2, "tensorboard": False}, "device": "cpu"}
    training["described"] = {"classes": CLASSES}
    more: dict[str, dict[str, Any]] = {
        "train": {"cases": cases, "validation": cases[:1], **training},
        "audit": {"cases": cases[:1], "model": model, "settings": FEW},
        "certify": {"case": cases[0], "model": model, "n": 56, "n0": 4, "sigma": 0.01},
        "learn-universal": {"cases": cases, "model": model, "settings": {"epochs": 2}},
        "study": {"study": str(given / "small.yaml")},
    }
    return {"kind": kind, "output": str(output), **more[kind]}


def worked(job: dict[str, Any], stop: int | None = None) -> list[dict[str, Any]]:
    """All that a worker says of a job; the caller cancels it when it has heard so many words of progress before."""
    events: list[dict[str, Any]] = []
    heard = [0]

    def send(event: dict[str, Any]) -> None:
        json.dumps(event, default=str)
        events.append(event)
        if event["event"] == "progress":
            heard[0] += 1
            if stop is not None and heard[0] == stop + 1:
                worker._inbox.cancel("1")

    worker = Worker(send)
    request = Request("1", "job", {"job": job})
    worker._inbox.put(request)
    worker.answer(worker._inbox.take())
    assert sum(x["event"] in ("done", "cancelled", "error") for x in events) == 1
    return events


def plain(rows: Sequence[dict[str, Any]]) -> str:
    """Rows without names of folders and times."""
    return repr(
        [{k: repr(v) for k, v in row.items() if "second" not in k and "time" not in k and k != "study"} for row in rows]
    )


def finished(kind: str, output: Path) -> int:
    """How many parts of a job are whole in its folder; each of them can be read."""
    if kind == "train":
        if (output / "model.json").exists():
            open_model(output, device="cpu")
        table = output / "training.csv"
        return len(table.read_text().splitlines()) - 1 if table.exists() else 0
    if kind == "study":
        if not (output / "study.sqlite").exists():
            return 0
        with Store.open(output / "study.sqlite", reading=True) as store:
            assert store.counts().failed == store.counts().poisoned == 0
            return store.counts().done
    return len(list(output.rglob("result.json")))


KINDS = ["train", "audit", "certify", "learn-universal", "study"]


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_cancelled_at_a_word_of_progress(kind: str, places: int, given: Path, tmp_path: Path) -> None:
    undisturbed = worked(job_of(kind, given, tmp_path / "whole"))
    assert undisturbed[-1]["event"] == "done", undisturbed[-1]
    words = sum(x["event"] == "progress" for x in undisturbed)
    inputs, expected = listing(given), sorted(listing(tmp_path / "whole"))
    for stop in spread(words, places):
        output = tmp_path / f"after-{stop}"
        events = worked(job_of(kind, given, output), stop)
        # after the last moment at which it asks it is done, and whole
        assert events[-1]["event"] == "cancelled" or (stop == words - 1 and events[-1]["event"] == "done"), events[-1]
        assert "details" not in events[-1] and not unfinished(tmp_path) and listing(given) == inputs
        there = finished(kind, output)
        again = worked({**job_of(kind, given, output), **({} if kind in ("train", "study") else {"overwrite": True})})
        assert again[-1]["event"] == "done", again[-1]
        assert plain(again[-1]["rows"]) == plain(undisturbed[-1]["rows"])
        assert sorted(listing(output)) == expected and not unfinished(output)
        assert finished(kind, output) >= there
        if kind == "study":
            logs = [x["message"] for x in again if x["event"] == "log"]
            assert any(f"4 jobs, {there} attacks are done" in x for x in logs), logs


class Stopping:
    """Says that the user wants to stop, from the nth time on that it is asked."""

    def __init__(self, after: int) -> None:
        self.asked, self.after = 0, after

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self.after


@contextlib.contextmanager
def stopped() -> Iterator[None]:
    with pytest.raises(Cancelled, match="what was finished is kept"):
        yield


@pytest.mark.parametrize("call", ["train", "audit", "certify"])
def test_cancelled_in_the_library(call: str, given: Path) -> None:
    """The same call, made again, gives what it gives undisturbed: nothing stays behind in the network or the case."""
    model, case, cases = open_model(given / "network", device="cpu"), block(0), cohort(2)
    image = case.image.copy()

    def work(cancel: Any = None) -> Any:
        if call == "train":
            return weights_of(trained({"epochs": 2}, cases=cases, validation=cases[:1], cancel=cancel))
        if call == "audit":
            return plain(audit(model, [case], cancel=cancel, **FEW).rows)
        return plain(certify(model, case, 0.01, 56, n0=4, cancel=cancel).rows)

    counting = Stopping(10**9)
    expected, before = work(counting), weights_of(model)
    for after in spread(counting.asked, 3):
        with stopped():
            work(Stopping(after))
        assert all((x == before[name]).all() for name, x in weights_of(model).items())
        assert (case.image == image).all()
    again = work()
    assert again == expected if call != "train" else all((x == again[name]).all() for name, x in expected.items())
