"""Runs are found again in their scene, also in one that was read from a file; skipped where Slicer's packages are missing."""

from __future__ import annotations

import json
import logging
import math
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scene_helpers import (
    SUMMARY,
    _scene,  # noqa: F401  (a fixture)
    count,
    label_map_of,
    make_attacked,
    make_case,
    make_clean,
    make_evaluation,
    make_result,
    slicer,
    state_of,
    table_of,
    voxels,
    vtk,
)

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.attacks.result import AttackResult, Snapshot
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene import application, results
from SegAdversarialLib.scene.nodes import ResultNodes
from SegAdversarialLib.scene.runs import CHANNEL, ROLE, RUN
from SegAdversarialLib.volumes.case import Case


def names_in(nodes: ResultNodes) -> dict[str, Any]:
    """All fields, with names in the place of nodes, which differ between scenes."""

    def name(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: name(x) for key, x in value.items()}
        if isinstance(value, list):
            return [name(x) for x in value]
        return value.GetName() if hasattr(value, "GetName") else value

    return {key: name(value) for key, value in vars(nodes).items() if key != "folder"}


def odd_case() -> Case:
    """Channels whose names would break a list that is separated by colons, semicolons or spaces."""
    return replace(make_case(), channels=("T1", 'T2; "après": 50 %', "FLAIR"))


def add_odd_result(case: Case, inputs: dict[str, Any] | None, **options: Any) -> ResultNodes:
    result = make_result(case, **options)
    result.attack.channels = None
    return scenes.add_result(result, make_evaluation(case), inputs)


def test_runs_come_back_from_a_file_in_the_order_of_making(scene, tmp_path: Path) -> None:
    case = odd_case()
    inputs = scenes.add_case(case).channels
    made = [add_odd_result(case, inputs), add_odd_result(case, inputs, snapshots=False, restarts=3)]
    other = make_case(name="patient 2")
    made.append(scenes.add_result(make_result(other), make_evaluation(other)))
    made.append(add_odd_result(case, inputs, snapshots=False))
    assert len({x.run for x in made}) == 4 and all(len(x.run) == 32 for x in made)
    assert made[2].inputs["T1"] is not inputs["T1"]
    # nodes that the attacks before left in another order do not matter
    found = scenes.find_results()
    assert [names_in(x) for x in found] == [names_in(x) for x in made]
    assert [x.folder for x in found] == [x.folder for x in made]
    assert [x.summary for x in found] == [SUMMARY] * 4
    assert found[0].inputs["T1"] is inputs["T1"] and found[0].reference is made[3].reference
    assert found[1].traces[2] is made[1].traces[2]

    again = scenes.read_scene(scenes.write_scene(tmp_path / "runs.mrb"))
    loaded = scenes.find_results(again)
    assert [names_in(x) for x in loaded] == [names_in(x) for x in made]
    assert list(loaded[0].inputs) == list(loaded[0].adversarial) == ["T1", 'T2; "après": 50 %']
    hierarchy = application.subject_hierarchy(again)
    for nodes in loaded:
        assert hierarchy.GetItemName(nodes.folder) == SUMMARY
        assert hierarchy.GetItemByDataNode(nodes.chart) and len({nodes.folder for nodes in loaded}) == 4
    assert np.array_equal(voxels(loaded[2].adversarial["T1"]), voxels(made[2].adversarial["T1"]))
    assert np.array_equal(label_map_of(loaded[1].attacked, loaded[1].inputs["T1"]), make_attacked(case))
    # the proxies still play
    nodes = loaded[0]
    for n in (0, 1):
        nodes.browser.SetSelectedItemNumber(n)
        logic = slicer.vtkSlicerSequencesLogic()
        logic.SetMRMLScene(again)
        logic.UpdateProxyNodesFromSequences(nodes.browser)
        assert np.array_equal(voxels(nodes.proxies[0]), make_result(case).snapshots[n].image[0])
    assert names_in(scenes.find_results(again)[0]) == names_in(made[0])


def test_a_file_is_read_by_a_relative_path_too(scene, tmp_path: Path, monkeypatch) -> None:
    case = make_case()
    made = scenes.add_result(make_result(case, snapshots=False), make_evaluation(case))
    monkeypatch.chdir(tmp_path)
    scenes.write_scene("run.mrb")
    (found,) = scenes.find_results(scenes.read_scene("run.mrb"))
    assert names_in(found) == names_in(made)


