"""Images of a study, read again for its figures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SegAdversarialLib.attacks.fgsm import FGSM
from SegAdversarialLib.attacks.files import write_attack
from SegAdversarialLib.cohorts.entry import Entry, PhantomSubject
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.evaluation import Evaluation
from SegAdversarialLib.evaluation.measuring import evaluate
from SegAdversarialLib.formats import open_model
from SegAdversarialLib.studies.images import cases_of, read_kept
from SegAdversarialLib.studies.outcomes import structure_rows
from SegAdversarialLib.studies.records import Cell


def cell(name: str, **entry: object) -> Cell:
    data = {"name": name, "patient": name, "phantom": PhantomSubject(seed=3, shape=(32, 32, 32)), **entry}
    return Cell("attack", "unet", name, name, "fgsm", work={"case": Entry.model_validate(data).model_dump(mode="json")})


def test_each_case_is_read_once_evenly_chosen_and_without_those_that_are_gone(tmp_path: Path) -> None:
    gone = cell("gone", phantom=None, channels={"T1": str(tmp_path / "gone.nii.gz")})
    found = list(cases_of([cell("a"), gone, cell("a"), Cell("train", "unet")], 5))
    assert len(found) == 1 and found[0].image.shape == (4, 32, 32, 32)
    many = [cell(str(n), phantom=PhantomSubject(seed=n, shape=(32, 32, 32))) for n in range(7)]
    chosen = [x.name for x in cases_of(many, 3)]
    every = [x.name for x in cases_of(many, 9)]
    assert chosen == [every[0], every[3], every[6]] and len(every) == 7


def test_kept_volumes_come_back_as_they_were_written(tmp_path: Path) -> None:
    one = cell("a")
    case = Entry.model_validate(one.work["case"]).read()
    model = open_model("builtin:brain-tumour-phantom")
    result = FGSM(epsilon=0.05, channels=["T1"])(model, case)
    found = evaluate(result, model)
    write_attack(tmp_path / "kept", result, found, model)
    kept = read_kept(one, tmp_path / "kept")
    np.testing.assert_allclose(kept.adversarial.image, result.adversarial.image, rtol=1e-6)
    np.testing.assert_array_equal(kept.before, found.clean)
    np.testing.assert_array_equal(kept.after, found.attacked)
    assert kept.original.label is not None
    (tmp_path / "kept" / "result.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        read_kept(one, tmp_path / "kept")


def test_a_missed_structure_is_infinitely_far_and_one_that_is_nowhere_has_no_distance() -> None:
    nothing = np.zeros((1, 1, 1), np.int16)

    def rows(dice: float, hd95: float) -> list[dict[str, object]]:
        both = {"structure": "ET", "drop": 0.0, "success": False}
        measured = (("Dice", dice), ("IoU", dice), ("HD95", hd95), ("Volume", 1.0))
        return [{**both, "metric": name, "before": x, "after": x} for name, x in measured]

    def distance(dice: float, hd95: float) -> float:
        (row,) = structure_rows(replace(Evaluation([], nothing, nothing, "reference"), rows=rows(dice, hd95)))
        return float(row["hd95_after"])

    assert distance(0.0, math.nan) == math.inf  # one of both is empty
    assert math.isnan(distance(1.0, math.nan))  # both are
    assert distance(0.0, 30.0) == 30.0  # both are there, and far apart
