"""Cells of a study on workers: each is done once, what goes wrong is tried again or reported, and nothing hangs."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_helpers import Machines, free_port
from study_helpers import misbehaved, plain_cell, tries

from SegAdversarialLib.errors import Cancelled, InputError
from SegAdversarialLib.studies import crew, execution
from SegAdversarialLib.studies.store import Counts, Store


@pytest.fixture(autouse=True)
def _misbehaved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "do_cell", misbehaved)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A scheduler and two workers."""
    found = Machines(tmp_path_factory.mktemp("machines"))
    try:
        found.start()
        yield found
    finally:
        found.end()


def run(store: Store, folder: Path, machines: Machines | None = None, **options: Any) -> Counts:
    where = {"workers": 1, "threads": 1} if machines is None else {"scheduler": machines.address}
    counts = execution.run(store, store.waiting(), folder, **{**where, **options})
    assert counts == store.counts()
    return counts


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "study.sqlite", "test") as found:
        yield found


def test_what_goes_wrong_is_tried_again_or_reported(tmp_path: Path, store: Store, machines: Machines) -> None:
    wrong = plain_cell("wrong", wrong="There is no such file.", kind="train")
    needy = plain_cell("needy", needs=[wrong.key])
    needier = plain_cell("needier", needs=[needy.key])
    cells = [*(plain_cell(f"good-{n}") for n in range(12)), wrong, needy, needier]
    store.add([*cells, plain_cell("deadly", deadly=True), plain_cell("broken", broken="no luck")])
    heard: list[str] = []
    counts = run(store, tmp_path, machines, on_outcome=lambda cell, _outcome: heard.append(cell.case))
    assert counts == Counts(total=17, done=12, failed=3, poisoned=2, left_out=0)
    assert sorted(heard) == sorted(f"good-{n}" for n in range(12))
    rows = {row["case"]: row for row in store.cells()}
    assert rows["wrong"]["error"] == "There is no such file."
    assert "came to nothing: There is no such file." in rows["needy"]["error"]
    assert rows["needier"]["state"] == "failed"
    assert (rows["deadly"]["state"], rows["broken"]["state"]) == ("poisoned", "poisoned")
    assert rows["deadly"]["error"] == "Given up after 3 tries: its worker died at it."
    assert "no luck" in rows["broken"]["error"]
    assert [tries(tmp_path, x) for x in ("wrong", "needy", "deadly", "broken")] == [1, 0, 3, 3]
    # what dies with its worker is one cell alone: no other is ever begun twice
    assert [tries(tmp_path, f"good-{n}") for n in range(12)] == [1] * 12


def test_a_worker_that_is_killed_loses_its_cell_alone(tmp_path: Path, store: Store, machines: Machines) -> None:
    names = [f"slow-{n}" for n in range(6)]
    store.add([plain_cell(x, seconds=1.0) for x in names])

    def kill() -> None:
        while not any(tries(tmp_path, x) for x in names):
            time.sleep(0.05)
        machines.kill_worker()

    killer = threading.Thread(target=kill)
    killer.start()
    counts = run(store, tmp_path, machines)
    killer.join()
    assert counts.done == 6
    assert sum(tries(tmp_path, x) for x in names) <= 7


def test_what_others_need_comes_first(tmp_path: Path, store: Store, machines: Machines) -> None:
    trained = plain_cell("trained", kind="train", seconds=0.5)
    cells = [plain_cell(f"of-it-{n}", needs=[trained.key]) for n in range(3)]
    store.add([*cells, trained])
    heard: list[str] = []
    run(store, tmp_path, machines, on_outcome=lambda cell, _outcome: heard.append(cell.case))
    assert heard[0] == "trained" and len(heard) == 4
    assert run(store, tmp_path, machines).done == 4  # nothing is left to do


