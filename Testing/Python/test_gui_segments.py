"""The rows that ask what segments of the reference are: when they appear, what they offer, and that answers reach the case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_helpers import putAway, settle
from images_helpers import Stage, network
from scene_helpers import CORE, WHOLE, label_volume, segmentation_of, turned_affine

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.scene.volumes import add_volume
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case

KIDNEYS = OutputHead.of({0: "background", 1: "kidney_right", 2: "kidney_left"})
RING = WHOLE & ~CORE


@pytest.fixture
def stage(slicerHost: Any) -> Iterator[Stage]:
    made = Stage(("CT",))
    made.section.setNetwork(replace(network(("CT",)), outputs=KIDNEYS))
    add_volume(made.scene, "head CT", np.zeros(CORE.shape, np.int16), turned_affine())
    settle()
    yield made
    putAway(made)


def draw(stage: Stage, masks: dict[str, np.ndarray], values: dict[str, int] | None = None) -> Any:
    node = segmentation_of(stage.scene, masks, turned_affine(), stage.section.volumes()["CT"], values)
    node.SetName(node.GetID())  # choosing another node of the same name is no change to a selector
    stage.section.referenceSelector.setCurrentNode(node)
    settle()
    return node


def combos(stage: Stage) -> list[Any]:
    return stage.section._segments.tabOrder()


def choose(stage: Stage, n: int, text: str) -> None:
    combo = combos(stage)[n]
    combo.setCurrentIndex(combo.findText(text))
    combo.activated(combo.currentIndex)
    settle()


def case_of(stage: Stage) -> Any:
    return scenes.case_of_nodes(
        stage.section.volumes(), reference=stage.state.reference, head=KIDNEYS, label_names=stage.section.segments()
    )


def test_nothing_is_asked_where_names_say_what_segments_are(stage: Stage) -> None:
    box = stage.find("segmentsBox")
    assert not stage.visible(box)
    draw(stage, {"left kidney": CORE, "Kidney (R)": RING})
    assert not stage.visible(box) and stage.section.problems() == [] and stage.section.segments() == {}
    draw(stage, {"Segment_1": CORE, "Segment_2": RING}, {"Segment_1": 1, "Segment_2": 2})
    assert not stage.visible(box) and stage.section.problems() == []


def test_what_is_not_known_is_asked_for_and_the_answer_counts(stage: Stage) -> None:
    draw(stage, {"left": CORE, "right kidney": RING})
    assert stage.visible(stage.find("segmentsBox")) and len(combos(stage)) == 1
    (combo,) = combos(stage)
    assert [combo.itemText(n) for n in range(combo.count)] == ["Choose...", "kidney_right", "kidney_left", "None of them"]
    assert combo.currentText == "Choose..." and combo.objectName == "segmentCombo0" and combo.accessibleName == "left"
    assert stage.find("segmentCombo0Label").text.replace("\u200b", "") == "left"
    assert stage.section.problems() == ["Say which classes of the network these of the reference are: left."]
    assert "left" in stage.find("imagesProblemNote").text
    looks = stage.looks
    choose(stage, 0, "kidney_left")
    assert stage.section.problems() == [] and stage.looks > looks
    assert stage.section.segments() == {"id left": "kidney_left"} and combos(stage)[0].currentText == "kidney_left"
    assert np.array_equal(case_of(stage).label, np.where(CORE, 2, np.where(RING, 1, 0)))
    choose(stage, 0, "None of them")
    assert np.array_equal(case_of(stage).label, RING.astype(int))
    choose(stage, 0, "Choose...")
    assert stage.section.segments() == {} and len(stage.section.problems()) == 1


def test_an_answer_that_leaves_another_segment_open_asks_for_that_too(stage: Stage) -> None:
    draw(stage, {"x": CORE, "Segment_2": RING}, {"x": 1, "Segment_2": 2})
    assert len(combos(stage)) == 1
    choose(stage, 0, "kidney_left")  # which is the class of number 2
    assert [x.accessibleName for x in combos(stage)] == ["x", "Segment_2"]
    assert stage.section.problems() == ["Say which classes of the network these of the reference are: Segment_2."]
    choose(stage, 1, "kidney_right")
    assert np.array_equal(case_of(stage).label, np.where(CORE, 2, np.where(RING, 1, 0)))


def test_renaming_a_segment_answers_too(stage: Stage) -> None:
    node = draw(stage, {"x": CORE})
    assert len(combos(stage)) == 1
    node.GetSegmentation().GetSegment("id x").SetName("left kidney")
    settle()
    assert combos(stage) == [] and not stage.visible(stage.find("segmentsBox")) and stage.section.problems() == []


def test_answers_belong_to_a_reference_and_a_network(stage: Stage) -> None:
    first = draw(stage, {"x": CORE})
    choose(stage, 0, "kidney_left")
    liver = OutputHead.of({0: "background", 1: "liver"})
    stage.section.setNetwork(replace(network(("CT",)), outputs=liver))
    settle()
    assert stage.section.segments() == {} and len(stage.section.problems()) == 1
    stage.section.setNetwork(replace(network(("CT",)), outputs=KIDNEYS))
    assert stage.section.segments() == {"id x": "kidney_left"}
    draw(stage, {"x": RING})
    assert stage.section.segments() == {} and combos(stage)[0].currentText == "Choose..."
    stage.section.referenceSelector.setCurrentNode(first)
    assert stage.section.segments() == {}
    stage.section.referenceSelector.setCurrentNode(None)
    assert combos(stage) == [] and stage.section.problems() == []
    stage.section.setNetwork(None)
    assert stage.section.problems() == []


def test_values_of_a_label_map_that_no_class_has_are_asked_for(stage: Stage) -> None:
    node = label_volume(stage.scene, "labels", np.where(CORE, 7, np.where(RING, 1, 0)).astype(np.int16), turned_affine())
    stage.section.referenceSelector.setCurrentNode(node)
    settle()
    assert [x.accessibleName for x in combos(stage)] == ["Label 7"]
    choose(stage, 0, "kidney_left")
    assert np.array_equal(case_of(stage).label, np.where(CORE, 2, np.where(RING, 1, 0)))


def test_long_names_do_not_widen_the_panel(stage: Stage) -> None:
    before = stage.window.minimumSizeHint.width()
    draw(stage, {"a-structure-with-a-name-that-is-longer-than-any-panel-would-be-wide" * 2: CORE})
    assert stage.window.minimumSizeHint.width() <= max(before, 400)
    assert len(combos(stage)) == 1


def test_answers_reach_what_the_worker_reads(stage: Stage, tmp_path: Path) -> None:
    from SegAdversarialGui.exchange import SegmentTask, Subject

    volume = stage.section.volumes()["CT"]
    node = draw(stage, {"x": CORE, "edema": RING})
    channels = dict.fromkeys(("T1", "T1ce", "T2", "FLAIR"), volume)
    subject = Subject(stage.scene, channels, node, {"id x": "enhancing tumour"})
    task = SegmentTask(subject, {"path": "builtin:brain-tumour-phantom"})
    for _step in task.prepare(tmp_path):
        pass
    case = Case.read({"T1": tmp_path / "T1.nrrd"}, tmp_path / "reference.nrrd")
    assert np.array_equal(case.label, np.where(CORE, 4, np.where(RING, 2, 0)))


def test_nothing_is_observed_after_the_reference_is_gone(stage: Stage) -> None:
    node = draw(stage, {"x": CORE})
    assert {x for x, *_ in stage.section._segments.Observations} == {node}
    stage.section.setState(None)
    assert not list(stage.section._segments.Observations)


def test_texts_are_translated(stage: Stage) -> None:
    from host import i18n

    i18n.pseudo = True
    try:
        draw(stage, {"x": CORE})
        (combo,) = combos(stage)
        assert "⟦" in combo.itemText(0) and "⟦" in combo.itemText(3) and "⟦" in combo.toolTip
        assert "⟦" in stage.section.problems()[0]
    finally:
        i18n.pseudo = False
