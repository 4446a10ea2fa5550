"""Scenes are made, written and read back with Slicer's own MRML library; without it these tests are skipped."""

from __future__ import annotations

import math
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.case import Case
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.perturbation import Perturbation
from SegAdversarialLib.result import AttackResult, Snapshot
from SegAdversarialLib.scene import application, results, view
from SegAdversarialLib.scene.segmentations import terminology_of

slicer = pytest.importorskip("slicer")
vtk = pytest.importorskip("vtk")
pytest.importorskip("trame_slicer")

SHAPE = (9, 14, 12)
NAMES = {0: "background", 1: "necrotic core", 2: "oedema", 4: "enhancing tumour"}
SUMMARY = "FGSM, epsilon 0.05, T1 + T2"


def oblique_affine() -> np.ndarray:
    """Voxels of 0.9 x 1.1 x 2.5 mm, turned by 20 degrees about one axis and 30 about another, with i to the patient's left."""
    a, b = np.deg2rad([20, 30])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.9, -1.1, 2.5])
    affine[:3, 3] = (31.25, -17.5, 4.0)
    return affine


def make_case(affine: np.ndarray | None = None, shape: tuple[int, int, int] = SHAPE, name: str = "patient 1") -> Case:
    generator = np.random.default_rng(7)
    image = np.rint(generator.uniform(0, 900, (3, *shape)))
    image[2] += 0.25
    label = np.zeros(shape, np.int16)
    k, j, i = (n // 2 for n in shape)
    label[k - 2 : k + 2, j - 4 : j + 3, i - 4 : i + 3] = 2
    label[k - 1 : k + 1, j - 2 : j + 1, i - 2 : i + 1] = 1
    label[k, j, i] = 4
    affine = oblique_affine() if affine is None else affine
    return Case(image, ("T1", "T2", "FLAIR"), affine, label, NAMES, name, ("int16", "uint16", "float32"))


def make_result(case: Case, *, snapshots: bool = True, restarts: int = 1) -> AttackResult:
    """T1 and T2 are attacked, T2 by half units that its integer type cannot hold."""
    added = np.zeros_like(case.image)
    added[0, 1:-1, 2:, :-3] = 30
    added[0, :, ::2] *= -1
    added[1, 2:4] = 0.5
    adversarial = case.with_image(case.image + added)
    attack = types.SimpleNamespace(
        name="fgsm", title="FGSM", epsilon=0.05, channels=("t1", "T2"), seed=11, summary=lambda: SUMMARY
    )
    trace = [
        {
            "restart": restart,
            "iteration": n,
            "loss": 0.1 * n,
            "psnr": math.inf if n == 0 else 40.0 - n,
            "dice oedema": 0.9 - 0.1 * n,
            "dice mean": 0.8 - 0.1 * n,
        }
        for restart in range(restarts)
        for n in range(4)
    ]
    states = [Snapshot(0, case.image, make_clean(case)), Snapshot(3, adversarial.image, make_attacked(case))]
    return AttackResult(
        case, adversarial, Perturbation(added), attack, "network", trace=trace, snapshots=states if snapshots else []
    )  # type: ignore[arg-type]


def make_clean(case: Case) -> np.ndarray:
    assert case.label is not None
    return np.where(case.label == 1, 2, case.label).astype(np.int16)


def make_attacked(case: Case) -> np.ndarray:
    assert case.label is not None
    return np.roll(case.label, 2, axis=2)


def make_evaluation(case: Case) -> types.SimpleNamespace:
    rows = [
        {"structure": "oedema", "metric": "dice", "before": 0.91234, "after": 0.5, "drop": 0.4519},
        {"structure": "enhancing tumour", "metric": "hd95", "before": None, "after": math.nan, "drop": None},
        {"channel": "T1", "metric": "psnr", "value": 31.5},
    ]
    return types.SimpleNamespace(rows=rows, clean=make_clean(case), attacked=make_attacked(case), reference="label")


@pytest.fixture
def scene():
    """The one headless scene, as empty as it was."""
    app = scenes.headless_application()
    before = {node.GetID() for node in application.nodes_of(app.scene)}
    yield app.scene
    hierarchy = application.subject_hierarchy(app.scene)
    hierarchy.RemoveAllItems(False)
    for node in application.nodes_of(app.scene):
        if node.GetID() not in before and app.scene.IsNodePresent(node):
            app.scene.RemoveNode(node)


def voxels(node) -> np.ndarray:
    import slicer.util

    return slicer.util.arrayFromVolume(node)


def affine_of(node) -> np.ndarray:
    import slicer.util

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def label_map_of(segmentation, grid) -> np.ndarray:
    """The label map on a volume's grid, exported segment by segment by Slicer's own logic."""
    labels = np.zeros(voxels(grid).shape, np.int16)
    scene = segmentation.GetScene()
    for n in range(segmentation.GetSegmentation().GetNumberOfSegments()):
        identifiers = vtk.vtkStringArray()
        identifiers.InsertNextValue(segmentation.GetSegmentation().GetNthSegmentID(n))
        node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        assert logic.ExportSegmentsToLabelmapNode(segmentation, identifiers, node, grid)
        labels[voxels(node) > 0] = segmentation.GetSegmentation().GetNthSegment(n).GetLabelValue()
        scene.RemoveNode(node)
    return labels


def segments_of(node) -> dict[int, tuple[str, tuple[float, ...]]]:
    segments = [node.GetSegmentation().GetNthSegment(n) for n in range(node.GetSegmentation().GetNumberOfSegments())]
    return {x.GetLabelValue(): (x.GetName(), tuple(round(c, 3) for c in x.GetColor())) for x in segments}


def table_of(node) -> list[list[str]]:
    table = node.GetTable()
    columns = range(table.GetNumberOfColumns())
    return [[table.GetColumnName(c) for c in columns]] + [
        [table.GetValue(row, c).ToString() for c in columns] for row in range(table.GetNumberOfRows())
    ]


def named(scene, class_name: str, start: str):
    found = [x for x in application.nodes_of(scene) if x.IsA(class_name) and x.GetName().startswith(start)]
    assert len(found) == 1, [x.GetName() for x in application.nodes_of(scene) if x.IsA(class_name)]
    return found[0]


def count(scene, class_name: str) -> int:
    return sum(node.GetClassName() == class_name for node in application.nodes_of(scene))


def state_of(scene) -> tuple[list[str], int]:
    return [node.GetID() for node in application.nodes_of(scene)], application.subject_hierarchy(scene).GetNumberOfItems()


def test_the_application_starts_once_and_serves_slicer_mrml_scene() -> None:
    app = scenes.headless_application()
    assert scenes.headless_application() is app
    assert slicer.mrmlScene is app.scene


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "trame_slicer.core", None)
    with pytest.raises(InputError, match=r'pip install "SegAdversarialLib\[headless\]"'):
        application.new_application()


