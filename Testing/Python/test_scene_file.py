"""Scene files are written and read back with Slicer's own MRML library; without it these tests are skipped."""

from __future__ import annotations

import math
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import oblique_affine, tiny_network, toy_case
from scene_helpers import (
    NAMES,
    SUMMARY,
    _scene,  # noqa: F401  (a fixture)
    affine_of,
    clean_scene,
    count,
    label_map_of,
    make_case,
    make_evaluation,
    make_result,
    named,
    segments_of,
    table_of,
    voxels,
    vtk,
)

from SegAdversarialLib import SegmentationModel, attacks, evaluate
from SegAdversarialLib import scene as scenes
from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.evaluation import Evaluation
from SegAdversarialLib.scene import application
from SegAdversarialLib.volumes.case import Case


@dataclass(frozen=True)
class Written:
    """What went into a scene file, and the scene that was read from it."""

    case: Case
    result: AttackResult
    evaluation: types.SimpleNamespace
    title: str
    files: list[str]
    scene: Any


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Written:
    folder = tmp_path_factory.mktemp("scene")
    case = make_case()
    result, evaluation = make_result(case), make_evaluation(case)
    with clean_scene():
        nodes = scenes.add_result(result, evaluation, scenes.add_case(case).channels)
        title = nodes.chart.GetTitle()
        path = scenes.write_scene(folder / "run.mrb")
    files = [x.name for x in folder.iterdir()]
    return Written(case, result, evaluation, title, files, scenes.read_scene(path))


def test_writing_leaves_the_scene_file_and_nothing_else(written: Written) -> None:
    assert written.files == ["run.mrb"]


def test_volumes_come_back_in_their_types_and_places(written: Written) -> None:
    case, result = written.case, written.result
    for start, values, dtype in (
        ("patient 1 T1 adversarial", result.adversarial.image[0], "int16"),
        ("patient 1 T2 adversarial", result.adversarial.image[1], "float32"),
        ("patient 1 T1 change", result.perturbation.additive[0], "float32"),
        ("patient 1 T2 change", result.perturbation.additive[1], "float32"),
        ("patient 1 FLAIR", case.image[2], "float32"),
    ):
        node = named(written.scene, "vtkMRMLScalarVolumeNode", start)
        assert voxels(node).dtype == dtype
        assert np.array_equal(voxels(node), values), start
        np.testing.assert_allclose(affine_of(node), case.affine, atol=1e-9)


def test_segmentations_come_back_with_names_colours_and_voxels(written: Written) -> None:
    wanted = {value: (name, tuple(round(c, 3) for c in scenes.color_of(value))) for value, name in NAMES.items() if value}
    grid = named(written.scene, "vtkMRMLScalarVolumeNode", "patient 1 FLAIR")
    for start, labels in (
        ("patient 1 reference", written.case.label),
        ("clean", written.evaluation.clean),
        ("attacked", written.evaluation.attacked),
    ):
        node = named(written.scene, "vtkMRMLSegmentationNode", start)
        assert segments_of(node) == wanted
        assert np.array_equal(label_map_of(node, grid), labels), start
        assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()).GetName() == "patient 1 T1"


def test_terminology_comes_back(written: Written) -> None:
    segment = named(written.scene, "vtkMRMLSegmentationNode", "clean").GetSegmentation().GetSegment("Segment_2")
    entry = vtk.reference("")
    assert segment.GetTag(segment.GetTerminologyEntryTagName(), entry)
    assert "SCT^79654002^Edema" in str(entry)


def test_metrics_come_back_as_text(written: Written) -> None:
    metrics = table_of(named(written.scene, "vtkMRMLTableNode", "metrics"))
    assert metrics[0] == ["structure", "metric", "before", "after", "drop", "channel", "value"]
    assert metrics[1] == ["oedema", "dice", "0.9123", "0.5000", "0.4519", "-", "-"]
    assert metrics[2] == ["enhancing tumour", "hd95", "-", "undefined", "-", "-", "-"]
    assert metrics[3] == ["-", "psnr", "-", "-", "-", "T1", "31.5000"]


