"""The benchmarks of defences: what they cut out, and what they say of figures; not their results."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from conftest import ROOT

from SegAdversarialLib import phantom
from SegAdversarialLib.studies.papers.liu2021.tables import DEFENCES, printed

sys.path.append(str(ROOT / "Testing" / "Benchmarks"))

import augmentations
import defences
from defence_cases import tumour_part


def test_a_part_lies_where_it_lay_and_holds_the_tumour() -> None:
    whole = phantom.subject(3, (32, 36, 40))
    part = tumour_part(whole, 24)
    assert part.shape == (24, 24, 24)
    origin = np.linalg.solve(whole.affine, part.affine[:, 3])[:3].round(6)
    i, j, k = origin.astype(int)
    assert np.array_equal(part.image, whole.image[:, k : k + 24, j : j + 24, i : i + 24])
    assert np.array_equal(part.label, whole.label[k : k + 24, j : j + 24, i : i + 24])
    assert (part.label > 0).sum() > 0.8 * (whole.label > 0).sum()


def test_the_paper_s_figures_are_found() -> None:
    assert printed(3, "WT", "No defense", 0.0) == "0.890 ± 0.052"
    assert printed(3, "ET", "Distillation (T = 5000)", 0.1) == "0.522 ± 0.275"
    assert printed(2, "TC", "Adversarial training, 0.05", 0.05) == "0.623 ± 0.196"
    assert printed(2, "TC", defences.NOISE, 0.05) == printed(3, "WT", "No defense", 0.01) == "-"
    assert [x.name for x in defences.defences()] == [*DEFENCES, defences.NOISE]


def rows(values: dict[float, float]) -> list[dict[str, object]]:
    given = {"dimensions": 3, "defence": "No defense"}
    return [{**given, "epsilon": e, "case": "a", "WT": x, "TC": 0.9 - e, "ET": 0.9 - e} for e, x in values.items()]


def test_label_leaking_is_named() -> None:
    assert defences.leaking(rows({0.0: 0.9, 0.05: 0.8, 0.1: 0.7}), 3) == []
    (found,) = defences.leaking(rows({0.0: 0.8, 0.05: 0.9, 0.1: 0.7}), 3)
    assert found == "No defense: WT 0.900 at epsilon 0.05, 0.800 at 0"


def test_the_table_has_the_paper_s_rows() -> None:
    lines = defences.tables(rows({0.0: 0.9, 0.05: 0.8, 0.1: 0.7}), [], 3).splitlines()
    assert len(lines) == 2 + 3
    cells = [x.strip() for x in lines[2].strip("|").split("|")]
    assert cells[:8] == [
        "Whole tumor",
        "No defense",
        "0.890 ± 0.052",
        "0.900",
        "0.676 ± 0.189",
        "0.800",
        "0.609 ± 0.216",
        "0.700",
    ]


@pytest.mark.parametrize("name", ["Table 1", "Table 2", "Table 3"])
def test_the_other_paper_s_tables_have_a_cell_for_each_head(name: str) -> None:
    found = augmentations.tables([])
    part = re.split(r"Table \d", found)[int(name[-1])]
    widths = {line.count("|") for line in part.strip().splitlines()}
    assert len(widths) == 1