def test_inside_slicer_no_second_slicer_is_started(monkeypatch) -> None:
    monkeypatch.setattr(slicer, "app", object(), raising=False)
    with pytest.raises(InputError, match="This is Slicer already"), view.stage():
        pass


def test_channels_keep_order_type_values_and_place(scene) -> None:
    case = make_case()
    nodes = scenes.add_case(case)
    for n, (channel, dtype) in enumerate(zip(case.channels, ("int16", "uint16", "float32"))):
        array = voxels(nodes.channels[channel])
        assert array.dtype == dtype
        assert np.array_equal(array, case.image[n])
        np.testing.assert_allclose(affine_of(nodes.channels[channel]), case.affine, atol=1e-12)
    # one voxel, found through space by Slicer's own matrix: array order is (k, j, i)
    matrix = vtk.vtkMatrix4x4()
    nodes.channels["T1"].GetRASToIJKMatrix(matrix)
    k, j, i = 6, 3, 8
    place = matrix.MultiplyPoint([*(case.affine @ (i, j, k, 1))[:3], 1.0])
    np.testing.assert_allclose(place[:3], (i, j, k), atol=1e-9)
    value = nodes.channels["T1"].GetImageData().GetScalarComponentAsDouble(i, j, k, 0)
    assert value == case.image[0, k, j, i]