def test_the_trace_comes_back_as_numbers(written: Written) -> None:
    trace = named(written.scene, "vtkMRMLTableNode", "trace").GetTable()
    assert trace.GetColumnByName("iteration").GetDataTypeAsString() == "double"
    assert [trace.GetColumnByName("dice mean").GetValue(n) for n in range(4)] == pytest.approx([0.8, 0.7, 0.6, 0.5])
    assert [trace.GetColumnByName("psnr").GetValue(n) for n in range(4)] == [math.inf, 39, 38, 37]


def test_the_chart_comes_back_with_its_curves(written: Written) -> None:
    chart = named(written.scene, "vtkMRMLPlotChartNode", "Dice against iteration")
    assert chart.GetTitle() == written.title
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [(x.GetXColumnName(), x.GetYColumnName()) for x in series] == [
        ("iteration", "dice oedema"), ("iteration", "dice mean"),
    ]  # fmt: skip
    assert series[0].GetTableNode().GetName() == f"trace - {SUMMARY}"
    assert series[0].GetColor() == pytest.approx(scenes.color_of(2))


def test_the_subject_hierarchy_comes_back(written: Written) -> None:
    hierarchy = application.subject_hierarchy(written.scene)
    item = {n.GetName(): hierarchy.GetItemByDataNode(n) for n in application.nodes_of(written.scene)}
    folder = hierarchy.GetItemParent(item[f"patient 1 T1 adversarial - {SUMMARY}"])
    assert hierarchy.GetItemName(folder) == SUMMARY
    assert hierarchy.GetItemParent(folder) == hierarchy.GetItemParent(item["patient 1 T1"])
    assert hierarchy.GetItemName(hierarchy.GetItemParent(folder)) == "patient 1"
    for kind in ("clean segmentation", "attacked segmentation", "metrics", "trace", "Dice against iteration", "iterations"):
        assert hierarchy.GetItemParent(item[f"{kind} - {SUMMARY}"]) == folder, kind


def test_changes_come_back_in_blue_for_less_and_orange_for_more(written: Written) -> None:
    assert count(written.scene, "vtkMRMLColorLegendDisplayNode") == 2
    colors = named(written.scene, "vtkMRMLScalarVolumeNode", "patient 1 T1 change").GetDisplayNode().GetColorNode()
    less, more = [0.0] * 4, [0.0] * 4
    colors.GetColor(0, less)
    colors.GetColor(254, more)
    assert colors.GetNumberOfColors() == 255
    assert less[2] > 0.9 > less[0]
    assert more[0] > 0.9 > more[2]


def test_iterations_are_scrubbed_through_by_one_browser(written: Written) -> None:
    assert count(written.scene, "vtkMRMLSequenceNode") == 3  # T1, T2, segmentation
    browser = named(written.scene, "vtkMRMLSequenceBrowserNode", "iterations")
    assert browser.GetNumberOfItems() == 2
    volumes = named(written.scene, "vtkMRMLSequenceNode", "patient 1 T1 iterations")
    assert [volumes.GetNthIndexValue(n) for n in range(2)] == ["0", "3"]
    assert volumes.GetIndexName() == "iteration"
    for n, snapshot in enumerate(written.result.snapshots):
        assert np.array_equal(voxels(volumes.GetNthDataNode(n)), snapshot.image[0])
    segmentations = named(written.scene, "vtkMRMLSequenceNode", "segmentation iterations")
    assert segments_of(segmentations.GetNthDataNode(1))[4][0] == "enhancing tumour"


def check_metrics(table: list[list[str]], evaluation: Evaluation) -> None:
    """Every cell of the table says what the evaluation's row says, numbers to four decimals or significant digits."""
    keys = table[0]
    assert set(keys) == {key for row in evaluation.rows for key in row}
    assert len(table) - 1 == len(evaluation.rows)
    for cells, row in zip(table[1:], evaluation.rows):
        for key, cell in zip(keys, cells):
            value = row.get(key, "")
            if not isinstance(value, float):
                assert cell == (str(value) or "-"), key
            elif math.isnan(value):
                assert cell == ("-" if key == "drop" and row["metric"] in ("HD95", "Volume") else "undefined"), key
            else:
                assert float(cell) == pytest.approx(value, rel=5e-4, abs=5e-5), key


