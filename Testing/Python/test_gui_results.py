"""The panel's Results section on a real scene: what the views show, and what is left of it in a saved scene."""

from __future__ import annotations

import types
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gui_helpers import settle
from results_helpers import NOTES, Stage, _stage, made  # noqa: F401  (a fixture)

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.attacks.threshold import Threshold

RED, ORIGINAL = "Red", "SegAdversarialOriginal"
ADVERSARIAL, DIFFERENCE = "SegAdversarialAdversarial", "SegAdversarialDifference"


def test_nothing_is_shown_of_an_empty_scene(stage: Stage) -> None:
    stage.section.refresh()
    assert not stage.section.content.isVisibleTo(stage.section.widget)
    assert stage.section.emptyNote.isVisibleTo(stage.section.widget)
    stage.section.select("no such run")
    assert stage.state.settings.run == ""


def test_a_new_result_is_compared_side_by_side(stage: Stage) -> None:
    nodes = stage.add()
    assert stage.manager.layout == stage.layout.COMPARE
    assert stage.state.settings.view == "compare" and stage.section.viewButtons["compare"].checked
    assert stage.shown(ORIGINAL) == (nodes.inputs["T1"], None)
    assert stage.shown(ADVERSARIAL) == (nodes.adversarial["T1"], None)
    assert stage.shown(DIFFERENCE) == (nodes.inputs["T1"], nodes.perturbation["T1"])
    assert stage.composite(DIFFERENCE).GetForegroundOpacity() == pytest.approx(0.7)
    assert stage.answers(ORIGINAL) == {nodes.clean.GetName(), nodes.reference.GetName()}
    assert stage.answers(ADVERSARIAL) == {nodes.attacked.GetName(), nodes.reference.GetName()}
    assert stage.answers(DIFFERENCE) == {nodes.reference.GetName()}
    assert not nodes.reference.GetDisplayNode().GetVisibility2DFill()
    # an outline is the reference, what is filled is the network's answer
    assert nodes.attacked.GetDisplayNode().GetVisibility2DFill()
    assert not nodes.attacked.GetDisplayNode().GetVisibility2DOutline()
    legend = nodes.perturbation["T1"].GetNthDisplayNode(1)
    assert legend.IsA("vtkMRMLColorLegendDisplayNode") and legend.GetVisibility()


def test_compared_views_move_together_and_alone(stage: Stage) -> None:
    stage.add()
    tags = (ORIGINAL, ADVERSARIAL, DIFFERENCE)
    assert all(stage.composite(x).GetLinkedControl() and stage.composite(x).GetHotLinkedControl() for x in tags)
    red = stage.view(RED).GetSliceOffset()
    logic = stage.manager.sliceWidget(ORIGINAL).sliceLogic()
    logic.StartSliceNodeInteraction(1)
    logic.SetSliceOffset(-8)
    logic.EndSliceNodeInteraction()
    assert [stage.view(x).GetSliceOffset() for x in tags] == pytest.approx([-8] * 3)
    assert stage.view(RED).GetSliceOffset() == red
    pixels = [stage.view(x).GetFieldOfView()[0] / stage.view(x).GetDimensions()[0] for x in tags]
    # the views' widths may differ by one pixel
    assert max(pixels) / min(pixels) < 1.01