def test_a_scene_file_gives_everything_back(scene, tmp_path: Path) -> None:
    case = make_case()
    result, evaluation = make_result(case), make_evaluation(case)
    nodes = scenes.add_result(result, evaluation, scenes.add_case(case).channels)
    path = scenes.write_scene(tmp_path / "run.mrb")
    assert [x.name for x in tmp_path.iterdir()] == ["run.mrb"]
    again = scenes.read_scene(path)

    for start, values, dtype in (
        ("patient 1 T1 adversarial", result.adversarial.image[0], "int16"),
        ("patient 1 T2 adversarial", result.adversarial.image[1], "float32"),
        ("patient 1 T1 change", result.perturbation.additive[0], "float32"),
        ("patient 1 T2 change", result.perturbation.additive[1], "float32"),
        ("patient 1 FLAIR", case.image[2], "float32"),
    ):
        node = named(again, "vtkMRMLScalarVolumeNode", start)
        assert voxels(node).dtype == dtype
        assert np.array_equal(voxels(node), values), start
        np.testing.assert_allclose(affine_of(node), case.affine, atol=1e-9)

    wanted = {value: (name, tuple(round(c, 3) for c in scenes.color_of(value))) for value, name in NAMES.items() if value}
    grid = named(again, "vtkMRMLScalarVolumeNode", "patient 1 FLAIR")
    for start, labels in (("patient 1 reference", case.label), ("clean", evaluation.clean), ("attacked", evaluation.attacked)):
        node = named(again, "vtkMRMLSegmentationNode", start)
        assert {value: (name, color) for value, (name, color) in segments_of(node).items()} == wanted
        assert np.array_equal(label_map_of(node, grid), labels), start
        assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()).GetName() == "patient 1 T1"
    segment = named(again, "vtkMRMLSegmentationNode", "clean").GetSegmentation().GetSegment("Segment_2")
    entry = vtk.reference("")
    assert segment.GetTag(segment.GetTerminologyEntryTagName(), entry)
    assert "SCT^79654002^Edema" in str(entry)

    metrics = table_of(named(again, "vtkMRMLTableNode", "metrics"))
    assert metrics[0] == ["structure", "metric", "before", "after", "drop", "channel", "value"]
    assert metrics[1] == ["oedema", "dice", "0.9123", "0.5000", "0.4519", "-", "-"]
    assert metrics[2] == ["enhancing tumour", "hd95", "-", "undefined", "-", "-", "-"]
    assert metrics[3] == ["-", "psnr", "-", "-", "-", "T1", "31.5000"]

    trace = named(again, "vtkMRMLTableNode", "trace").GetTable()
    assert trace.GetColumnByName("iteration").GetDataTypeAsString() == "double"
    assert [trace.GetColumnByName("dice mean").GetValue(n) for n in range(4)] == pytest.approx([0.8, 0.7, 0.6, 0.5])
    assert [trace.GetColumnByName("psnr").GetValue(n) for n in range(4)] == [math.inf, 39, 38, 37]
    chart = named(again, "vtkMRMLPlotChartNode", "Dice against iteration")
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [(x.GetXColumnName(), x.GetYColumnName()) for x in series] == [
        ("iteration", "dice oedema"), ("iteration", "dice mean"),
    ]  # fmt: skip
    assert series[0].GetTableNode().GetName() == f"trace - {SUMMARY}"
    assert series[0].GetColor() == pytest.approx(scenes.color_of(2))

    hierarchy = application.subject_hierarchy(again)
    item = {n.GetName(): hierarchy.GetItemByDataNode(n) for n in application.nodes_of(again)}
    folder = hierarchy.GetItemParent(item[f"patient 1 T1 adversarial - {SUMMARY}"])
    assert hierarchy.GetItemName(folder) == SUMMARY
    assert hierarchy.GetItemParent(folder) == hierarchy.GetItemParent(item["patient 1 T1"])
    assert hierarchy.GetItemName(hierarchy.GetItemParent(folder)) == "patient 1"
    for kind in ("clean segmentation", "attacked segmentation", "metrics", "trace", "Dice against iteration", "iterations"):
        assert hierarchy.GetItemParent(item[f"{kind} - {SUMMARY}"]) == folder, kind
    assert count(again, "vtkMRMLColorLegendDisplayNode") == 2
    colors = named(again, "vtkMRMLScalarVolumeNode", "patient 1 T1 change").GetDisplayNode().GetColorNode()
    ends = [0.0] * 4, [0.0] * 4
    colors.GetColor(0, ends[0])
    colors.GetColor(254, ends[1])
    # blue for less, orange for more
    assert colors.GetNumberOfColors() == 255 and ends[0][2] > 0.9 > ends[0][0] and ends[1][0] > 0.9 > ends[1][2]
    assert nodes.chart.GetTitle() == chart.GetTitle()