def test_every_node_of_a_run_is_marked_and_lies_in_its_folder(scene) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    before = {x.GetID() for x in application.nodes_of(scene)}
    nodes = scenes.add_result(make_result(case), make_evaluation(case), inputs)
    hierarchy = application.subject_hierarchy(scene)
    marked = [x for x in application.nodes_of(scene) if x.GetAttribute(RUN) == nodes.run]
    roles = [x.GetAttribute(ROLE) for x in marked]
    assert {x: roles.count(x) for x in roles} == {
        "adversarial": 2, "perturbation": 2, "clean": 1, "attacked": 1, "metrics": 1, "configuration": 1, "trace": 4,
        "iterations": 7,
    }  # fmt: skip
    assert all(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(x)) == nodes.folder for x in marked)
    assert all(x.GetAttribute("SegAdversarial.Summary") == SUMMARY for x in marked)
    assert [x.GetAttribute(CHANNEL) for x in nodes.perturbation.values()] == ["T1", "T2"]
    assert [x.GetAttribute(CHANNEL) for x in nodes.sequences] == ["T1", "T2", None]
    # what is not marked serves a marked node, and is not listed by Slicer
    rest = {x.GetClassName() for x in application.nodes_of(scene) if x.GetID() not in before and x not in marked}
    assert all("Display" in x or "Storage" in x or x in ("vtkMRMLColorTableNode", "vtkMRMLSubjectHierarchyNode") for x in rest)


def test_a_run_is_found_without_what_the_user_deleted(scene) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    nodes = scenes.add_result(make_result(case), make_evaluation(case), inputs)
    for gone in (nodes.clean, nodes.adversarial["T1"], nodes.chart, inputs["T2"], nodes.sequences[1], nodes.reference):
        scene.RemoveNode(gone)
    (found,) = scenes.find_results()
    assert found.clean is None and found.chart is None and found.reference is None
    assert list(found.adversarial) == ["T2"] and list(found.inputs) == ["T1"]
    assert len(found.sequences) == 2 and found.attacked is nodes.attacked
    for gone in (nodes.browser, nodes.metrics, *nodes.traces.values()):
        scene.RemoveNode(gone)
    (found,) = scenes.find_results()
    assert found.browser is None and found.metrics is None and found.traces == {} and list(found.inputs) == ["T1"]
    scene.RemoveNode(nodes.configuration)
    assert scenes.find_results() == []
    with pytest.raises(InputError, match=r'The configuration of "FGSM, .*" was deleted'):
        scenes.configuration_of(replace(nodes, configuration=None))


def test_the_configuration_says_how_the_result_was_made(scene, tmp_path: Path) -> None:
    case = make_case()
    result, evaluation = make_result(case), make_evaluation(case)
    inputs = scenes.add_case(case).channels
    plain = scenes.add_result(result, evaluation, inputs)
    assert plain.configuration.GetName() == f"configuration - {SUMMARY}"
    record = {
        "attack": {"name": "fgsm", "note": 'µ = "3"\n'},
        "versions": {"torch": "2"},
        "psnr": math.inf,
        "rows": [math.nan],
    }
    whole = scenes.add_result(result, evaluation, inputs, record=record)
    again = scenes.read_scene(scenes.write_scene(tmp_path / "configuration.mrb"))
    for nodes in ([plain, whole], scenes.find_results(again)):
        known = scenes.configuration_of(nodes[0])
        assert known["attack"] == result.attack.describe() and known["reference"] == "label"
        assert known["evaluation"][0]["before"] == 0.91234
        assert known["evaluation"][1]["after"] is None
        assert scenes.configuration_of(nodes[1]) == {**record, "psnr": None, "rows": [None]}
        json.loads(nodes[1].configuration.GetText(), parse_constant=pytest.fail)
    plain.configuration.SetText("{")
    with pytest.raises(InputError, match="is damaged"):
        scenes.configuration_of(plain)


def segmentation_rows() -> list[dict[str, Any]]:
    return [
        {"structure": "oedema", "metric": "Volume", "unit": "ml", "value": 1.25},
        {"structure": "oedema", "metric": "Dice", "unit": "", "value": 0.875},
    ]


def test_a_networks_answer_is_visible_in_a_folder_of_its_own(scene, tmp_path: Path) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    nodes = scenes.add_segmentation_result(case, make_clean(case), segmentation_rows(), inputs, title="phantom network")
    assert nodes.segmentation.GetName() == "segmentation - phantom network"
    assert nodes.segmentation.GetDisplayNode().GetVisibility() == 1
    assert nodes.segmentation.GetAttribute(ROLE) == "segmentation"
    assert np.array_equal(label_map_of(nodes.segmentation, inputs["T1"]), make_clean(case))
    assert table_of(nodes.table)[1:] == [["oedema", "Volume", "1.2500", "ml"], ["oedema", "Dice", "0.8750", "-"]]
    hierarchy = application.subject_hierarchy(scene)
    assert hierarchy.GetItemName(nodes.folder) == "phantom network"
    for node in (nodes.segmentation, nodes.table, nodes.configuration):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == nodes.folder
        assert node.GetAttribute(RUN) == nodes.run
    assert hierarchy.GetItemParent(nodes.folder) == hierarchy.GetItemParent(hierarchy.GetItemByDataNode(inputs["T1"]))
    assert scenes.configuration_of(nodes)["network"] == "phantom network"
    assert scenes.find_results() == []


