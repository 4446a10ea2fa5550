"""A study's figures: what they show, that nothing covers anything, and that the same input makes the same bytes."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from conftest import ROOT
from rows_helpers import falling, rows, traces
from scipy.stats import probplot

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.phantom import subject
from SegAdversarialLib.studies.figures import (
    by_budget,
    by_iteration,
    foreground_intensities,
    histograms,
    modality_bars,
    quantile_plots,
    save,
    worst_slice,
)
from SegAdversarialLib.studies.layouts import families
from SegAdversarialLib.volumes.case import Case


def texts(figure: Any) -> set[str]:
    return {x.get_text() for x in figure.findobj(matplotlib.text.Text)}


def curves(axis: Any) -> list[Any]:
    return [x for x in axis.get_lines() if len(x.get_xdata())]


def legend_covers(figure: Any) -> bool:
    """Whether the legend lies over a panel."""
    figure.canvas.draw()
    shown = [x.get_window_extent() for x in figure.legends]
    return any(x.overlaps(axis.get_tightbbox()) for x in shown for axis in figure.axes)


def test_dice_against_budget_with_a_curve_for_each_network_and_intervals() -> None:
    made = rows()
    figure = by_budget(made, families(made)[0])
    assert [x.get_title() for x in figure.axes] == ["TC", "WT", "mean"]
    plain, defended = curves(figure.axes[0])
    np.testing.assert_array_equal(plain.get_xdata(), [0, 0.02, 0.05])
    means = [np.mean([falling("plain", f"{x} all", n, "TC") for n in range(6)]) for x in (0, 0.02, 0.05)]
    np.testing.assert_allclose(plain.get_ydata(), means)
    assert (defended.get_ydata()[1:] > plain.get_ydata()[1:]).all()
    assert len(figure.axes[0].collections) == 2
    shown = texts(figure)
    assert {"plain", "defended", "epsilon (of the largest intensity)", "Dice"} <= shown and not legend_covers(figure)


def test_the_axis_of_a_budget_says_its_unit() -> None:
    """As the attack's own setting has it; nothing is guessed where nobody knows."""
    cheng = {"attack": "universal-random-perturbation", "epsilon": 1.0, "radius": 15.0}
    for settings, name, unit in (
        (cheng, "epsilon", " (scanner units)"),
        (cheng, "radius", " (scanner units)"),
        ({"attack": "deformation", "max_displacement": 5.0}, "max_displacement", " (mm)"),
        ({"attack": "fgsm", "epsilon": 1.0, "epsilon_units": "absolute"}, "epsilon", " (scanner units)"),
        ({"attack": "no such attack", "epsilon": 1.0}, "epsilon", ""),
    ):
        made = [row | {"settings": settings, "budget_name": name} for row in rows(("plain",))]
        assert by_budget(made, families(made)[0]).axes[0].get_xlabel() == name + unit


def test_twenty_networks_have_twenty_looks_and_a_legend_below() -> None:
    names = [f"A defence with a long name, T = {n}" for n in range(20)]
    made = rows(networks=names, budgets=(0.05,))
    figure = by_budget(made, families(made)[0])
    looks = {(x.get_color(), x.get_marker(), str(x.get_linestyle())) for x in curves(figure.axes[0])}
    assert len(looks) == 20 and not legend_covers(figure)
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.y0 >= 0 and legend.x1 <= figure.bbox.x1
    assert not figure.axes[0].collections  # twenty bands would hide each other


def test_one_patient_has_no_interval_and_missing_values_no_point() -> None:
    one = [x for x in rows(budgets=(0.02, 0.05)) if x["patient"] == "p0"]
    for row in one:
        if row["network"] == "defended" and row["budget"] == 0.05:
            row["dice_after"] = math.nan
    figure = by_budget(one, families(one)[0])
    assert [len(x.get_xdata()) for x in curves(figure.axes[0])] == [3, 2]
    assert all(np.isnan(x.get_paths()[0].vertices).any() or not len(x.get_paths()) for x in _bands(figure))
    whiskers = [y for x in modality_bars(one).axes[0].collections for y in x.get_segments()]
    assert not any(x.size for x in whiskers) and any(
        y.size for x in modality_bars(rows()).axes[0].collections for y in x.get_segments()
    )


def _bands(figure: Any) -> list[Any]:
    return [x for axis in figure.axes for x in axis.collections if len(x.get_paths()) and len(x.get_paths()[0].vertices) > 2]


def test_budgets_over_decades_and_attacks_without_a_budget() -> None:
    wide = rows(budgets=(0.0012, 0.0118, 0.1176))
    figure = by_budget(wide, families(wide)[0])
    assert figure.axes[0].get_xscale() == "symlog" and {"0", "0.0012", "0.0118", "0.1176"} <= texts(figure)
    for row in wide:
        row["budget"] = None
    bare = [x for x in wide if x["settings"]["epsilon"] == 0.1176]
    assert {"No attack", "fgsm"} <= texts(by_budget(bare, families(bare)[0]))


def test_dice_and_psnr_against_iteration_follow_the_largest_budget_to_the_end() -> None:
    made = traces(rows(networks=("plain",)))
    stopped = [x for x in made if not (x["case"] == "case-0" and x["iteration"] > 2)]
    figure = by_iteration(stopped)
    dice, psnr = (curves(x)[0] for x in figure.axes)
    assert list(dice.get_xdata()) == [0, 1, 2, 3, 4] and list(psnr.get_xdata()) == [1, 2, 3, 4]
    ends = [x["dice mean"] for x in made if x["budget"] == 0.05 and x["iteration"] == 4 and x["case"] != "case-0"]
    held = next(x for x in made if x["budget"] == 0.05 and x["iteration"] == 2 and x["case"] == "case-0")["dice mean"]
    assert dice.get_ydata()[-1] == pytest.approx(np.mean([*ends, held]))
    assert "fgsm, epsilon\xa0=\xa00.05" in texts(figure) and not legend_covers(figure)


