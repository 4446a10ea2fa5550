"""The window of a hospital laptop: nothing is wider than there is room for, and everything can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gui_helpers import openModule, settle
from results_helpers import made

from SegAdversarialLib import scene as scenes

WINDOW, PANEL = (1366, 768), 400
LONG = "a subject with a name that is a good deal longer than any panel is wide"


@pytest.fixture(scope="module")
def panel(slicerHost: Any) -> Iterator[Any]:
    from host import slicer_module

    slicer_module.reset()
    panel = openModule()
    slicer_module.window().takeSize(*WINDOW)
    settle()
    yield panel
    slicer_module.reset()


def wants(widget: Any) -> int:
    """How many pixels a widget asks of the layout that it is in."""
    from PySide6.QtWidgets import QSizePolicy

    if widget.sizePolicy().horizontalPolicy() == QSizePolicy.Policy.Ignored:
        return int(widget.minimumWidth())
    return int(max(widget.sizeHint().width(), widget.minimumSizeHint().width(), widget.minimumWidth()))


def checkWidths(after: str) -> None:
    """No widget of the panel asks for more than the panel has, and neither panel nor window have become wider."""
    from host import slicer_module
    from PySide6.QtWidgets import QWidget

    window = slicer_module.window()
    window.settle()
    inside = window.panel.shown
    room = PANEL - window.panel.area.verticalScrollBar().sizeHint().width()
    wide = {x.objectName() or type(x).__name__: wants(x) for x in inside.findChildren(QWidget) if x.isVisibleTo(inside)}
    assert not {name: width for name, width in wide.items() if width > room}, after
    assert max(inside.sizeHint().width(), inside.minimumSizeHint().width()) <= room, after
    assert window.panel.neededWidth() <= PANEL and window.dock.width() == PANEL and window.width() == WINDOW[0], after


def test_all_attacks_with_all_their_settings(panel: Any) -> None:
    for entry in list(panel.attack._attacks):
        panel.state.change(attack=entry)
        if panel.attack._more is not None:
            panel.attack._more.collapsed = False
        checkWidths(entry)
    panel.state.change(attack="fgsm")


def test_defending_by_all_recipes_and_the_settings_of_the_checks(panel: Any, tmp_path: Path) -> None:
    panel.defend.widget.collapsed = panel.run.checks.widget.collapsed = False
    panel.state.change(trainCases=str(tmp_path / LONG), trainFolder=str(tmp_path / LONG / LONG))
    for kind in ("folder", "loaded", "synthetic"):
        for entry in list(panel.defend._recipes):
            panel.state.change(trainFrom=kind, recipe=entry)
            for form in (panel.defend.recipeForm, panel.defend.trainingForm):
                if form.more is not None:
                    form.more.collapsed = False
            checkWidths(f"{kind}, {entry}")
    panel.defend.problemNote.text = panel.defend.cases.note.text = LONG * 3
    checkWidths("notes of the training")
    panel.defend.widget.collapsed = panel.run.checks.widget.collapsed = True


def test_the_longest_notes(panel: Any, tmp_path: Path) -> None:
    from images_helpers import network

    panel.images.setNetwork(network((f"{LONG} 1", f"{LONG} 2")))
    panel.network.infoNote.text = "\n".join([LONG * 3, "Takes " + ", ".join([LONG] * 6)])
    panel.network._device.setDevices([{"id": "cuda:0", "name": LONG * 2, "memory": 1 << 37}], LONG * 4)
    panel.run.onProgress(0.5, LONG * 3, 1e4)
    panel.attack.problemNote.text = LONG * 3
    checkWidths("notes")
    panel.state.change(network=str(tmp_path / LONG / (LONG + ".ts")))
    checkWidths("a long path")
    panel.state.change(network="builtin:brain-tumour-phantom")


def test_a_result_with_long_names_and_its_views(panel: Any, tmp_path: Path) -> None:
    import slicer
    from host import slicer_module
    from host.gate import realOf

    result, evaluation = made()
    result.attack.summary = lambda: LONG  # type: ignore[attr-defined,method-assign]
    nodes = scenes.add_result(result, evaluation, None, slicer.mrmlScene)
    for volume in nodes.inputs.values():
        volume.SetName(f"{LONG} {volume.GetName()}")
    panel.results.select(nodes.run)
    checkWidths("a result")
    manager, window = slicer.app.layoutManager(), slicer_module.window()
    for tag in ("SegAdversarialOriginal", "SegAdversarialAdversarial", "SegAdversarialDifference"):
        label = realOf(manager.sliceWidget(tag)).bar.label
        assert label.text() and label.width() >= label.sizeHint().width(), f"the name of {tag} is cut off"
        assert realOf(manager.sliceWidget(tag)).height() > 250
    figures = [manager.plotWidget(n) for n in range(manager.plotViewCount)]
    chart = next(x for x in figures if x.mrmlPlotViewNode().GetLayoutName() == "SegAdversarialPlot")
    assert realOf(chart).bar.label.width() >= realOf(chart).bar.label.sizeHint().width()
    assert window.height() == WINDOW[1]
    for view in ("original", "adversarial", "difference", "compare"):
        panel.results.viewButtons[view].click()
        checkWidths(view)


def test_the_legend_of_a_chart_covers_no_value(panel: Any, tmp_path: Path) -> None:
    """As drawn: the last point of each curve lies left of the legend."""
    import slicer
    from host import slicer_module
    from host.gate import realOf
    from test_host_views import draw_or_skip

    draw_or_skip()
    slicer_module.window().grabTo(tmp_path / "window.png")
    manager = slicer.app.layoutManager()
    views = [realOf(manager.plotWidget(n)) for n in range(manager.plotViewCount)]
    view = next(x for x in views if x.node.GetLayoutName() == "SegAdversarialPlot")
    legend, axis = view.chart.GetLegend(), view.chart.GetAxis(1)
    left = legend.GetBoundingRect(view.view.GetContext())[0]
    last = max(view.chart.GetPlot(n).GetInput().GetColumn(0).GetRange()[1] for n in range(view.chart.GetNumberOfPlots()))
    low, high = axis.GetMinimum(), axis.GetMaximum()
    start, end = axis.GetPoint1()[0], axis.GetPoint2()[0]
    assert start + (end - start) * (last - low) / (high - low) < left
