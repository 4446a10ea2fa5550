"""Scenes are made with Slicer's own MRML library; without it these tests are skipped."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scene_helpers import (
    _drawing,  # noqa: F401  (a fixture)
    _scene,  # noqa: F401  (a fixture)
    affine_of,
    count,
    lps_case,
    make_case,
    make_evaluation,
    make_result,
    segments_of,
    slicer,
    state_of,
    voxels,
    vtk,
)

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene import application, results, view
from SegAdversarialLib.structures.terminology import entry_of


def test_the_application_starts_once_and_serves_slicer_mrml_scene() -> None:
    app = scenes.headless_application()
    assert scenes.headless_application() is app
    assert slicer.mrmlScene is app.scene


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "trame_slicer.core", None)
    with pytest.raises(InputError, match=r'pip install "trame-slicer\[standalone\]"'):
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


def test_what_does_not_fit_is_refused_in_words(scene) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    with pytest.raises(InputError, match="Channel T2 was attacked"):
        scenes.add_result(make_result(case), make_evaluation(case), {"T1": inputs["T1"]})
    small = make_case(shape=(9, 14, 11))
    with pytest.raises(InputError, match="another case"):
        scenes.add_result(make_result(case), make_evaluation(small), inputs)
    with pytest.raises(InputError, match="sequence|hold a"):
        scenes.add_result(make_result(case), make_evaluation(case), scene=slicer.vtkMRMLScene())


def test_terminology_follows_the_names() -> None:
    assert "^Necrosis~" in entry_of("Necrotic and non-enhancing core")
    assert "^Mass~" in entry_of("enhancing tumour")
    assert "^Liver~" in entry_of("liver")
    assert "^Tissue~SCT^85756007^Tissue~" in entry_of("something")
    assert len(entry_of("liver").split("~")) == 7


def test_terminology_is_understood_by_slicer(scene) -> None:
    logic = scenes.headless_application().terminologies_logic
    for name, meaning in (("oedema", "Edema"), ("kidney left", "Kidney"), ("whole tumour", "Mass"), ("brain", "Brain")):
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(entry_of(name), entry)
        assert entry.GetTypeObject().GetCodeMeaning() == meaning
        assert (entry.GetTypeModifierObject().GetCodeMeaning() or "") == ("Left" if "left" in name else "")


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
    path = scenes.picture(result, evaluation, tmp_path / "block.png")
    assert state_of(scene) == before
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