def test_an_evaluation_refers_to_the_volumes_that_are_there(scene, tmp_path: Path) -> None:
    case = make_case()
    inputs, changed = scenes.add_case(case).channels, scenes.add_case(replace(case, name="changed", label=None)).channels
    made = scenes.add_evaluation(case, make_evaluation(case), inputs, title="noise, by hand", adversarial=changed)
    assert made.attacked.GetDisplayNode().GetVisibility() and not made.clean.GetDisplayNode().GetVisibility()
    assert count(scene, "vtkMRMLScalarVolumeNode") == 6
    again = scenes.read_scene(scenes.write_scene(tmp_path / "evaluation.mrb"))
    for (nodes,) in (scenes.find_results(), scenes.find_results(again)):
        assert names_in(nodes) == names_in(made)
        assert [x.GetName() for x in nodes.adversarial.values()] == [f"changed {x}" for x in case.channels]
        assert table_of(nodes.metrics) == table_of(made.metrics)
    assert scenes.find_results()[0].adversarial["T1"] is changed["T1"]


def test_what_does_not_fit_is_refused_and_the_scene_stays(scene, monkeypatch) -> None:
    case, small = make_case(), make_case(shape=(9, 14, 11))
    inputs = scenes.add_case(case).channels
    before = state_of(scene)
    with pytest.raises(InputError, match="belongs to another case"):
        scenes.add_segmentation_result(case, make_clean(small), [], inputs, title="x")
    with pytest.raises(InputError, match="belongs to another case"):
        scenes.add_evaluation(case, make_evaluation(small), inputs, title="x")
    with pytest.raises(InputError, match="No input volume"):
        scenes.add_segmentation_result(case, make_clean(case), [], {}, title="x")
    with pytest.raises(TypeError, match="JSON"):
        scenes.add_segmentation_result(case, make_clean(case), [], inputs, title="x", record={"x": object()})
    with pytest.raises(TypeError, match="JSON"):
        scenes.add_evaluation(case, make_evaluation(case), inputs, title="x", record={"x": object()})
    assert state_of(scene) == before


def test_a_reference_that_was_drawn_over_is_added_anew(scene) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    first = scenes.add_result(make_result(case, snapshots=False), make_evaluation(case), inputs)
    assert first.reference.GetDisplayNode().GetVisibility()
    other = replace(case, label=np.roll(case.label, 1, axis=1))
    second = scenes.add_result(make_result(other, snapshots=False), make_evaluation(other), inputs)
    assert second.reference is not first.reference
    assert np.array_equal(label_map_of(second.reference, inputs["T1"]), other.label)
    assert not second.reference.GetDisplayNode().GetVisibility()
    third = scenes.add_result(make_result(case, snapshots=False), make_evaluation(case), inputs)
    assert third.reference is first.reference


def many_states(case: Case, states: int) -> AttackResult:
    result = make_result(case)
    made = [Snapshot(n, np.rint(case.image + n), make_clean(case)) for n in range(states)]
    return replace(result, snapshots=made)


def iterations_in(nodes: ResultNodes) -> list[str]:
    sequence = nodes.sequences[0]
    return [sequence.GetNthIndexValue(n) for n in range(sequence.GetNumberOfDataNodes())]


def test_iterations_stay_within_their_memory(scene, caplog) -> None:
    case = make_case()
    result, evaluation = many_states(case, 11), make_evaluation(case)
    inputs = scenes.add_case(case).channels
    # T1 int16, T2 uint16, and a byte for the segmentation
    state = (2 + 2 + 1) * case.image[0].size
    nodes = scenes.add_result(result, evaluation, inputs, iteration_memory=11 * state)
    assert len(iterations_in(nodes)) == 11 and not nodes.browser.GetDescription() and not caplog.records
    with caplog.at_level(logging.WARNING):
        nodes = scenes.add_result(result, evaluation, inputs, iteration_memory=6 * state - 1)
    assert iterations_in(nodes) == ["0", "2", "5", "8", "10"] or iterations_in(nodes) == ["0", "3", "5", "7", "10"]
    assert "5 of 11 iterations are kept" in nodes.browser.GetDescription()
    assert f"{SUMMARY}: 5 of 11 iterations are kept" in caplog.text
    assert all(x.GetNumberOfDataNodes() == 5 for x in nodes.sequences)
    nodes = scenes.add_result(result, evaluation, inputs, iteration_memory=0)
    assert iterations_in(nodes) == ["0", "10"]


