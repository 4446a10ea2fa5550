"""Displacements and bias fields in a scene, applied by Slicer's own code; skipped where Slicer's packages are missing."""

from __future__ import annotations

import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scene_helpers import (
    SUMMARY,
    _scene,  # noqa: F401  (a fixture)
    affine_of,
    count,
    make_case,
    make_evaluation,
    motion,
    place_under,
    slicer,
    turned_affine,
    voxels,
    vtk,
)
from scipy.ndimage import gaussian_filter

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.changes.files import write_displacement
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.scene import application
from SegAdversarialLib.scene.bundle import read_scene, write_scene
from SegAdversarialLib.scene.transforms import add_displacement, displacement_of
from SegAdversarialLib.scene.volumes import add_volume
from SegAdversarialLib.volumes.case import Case

SHAPE = (12, 24, 20)
OUTSIDE = -1e6


def smooth(components: int, largest: float, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(components, *shape)), (0, 1.5, 3, 3))
    return (field * largest / np.sqrt((field**2).sum(0)).max()).astype(np.float32)


def moved_case() -> tuple[Case, np.ndarray]:
    """Three channels on an oblique anisotropic grid, and a displacement of up to 4 mm."""
    return make_case(turned_affine(), SHAPE), smooth(3, 4.0)


def resampled(volume: Any, transform: Any) -> np.ndarray:
    """A volume under a transform, as Slicer resamples it onto the volume's own grid; `OUTSIDE` beyond the volume."""
    from vtk.util.numpy_support import vtk_to_numpy

    volume.SetAndObserveTransformNodeID(transform.GetID())
    image, result, matrix = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    # in a type that can say "outside"
    values = np.ascontiguousarray(voxels(volume), np.float32)
    image.DeepCopy(add_volume(volume.GetScene(), "copy", values, affine_of(volume)).GetImageData())
    volume.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    to_world = vtk.vtkGeneralTransform()
    volume.GetParentTransformNode().GetTransformToWorld(to_world)
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    assert resample(image, image, result, True, False, to_world, OUTSIDE)
    return vtk_to_numpy(result.GetPointData().GetScalars()).reshape(result.GetDimensions()[::-1])


def assert_same_inside(found: np.ndarray, wanted: np.ndarray) -> None:
    inside = found != OUTSIDE
    assert 0.8 < inside.mean() <= 1
    assert np.abs(found - wanted)[inside].max() < 1e-3 * (wanted.max() - wanted.min())


def loaded(scene: Any, path: Path) -> Any:
    node, storage = (scene.AddNewNodeByClass(x) for x in ("vtkMRMLGridTransformNode", "vtkMRMLTransformStorageNode"))
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


@pytest.mark.parametrize("how", ["in the scene", ".nrrd", ".nii.gz", ".h5", "written by us.nrrd", "written by us.nii.gz"])
def test_the_transform_makes_the_adversarial_volume_of_the_original(scene, tmp_path: Path, how: str) -> None:
    case, displacement = moved_case()
    wanted = Perturbation(displacement=displacement).apply(case)
    volume = add_volume(scene, "original", case.image[0], case.affine)
    node = add_displacement(scene, "displacement", displacement, case.affine, volume)
    if how.startswith("written by us"):
        node = loaded(scene, write_displacement(tmp_path / how, displacement, case.affine))
    elif how.startswith("."):
        path = tmp_path / f"displacement{how}"
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(path))
        assert node.GetStorageNode().WriteData(node)
        node = loaded(scene, path)
    assert np.abs(wanted.image[0] - case.image[0]).max() > 100, "the warp must show"
    assert_same_inside(resampled(volume, node), wanted.image[0])
    np.testing.assert_allclose(displacement_of(node), displacement, atol=1e-5)


def make_result(case: Case, perturbation: Perturbation) -> AttackResult:
    attack: Any = types.SimpleNamespace(
        name="chain", title="Chain", channels=("T1", "T2"), seed=3, summary=lambda: SUMMARY, describe=lambda: {"name": "chain"}
    )  # fmt: skip
    adversarial = perturbation.apply(case, warp_label=True)
    return AttackResult(case, adversarial, perturbation, attack, "network")