def test_the_views_go_to_the_largest_tumour_for_each_run_and_stay_while_it_is_looked_at(stage: Stage) -> None:
    first = stage.add()
    height = -40 + 4 * 13
    tags = (ORIGINAL, ADVERSARIAL, DIFFERENCE)
    assert stage.view(ORIGINAL).GetSliceOffset() == pytest.approx(height)
    for tag in (*tags, RED):
        stage.view(tag).SetSliceOffset(-20)
    stage.section.channels.setCurrentIndex(1)
    stage.section.channels.activated(1)
    stage.section.iteration.setValue(2)
    settle()
    assert [stage.view(x).GetSliceOffset() for x in tags] == pytest.approx([-20] * 3)
    stage.press("original")
    assert stage.view(RED).GetSliceOffset() == pytest.approx(height), "these views have not shown the run before"
    stage.add()
    stage.press("compare")
    assert stage.view(ORIGINAL).GetSliceOffset() == pytest.approx(height), "another run of the same patient"
    stage.view(ORIGINAL).SetSliceOffset(-20)
    stage.section.select(first.run)
    assert stage.view(ORIGINAL).GetSliceOffset() == pytest.approx(height)
    result, evaluation = made(shift=100)
    stage.section.select(scenes.add_result(result, evaluation, None, stage.scene).run)
    settle()
    assert stage.view(DIFFERENCE).GetSliceOffset() == pytest.approx(height + 100)


def test_single_views_use_the_layout_of_the_user(stage: Stage) -> None:
    nodes = stage.add()
    expected = {
        "original": ((nodes.inputs["T1"], None), nodes.clean),
        "adversarial": ((nodes.adversarial["T1"], None), nodes.attacked),
        "difference": ((nodes.inputs["T1"], nodes.perturbation["T1"]), None),
    }
    for view, (volumes, answer) in expected.items():
        stage.press(view)
        assert stage.manager.layout == 3
        assert stage.state.settings.view == view
        assert [x for x, button in stage.section.viewButtons.items() if button.checked] == [view]
        for tag in ("Red", "Green", "Yellow"):
            assert stage.shown(tag) == volumes
            wanted = {answer.GetName(), nodes.reference.GetName()} if answer else set()
            assert stage.answers(tag) == wanted
        assert stage.shown(ORIGINAL) == (nodes.inputs["T1"], None)


def test_comparing_leaves_the_views_of_the_user_alone(stage: Stage) -> None:
    own = stage.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "own")
    stage.composite(RED).SetBackgroundVolumeID(own.GetID())
    stage.composite(RED).SetForegroundOpacity(0.25)
    nodes = stage.add()
    assert stage.shown(RED) == (own, None)
    assert stage.composite(RED).GetForegroundOpacity() == 0.25 and not stage.composite(RED).GetLinkedControl()
    assert nodes.inputs["T1"].GetDisplayNode().GetWindow() == nodes.adversarial["T1"].GetDisplayNode().GetWindow()


def test_leaving_the_comparison_restores_the_former_layout(stage: Stage) -> None:
    stage.manager.setLayout(6)
    stage.add()
    stage.press("original")
    assert stage.manager.layout == 6


def test_a_layout_that_a_scene_wanted_before_it_was_known_appears(stage: Stage) -> None:
    import slicer

    logic = slicer.vtkMRMLLayoutLogic()
    scene = slicer.vtkMRMLScene()
    logic.SetMRMLScene(scene)
    node = logic.GetLayoutNode()
    node.SetViewArrangement(stage.layout.COMPARE)
    assert not node.GetCurrentLayoutDescription()
    stage.layout.ensureLayout(types.SimpleNamespace(layoutLogic=lambda: logic))
    assert node.GetCurrentLayoutDescription()
    assert {x.GetLayoutName() for x in stage.layout.presentViews(types.SimpleNamespace(layoutLogic=lambda: logic))} == {
        ORIGINAL,
        ADVERSARIAL,
        DIFFERENCE,
    }


def test_opacity_reaches_the_view_and_the_state(stage: Stage) -> None:
    stage.add()
    stage.section.opacity.setValue(0.3)
    assert stage.composite(DIFFERENCE).GetForegroundOpacity() == pytest.approx(0.3)
    assert stage.state.settings.opacity == pytest.approx(0.3)


def test_another_channel_is_shown(stage: Stage) -> None:
    nodes = stage.add()
    assert stage.section.channels.count == 2
    stage.section.channels.setCurrentIndex(1)
    stage.section.channels.activated(1)
    assert stage.shown(ADVERSARIAL) == (nodes.adversarial["T2"], None)
    assert stage.shown(DIFFERENCE) == (nodes.inputs["T2"], nodes.perturbation["T2"])