def test_iterations_are_scrubbed_through_by_one_browser(scene, tmp_path: Path) -> None:
    case = make_case()
    result = make_result(case)
    scenes.add_result(result, make_evaluation(case))
    again = scenes.read_scene(scenes.write_scene(tmp_path / "run.mrb"))
    assert count(again, "vtkMRMLSequenceNode") == 3  # T1, T2, segmentation
    browser = named(again, "vtkMRMLSequenceBrowserNode", "iterations")
    assert browser.GetNumberOfItems() == 2
    volumes = named(again, "vtkMRMLSequenceNode", "patient 1 T1 iterations")
    assert [volumes.GetNthIndexValue(n) for n in range(2)] == ["0", "3"]
    assert volumes.GetIndexName() == "iteration"
    for n, snapshot in enumerate(result.snapshots):
        assert np.array_equal(voxels(volumes.GetNthDataNode(n)), snapshot.image[0])
    segmentations = named(again, "vtkMRMLSequenceNode", "segmentation iterations")
    assert segments_of(segmentations.GetNthDataNode(1))[4][0] == "enhancing tumour"


def test_the_browser_shows_each_state_in_its_proxy_nodes(scene) -> None:
    case = make_case()
    result = make_result(case)
    nodes = scenes.add_result(result, make_evaluation(case))
    assert len(nodes.proxies) == 3
    for n in (0, 1):
        nodes.browser.SetSelectedItemNumber(n)
        assert np.array_equal(voxels(nodes.proxies[0]), result.snapshots[n].image[0])
    assert np.array_equal(voxels(nodes.adversarial["T1"]), result.adversarial.image[0])


def test_adversarial_volumes_look_like_their_inputs_and_inputs_stay_as_they_were(scene) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    inputs["T1"].GetDisplayNode().SetWindowLevel(123, 45)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    inputs["T1"].SetAndObserveTransformNodeID(transform.GetID())
    before = {name: (node.GetMTime(), node.GetImageData().GetMTime(), voxels(node).copy()) for name, node in inputs.items()}
    nodes = scenes.add_result(make_result(case), make_evaluation(case), inputs)
    for name, node in inputs.items():
        assert node.GetImageData().GetMTime() == before[name][1]
        assert np.array_equal(voxels(node), before[name][2])
    assert list(nodes.adversarial) == ["T1", "T2"]
    display = nodes.adversarial["T1"].GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (123, 45, 0)
    assert nodes.adversarial["T1"].GetTransformNodeID() == transform.GetID()
    assert nodes.attacked.GetTransformNodeID() == transform.GetID()
    change = nodes.perturbation["T1"].GetDisplayNode()
    assert (change.GetWindowLevelMin(), change.GetWindowLevelMax()) == (-30, 30)
    assert "seed 11" in nodes.adversarial["T1"].GetDescription()


