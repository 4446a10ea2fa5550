"""The panel's Images section on real scene nodes: guesses, choices that are kept, the region, and what is said to be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_helpers import putAway, settle
from images_helpers import BRATS, Stage, add_segmentation
from scene_helpers import make_case, make_evaluation, make_result

from SegAdversarialLib import scene as scenes


@pytest.fixture
def stage(slicerHost: Any) -> Iterator[Stage]:
    made = Stage()
    yield made
    putAway(made)


def test_volumes_are_guessed_when_they_appear(stage: Stage) -> None:
    assert stage.section.problems() == ["Choose volumes for the channels T1, T1ce, T2, FLAIR."]
    stage.volume("case7 T1 post-Gd")
    assert stage.chosen() == {"T1ce": "case7 T1 post-Gd"}
    for name in ("case7 T1w", "case7 T2w", "case7 seg"):
        stage.volume(name)
    assert stage.chosen() == {"T1": "case7 T1w", "T1ce": "case7 T1 post-Gd", "T2": "case7 T2w"}
    assert stage.section.problems() == ["Choose a volume for the channel FLAIR."]
    assert stage.find("imagesProblemNote").text == "Choose a volume for the channel FLAIR."
    stage.volume("MR flair axial")
    assert stage.chosen()["FLAIR"] == "MR flair axial"
    assert stage.section.problems() == [] and not stage.visible(stage.find("imagesProblemNote"))
    assert stage.find("gridNote").text == "5 x 6 x 4 voxels of 1 x 1 x 1 mm"
    assert list(stage.section.volumes()) == list(BRATS)
    assert stage.selector("T2").currentNode().GetName() == "case7 T2w"


def test_a_choice_is_never_overridden(stage: Stage) -> None:
    other = stage.volume("something else")
    stage.selector("T1").setCurrentNode(other)
    stage.volume("a_t1")
    stage.volume("a_t2")
    assert stage.chosen() == {"T1": "something else", "T2": "a_t2"}


def test_a_channel_that_was_set_to_none_stays_so_until_guess_is_pressed(stage: Stage) -> None:
    stage.volume("a_t1")
    stage.volume("a_t2")
    assert set(stage.chosen()) == {"T1", "T2"}
    stage.selector("T1").setCurrentNode(None)
    stage.volume("b_t1")
    stage.network(("T1", "T2"))
    assert stage.chosen() == {"T2": "a_t2"}
    stage.find("guessButton").click()
    assert stage.chosen() == {"T1": "a_t1", "T2": "a_t2"}


def test_a_volume_that_leaves_the_scene_makes_room_for_another_guess(stage: Stage) -> None:
    first = stage.volume("a_t1")
    assert stage.chosen() == {"T1": "a_t1"}
    stage.volume("x")
    stage.volume("y")
    stage.scene.RemoveNode(first)
    assert stage.chosen() == {} and stage.selector("T1").currentNode() is None
    stage.volume("b_t1")
    assert stage.chosen() == {"T1": "b_t1"}


def test_guess_goes_over_to_the_subject_that_was_chosen_last(stage: Stage) -> None:
    stage.network(("T1", "T2"))
    for name in ("a_t1", "a_t2", "b_t1", "b_t2"):
        stage.volume(name)
    assert stage.chosen() == {"T1": "a_t1", "T2": "a_t2"}
    stage.selector("T2").setCurrentNode(stage.scene.GetFirstNodeByName("b_t2"))
    stage.section.guess()
    assert stage.chosen() == {"T1": "b_t1", "T2": "b_t2"}


def test_volumes_of_one_folder_belong_together(stage: Stage) -> None:
    hierarchy = scenes.application.subject_hierarchy(stage.scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "subject")
    for name in ("T1", "T1 ", "T2"):
        node = stage.volume(name)
        if name != "T1":
            hierarchy.SetItemParent(hierarchy.CreateItem(hierarchy.GetSceneItemID(), node), folder)
    assert stage.chosen() == {"T1": "T1 ", "T2": "T2"}


def test_a_case_and_its_reference_are_found_and_results_are_not_taken_for_images(stage: Stage) -> None:
    case = make_case()
    stage.network(("T1", "T2", "FLAIR"))
    inputs = scenes.add_case(case, stage.scene)
    assert stage.chosen() == {x: f"patient 1 {x}" for x in ("T1", "T2", "FLAIR")}
    assert stage.state.reference is inputs.reference
    assert stage.section.referenceSelector.currentNode() is inputs.reference
    for node in inputs.channels.values():
        node.SetName("unknown")
    result = scenes.add_result(make_result(case), make_evaluation(case), inputs.channels, stage.scene)
    stage.scene.RemoveNode(inputs.channels["T1"])
    assert set(stage.chosen()) == {"T2", "FLAIR"}
    assert result.adversarial["T1"].GetName().startswith("unknown adversarial")
    stage.selector("T1").setCurrentNode(result.adversarial["T1"])
    assert stage.section.volumes()["T1"] is result.adversarial["T1"]


def test_a_reference_that_was_set_to_none_stays_so(stage: Stage) -> None:
    stage.network(("T1", "T2", "FLAIR"))
    inputs = scenes.add_case(make_case(), stage.scene)
    settle()
    stage.section.referenceSelector.setCurrentNode(None)
    stage.volume("more")
    settle()
    assert stage.state.reference is None
    stage.section.guess()
    assert stage.state.reference is inputs.reference


def test_label_maps_are_references_and_no_images(stage: Stage) -> None:
    labels = stage.volume("t1 labels", kind="LabelMap")
    assert stage.chosen() == {}
    assert stage.selector("T1").nodeCount() == 0
    stage.section.referenceSelector.setCurrentNode(labels)
    assert stage.state.reference is labels


def test_another_network_asks_for_its_own_channels(stage: Stage) -> None:
    import qt

    for name in ("a_t1", "a_t2", "a_ct"):
        stage.volume(name)
    settle()
    selector = stage.selector("T1")
    stage.network(BRATS)
    assert stage.selector("T1") is selector
    stage.network(("CT",))
    assert stage.chosen() == {"CT": "a_ct"}
    stage.network(("T2", "T1"))
    assert stage.chosen() == {"T2": "a_t2", "T1": "a_t1"}
    stage.network(None)
    assert stage.chosen() == {} and stage.section.problems() == []
    settle()
    assert stage.section.widget.findChildren(qt.QWidget, "channelSelector0") in ((), [])


def test_grids_that_differ_are_named(stage: Stage) -> None:
    stage.network(("T1", "T2"))
    stage.volume("a t1", spacing=(0.9375, 0.9375, 3))
    other = stage.volume("a t2", shape=(4, 6, 7), spacing=(0.9375, 0.9375, 3))
    settle()
    assert stage.section.problems() == [
        "a t2 has another grid (7 x 6 x 4 voxels of 0.9375 x 0.9375 x 3 mm) than a t1 (5 x 6 x 4 voxels of 0.9375 x 0.9375 x "
        "3 mm); resample one onto the other."
    ]
    looks = stage.looks
    import slicer.util

    slicer.util.updateVolumeFromArray(other, np.ones((4, 6, 5), np.int16))
    settle()
    assert stage.section.problems() == [] and stage.looks > looks
    other.SetOrigin(0, 0, 2)
    assert "lie at other places than those of a t1" in stage.section.problems()[0]
    other.SetOrigin(0, 0, 1e-5)
    assert stage.section.problems() == []
    other.SetAndObserveTransformNodeID(stage.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode").GetID())
    settle()
    assert "under different transforms" in stage.find("imagesProblemNote").text
    empty = stage.volume("empty", shape=None)
    stage.selector("T1").setCurrentNode(empty)
    assert stage.section.problems() == ["The volume empty holds no voxels; choose another one."]


def test_the_region_follows_segments(stage: Stage) -> None:
    region, node, segment = (stage.find(x) for x in ("regionCombo", "regionNodeSelector", "regionSegmentCombo"))
    assert not stage.visible(node) and not stage.visible(segment)
    region.setCurrentIndex(3)
    assert stage.state.settings.region == "node" and stage.visible(node) and not stage.visible(segment)
    assert stage.section.regionProblems() == ["Choose a segmentation, label map or box for the region, or another region."]
    brain = add_segmentation(stage.scene, "brain", "core", "edge")
    node.setCurrentNode(brain)
    assert stage.visible(segment) and texts(segment) == ["All segments", "core", "edge"]
    assert stage.section.regionProblems() == []
    segment.setCurrentIndex(2)
    assert stage.state.settings.regionSegment == "edge"
    brain.GetSegmentation().GetSegment("edge").SetName("rim")
    brain.GetSegmentation().AddEmptySegment("new", "new")
    settle()
    assert texts(segment) == ["All segments", "core", "rim", "new"] and segment.currentText == "rim"
    looks = stage.looks
    brain.GetSegmentation().RemoveSegment("edge")
    settle()
    assert stage.looks > looks and segment.currentIndex == -1
    assert stage.section.regionProblems() == ["Choose the segment of brain that is the region."]
    node.setCurrentNode(add_segmentation(stage.scene, "nothing"))
    assert stage.section.regionProblems() == ["nothing has no segment to be the region; choose another segmentation."]
    node.setCurrentNode(stage.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box"))
    assert stage.section.regionProblems() == [] and not stage.visible(segment)
    stage.scene.RemoveNode(stage.state.region)
    settle()
    assert stage.state.region is None and node.currentNode() is None
    assert "Choose a segmentation, label map or box" in stage.section.regionProblems()[0]
    region.setCurrentIndex(2)
    assert "choose a reference" in stage.section.regionProblems()[0]
    assert not stage.visible(node)


def test_no_observer_is_left_behind(stage: Stage) -> None:
    brain = add_segmentation(stage.scene, "brain", "core")
    volume = stage.volume("a_t1")
    stage.state.change(region="node")
    stage.state.region = brain
    settle()
    assert watched(stage.section) >= {brain, volume, stage.scene}
    other = stage.addState()
    stage.section.setState(other)
    assert brain not in watched(stage.section)
    stage.section.setState(None)
    stage.section.setScene(None)
    assert watched(stage.section) == set()
    assert stage.section.volumes() == {} and stage.section.problems() != []
    stage.volume("b_t1")
    settle()


def test_each_parameter_node_keeps_its_own_choices(stage: Stage) -> None:
    for name in ("a_t1", "b_t1"):
        stage.volume(name)
    settle()
    other = stage.addState()
    stage.section.setState(other)
    stage.selector("T1").setCurrentNode(stage.scene.GetFirstNodeByName("b_t1"))
    stage.find("regionCombo").setCurrentIndex(1)
    stage.section.setState(stage.state)
    assert stage.chosen() == {"T1": "a_t1"} and stage.find("regionCombo").currentIndex == 0
    assert stage.selector("T1").currentNode().GetName() == "a_t1"
    stage.section.setState(other)
    assert stage.chosen() == {"T1": "b_t1"} and stage.find("regionCombo").currentIndex == 1


def test_choices_come_back_from_a_scene_file(stage: Stage, tmp_path: Path) -> None:
    from SegAdversarialGui.state import State

    for name in ("a_t1", "b_t1", "a_t2"):
        stage.volume(name)
    brain = add_segmentation(stage.scene, "brain", "core", "edge")
    settle()
    stage.selector("T1").setCurrentNode(stage.scene.GetFirstNodeByName("b_t1"))
    stage.selector("T2").setCurrentNode(None)
    stage.section.referenceSelector.setCurrentNode(brain)
    stage.find("regionCombo").setCurrentIndex(3)
    stage.find("regionNodeSelector").setCurrentNode(brain)
    stage.find("regionSegmentCombo").setCurrentIndex(2)
    path = scenes.write_scene(tmp_path / "all.mrb", stage.scene)
    stage.section.setState(None)
    stage.section.setScene(None)
    stage.scene.Clear(0)
    assert stage.scene.ReadFromMRB(str(path))
    node = stage.scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode")
    stage.section.setScene(stage.scene)
    stage.section.setState(State(node))
    assert stage.chosen() == {"T1": "b_t1"}
    assert stage.section.referenceSelector.currentNode().GetName() == "brain"
    assert stage.find("regionSegmentCombo").currentText == "edge" and stage.section.regionProblems() == []


def test_a_closed_scene_is_no_choice(stage: Stage) -> None:
    stage.volume("a_t1")
    settle()
    stage.section.setState(None)
    stage.section.setScene(None)
    stage.scene.Clear(0)
    state = stage.addState()
    stage.section.setScene(stage.scene)
    stage.section.setState(state)
    stage.volume("c_t1")
    assert stage.chosen() == {"T1": "c_t1"}


def test_the_sample_button(stage: Stage) -> None:
    stage.find("loadSampleButton").click()
    assert stage.samples == 1 and "nothing is downloaded" in " ".join(stage.find("loadSampleButton").toolTip.split())


def test_every_widget_has_a_name_a_tip_and_a_label(stage: Stage) -> None:
    import qt

    names = [x.objectName for x in stage.section.tabOrder()]
    assert len(set(names)) == len(names) and all(names)
    assert all(x.toolTip for x in stage.section.tabOrder())
    buddies = {x.buddy().objectName for x in stage.section.widget.findChildren(qt.QLabel) if x.buddy() is not None}
    assert buddies == set(names) - {"loadSampleButton", "guessButton"}


def test_it_fits_into_a_narrow_panel(stage: Stage) -> None:
    case = make_case(name="a subject whose name is a good deal longer than any panel would be wide, " * 2)
    scenes.add_case(case, stage.scene)
    stage.find("regionCombo").setCurrentIndex(3)
    settle()
    assert stage.section.widget.minimumSizeHint.width() <= 380


def test_all_texts_can_be_translated(slicerHost: Any) -> None:
    import qt
    from host import i18n

    i18n.pseudo = True
    try:
        stage = Stage()
        stage.volume("a_t1")
        stage.volume("a_t2", shape=(3, 3, 3))
        stage.state.change(region="node")
        stage.state.region = add_segmentation(stage.scene, "brain", "core")
        settle()
        texts_ = [x.text for x in stage.section.widget.findChildren(qt.QLabel)]
        texts_ += [x.text for x in stage.section.widget.findChildren(qt.QAbstractButton)]
        texts_ += [x.toolTip for x in stage.section.tabOrder()]
        texts_ += texts(stage.find("regionCombo")) + texts(stage.find("regionSegmentCombo"))
        assert [x for x in texts_ if x and "⟦" not in x and x not in (*BRATS, "core")] == []
        assert all("⟦" in line for line in stage.find("imagesProblemNote").text.splitlines())
    finally:
        i18n.pseudo = False
        stage.section.setState(None)
        stage.section.setScene(None)
        stage.scene.Clear(0)


def texts(combo: Any) -> list[str]:
    return [combo.itemText(n) for n in range(combo.count)]


def watched(section: Any) -> set[Any]:
    observations = [*section.Observations, *section._region.Observations]
    return {observed for observed, *_rest in observations}
