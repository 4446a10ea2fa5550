"""Which worker does what, how long it will take, and which volumes are kept."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.cluster import posts
from SegAdversarialLib.studies.keeping import mean_dice, volumes_missing, worst
from SegAdversarialLib.studies.pace import Pace
from SegAdversarialLib.studies.records import Cell
from SegAdversarialLib.studies.schedule import Schedule
from SegAdversarialLib.studies.work import volumes_folder


def attack(network: str, case: str, epsilon: float = 0.0, needs: tuple[str, ...] = (), name: str = "a") -> Cell:
    return Cell(kind="attack", network=network, case=case, attack=name, settings={"epsilon": epsilon}, needs=needs)


def grid(networks: int, cases: int, attacks: int) -> list[Cell]:
    return [attack(f"n{n}", f"c{c}", a) for n in range(networks) for c in range(cases) for a in range(attacks)]


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_each_cell_is_given_until_it_is_done_and_what_needs_another_after_it(
    sizes: tuple[int, int, int], workers: int, seed: int
) -> None:
    chance = random.Random(seed)
    training = Cell(kind="train", network="t")
    audit = Cell(kind="audit", network="t", needs=(training.key,))
    cells = [*grid(*sizes), *(attack("t", f"c{c}", needs=(training.key,)) for c in range(sizes[1])), training, audit]
    schedule, at_work, done = Schedule(cells), [], []
    while len(schedule) or at_work:
        if schedule.ready and (not at_work or chance.random() < 0.6):
            cell = schedule.next(f"w{chance.randrange(workers)}")
            assert cell is not None
            assert set(cell.needs) <= {x.key for x in done}
            at_work.append(cell)
            continue
        cell = at_work.pop(chance.randrange(len(at_work)))
        if chance.random() < 0.2:  # its worker has died
            schedule.again(cell)
        else:
            schedule.done(cell)
            done.append(cell)
    assert sorted(x.key for x in done) == sorted(x.key for x in cells)


def test_a_worker_stays_with_its_case() -> None:
    schedule = Schedule(grid(networks=2, cases=4, attacks=5))
    changes, last = 0, {}
    while schedule.ready:
        for worker in ("w0", "w1"):
            cell = schedule.next(worker)
            if cell is not None:
                changes += last.get(worker) not in (None, cell.case)
                last[worker] = cell.case
    assert changes == 2  # four cases, two for each worker, both networks of a case one after the other


def test_at_the_end_workers_share_what_is_left() -> None:
    schedule = Schedule(grid(networks=1, cases=1, attacks=6))
    taken = [schedule.next(f"w{n % 2}") for n in range(6)]
    assert all(taken) and schedule.next("w0") is None and not len(schedule)


def test_what_cannot_be_done_without_another_is_told() -> None:
    first = Cell(kind="train", network="t")
    second = Cell(kind="generator", network="g", needs=(first.key,))
    third = attack("t", "c", needs=(first.key, second.key))
    schedule = Schedule([third, second, first, attack("n", "c")])
    assert schedule.next("w") == first
    assert sorted(x.key for x in schedule.failed(first)) == sorted([second.key, third.key])
    assert schedule.next("w") == attack("n", "c") and len(schedule) == 0


def test_time_left_knows_that_attacks_differ() -> None:
    now = [0.0]
    cells = [attack("n", f"c{c}", name=name) for name in ("quick", "slow") for c in range(4)]
    pace = Pace(cells, clock=lambda: now[0])
    assert pace.left(2) is None and pace.sentence(2) == "0 of 8 jobs, not known yet how much is left"
    for cell, seconds in ((cells[0], 1.0), (cells[1], 3.0), (cells[4], 20.0)):
        now[0] += seconds
        pace.finished(cell, seconds)
    assert pace.left(1) == 2 * 2.0 + 3 * 20.0 and pace.left(4) == 16.0
    assert pace.fraction == 3 / 8 and pace.per_minute == 60 * 3 / 24
    assert pace.sentence(4) == "3 of 8 jobs, 7.5 a minute, about 16 seconds left"
    pace.finished(cells[5], None)
    assert pace.left(1) == 2 * 2.0 + 2 * 20.0


def test_a_training_says_nothing_about_attacks() -> None:
    """Three trainings of a quarter of an hour before hundreds of attacks made a day of half an hour."""
    now = [0.0]
    trainings = [Cell(kind="train", network=name) for name in ("a", "b", "c")]
    attacks = [attack("n", f"c{c}") for c in range(300)]
    pace = Pace([*trainings, *attacks], clock=lambda: now[0])
    now[0] += 900
    pace.finished(trainings[0], 900.0)
    assert pace.left(2) == 900 and pace.sentence(2) == "1 of 303 jobs, 1 a minute, more than 15 minutes left"
    pace.finished(attacks[0], 0.5)
    assert pace.left(1) == 2 * 900 + 299 * 0.5 and not pace.is_least
    only = Pace(attacks)
    for cell in attacks:
        only.finished(cell, 1.0)
    assert only.left(1) == 0


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
    [
        ((None, None), {"cores": 8, "memory": 2**36}, [(1, None)] * 8),
        ((None, None), {"cores": 64, "memory": 2**34}, [(16, None)] * 4),  # 16 GiB are enough for four
        ((None, None), {"cores": 2, "memory": 2**30}, [(2, None)]),
        ((2, None), {"cores": 2, "memory": 2**30}, [(1, None)] * 2),
        ((None, 4), {"cores": 8, "memory": 2**36}, [(4, None)] * 2),
        ((3, 2), {"cores": 8, "memory": 2**36}, [(2, None)] * 3),
        ((None, None), {"gpus": ["0", "1", "2"], "cores": 12, "memory": 2**30}, [(4, "0"), (4, "1"), (4, "2")]),
        ((2, None), {"gpus": ["5", "7", "9"], "cores": 12}, [(6, "5"), (6, "7")]),
        ((4, None), {"gpus": ["MIG-a", "MIG-b"], "cores": 4}, [(1, "MIG-a"), (1, "MIG-b")] * 2),
    ],
)
def test_workers_of_this_machine(
    asked: tuple[Any, Any], there: dict[str, Any], expected: list[tuple[int, str | None]]
) -> None:
    found = posts(*asked, **{"gpus": [], **there})
    assert [(x.threads, x.gpu) for x in found] == expected
    for post in found:
        seen = post.environment.get("CUDA_VISIBLE_DEVICES")
        assert seen == post.gpu and post.environment["OMP_NUM_THREADS"] == str(post.threads)


@pytest.mark.parametrize("asked", [(0, None), (-1, None), (None, 0)])
def test_no_workers_are_refused(asked: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match="1 or more (workers|threads); (0|-1) were asked for"):
        posts(*asked, gpus=[], cores=2, memory=2**34)


class FakeStore:
    """Finished attacks with the Dice that they left."""

    def __init__(self, *left: tuple[Cell, list[float]]) -> None:
        self.left = {cell.key: (cell, values) for cell, values in left}
        self.kept: dict[str, tuple[str, ...]] = {}

    def planned(self) -> list[Cell]:
        return [cell for cell, _ in self.left.values()]

    def results(self) -> Any:
        return [{"key": key, "dice_after": x} for key, (_, values) in self.left.items() for x in values]

    def keep(self, cell: Cell, kept: Any) -> None:
        self.kept[cell.key] = tuple(kept)


def written(folder: Path, cell: Cell) -> None:
    place = folder / volumes_folder(cell)
    place.mkdir(parents=True)
    (place / "result.json").write_text("{}", encoding="utf-8")


def test_the_worst_case_is_kept_and_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    nan = float("nan")
    cells = [Cell(kind="attack", network="n", case=f"c{c}", attack="a") for c in range(4)]
    other = Cell(kind="attack", network="n", case="c0", attack="b")
    store = FakeStore((cells[0], [0.5, nan]), (cells[1], [0.2, 0.4]), (cells[2], [nan]), (other, [0.9]))
    assert list(mean_dice(store.results()).values()) == pytest.approx([0.5, 0.3, float("inf"), 0.9])
    assert volumes_missing(store, tmp_path, "tables") == []
    assert volumes_missing(store, tmp_path, "worst") == [cells[1], other]
    assert volumes_missing(store, tmp_path, "all") == [*cells[:3], other]
    written(tmp_path, cells[1])
    assert volumes_missing(store, tmp_path, "worst") == [other]
    assert store.kept == {cells[1].key: (volumes_folder(cells[1]),)}
    store.left[cells[3].key] = (cells[3], [0.1])  # a case that came later
    (tmp_path / "volumes" / "n" / "a" / "mine").mkdir()
    assert volumes_missing(store, tmp_path, "worst") == [cells[3], other]
    assert not (tmp_path / volumes_folder(cells[1])).exists() and store.kept[cells[1].key] == ()
    assert (tmp_path / "volumes" / "n" / "a" / "mine").is_dir()


def test_of_equal_cases_always_the_same_is_the_worst() -> None:
    cells = grid(networks=1, cases=5, attacks=1)
    left = {cell.key: 0.25 for cell in cells}
    assert worst(cells, left) == worst(cells[::-1], left) == [min(cells, key=lambda x: x.key)]


def test_the_page_s_forecast_for_a_cluster_follows_from_its_figures() -> None:
    """Each job 5.5 gradients, a clean answer of 0.4 and the measuring; each case once the reading, the lines and an answer."""
    page = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    known = re.search(r"reading r = ([\d.]+) s and QQ lines ([\d.]+) s for each case; m = (\d+) s of one core", page)
    assert known is not None
    reading, lines, measuring = map(float, known.groups())
    measured = re.search(r"reading a case \(\.nii\.gz\); .* \| ([\d.]+) s; ([\d.]+) s; ([\d.]+) s; [\d.]+ s \|", page)
    assert measured is not None
    assert tuple(map(float, measured.groups())) == (reading, measuring - lines, lines)
    rows = re.findall(r"\| (\d+) s \| (\d+) s \| ([\d.]+) h \| ([\d.]+) h \| ([\d.]+) h \|", page)
    assert len(rows) == 3
    for row in rows:
        gradient, job, *hours = map(float, row)
        each = (5.5 + 0.4) * gradient + measuring
        whole = (20_000 * each + 1000 * (reading + lines + 0.4 * gradient)) / 3600
        assert [job, *hours] == [float(f"{x:.2g}") for x in (each, whole, whole / 8, whole / 64)]