def test_bars_stand_side_by_side_for_each_modality_and_all() -> None:
    made = rows(channels=("T1", "T2", "all"))
    figure = modality_bars(made)
    (axis,) = figure.axes
    assert [x.get_text() for x in axis.get_xticklabels()] == ["No attack", "T1", "T2", "all"]
    assert {"TC", "WT", "mean", "plain, fgsm, epsilon = 0.05"} <= texts(figure) and not legend_covers(figure)
    tops = [x.get_height() for x in axis.patches][:4]
    expected = [np.mean([falling("plain", x, n, "TC") for n in range(6)]) for x in ("0 all", "0.05 T1", "0.05 T2", "0.05 all")]
    np.testing.assert_allclose(tops, expected)


def test_histograms_and_normal_plots_of_raw_and_normalised_intensities() -> None:
    cases = [subject(n, (32, 32, 32), 5.0) for n in range(2)]
    found = foreground_intensities(cases)
    inside = (cases[0].image > 0).any(0)
    np.testing.assert_array_equal(found["T1"][0], cases[0].image[0][inside])
    bars = histograms(found)
    assert [x.get_title() for x in bars.axes] == ["T1", "T1ce", "T2", "FLAIR", "", "", "", ""]
    assert {"raw: density", "normalised: density", "intensity (scanner units)", "normalised (SD)"} <= texts(bars)
    figure = quantile_plots(found)
    slope, intercept, correlation = probplot(np.concatenate(found["T2"]))[1]
    assert f"slope {slope:.4g}\nintercept {intercept:.4g}\nr {correlation:.3f}" in texts(figure)
    line = figure.axes[2].get_lines()[1]
    np.testing.assert_allclose(line.get_ydata(), slope * line.get_xdata() + intercept, rtol=1e-6)
    flat = {"T1": [np.full(5, 3.0)], "T2": [np.empty(0)]}
    assert len(histograms(flat).axes) == len(quantile_plots(flat).axes) == 4


def case_with(affine: np.ndarray) -> tuple[Case, np.ndarray]:
    label = np.zeros((5, 6, 7), np.int16)
    label[3, 1, 2] = 1
    return Case(
        np.ones((1, 5, 6, 7), np.float32), ("T1",), affine, label=label, label_names={0: "background", 1: "tumour"}
    ), label


@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (1, -1)])
def test_the_worst_slice_is_where_most_voxels_changed_seen_as_radiologists_do(signs: tuple[int, int]) -> None:
    affine = np.diag([signs[0], signs[1], 1.0, 1.0])
    case, label = case_with(affine)
    after = label.copy()
    after[3] = 0
    changed = Case(case.image + label[None] * 5, ("T1",), affine, label=label)
    figure = worst_slice(case, changed, label, after, title="fgsm")
    assert "fgsm: T1, slice 4 of 5" in texts(figure) and "tumour" in texts(figure) and not legend_covers(figure)
    shown = np.asarray(figure.axes[3].get_images()[0].get_array())
    ((row, column),) = np.argwhere(shown > 0).tolist()
    # voxel i = 2, j = 1: towards the right, and the back, where i and j grow towards right and anterior
    assert column == (6 - 2 if signs[0] > 0 else 2)
    assert row == (5 - 1 if signs[1] > 0 else 1)


def test_other_axes_and_cases_without_a_reference_are_shown_too() -> None:
    case, label = case_with(np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1.0]]))
    bare = Case(case.image, case.channels, case.affine)
    figure = worst_slice(bare, bare, label, label, channel="T1")
    assert "T1, slice 2 of 6" in texts(figure) and len(figure.axes) == 4  # slices along j; two answers, the change, its scale
    with pytest.raises(InputError, match="no channel T9"):
        worst_slice(bare, bare, label, label, channel="T9")
    with pytest.raises(InputError, match="one grid"):
        worst_slice(bare, bare, label[1:], label)


def test_the_same_figure_makes_the_same_bytes_whatever_the_user_has_set(tmp_path: Path) -> None:
    made = rows()

    def drawn(name: str) -> list[bytes]:
        return [x.read_bytes() for x in save(by_budget(made, families(made)[0]), tmp_path, name)]

    first = drawn("a")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 30, "svg.fonttype": "none"}):
        before = dict(matplotlib.rcParams)
        second = drawn("b")
        assert dict(matplotlib.rcParams) == before
    assert first == second
    assert b"<dc:date>" not in first[0] and first[0].startswith(b"<?xml") and first[1].startswith(b"\x89PNG")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]


def test_no_window_and_no_current_figure_is_made() -> None:
    program = (
        "import sys; from rows_helpers import rows; from SegAdversarialLib.studies.layouts import families\n"
        "from SegAdversarialLib.studies.figures import modality_bars, by_budget\n"
        "assert 'matplotlib' not in sys.modules\n"
        "r = rows(); modality_bars(r); by_budget(r, families(r)[0])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    places = [str(ROOT), str(ROOT / "Testing" / "Python")]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {places}\n{program}"], check=True, timeout=600)