def check_curves(chart: Any, trace: list[dict[str, float]], tolerance: float) -> None:
    """The chart's curves read the Dice columns of a table that holds the trace, up to a relative difference."""
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [x.GetYColumnName() for x in series] == ["dice core", "dice rim", "dice mean"]
    for curve in series:
        table = curve.GetTableNode().GetTable()
        assert table.GetNumberOfRows() == len(trace)
        for key in (curve.GetXColumnName(), curve.GetYColumnName()):
            read = [table.GetColumnByName(key).GetValue(n) for n in range(len(trace))]
            assert read == pytest.approx([row[key] for row in trace], rel=tolerance, abs=0), key


def test_a_real_attack_and_its_evaluation_arrive_in_the_scene_file(scene, tmp_path: Path) -> None:
    case = toy_case(labels=3, affine=oblique_affine())
    network, classes = tiny_network().float(), ["background", "core", "rim"]
    model = SegmentationModel.from_network(network, channels=("A", "B"), classes=classes)
    result = attacks.IFGSM(steps=2, snapshot_every=1)(model, case)
    evaluation = evaluate(result, model)
    assert not np.array_equal(evaluation.clean, evaluation.attacked)
    nodes = scenes.add_result(result, evaluation, names=dict(enumerate(classes)))
    check_curves(nodes.chart, result.trace, tolerance=0)
    again = scenes.read_scene(scenes.write_scene(tmp_path / "real.mrb"))

    for n, channel in enumerate(case.channels):
        node = named(again, "vtkMRMLScalarVolumeNode", f"toy {channel} adversarial")
        assert np.array_equal(voxels(node), result.adversarial.image[n])
        np.testing.assert_allclose(affine_of(node), case.affine, atol=1e-9)
        states = named(again, "vtkMRMLSequenceNode", f"toy {channel} iterations")
        assert [states.GetNthIndexValue(k) for k in range(states.GetNumberOfDataNodes())] == ["0", "1", "2"]
        for k, snapshot in enumerate(result.snapshots):
            assert np.array_equal(voxels(states.GetNthDataNode(k)), snapshot.image[n])
    grid = named(again, "vtkMRMLScalarVolumeNode", "toy A adversarial")
    for start, labels in (("toy reference", case.label), ("clean", evaluation.clean), ("attacked", evaluation.attacked)):
        node = named(again, "vtkMRMLSegmentationNode", start)
        assert np.array_equal(label_map_of(node, grid), labels), start
        assert [name for name, _ in segments_of(node).values()] == ["core", "rim"]
    check_metrics(table_of(named(again, "vtkMRMLTableNode", "metrics")), evaluation)
    # Slicer writes numbers in tables with six significant digits
    check_curves(named(again, "vtkMRMLPlotChartNode", "Dice against iteration"), result.trace, tolerance=1e-5)


def test_a_scene_that_cannot_be_written_leaves_the_old_file(scene, tmp_path: Path) -> None:
    path = tmp_path / "scene.mrb"
    path.write_bytes(b"old")
    broken = types.SimpleNamespace(WriteToMRB=lambda *_: False, GetNumberOfNodes=lambda: 0, GetNthNode=None)
    with pytest.raises(InputError, match="Cannot write"):
        scenes.write_scene(path, broken)
    assert path.read_bytes() == b"old"
    assert [x.name for x in tmp_path.iterdir()] == ["scene.mrb"]


def test_writing_a_scene_does_not_move_it(scene, tmp_path: Path) -> None:
    scenes.add_case(make_case())
    before = (scene.GetURL(), scene.GetRootDirectory())
    scenes.write_scene(tmp_path / "one.mrb")
    scenes.write_scene(tmp_path / "one.mrb")
    assert (scene.GetURL(), scene.GetRootDirectory()) == before


def test_a_file_that_is_no_scene_file_is_refused_in_words(scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must end in .mrb"):
        scenes.write_scene(tmp_path / "scene.zip")
    with pytest.raises(InputError, match="no Slicer scene file"):
        scenes.read_scene(tmp_path / "missing.mrb")