def all_parts(case: Case, fields: int) -> Perturbation:
    additive = np.zeros_like(case.image)
    additive[1, 3:9] = 7
    bias = 0.1 * smooth(3, 1.0, seed=4)[:fields]
    return Perturbation(additive, bias, smooth(3, 4.0))


@pytest.mark.parametrize("fields", [1, 3])
def test_all_parts_stand_in_the_run_and_come_back_from_a_file(scene, tmp_path: Path, fields: int) -> None:
    case, _ = moved_case()
    perturbation = all_parts(case, fields)
    result = make_result(case, perturbation)
    made = scenes.add_result(result, make_evaluation(case), scenes.add_case(case).channels)
    read = read_scene(write_scene(tmp_path / "run.mrb"))
    for where, nodes in ((scene, made), (scene, scenes.find_results(scene)[0]), (read, scenes.find_results(read)[0])):
        # the displacement moves the channel that was not attacked, too
        assert list(nodes.added) == ["T2"] and list(nodes.bias) == list(case.channels)
        assert list(nodes.perturbation) == list(nodes.adversarial) == list(case.channels)
        np.testing.assert_array_equal(voxels(nodes.added["T2"]), perturbation.additive[1])  # type: ignore[index]
        for n, channel in enumerate(nodes.bias):
            percent = 100 * np.expm1(perturbation.log_bias[n % fields])  # type: ignore[index]
            np.testing.assert_allclose(voxels(nodes.bias[channel]), percent, rtol=1e-5)
            change = voxels(nodes.adversarial[channel]) - case.image[n]
            np.testing.assert_allclose(voxels(nodes.perturbation[channel]), change, atol=1e-3)
        assert (nodes.bias["T1"] is nodes.bias["T2"]) is (fields == 1)
        assert_same_inside(
            resampled(nodes.inputs["T1"], nodes.displacement),
            Perturbation(displacement=perturbation.displacement).apply(case).image[0],
        )
        nodes.inputs["T1"].SetAndObserveTransformNodeID(None)
        hierarchy = application.subject_hierarchy(where)
        for node in (nodes.displacement, nodes.added["T2"], nodes.bias["T1"]):
            assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == nodes.folder


def test_displacement_and_bias_are_displayed_sensibly(scene) -> None:
    case, _ = moved_case()
    nodes = scenes.add_result(make_result(case, all_parts(case, 1)), make_evaluation(case))
    display = nodes.displacement.GetDisplayNode()
    assert display.GetVisualizationMode() == display.VIS_MODE_GRID
    assert (display.GetVisibility(), display.GetVisibility2D()) == (0, 1)
    assert display.GetRegionNode() is nodes.inputs["T1"]
    assert 1 < display.GetGridSpacingMm() < 10
    assert display.GetColorMap().GetRange()[1] == pytest.approx(4.0)
    bias = nodes.bias["T1"]
    window = bias.GetDisplayNode()
    assert window.GetLevel() == 0 and window.GetWindow() == pytest.approx(2 * np.abs(voxels(bias)).max())
    assert window.GetColorNode() is nodes.perturbation["T1"].GetDisplayNode().GetColorNode()
    legend = bias.GetNthDisplayNode(1)
    assert legend.IsA("vtkMRMLColorLegendDisplayNode") and legend.GetTitleText() == "bias field (%)"


def test_the_transform_lies_under_the_inputs_own(scene) -> None:
    case, displacement = moved_case()
    inputs = scenes.add_case(case).channels
    above = place_under(scene, inputs.values(), motion(1))
    nodes = scenes.add_result(make_result(case, Perturbation(displacement=displacement)), make_evaluation(case), inputs)
    assert nodes.displacement.GetParentTransformNode() is above
    assert nodes.adversarial["T1"].GetParentTransformNode() is above


def test_an_additive_change_has_no_further_parts(scene) -> None:
    case, _ = moved_case()
    perturbation = replace(all_parts(case, 1), log_bias=None, displacement=None)
    nodes = scenes.add_result(make_result(case, perturbation), make_evaluation(case))
    assert (nodes.added, nodes.bias, nodes.displacement) == ({}, {}, None)
    assert list(nodes.perturbation) == ["T2"] and not count(scene, "vtkMRMLGridTransformNode")
