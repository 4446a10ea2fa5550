"""The host's qMRML widgets on Slicer's real scene: selectors of nodes and segments, tables, sequences."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_helpers import _parts, _scene, volume  # noqa: F401  (fixtures)


def selector(**properties: Any) -> Any:
    """A selector of volumes on Slicer's scene."""
    import slicer

    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    for name, value in properties.items():
        setattr(box, name, value)
    box.setMRMLScene(slicer.mrmlScene)
    return box


def test_a_node_selector_follows_the_scene(scene: Any) -> None:
    import slicer

    box = selector(noneEnabled=True, noneDisplay="no volume")
    assert box.currentNode() is None and box.currentNodeID == "" and box.nodeCount() == 0
    first, second = volume("first"), volume("second")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "a model")
    assert box.nodeCount() == 2 and box.currentNode() is None and box.nodeFromIndex(1) is second
    box.setCurrentNode(second)
    assert box.currentNodeID == second.GetID()
    second.SetName("renamed")
    assert second.GetName() in shown(box) and "no volume" in shown(box)
    scene.RemoveNode(second)
    assert box.nodeCount() == 1 and second.GetName() not in shown(box)
    box.setCurrentNode(first)
    last = volume("last")
    box.setCurrentNode(last)
    scene.RemoveNode(last)
    assert box.currentNode() is first, "the row before takes over"
    first.SetHideFromEditors(True)
    assert box.nodeCount() == 0 and box.currentNode() is None
    first.SetHideFromEditors(False)
    box.setCurrentNodeID(first.GetID())
    box.setMRMLScene(None)
    assert box.nodeCount() == 0 and box.currentNode() is None and not box.enabled
    box.setMRMLScene(scene)
    box.setCurrentNodeID(first.GetID())
    scene.Clear(0)
    assert box.nodeCount() == 0 and box.currentNode() is None


def shown(box: Any) -> list[str]:
    """The texts of a node selector's rows."""
    import qt

    inside = box.findChild(qt.QComboBox)
    return [inside.itemText(n) for n in range(inside.count)]


def test_a_node_selector_has_both_signals(scene: Any, slicerHost: Any) -> None:
    nodes, valid, ids, chosen = [], [], [], []
    box = selector(noneEnabled=True)
    assert box.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    assert box.connect("currentNodeChanged(bool)", valid.append)
    assert box.connect("currentNodeIDChanged(QString)", ids.append)
    assert box.connect("nodeActivated(vtkMRMLNode*)", chosen.append)
    assert not box.connect("currentNodeChanged(QString)", nodes.append)
    assert slicerHost.refusedConnections.pop()
    node = volume()
    box.setCurrentNode(node)
    box.setCurrentNode(node)
    box.setCurrentNode(None)
    wasBlocked = box.blockSignals(True)
    box.setCurrentNode(node)
    box.blockSignals(wasBlocked)
    assert nodes == [node, None] and valid == [True, False] and ids == [node.GetID(), ""] and chosen == []


def test_a_node_selector_without_none_takes_the_first(scene: Any) -> None:
    box = selector(noneEnabled=False, addEnabled=False)
    assert box.currentNode() is None
    first = volume("first")
    volume("second")
    assert box.currentNode() is first
    assert selector().currentNode() is first


def test_a_node_selector_lets_through_what_its_filters_say(scene: Any) -> None:
    import slicer

    box = selector(noneEnabled=True)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert box.nodeCount() == 1
    box.showChildNodeTypes = False
    assert box.nodeCount() == 0
    box.addAttribute("vtkMRMLScalarVolumeNode", "Probe", "1")
    node = volume()
    assert box.nodeCount() == 0
    node.SetAttribute("Probe", "1")
    assert box.nodeCount() == 1
    box.baseName = "made"
    made = box.addNode()
    assert box.currentNode() is made and made.GetName() == "made" and made.GetAttribute("Probe") == "1"
    box.removeCurrentNode()
    assert not scene.IsNodePresent(made)


def test_a_dead_selector_leaves_no_observers(scene: Any) -> None:
    node = volume()
    before = node.HasObserver("ModifiedEvent")
    box = selector(noneEnabled=True)
    assert node.HasObserver("ModifiedEvent")
    del box
    gc.collect()
    assert node.HasObserver("ModifiedEvent") == before


def test_a_table_view_follows_its_node(scene: Any) -> None:
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLTableNode", "table")
    slicer.util.updateTableFromArray(node, np.array([[1.0, 2.0], [3.0, 4.5]]), ["x", "y"])
    view = slicer.qMRMLTableView()
    view.setMRMLScene(scene)
    view.setMRMLTableNode(node)
    model = view.model()
    assert (model.rowCount(), model.columnCount()) == (3, 2) and model.index(0, 1).data() == "y"
    view.setFirstRowLocked(True)
    assert view.firstRowLocked is True and model.rowCount() == 2 and model.headerData(1, 1) == "y"
    assert model.index(1, 1).data() == "4.5"
    node.AddEmptyRow()
    assert model.rowCount() == 3
    view.setMRMLTableNode(None)
    assert model.rowCount() == 0


def test_a_segment_selector_follows_the_segmentation(scene: Any) -> None:
    import slicer

    seen: list[str] = []
    widget = slicer.qMRMLSegmentSelectorWidget()
    widget.setMRMLScene(scene)
    widget.connect("currentSegmentChanged(QString)", seen.append)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segments")
    for name in ("core", "rim"):
        node.GetSegmentation().AddEmptySegment(name, name)
    widget.setCurrentNode(node)
    assert widget.currentNode() is node and widget.currentSegmentID() == "core"
    widget.setCurrentSegmentID("rim")
    assert seen[-1] == "rim"
    node.GetSegmentation().RemoveSegment("rim")
    assert widget.currentSegmentID() == "core"


def test_a_sequence_slider_moves_its_browser(scene: Any) -> None:
    import slicer

    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "steps")
    for n in range(3):
        sequence.SetDataNodeAtValue(volume(), str(n))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    widget = slicer.qMRMLSequenceBrowserSeekWidget()
    widget.setMRMLSequenceBrowserNode(browser)
    widget.slider().setValue(2)
    assert browser.GetSelectedItemNumber() == 2
    browser.SetSelectedItemNumber(1)
    assert widget.slider().value == 1


def test_a_scene_is_saved_and_loaded(scene: Any, tmp_path: Path) -> None:
    import slicer

    values = slicer.util.arrayFromVolume(volume("kept")).copy()
    box = selector(noneEnabled=True)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert box.nodeCount() == 0
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert box.nodeCount() == 1 and box.nodeFromIndex(0).GetName() == "kept"
    assert np.array_equal(slicer.util.arrayFromVolume(slicer.util.getNode("kept")), values)
    with pytest.raises(RuntimeError):
        slicer.util.loadScene(str(tmp_path / "nothing.mrb"))


def test_loading_a_scene_takes_the_current_node_away(scene: Any, tmp_path: Path) -> None:
    """Slicer's issue 4570: whoever keeps a selector's choice must not take this for the user's."""
    import slicer

    first = volume("first")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    box, told = selector(noneEnabled=True, addEnabled=False, removeEnabled=False), []
    sure = selector(noneEnabled=False, addEnabled=False, removeEnabled=True)
    sure.setCurrentNode(first)
    box.setCurrentNode(first)
    box.connect("currentNodeChanged(vtkMRMLNode*)", told.append)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert box.nodeCount() == 2 and box.currentNode() is None and told == [None]
    assert sure.currentNode() is None
