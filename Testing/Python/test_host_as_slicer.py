"""Where a running Slicer surprised: the host does the same, one test for each surprise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_helpers import _parts, _scene, pixels, volume  # noqa: F401  (fixtures)
from test_host_views import LAYOUT, LAYOUT_ID, area, draw_or_skip, layouts


def test_a_selector_tells_of_its_first_node_while_it_gets_the_scene(scene: Any) -> None:
    import slicer

    node, told = volume(), []
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.noneEnabled = False
    box.connect("currentNodeChanged(vtkMRMLNode*)", told.append)
    box.setMRMLScene(scene)
    assert told == [node]


MODULE = """
import qt
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget

class Wide(ScriptedLoadableModule):
    pass

class WideWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        self.label = qt.QLabel("It wraps. " * 20)
        self.label.wordWrap = True
        self.line = qt.QLineEdit()
        self.layout.addWidget(self.label)
        self.layout.addWidget(self.line)
"""


@pytest.fixture(name="wide")
def _wide(parts: Any, tmp_path: Path) -> Any:
    """A module whose widgets could be narrow, and would like to be wide."""
    (tmp_path / "Wide.py").write_text(MODULE)
    parts.loadModule(tmp_path / "Wide.py")
    return parts.moduleWidget("Wide")


def test_the_panel_is_as_wide_as_the_module_would_like_to_be(parts: Any, wide: Any) -> None:
    import qt

    window = parts.window()
    window.settle()
    wide.line.setMinimumWidth(560)
    window.settle()
    wished = wide.parent.sizeHint.width()
    assert wide.parent.minimumSizeHint.width() <= wished and window.panel.width() > wished >= 560
    wide.line.setMinimumWidth(0)
    wide.line.setSizePolicy(qt.QSizePolicy.Fixed, qt.QSizePolicy.Fixed)
    wide.label.text = "\n".join(["a line that does not wrap".replace(" ", "_") * 8])
    window.settle()
    assert window.panel.width() > wide.parent.sizeHint.width() > 600
    assert window.panel.neededWidth() == window.panel.minimumSizeHint().width() > wide.parent.sizeHint.width()


def test_a_window_grows_beyond_its_size_when_its_contents_do_not_fit(parts: Any, wide: Any) -> None:
    wide.line.setMinimumWidth(600)
    layouts()
    parts.window().takeSize(1000, 700)
    parts.window().settle()
    assert parts.window().width() > 600 + 2 * 327


def test_a_slice_view_is_as_wide_as_its_bar_and_takes_letters_from_long_names(parts: Any, scene: Any) -> None:
    import qt

    manager = layouts()
    widget = manager.sliceWidget("ProbeLeft")
    assert widget.minimumSizeHint.width() == 327
    widget.mrmlSliceNode().SetLayoutLabel("Adversarial")
    assert widget.minimumSizeHint.width() == 327
    parts.window().takeSize(700, 700)
    parts.window().settle()
    label = widget.sliceController().findChild(qt.QLabel)
    assert widget.width == 327 and label.text == "Adversarial" and label.width < label.sizeHint.width()
    parts.window().takeSize(1280, 800)
    parts.window().settle()
    assert label.width >= label.sizeHint.width()


def test_a_loaded_volume_is_in_all_slice_views_and_in_those_to_come(parts: Any, scene: Any, tmp_path: Path) -> None:
    import SimpleITK
    import slicer

    path = str(tmp_path / "loaded.nrrd")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.arange(512, dtype=np.int16).reshape(8, 8, 8)), path)
    forgetViews(scene)
    loaded = slicer.util.loadVolume(path)
    manager = slicer.app.layoutManager()
    shown = {x: manager.sliceWidget(x).mrmlSliceCompositeNode().GetBackgroundVolumeID() for x in ("Red", "Green", "Yellow")}
    assert set(shown.values()) == {loaded.GetID()}
    assert layouts().sliceWidget("ProbeRight").mrmlSliceCompositeNode().GetBackgroundVolumeID() == loaded.GetID()


def test_a_node_that_shows_a_selected_item_has_no_attributes_of_it(parts: Any, scene: Any, slicerHost: Any) -> None:
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "steps")
    sequence.SetDataNodeAtValue(volume("item"), "0")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    proxy = browser.GetProxyNode(sequence)
    proxy.SetAttribute("Probe", "set afterwards")
    slicerHost.processEvents(0.05)
    assert list(proxy.GetAttributeNames()) == ["Sequences.BaseName"]


def test_a_colour_legend_is_missed_by_views_that_are_younger(parts: Any, scene: Any, tmp_path: Path, slicerHost: Any) -> None:
    """Only after a turn of the event loop they can be told of it."""
    draw_or_skip()
    import slicer

    from SegAdversarialLib.scene.volumes import add_perturbation_volume

    values = np.ones((16, 16, 16), np.float32)
    shown = add_perturbation_volume(scene, "change", "change", values, np.eye(4), volume("like", (16, 16, 16)))
    shown.GetNthDisplayNode(1).SetVisibility(True)
    forgetViews(scene)
    manager = slicer.app.layoutManager()
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(LAYOUT_ID, LAYOUT)
    manager.setLayout(LAYOUT_ID)
    composite = manager.sliceWidget("ProbeLeft").mrmlSliceCompositeNode()
    composite.SetBackgroundVolumeID(shown.GetID())

    def tell() -> None:
        composite.SetInteractionFlags(slicer.vtkMRMLSliceCompositeNode.ForegroundVolumeFlag)
        composite.Modified()
        composite.SetInteractionFlags(0)

    def colours(name: str) -> int:
        picture = area(manager.sliceWidget("ProbeLeft").sliceView(), pixels(parts.window().grabTo(tmp_path / name)))
        return int((np.ptp(picture[:, picture.shape[1] // 2 :], axis=2) > 100).sum())

    tell()
    missed = colours("missed.png")
    tell()
    assert colours("drawn.png") > missed + 500


def forgetViews(scene: Any) -> None:
    """Take the test's own views out of the scene, so that its layout makes them anew."""
    for node in [scene.GetNodeByID(f"vtkMRMLSliceNodeProbe{x}") for x in ("Left", "Right")]:
        if node is not None:
            scene.RemoveNode(node)


