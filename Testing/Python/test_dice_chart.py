"""The chart's legend has room beside the curves."""

from __future__ import annotations

import pytest
from scene_helpers import clean_scene

from SegAdversarialLib.scene.tables import add_dice_plot, add_trace_tables


@pytest.mark.parametrize("last", [0, 1, 40])
def test_the_curves_end_well_before_the_axis_does(last: int) -> None:
    trace = [{"restart": 0, "iteration": n, "loss": 0.1, "dice tumour": 0.9, "dice mean": 0.9} for n in range(last + 1)]
    with clean_scene() as scene:
        chart, _ = add_dice_plot(scene, "chart", "FGSM", add_trace_tables(scene, "trace", trace), {1: "tumour"})
        assert not chart.GetXAxisRangeAuto()
        assert chart.GetXAxisRange()[0] == 0 and chart.GetXAxisRange()[1] >= 1.5 * last
