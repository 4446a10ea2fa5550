"""What goes into a store comes out; what ends, is killed or finds the disk full leaves it intact; one client writes it."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.database import TABLES
from SegAdversarialLib.studies.records import (
    AUDITED_COLUMNS,
    CHANNEL_COLUMNS,
    CHECK_COLUMNS,
    STRUCTURE_COLUMNS,
    THRESHOLD_COLUMNS,
    Cell,
    Outcome,
)
from SegAdversarialLib.studies.store import Store


def cell(number: int = 0, **changes: Any) -> Cell:
    usual: dict[str, Any] = {
        **{"kind": "attack", "network": "unet", "case": f"case-{number:03d}", "patient": f"p{number}", "attack": "FGSM"},
        "settings": {"attack": "fgsm", "epsilon": 0.05, "channels": None, "seed": 0},
        "work": {"model": {"path": "x"}, "case": {"name": f"case-{number:03d}"}, "files": [["x", 1, 2]]},
    }
    return Cell(**{**usual, **changes})


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same kind; nan is nan."""
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


NUMBER = st.floats() | st.none() | st.just(math.nan) | st.sampled_from([math.inf, -math.inf, 0.0, -0.0])


def rows_of(columns: tuple[str, ...], texts: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries({x: texts.get(x, NUMBER) for x in columns}), max_size=3)


TEXT = st.text(max_size=8)
OUTCOMES = st.builds(
    Outcome,
    structures=rows_of(STRUCTURE_COLUMNS, {"structure": TEXT, "success": st.booleans() | st.none(), "region": st.booleans()}),
    channels=rows_of(CHANNEL_COLUMNS, {"channel": TEXT}),
    audited=rows_of(AUDITED_COLUMNS, {"structure": TEXT, "strongest": TEXT}),
    thresholds=rows_of(THRESHOLD_COLUMNS, {"structure": TEXT, "setting": TEXT, "unit": TEXT, "searched": st.booleans()}),
    checks=rows_of(CHECK_COLUMNS, {"check": TEXT, "verdict": TEXT, "sentence": TEXT}),
    trace=st.lists(st.dictionaries(st.text(max_size=5), NUMBER | TEXT, max_size=3), max_size=3),
    product=TEXT,
    kept=st.lists(TEXT, max_size=2).map(tuple),
    notes=st.lists(TEXT, max_size=2).map(tuple),
    seconds=st.floats(0, 1e6),
    versions=st.dictionaries(TEXT, TEXT, max_size=2),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OUTCOMES, min_size=1, max_size=3))
def test_what_goes_in_comes_out(tmp_path: Path, outcomes: list[Outcome]) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    cells = [cell(n) for n in range(len(outcomes))]
    with Store.open(tmp_path / "s.sqlite", "s") as store:
        store.add(cells)
        for each, outcome in zip(reversed(cells), reversed(outcomes)):
            store.finish(each, outcome, worker="w")
    with Store.open(tmp_path / "s.sqlite", reading=True) as store:
        for name in TABLES:
            read = store.results() if name == "structures" else getattr(store, name)()
            expected = [(each.key, row) for each, outcome in zip(cells, outcomes) for row in getattr(outcome, name)]
            for (key, row), found in zip(expected, read, strict=True):
                assert found["key"] == key
                assert all(same(value, found[column]) for column, value in row.items()), (row, found)
        traced = [(each, row) for each, outcome in zip(cells, outcomes) for row in outcome.trace]
        for (each, row), found in zip(traced, store.traces(), strict=True):
            assert found["case"] == each.case or "case" in row
            assert all(same(value, found[column]) for column, value in row.items())
        for outcome, found in zip(outcomes, store.cells(), strict=True):
            assert found["state"] == "done" and found["worker"] == "w" and found["seconds"] == outcome.seconds
            assert (found["product"], tuple(found["kept"]), tuple(found["notes"]), found["versions"]) == (
                *(outcome.product, outcome.kept, outcome.notes),
                outcome.versions,
            )


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    row = {"structure": "WT", "dice_after": np.float32(0.5), "hd95_after": np.float32(np.inf), "success": np.bool_(True)}
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add([cell()])
        store.finish(cell(), Outcome(structures=[row], trace=[{"iteration": np.int64(3), "loss": np.float32(np.nan)}]))
        (found,), (traced,) = store.results(), store.traces()
    assert (found["dice_after"], found["hd95_after"], found["success"]) == (0.5, math.inf, True)
    assert traced["iteration"] == 3 and math.isnan(traced["loss"])