def test_several_runs_share_reference_and_colours(scene) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    first = scenes.add_result(make_result(case, snapshots=False), make_evaluation(case), inputs)
    second = scenes.add_result(make_result(case, snapshots=False), make_evaluation(case), inputs)
    assert first.folder != second.folder
    assert first.reference is second.reference
    assert count(scene, "vtkMRMLSegmentationNode") == 5
    assert len([x for x in application.nodes_of(scene) if x.GetName() == "SegAdversarial change"]) == 1
    other = make_case(name="patient 2")
    third = scenes.add_result(make_result(other, snapshots=False), make_evaluation(other))
    assert third.reference is not first.reference
    assert segments_of(third.attacked) == segments_of(first.attacked)


def test_without_trace_labels_or_snapshots_there_are_no_empty_nodes(scene) -> None:
    case = replace(make_case(), label=None, label_names=None)
    labelled = make_case()
    result = replace(make_result(labelled, snapshots=False), original=case, trace=[])
    nodes = scenes.add_result(result, make_evaluation(labelled))
    assert nodes.reference is None and nodes.chart is None and nodes.browser is None
    assert count(scene, "vtkMRMLPlotSeriesNode") == count(scene, "vtkMRMLSequenceNode") == 0
    assert count(scene, "vtkMRMLTableNode") == 1
    assert segments_of(nodes.clean)[4][0] == "label 4"


def test_each_restart_has_a_table_and_a_curve(scene) -> None:
    case = make_case()
    nodes = scenes.add_result(make_result(case, snapshots=False, restarts=3), make_evaluation(case))
    assert sorted(nodes.traces) == [0, 1, 2]
    assert [x.GetYColumnName() for x in nodes.series] == ["dice mean"] * 3
    assert {x.GetTableNodeID() for x in nodes.series} == {x.GetID() for x in nodes.traces.values()}


@pytest.mark.parametrize("step", ["add_perturbation_volume", "add_metrics_table", "add_dice_plot", "add_iterations"])
def test_a_failure_half_way_leaves_the_scene_as_it_was(scene, monkeypatch, step: str) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    before = state_of(scene)
    whole = getattr(results, step)

    def fail(*arguments, **options):
        whole(*arguments, **options)
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(results, step, fail)
    with pytest.raises(RuntimeError, match="on fire"):
        scenes.add_result(make_result(case), make_evaluation(case), inputs)
    assert state_of(scene) == before
    with pytest.raises(RuntimeError, match="on fire"):
        scenes.add_result(make_result(case), make_evaluation(case))
    assert state_of(scene) == before


def test_what_does_not_fit_is_refused_in_words(scene, tmp_path: Path) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    with pytest.raises(InputError, match="Channel T2 was attacked"):
        scenes.add_result(make_result(case), make_evaluation(case), {"T1": inputs["T1"]})
    small = make_case(shape=(9, 14, 11))
    with pytest.raises(InputError, match="another case"):
        scenes.add_result(make_result(case), make_evaluation(small), inputs)
    with pytest.raises(InputError, match="must end in .mrb"):
        scenes.write_scene(tmp_path / "scene.zip")
    with pytest.raises(InputError, match="no Slicer scene file"):
        scenes.read_scene(tmp_path / "missing.mrb")
    with pytest.raises(InputError, match="sequence|hold a"):
        scenes.add_result(make_result(case), make_evaluation(case), scene=slicer.vtkMRMLScene())


def test_a_scene_that_cannot_be_written_leaves_the_old_file(scene, tmp_path: Path, monkeypatch) -> None:
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


def test_terminology_follows_the_names() -> None:
    assert "^Necrosis~" in terminology_of("Necrotic and non-enhancing core")
    assert "^Mass~" in terminology_of("enhancing tumour")
    assert "^Liver~" in terminology_of("liver")
    assert "^Tissue~SCT^85756007^Tissue~" in terminology_of("something")
    assert len(terminology_of("liver").split("~")) == 7