def test_no_surfaces_are_made(scene) -> None:
    case = make_case()
    nodes = scenes.add_result(make_result(case), make_evaluation(case))
    for node in (nodes.clean, nodes.attacked, nodes.reference, nodes.proxies[-1]):
        assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


def looks_of(scene, inputs: dict[str, Any]) -> list[Any]:
    """What Slicer shows and has selected: displays of the inputs, selection, slice and layout nodes."""
    shown = []
    for node in inputs.values():
        display = node.GetDisplayNode()
        shown += [node.GetMTime(), display.GetMTime(), node.GetNumberOfDisplayNodes(), display.GetVisibility()]
    for kind in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode", "vtkMRMLSliceCompositeNode", "vtkMRMLLayoutNode"):
        for node in scene.GetNodesByClass(kind):
            roles = [node.GetNthNodeReferenceRole(n) for n in range(node.GetNumberOfNodeReferenceRoles())]
            shown.append([(role, node.GetNodeReferenceID(role)) for role in roles])
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    shown += [selection.GetActiveVolumeID(), selection.GetActivePlotChartID(), selection.GetActiveTableID()]
    return shown


@pytest.mark.parametrize("step", ["add_segmentation", "add_trace_tables", "add_iterations", "Run.add_configuration"])
def test_a_failure_leaves_what_is_shown_and_selected(scene, monkeypatch, step: str) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetBackgroundVolumeID(inputs["T1"].GetID())
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    selection.SetActiveVolumeID(inputs["T2"].GetID())
    kept = scenes.add_result(make_result(case), make_evaluation(case), inputs)
    selection.SetActiveTableID(kept.metrics.GetID())
    selection.SetActivePlotChartID(kept.chart.GetID())
    kept.browser.SetSelectedItemNumber(0)
    before, looks = state_of(scene), looks_of(scene, inputs)
    owner = results.Run if "." in step else results
    step = step.rpartition(".")[2]
    whole = getattr(owner, step)

    def fail(*arguments, **options):
        whole(*arguments, **options)
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(RuntimeError, match="on fire"):
        scenes.add_result(make_result(case), make_evaluation(case), inputs)
    assert state_of(scene) == before and looks_of(scene, inputs) == looks
    assert kept.browser.GetSelectedItemNumber() == 0
    assert [names_in(x) for x in scenes.find_results()] == [names_in(kept)]


def test_there_is_one_item_for_each_node_where_slicer_makes_items_itself(scene) -> None:
    """Inside Slicer each new node of most kinds gets its subject hierarchy item at once."""
    hierarchy = application.subject_hierarchy(scene)

    def make_item(_caller, _event, node) -> None:
        if node.IsA("vtkMRMLDisplayableNode") or node.IsA("vtkMRMLTableNode") or node.IsA("vtkMRMLSequenceBrowserNode"):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    make_item.CallDataType = vtk.VTK_OBJECT
    case = make_case()
    tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, make_item)
    before = None
    try:
        nodes = scenes.add_result(make_result(case), make_evaluation(case))
        owners = items_of(hierarchy)
        assert len(owners) == len(set(owners)) > 15
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.attacked)) == nodes.folder
        before = state_of(scene)
        with pytest.raises(TypeError):
            scenes.add_result(make_result(case), make_evaluation(case), nodes.inputs, record={"x": object()})
        assert state_of(scene) == before
    finally:
        scene.RemoveObserver(tag)


def items_of(hierarchy) -> list[str]:
    """The identifiers of the nodes of all items."""
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    nodes = [hierarchy.GetItemDataNode(items.GetId(n)) for n in range(items.GetNumberOfIds())]
    return [x.GetID() for x in nodes if x is not None]


def test_evaluations_without_labels_have_no_reference(scene) -> None:
    case = replace(make_case(), label=None, label_names=None)
    inputs = scenes.add_case(case).channels
    labelled = make_case()
    answers = make_evaluation(labelled)
    evaluation = types.SimpleNamespace(**{**vars(answers), "reference": "prediction"})
    nodes = scenes.add_evaluation(case, evaluation, inputs, title="same")
    assert nodes.adversarial == scenes.find_results()[0].adversarial == {}
    assert nodes.reference is None and scenes.find_results()[0].reference is None