def test_a_channel_that_did_not_change_has_no_difference(stage: Stage) -> None:
    stage.add(unchanged=True)
    stage.section.channels.setCurrentIndex(1)
    stage.section.channels.activated(1)
    button = stage.section.viewButtons["difference"]
    assert not button.enabled and "perturbation" in button.toolTip
    assert stage.section.viewButtons["compare"].enabled


def test_iterations_are_shown_in_the_adversarial_view(stage: Stage) -> None:
    nodes = stage.add()
    slider = stage.section.iteration
    assert (slider.minimum, slider.maximum, slider.value) == (1, 3, 3)
    assert stage.section.iterationNote.text == "Iteration 10 of 10"
    slider.setValue(2)
    assert nodes.browser.GetSelectedItemNumber() == 1
    assert stage.section.iterationNote.text == "Iteration 4 of 10"
    background, _ = stage.shown(ADVERSARIAL)
    assert background is nodes.browser.GetProxyNode(nodes.sequences[0])
    assert nodes.browser.GetProxyNode(nodes.sequences[-1]).GetName() in stage.answers(ADVERSARIAL)
    assert nodes.attacked.GetName() not in stage.answers(ADVERSARIAL)
    slider.setValue(3)
    assert stage.shown(ADVERSARIAL) == (nodes.adversarial["T1"], None)
    assert nodes.attacked.GetName() in stage.answers(ADVERSARIAL)
    stage.press("original")
    slider.setValue(1)
    assert stage.state.settings.view == "adversarial"
    assert stage.shown(RED)[0] is nodes.browser.GetProxyNode(nodes.sequences[0])


def test_figures_are_those_of_the_run(stage: Stage) -> None:
    nodes = stage.add()
    assert stage.section.table.mrmlTableNode() is nodes.metrics
    text = stage.section.summary.text
    assert text.splitlines()[-1] == f"Note: {NOTES[0]}"
    assert "tumour: Dice 0.94 \N{RIGHTWARDS ARROW} 0.41 (-56 %)" in text
    assert "core: Dice 0.90 \N{RIGHTWARDS ARROW} 0.85 (-6 %)" in text
    assert "for: tumour." in text
    plot = stage.layout.viewNode(stage.scene, "vtkMRMLPlotViewNode", stage.layout.PLOT)
    table = stage.layout.viewNode(stage.scene, "vtkMRMLTableViewNode", stage.layout.TABLE)
    assert plot.GetPlotChartNodeID() == nodes.chart.GetID()
    assert table.GetTableNodeID() == nodes.metrics.GetID()
    stage.press("original")
    stage.section.chartButton.click()
    assert stage.manager.layout == stage.layout.COMPARE


def test_a_least_budget_is_a_number_for_each_structure(stage: Stage) -> None:
    result, evaluation = made()
    found = Threshold("mean", "max_bias", "share of the intensity", 0.061, 0.066, 0.3, 0.3, 0.92, 0.6)
    core = replace(found, structure="core", upper=0.066, searched=False)
    tumour = replace(found, structure="tumour", upper=None, lower=0.3)
    result = replace(result, thresholds=(found, core, tumour))
    evaluation.notes = (*(x.sentence for x in result.thresholds), *NOTES)
    stage.section.select(scenes.add_result(result, evaluation, None, stage.scene).run)
    settle()
    lines = stage.section.summary.text.splitlines()
    assert lines[0] == "Least max bias with which Dice falls by 30 %, an upper bound of what the network tolerates:"
    assert lines[1:4] == ["mean Dice: between 6.1 and 6.6 %", "core: at most 6.6 %", "tumour: not within 30 %"]
    assert "Each structure" in lines[4] and lines[5].startswith("tumour: Dice 0.94")
    notes = [x for x in lines if x.startswith("Note:")]
    assert notes == [f"Note: {NOTES[0]}"], "what stands above is not said twice"