def test_terminology_is_understood_by_slicer(scene) -> None:
    logic = scenes.headless_application().terminologies_logic
    for name, meaning in (("oedema", "Edema"), ("kidney left", "Kidney"), ("whole tumour", "Mass"), ("brain", "Brain")):
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(terminology_of(name), entry)
        assert entry.GetTypeObject().GetCodeMeaning() == meaning


@pytest.fixture
def drawing() -> None:
    try:
        view.check_drawing()
    except InputError as error:
        pytest.skip(str(error))


def lps_case() -> Case:
    """A bright block in the patient's right front, on axes towards left, posterior and superior."""
    shape = (12, 40, 36)
    image = np.full((1, *shape), 100.0)
    image[:, :, :3] = image[:, :, -3:] = image[..., :3] = image[..., -3:] = 0
    image[0, 4:9, 6:14, 5:12] = 1000
    label = (image[0] == 1000).astype(np.int16)
    affine = np.diag([-2.0, -2.0, 4.0, 1.0])
    return Case(image, ("T1",), affine, label, {1: "tumour"}, "block", ("int16",))


def test_views_show_the_patients_right_on_the_left_and_front_on_top(drawing) -> None:
    case = lps_case()
    frame = view.frame_of(case.image[0], case.label, case.affine)
    assert frame.center[2] in case.affine[2, 2] * np.arange(4, 9)
    with view.stage() as place:
        from SegAdversarialLib.scene.volumes import add_input_volume

        place.show(add_input_volume(place.scene, "block", case.image[0], case.affine), [])
        pixels = place.draw(frame).mean(2)
    rows, columns = np.nonzero(pixels > 200)
    # i 5..11 of 3..32 (towards left), j 6..13 of 3..36 (towards posterior): right and front
    assert columns.max() < pixels.shape[1] / 2 and rows.max() < pixels.shape[0] / 2
    filled = np.nonzero(pixels > 5)
    assert np.ptp(filled[0]) > 0.8 * pixels.shape[0] or np.ptp(filled[1]) > 0.8 * pixels.shape[1]


def test_a_picture_is_drawn_and_touches_no_scene(drawing, scene, tmp_path: Path) -> None:
    from matplotlib.image import imread

    case = lps_case()
    added = np.where(case.image > 0, 20.0, 0.0).astype(np.float32)
    attack = types.SimpleNamespace(channels=None, seed=0, summary=lambda: "FGSM, epsilon 0.02, all channels")
    result = AttackResult(case, case.with_image(case.image + added), Perturbation(added), attack, "network")  # type: ignore[arg-type]
    evaluation = make_evaluation(case)
    before = state_of(scene)
    (path,) = scenes.write_pictures(case, [(result, evaluation)], tmp_path)
    assert state_of(scene) == before
    assert path.name == "block_FGSM_epsilon-0.02_all-channels.png"
    pixels = imread(path)[..., :3]
    assert pixels.shape[0] > 1000 and pixels.shape[1] > 1800
    red = (pixels[..., 0] > 1.5 * pixels[..., 1]) & (pixels[..., 0] > 0.5)
    assert red[pixels.shape[0] // 2 :].mean() > 20 * red[: pixels.shape[0] // 2, : 2 * pixels.shape[1] // 3].mean()
    with pytest.raises(InputError, match="no channel T7"):
        scenes.picture(result, evaluation, tmp_path / "x.png", channel="T7")


def test_a_machine_that_cannot_draw_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(view, "_PROBE", "import os; os.abort()")
    view.check_drawing.cache_clear()
    with pytest.raises(InputError, match="libegl1 and libgl1-mesa-dri"):
        view.check_drawing()
    monkeypatch.undo()
    view.check_drawing.cache_clear()


def test_the_middle_is_shown_where_there_is_no_label() -> None:
    case = lps_case()
    frame = view.frame_of(case.image[0], np.zeros(case.shape, np.int16), case.affine)
    assert frame.center[2] == pytest.approx(4.0 * 5.5)


def test_the_package_does_not_import_slicer_at_file_scope() -> None:
    code = "import sys; import SegAdversarialLib.scene; sys.exit('slicer' in sys.modules or 'vtk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
