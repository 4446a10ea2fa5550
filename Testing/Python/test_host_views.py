"""The host's layouts: view nodes made by Slicer's own logic, and pictures drawn by its own slice views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_helpers import _parts, _scene, pixels, volume  # noqa: F401  (fixtures)

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.phantom import subject

LAYOUT = """
<layout type="vertical" split="true">
 <item splitSize="600"><layout type="horizontal">
  <item><view class="vtkMRMLSliceNode" singletontag="ProbeLeft">
   <property name="orientation" action="default">Axial</property>
   <property name="viewlabel" action="default">L</property>
   <property name="viewcolor" action="default">#4A90D9</property></view></item>
  <item><view class="vtkMRMLSliceNode" singletontag="ProbeRight">
   <property name="orientation" action="default">Sagittal</property>
   <property name="viewlabel" action="default">R</property>
   <property name="viewcolor" action="default">#F34A33</property></view></item>
 </layout></item>
 <item splitSize="300"><layout type="horizontal">
  <item><view class="vtkMRMLPlotViewNode" singletontag="ProbePlot"/></item>
  <item><view class="vtkMRMLTableViewNode" singletontag="ProbeTable"/></item>
 </layout></item>
</layout>"""
LAYOUT_ID = 7701


def layouts() -> Any:
    """The layout manager, with the test's own layout chosen."""
    import slicer

    manager = slicer.app.layoutManager()
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(LAYOUT_ID, LAYOUT)
    manager.setLayout(LAYOUT_ID)
    slicer.app.processEvents()
    return manager


def test_a_layout_of_ones_own_makes_its_nodes(scene: Any) -> None:
    changes: list[int] = []
    import slicer

    slicer.app.layoutManager().connect("layoutChanged(int)", changes.append)
    manager = layouts()
    assert manager.layout == LAYOUT_ID and changes == [LAYOUT_ID]
    assert {"ProbeLeft", "ProbeRight"} <= set(manager.sliceViewNames())
    widget = manager.sliceWidget("ProbeRight")
    node = scene.GetNodeByID("vtkMRMLSliceNodeProbeRight")
    assert widget.mrmlSliceNode() is node and node.GetOrientation() == "Sagittal" and node.GetLayoutLabel() == "R"
    assert widget.mrmlSliceCompositeNode() is scene.GetNodeByID("vtkMRMLSliceCompositeNodeProbeRight")
    assert scene.GetNodeByID("vtkMRMLPlotViewNodeProbePlot") in [
        manager.plotWidget(n).mrmlPlotViewNode() for n in range(manager.plotViewCount)
    ]
    assert widget.visible and not manager.sliceWidget("Red").visible
    manager.layout = 6
    assert not widget.visible and manager.sliceWidget("Red").visible
    scene.Clear(0)
    assert manager.sliceWidget("ProbeRight") is None or manager.sliceWidget("ProbeRight").mrmlSliceNode() is node


def test_linked_slices_move_together(scene: Any) -> None:
    import slicer

    manager = layouts()
    slicer.util.setSliceViewerLayers(background=volume(shape=(20, 20, 20)), fit=True)
    left, right = (manager.sliceWidget(x) for x in ("ProbeLeft", "Red"))
    for widget in (left, right):
        widget.mrmlSliceCompositeNode().SetLinkedControl(True)
    left.sliceController().setSliceOffsetValue(5.0)
    assert right.mrmlSliceNode().GetSliceOffset() == pytest.approx(5.0)


def draw_or_skip() -> None:
    """Skip the test where nothing can be drawn off screen."""
    from SegAdversarialLib.scene import check_drawing

    try:
        check_drawing()
    except InputError as error:
        pytest.skip(str(error))


def area(widget: Any, image: np.ndarray) -> np.ndarray:
    """What of the window's picture shows a widget."""
    import qt
    import slicer

    corner = widget.mapTo(slicer.util.mainWindow(), qt.QPoint(0, 0))
    return image[corner.y() : corner.y() + widget.height, corner.x() : corner.x() + widget.width]


def test_the_window_shows_the_phantom_the_chart_and_the_table(parts: Any, scene: Any, tmp_path: Path) -> None:
    draw_or_skip()
    import slicer

    from SegAdversarialLib.scene import add_case

    nodes = add_case(subject(seed=1, shape=(32, 32, 32)))
    manager = layouts()
    slicer.util.setSliceViewerLayers(background=nodes.channels["FLAIR"], fit=True)
    trace = [{"iteration": n, "dice 1": 0.9 - 0.2 * n, "dice mean": 0.9 - 0.1 * n} for n in range(5)]
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "trace")
    slicer.util.updateTableFromArray(table, np.array([list(x.values()) for x in trace]), list(trace[0]))
    chart = slicer.util.plot(np.array([list(x.values()) for x in trace]), 0, list(trace[0]), show=False)
    plotView, tableView = (scene.GetNodeByID(f"vtkMRML{x}ViewNodeProbe{x}") for x in ("Plot", "Table"))
    plotView.SetPlotChartNodeID(chart.GetID())
    tableView.SetTableNodeID(table.GetID())
    image = pixels(parts.window().grabTo(tmp_path / "window.png"))
    assert image.shape == (800, 1280, 3)
    for name in ("ProbeLeft", "ProbeRight"):
        view = area(manager.sliceWidget(name).sliceView(), image)
        assert 0.1 < (view.max(axis=2) > 40).mean() < 0.9, "the phantom fills part of the view"
        assert (np.ptp(view, axis=2) > 60).any(), "its segments are coloured"
    drawn = area(manager.viewWidget(plotView).plotView(), image)
    assert (drawn.min(axis=2) > 250).mean() > 0.5 and (drawn.max(axis=2) < 80).any()