def test_other_programs_see_no_number_where_there_is_none(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add([cell()])
        rows = [{"structure": x, "hd95_after": y} for x, y in (("a", 2.0), ("b", math.nan), ("c", None), ("d", math.inf))]
        store.finish(cell(), Outcome(structures=rows))
    with sqlite3.connect(tmp_path / "s.sqlite") as plain:
        found = plain.execute("SELECT structure, hd95_after FROM structures ORDER BY structure").fetchall()
        mean = plain.execute("SELECT avg(hd95_after) FROM structures WHERE structure < 'd'").fetchone()
    assert found == [("a", 2.0), ("b", None), ("c", None), ("d", math.inf)] and mean == (2.0,)


def test_cells_come_back_as_they_were_planned_and_in_order(tmp_path: Path) -> None:
    cells = [cell(n, settings={"attack": "fgsm", "epsilon": n / 7}) for n in range(5)]
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add(cells)
        assert store.waiting() == cells
        store.finish(cells[1], Outcome())
        store.fail(cells[3], "wrong", poison=True)
        store.fail(cells[4], "wrong too")
        assert store.waiting() == [cells[0], cells[2], cells[4]] and list(store.planned()) == cells
        assert vars(store.counts()) == {"total": 5, "done": 1, "failed": 1, "poisoned": 1, "left_out": 0}
        assert store.counts().waiting == 2
        assert store.forgive() == 1 and len(store.waiting()) == 4
        store.add([cells[2], cells[0]])
        assert store.waiting() == [cells[2], cells[0]]


def test_the_first_outcome_of_a_cell_stays(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add([cell()])
        store.fail(cell(), "a worker died")
        assert store.finish(cell(), Outcome(structures=[{"structure": "WT", "dice_after": 1.0}]))
        assert not store.finish(cell(), Outcome(structures=[{"structure": "WT", "dice_after": 0.0}]))
        store.fail(cell(), "a late message")
        (row,) = store.results()
        (state,) = store.cells()
    assert row["dice_after"] == 1.0 and state["state"] == "done" and state["error"] == "" and state["tries"] == 2


def test_results_of_cells_that_left_the_plan_stay_and_are_not_reported(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add([cell(0), cell(1)])
        for n in range(2):
            store.finish(cell(n), Outcome(structures=[{"structure": "WT"}], trace=[{"iteration": 0}]))
        assert store.add([cell(1), cell(2)], skipped={"case-000": "gone"}, notes=["odd"]).left_out == 1
        assert [x["case"] for x in store.results()] == [x["case"] for x in store.traces()] == ["case-001"]
        assert (store.skipped(), store.notes()) == ({"case-000": "gone"}, ["odd"])
        assert store.add([cell(0), cell(1)]).done == 2
        assert len(list(store.results())) == 2


def test_a_row_that_nobody_knows_changes_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add([cell()])
        with pytest.raises(ValueError, match="no column dise_after"):
            store.finish(cell(), Outcome(structures=[{"structure": "a"}, {"structure": "b", "dise_after": 1.0}]))
        with pytest.raises(ValueError, match="is not in the store"):
            store.finish(cell(9), Outcome())
        assert store.counts().done == 0 and not list(store.results())


def test_what_was_changed_by_hand_does_not_run(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add([cell()])
    with sqlite3.connect(tmp_path / "s.sqlite") as plain:
        plain.execute('UPDATE parts SET text = replace(text, \'"path": "x"\', \'"path": "y"\')')
    with Store.open(tmp_path / "s.sqlite") as store, pytest.raises(InputError, match="changed by hand"):
        store.waiting()


def test_a_full_disk_is_one_sentence_and_everything_before_stays(tmp_path: Path) -> None:
    cells = [cell(n) for n in range(200)]
    large = Outcome(structures=[{"structure": "WT" * 500, "dice_after": 0.5}])
    with Store.open(tmp_path / "s.sqlite") as store:
        store.add(cells)
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 10}")
        done = 0
        with pytest.raises(InputError, match="The disk is full") as caught:
            for each in cells:
                store.finish(each, large)
                done += 1
        assert "\n" not in str(caught.value) and 0 < done < 200
        assert store.counts().done == len(list(store.results())) == done
        store._connection.execute("PRAGMA max_page_count = 1000000")
        assert store.finish(cells[done], large)
    with sqlite3.connect(tmp_path / "s.sqlite") as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_another_study_and_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store.open(path, "one"):
        pass
    with pytest.raises(InputError, match='holds the study "one", not "two"'):
        Store.open(path, "two")
    with sqlite3.connect(path) as plain:
        plain.execute("PRAGMA user_version = 99")
    plain.close()
    with pytest.raises(InputError, match="newer version"):
        Store.open(path, "one")
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as plain:
        plain.execute("CREATE TABLE theirs (x)")
    plain.close()
    noise = tmp_path / "noise.sqlite"
    noise.write_bytes(b"no database at all, but long enough to be looked at as one" * 50)
    for other, says in ((foreign, "another program"), (noise, "no store of a study")):
        before = other.read_bytes()
        for reading in (True, False):
            with pytest.raises(InputError, match=says) as caught:
                Store.open(other, reading=reading)
            assert "\n" not in str(caught.value)
        assert other.read_bytes() == before
    with pytest.raises(InputError, match="has not been run yet"):
        Store.open(tmp_path / "none.sqlite", reading=True)


def test_a_damaged_store_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store.open(path) as store:
        store.add([cell(n) for n in range(300)])
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x5a" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged|put back a copy"), Store.open(path, reading=True) as store:
        list(store.cells())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0 and not shutil.which("setpriv"), reason="needs a user without rights")
def test_a_store_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    with Store.open(folder / "s.sqlite") as store:
        store.add([cell()])
        store.finish(cell(), Outcome(structures=[{"structure": "WT"}]))
    folder.chmod(0o555)
    try:
        with Store.open(folder / "s.sqlite", reading=True) as store:
            assert len(list(store.results())) == 1
    finally:
        folder.chmod(0o755)


_OTHER = """
import sys, time
from SegAdversarialLib.studies.store import Store
from SegAdversarialLib.studies.records import Outcome
with Store.open(sys.argv[1], "s") as store:
    for number, cell in enumerate(store.waiting()):
        store.finish(cell, Outcome(structures=[{"structure": x, "dice_after": 0.5} for x in "abc"], trace=[{"i": 0}]))
        if number == 2:
            print("begun", flush=True)
        time.sleep(0.01)
"""


def _other(path: Path) -> subprocess.Popen[str]:
    """Another process that writes the store, and has begun to."""
    other = subprocess.Popen([sys.executable, "-c", _OTHER, str(path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "begun\n"
    return other


def test_one_client_writes_while_others_read(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store.open(path, "s") as store:
        store.add([cell(n) for n in range(2000)])
    other = _other(path)
    try:
        with pytest.raises(InputError, match=rf"is being run by process {other.pid} .*since \d{{4}}-") as caught:
            Store.open(path, "s")
        assert "\n" not in str(caught.value)
        with Store.open(path, reading=True) as store:
            assert store.runner is not None and f"process {other.pid}" in store.runner
            before = store.counts().done
            assert before >= 2 and len(list(store.results())) >= 3 * before
            deadline = time.monotonic() + 30
            while store.counts().done == before and time.monotonic() < deadline:
                time.sleep(0.05)
            assert store.counts().done > before
    finally:
        other.kill()
        other.wait()
    with Store.open(path, "s") as store:
        assert store.runner is None


def test_a_killed_client_leaves_whole_results_and_a_free_store(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store.open(path, "s") as store:
        store.add([cell(n) for n in range(300)])
    done = 0
    for n in range(3):
        other = _other(path)
        time.sleep(0.02 * n)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        with Store.open(path, reading=True) as store:
            assert store.runner is None
            count = store.counts().done
            assert count > done
            rows = list(store.results())
            assert len(rows) == 3 * count == 3 * len({x["key"] for x in rows}) == 3 * len(list(store.traces()))
            done = count
    with sqlite3.connect(path) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