def test_configuration_can_be_read(stage: Stage) -> None:
    import qt

    nodes = stage.add()
    stage.section.configurationButton.click()
    text = stage.section.configuration.dialog.findChild(qt.QPlainTextEdit)
    assert text.toPlainText() == nodes.configuration.GetText()


def test_runs_are_told_apart(stage: Stage) -> None:
    first, second = stage.add(), stage.add()
    assert [stage.section.runs.itemText(n) for n in range(2)] == ["1: FGSM, epsilon 0.05", "2: FGSM, epsilon 0.05"]
    assert stage.section.runs.currentIndex == 1
    assert first.attacked.GetName() not in {first.clean.GetName()}
    assert not first.attacked.GetDisplayNode().GetVisibility()
    stage.section.runs.setCurrentIndex(0)
    stage.section.runs.activated(0)
    assert stage.state.settings.run == first.run
    assert stage.shown(ADVERSARIAL) == (first.adversarial["T1"], None)
    assert not second.attacked.GetDisplayNode().GetVisibility()


def test_deleting_removes_the_run_and_nothing_else(stage: Stage) -> None:
    from SegAdversarialLib.scene.application import nodes_of, subject_hierarchy

    def contents() -> tuple[set[str], int]:
        views = ("vtkMRMLSlice", "vtkMRMLModel", "vtkMRMLLinearTransform")
        kept = {x.GetID() for x in nodes_of(stage.scene) if not x.GetClassName().startswith(views)}
        return kept, subject_hierarchy(stage.scene).GetNumberOfItems()

    first = stage.add()
    before = contents()
    second = stage.add()
    stage.section.iteration.setValue(2)
    asked = []
    stage.section.confirm = lambda question: bool(asked.append(question))
    stage.section.deleteButton.click()
    assert len(scenes.find_results(stage.scene)) == 2 and "FGSM, epsilon 0.05" in asked[0]
    stage.section.confirm = lambda question: True
    stage.section.deleteButton.click()
    settle()
    assert [x.run for x in scenes.find_results(stage.scene)] == [first.run]
    assert contents() == before
    assert not stage.scene.IsNodePresent(second.metrics)
    assert stage.shown(ADVERSARIAL) == (first.adversarial["T1"], None)
    stage.section.deleteButton.click()
    assert stage.scene.IsNodePresent(first.inputs["T1"]) and stage.scene.IsNodePresent(first.reference)
    assert stage.manager.layout == 3 and not stage.section.content.isVisibleTo(stage.section.widget)


def test_what_the_user_has_deleted_is_said(stage: Stage) -> None:
    nodes = stage.add()
    for node in (nodes.adversarial["T1"], nodes.reference, nodes.chart, nodes.browser, nodes.attacked):
        stage.scene.RemoveNode(node)
    stage.section.refresh()
    buttons = stage.section.viewButtons
    assert not buttons["adversarial"].enabled and "adversarial image" in buttons["adversarial"].toolTip
    assert not buttons["compare"].enabled and buttons["original"].enabled and buttons["difference"].enabled
    assert not stage.section.chartButton.enabled and not stage.section.iteration.enabled
    assert "Keep every" in stage.section.iteration.toolTip and stage.section.chartButton.toolTip == "This run has no chart"
    stage.press("difference")
    assert stage.shown(RED) == (nodes.inputs["T1"], nodes.perturbation["T1"])
    for node in (nodes.inputs["T1"], nodes.configuration, nodes.perturbation["T1"], nodes.adversarial["T2"]):
        stage.scene.RemoveNode(node)
    stage.section.refresh()
    assert stage.section.channels.currentText == "T2"


