"""What the Images section takes for inputs and for the reference by itself, and what it says of the choice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_helpers import putAway, settle
from images_helpers import Stage
from results_helpers import made

from SegAdversarialLib import scene as scenes


@pytest.fixture(name="stage")
def _stage(slicerHost: Any) -> Iterator[Stage]:
    stage = Stage(("T1", "T2"))
    yield stage
    putAway(stage)


def withResult(stage: Stage) -> Any:
    result, evaluation = made()
    nodes = scenes.add_result(result, evaluation, None, stage.scene)
    settle()
    assert stage.chosen() == {"T1": "patient T1", "T2": "patient T2"}
    return nodes


@pytest.mark.parametrize("playedFirst", [False, True])
def test_an_iteration_is_never_guessed(stage: Stage, slicerHost: Any, playedFirst: bool) -> None:
    nodes = withResult(stage)
    if playedFirst:
        nodes.browser.SetSelectedItemNumber(0)
    slicerHost.processEvents(0.1)
    stage.scene.RemoveNode(nodes.inputs["T1"])
    slicerHost.processEvents(0.1)
    assert stage.chosen() == {"T2": "patient T2"}
    assert "T1" in stage.section.problems()[0]
    stage.scene.RemoveNode(nodes.browser)
    slicerHost.processEvents(0.1)
    assert stage.chosen() == {"T2": "patient T2"}, "what is left of the iterations is none either"


def test_nothing_that_a_run_made_is_guessed(stage: Stage) -> None:
    nodes = withResult(stage)
    extra = stage.volume("patient T1 bias field")
    for name, value in (("SegAdversarial.Role", "bias"), ("SegAdversarial.Run", nodes.run)):
        extra.SetAttribute(name, value)
    for node in nodes.inputs.values():
        stage.scene.RemoveNode(node)
    assert stage.chosen() == {}


def test_an_item_of_the_users_own_sequence_is_guessed(stage: Stage, slicerHost: Any) -> None:
    sequence = stage.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "patient T1 frames")
    for n in range(2):
        import slicer

        frame = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(frame, np.ones((4, 6, 5), np.int16))
        sequence.SetDataNodeAtValue(frame, str(n))
    browser = stage.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "frames")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicerHost.processEvents(0.1)
    assert stage.chosen() == {"T1": browser.GetProxyNode(sequence).GetName()}


# the reference


def loadedSegmentation(stage: Stage, path: Path, like: Any, name: str) -> Any:
    """A segmentation that was written to a file and read from it."""
    import slicer

    written = stage.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "written")
    written.SetReferenceImageGeometryParameterFromVolumeNode(like)
    labels = np.zeros(slicer.util.arrayFromVolume(like).shape, np.int16)
    labels[1:3, 2:4, 2:4] = 1
    affine = slicer.util.arrayFromVTKMatrix(matrixOf(like))
    scenes.segmentations.fill_segmentation(written, labels, affine, {1: "tumour"})
    written.AddDefaultStorageNode()
    assert written.GetStorageNode().GetClassName() == "vtkMRMLSegmentationStorageNode"
    written.GetStorageNode().SetFileName(str(path / f"{name}.seg.nrrd"))
    assert written.GetStorageNode().WriteData(written)
    stage.scene.RemoveNode(written)
    node = stage.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(path / f"{name}.seg.nrrd"))
    assert node.GetStorageNode().ReadData(node)
    stage.section._look()
    settle()
    return node


def matrixOf(volume: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def test_a_reference_from_a_file_is_guessed_by_name_and_grid(stage: Stage, tmp_path: Path) -> None:
    volume = stage.volume("case7_t1", spacing=(1, 2, 3), origin=(5, 6, 7))
    elsewhere = stage.volume("case8_ct", spacing=(1, 1, 1), shape=(4, 6, 9))
    settle()
    loadedSegmentation(stage, tmp_path, volume, "brain")
    assert stage.state.reference is None, "nothing says that it is one"
    loadedSegmentation(stage, tmp_path, elsewhere, "case7_seg")
    assert stage.state.reference is None, "another grid"
    other = loadedSegmentation(stage, tmp_path, volume, "other_seg")
    assert stage.state.reference is other
    stage.state.reference = None
    best = loadedSegmentation(stage, tmp_path, volume, "case7 GroundTruth")
    assert stage.state.reference is best, "it is named like the images"


def test_what_the_user_is_drawing_is_no_reference(stage: Stage) -> None:
    volume = stage.volume("case7_t1")
    drawn = stage.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    drawn.GetSegmentation().AddEmptySegment("a", "a")
    settle()
    assert stage.state.reference is None


def test_a_label_map_from_a_file_is_guessed(stage: Stage, tmp_path: Path) -> None:
    stage.volume("case7_t1")
    settle()
    labels = stage.volume("case7-label", kind="LabelMap")
    settle()
    assert stage.state.reference is None, "it was not loaded"
    labels.AddDefaultStorageNode()
    labels.GetStorageNode().SetFileName(str(tmp_path / "case7-label.nrrd"))
    stage.section._look()
    settle()
    assert stage.state.reference is labels


# what is said


def test_one_volume_for_two_channels_and_an_empty_channel_are_said(stage: Stage) -> None:
    first, zero = stage.volume("a_t1"), stage.volume("a_t2")
    import slicer.util

    slicer.util.updateVolumeFromArray(zero, np.zeros((4, 6, 5), np.int16))
    slicer.util.updateVolumeFromArray(first, np.arange(120, dtype=np.int16).reshape(4, 6, 5))
    settle()
    note = stage.find("imagesHintNote")
    assert note.text == "All voxels of a_t2 (T2) have the same value, 0."
    stage.selector("T2").setCurrentNode(first)
    settle()
    assert note.text == "a_t1 is chosen for several channels (T1, T2)."
    assert stage.section.problems() == [], "it may be meant"
    slicer.util.updateVolumeFromArray(zero, np.arange(120, dtype=np.int16).reshape(4, 6, 5))
    stage.selector("T2").setCurrentNode(zero)
    settle()
    assert not stage.visible(note)


def test_a_grid_that_changes_after_the_choice_is_noticed(stage: Stage) -> None:
    import vtk

    first, second = stage.volume("a_t1"), stage.volume("a_t2")
    settle()
    assert stage.section.problems() == [] and first is not second
    looks, matrix = stage.looks, vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 25)
    second.SetIJKToRASMatrix(matrix)
    settle()
    assert stage.looks > looks and "lie at other places" in stage.find("imagesProblemNote").text
