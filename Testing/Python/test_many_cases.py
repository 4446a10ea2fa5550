"""Many cases in one word, for every command that takes many."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from SegAdversarialLib.cli.arguments import build_parser
from SegAdversarialLib.cli.making import cases_of
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.jobs.sources import CaseSource
from SegAdversarialLib.volumes.writing import write_volume


@pytest.mark.parametrize("command", ["audit", "learn-universal", "train-generator"])
def test_a_cohort_stands_beside_single_cases(command: str, tmp_path: Path) -> None:
    image = tmp_path / "all" / "anna" / "T1.nii.gz"
    write_volume(image, np.ones((2, 3, 4), np.float32), np.eye(4))
    write_volume(image.with_name("label.nii.gz"), np.ones((2, 3, 4), np.int16), np.eye(4))
    words = ["--phantom", "7", "--phantom-size", "32", "--cohort", "phantom:3-4@48", "--cohort", f"folders:{tmp_path / 'all'}"]
    options = build_parser().parse_args([command, *words, "--output", "results"])
    found = [CaseSource.model_validate(x) for x in cases_of(options)]
    assert [(x.phantom.seed, x.phantom.shape) for x in found[:3] if x.phantom is not None] == [
        (7, (32, 32, 32)),
        (3, (48, 48, 48)),
        (4, (48, 48, 48)),
    ]
    assert found[3].channels == {"T1": str(image)} and found[3].label == str(image.with_name("label.nii.gz"))
    assert len(found) == 4
    json.dumps([x.model_dump(mode="json") for x in found])


def test_a_cohort_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    options = build_parser().parse_args(["audit", "--cohort", f"brats:{tmp_path}", "--output", "results"])
    with pytest.raises(InputError, match="brats|BraTS"):
        cases_of(options)