def test_everything_is_found_again_in_a_saved_scene(stage: Stage, tmp_path: Any) -> None:

    nodes = stage.add()
    stage.section.iteration.setValue(2)
    summary, run = stage.section.summary.text, nodes.run
    path = scenes.write_scene(tmp_path / "saved.mrb", stage.scene)
    stage.section.setState(None)
    stage.scene.Clear(0)
    stage.section.refresh()
    assert stage.scene.ReadFromMRB(str(path))
    from SegAdversarialGui.state import State

    state = State(stage.scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))
    stage.section.setState(state)
    stage.section.refresh()
    (again,) = scenes.find_results(stage.scene)
    assert again.run == run == state.settings.run
    assert stage.section.summary.text == summary
    assert stage.section.iterationNote.text == "Iteration 4 of 10"
    assert stage.manager.layout == stage.layout.COMPARE
    stage.press("compare")
    assert stage.shown(DIFFERENCE) == (again.inputs["T1"], again.perturbation["T1"])
    assert stage.shown(ADVERSARIAL)[0] is again.browser.GetProxyNode(again.sequences[0])


def test_a_place_is_found_under_a_transform(stage: Stage) -> None:
    from SegAdversarialGui.result_nodes import largestSection

    nodes = stage.add()
    before = largestSection(nodes.reference)
    assert before is not None
    transform = stage.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = stage.view(RED).GetSliceToRAS().NewInstance()
    matrix.SetElement(2, 3, 25)
    transform.SetMatrixTransformToParent(matrix)
    nodes.reference.SetAndObserveTransformNodeID(transform.GetID())
    after = largestSection(nodes.reference)
    assert np.subtract(after, before) == pytest.approx([0, 0, 25])
    assert largestSection(None) is None


def test_nothing_happens_after_the_end(stage: Stage) -> None:
    nodes = stage.add()
    stage.section.select(nodes.run)
    stage.section.cleanup()
    stage.scene.RemoveNode(nodes.metrics)
    stage.section.refresh()
    settle()


def test_a_segmentation_is_shown_too(stage: Stage) -> None:
    result, evaluation = made()
    case = scenes.add_case(result.original, stage.scene)
    rows = [{"structure": "tumour", "Volume (ml)": 20.5, "Dice": 0.934}]
    nodes = scenes.add_segmentation_result(
        result.original, evaluation.clean, rows, case.channels, stage.scene, title="network"
    )
    stage.section._findResults = lambda: [nodes]
    stage.section.select(nodes.run)
    settle()
    assert stage.section.viewButtons["original"].checked and stage.state.settings.view == "compare"
    assert stage.shown(RED) == (case.channels["T1"], None) and stage.answers(RED) == {nodes.segmentation.GetName()}
    assert stage.section.summary.text == "tumour: Dice 0.93"
    assert stage.section.table.mrmlTableNode() is nodes.table
    assert [x for x, button in stage.section.viewButtons.items() if button.enabled] == ["original"]


def test_everything_is_translated(slicerHost: Any, stage: Stage) -> None:
    import qt
    from host import i18n

    i18n.pseudo = True
    try:
        stage.section.cleanup()
        stage = Stage()
        stage.add(unchanged=True)
        widget = stage.section.widget
        stage.section.configurationButton.click()
        texts = [x.text for kind in (qt.QLabel, qt.QAbstractButton) for x in widget.findChildren(kind)]
        texts += [x.toolTip for x in stage.section.tabOrder()]
        data = {"FGSM, epsilon 0.05", ""}
        assert [x for x in texts if x not in data and "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}" not in x] == []
        label = stage.view(ORIGINAL).GetLayoutLabel()
        assert label
    finally:
        i18n.pseudo = False
        stage.section.cleanup()


def test_every_widget_can_be_reached_and_explains_itself(stage: Stage) -> None:
    stage.add()
    widgets = stage.section.tabOrder()
    names = [x.objectName for x in widgets]
    assert all(names) and len(set(names)) == len(names)
    assert all(x.toolTip for x in widgets)
    assert stage.section.widget.minimumSizeHint.width() <= 380