def test_slice_views_name_their_volumes_in_the_lowest_lines(parts: Any, scene: Any, tmp_path: Path) -> None:
    draw_or_skip()
    import slicer

    dark = slicer.util.addVolumeFromArray(np.zeros((16, 16, 16), np.int16))
    dark.SetName("a volume without any light")
    slicer.util.setSliceViewerLayers(background=dark, foreground=dark, foregroundOpacity=0.7, fit=True)
    picture = area(
        slicer.app.layoutManager().sliceWidget("Red").sliceView(), pixels(parts.window().grabTo(tmp_path / "window.png"))
    )
    bright = np.flatnonzero((picture.min(axis=2) > 150).any(axis=1)) / len(picture)
    assert len(bright) and (bright > 0.8).all()


def test_a_single_shot_stays_as_long_as_the_application(scene: Any, slicerHost: Any) -> None:
    import qt
    import slicer

    before, called = len(slicer.app.findChildren(qt.QTimer)), []
    qt.QTimer.singleShot(0, lambda: called.append(1))
    slicerHost.processEvents(0.05)
    assert called == [1] and len(slicer.app.findChildren(qt.QTimer)) == before + 1


def test_another_matrix_of_a_volume_is_a_plain_change(scene: Any) -> None:
    """This is Slicer's own node: told here because whoever looks after grids must know it."""
    import slicer
    import vtk

    node, told = volume(), []
    for event in (slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, slicer.vtkMRMLTransformableNode.TransformModifiedEvent):
        node.AddObserver(event, lambda *_: told.append("special"))
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: told.append("plain"))
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 25)
    node.SetIJKToRASMatrix(matrix)
    assert set(told) == {"plain"}


def test_reading_a_process_that_could_not_start_is_warned_of(scene: Any, slicerHost: Any, tmp_path: Path) -> None:
    import qt

    process = qt.QProcess()
    process.start(str(tmp_path / "nothing"), [])
    slicerHost.processEvents(0.05)
    assert process.state() == qt.QProcess.NotRunning
    for read in (process.readAllStandardOutput, process.readAllStandardError):
        assert read().data() == b""
    assert len(slicerHost.qtWarnings) == 2
    slicerHost.qtWarnings.clear()
