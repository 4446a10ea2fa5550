"""Cells of a study on workers: each is done once, what goes wrong is tried again or reported, and nothing hangs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from study_helpers import SimpleStore, misbehaved, plain_cell, tries

from SegAdversarialLib.errors import Cancelled, InputError
from SegAdversarialLib.studies import crew, execution
from SegAdversarialLib.studies.cluster import Post, posts
from SegAdversarialLib.studies.records import Cell


@pytest.fixture(autouse=True)
def _misbehaved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "run_cell", misbehaved)


def run(folder: Path, cells: list[Cell], **options: Any) -> SimpleStore:
    store = SimpleStore(folder / "store")
    store.add(cells)
    counts = execution.run(store, store.waiting(), folder, **{"workers": 2, "threads": 1, **options})
    assert counts == store.counts()
    return store


def test_what_goes_wrong_is_tried_again_or_reported(tmp_path: Path) -> None:
    wrong = plain_cell("wrong", wrong="There is no such file.", kind="train")
    needy = plain_cell("needy", needs=[wrong.key])
    needier = plain_cell("needier", needs=[needy.key])
    cells = [*(plain_cell(f"good-{n}") for n in range(12)), wrong, needy, needier]
    cells += [plain_cell("deadly", deadly=True), plain_cell("broken", broken="no luck")]
    heard = []
    store = run(tmp_path, cells, on_outcome=lambda cell, _outcome: heard.append(cell.case))
    assert store.counts() == Counter(done=12, failed=3, poison=2)
    assert sorted(heard) == sorted(f"good-{n}" for n in range(12))
    errors = store.errors()
    assert errors["wrong"] == ("failed", "There is no such file.")
    assert errors["needy"][0] == "failed" and "came to nothing: There is no such file." in errors["needy"][1]
    assert errors["needier"][0] == "failed"
    assert errors["deadly"] == ("poison", "Given up after 3 tries: its worker died at it.")
    assert errors["broken"][0] == "poison" and "no luck" in errors["broken"][1]
    assert [tries(tmp_path, x) for x in ("wrong", "needy", "deadly", "broken")] == [1, 0, 3, 3]
    # what died with its worker is one cell alone: no other is ever begun twice
    assert [tries(tmp_path, f"good-{n}") for n in range(12)] == [1] * 12