def test_cancelled_between_cells(tmp_path: Path, store: Store, machines: Machines) -> None:
    store.add([plain_cell(f"slow-{n}", seconds=0.3) for n in range(40)])
    told: list[tuple[float, str]] = []
    with pytest.raises(Cancelled):
        run(
            *(store, tmp_path, machines),
            progress=lambda fraction, text: told.append((fraction, text)),
            cancel=lambda: store.counts().done >= 3,
        )
    assert 3 <= store.counts().done < 10
    assert [x for x, _ in told] == sorted(x for x, _ in told) and told[-1][0] < 1
    assert "of 40 jobs" in told[-1][1] and "a minute, about" in told[-1][1] and told[-1][1].endswith("left")


def test_what_is_made_again_for_its_volumes_is_no_100_percent(
    tmp_path: Path, store: Store, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst case's volumes come after all cells: the progress leaves room for them."""
    cells = [plain_cell(f"good-{n}", seconds=1.0) for n in range(3)]
    store.add(cells)
    monkeypatch.setattr(execution, "volumes_missing", lambda *_: cells[:1])
    told: list[tuple[float, str]] = []
    run(store, tmp_path, machines, keep="worst", progress=lambda fraction, text: told.append((fraction, text)))
    fractions = [x for x, _ in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    writing = [x for x, text in told if text.startswith("writing volumes: 0 of 1 job")]
    assert writing and set(writing) == {0.75}
    assert max(x for x, text in told if not text.startswith("writing")) == 0.75


def test_workers_of_its_own_are_started_and_ended(tmp_path: Path, store: Store) -> None:
    store.add([plain_cell("good"), plain_cell("deadly", deadly=True)])
    before = children()
    counts = run(store, tmp_path)
    assert (counts.done, counts.poisoned, tries(tmp_path, "deadly")) == (1, 1, 3)
    assert children() == before


def test_no_scheduler(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from SegAdversarialLib.studies import cluster

    monkeypatch.setattr(cluster, "PATIENCE", 1.0)
    store.add([plain_cell("good")])
    with socket.socket() as deaf:  # something that is there, but no scheduler
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        silent = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        for address in (f"tcp://127.0.0.1:{free_port()}", silent, "tcp://no-such-machine.invalid:8786", "nowhere", "x://y:1"):
            with pytest.raises(InputError, match="No Dask scheduler answers at .* such as tcp://node7:8786") as caught:
                execution.run(store, store.waiting(), tmp_path, scheduler=address)
            assert "\n" not in str(caught.value)
    assert store.counts().waiting == 1


def test_a_worker_with_other_software_is_left_out(tmp_path: Path, store: Store) -> None:
    (tmp_path / "other" / "SegAdversarialLib").mkdir(parents=True)
    (tmp_path / "other" / "SegAdversarialLib" / "__init__.py").write_text("__version__ = '0.0.1'\n", encoding="utf-8")
    machines = Machines(tmp_path, path=str(tmp_path / "other"))
    store.add([plain_cell("good")])
    try:
        machines.start(1)
        with pytest.raises(InputError, match="has no SegAdversarialLib .* install the same version there as here") as caught:
            execution.run(store, store.waiting(), tmp_path, scheduler=machines.address)
        assert "\n" not in str(caught.value)
    finally:
        machines.end()


def test_a_worker_with_another_version_is_left_out(
    tmp_path: Path, store: Store, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add([plain_cell("good")])
    monkeypatch.setattr(crew, "__version__", "9.9")
    with pytest.raises(InputError, match="runs SegAdversarialLib .*, this is 9.9; install the same version on both sides"):
        run(store, tmp_path, machines)


def children() -> set[int]:
    """The processes below this one, Python's own helper aside."""
    import psutil

    found = psutil.Process(os.getpid()).children(recursive=True)
    return {x.pid for x in found if "resource_tracker" not in " ".join(x.cmdline())}


def test_cells_as_they_were_planned_are_importable_without_dask() -> None:
    import subprocess
    import sys

    code = "import sys, SegAdversarialLib.studies.work, SegAdversarialLib.studies.execution; print({'dask', 'distributed', "
    code += "'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
