"""Regions from segments, label maps and boxes, against geometry computed voxel by voxel.

Skipped where Slicer's packages are missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scene_helpers import (
    CORE,
    ENHANCING,
    MIDDLE,
    NESTED,
    WHOLE,
    _scene,  # noqa: F401  (a fixture)
    _volumes,  # noqa: F401  (a fixture)
    label_volume,
    motion,
    place_under,
    segmentation_of,
    turned_affine,
    vtk,
)
from scipy.spatial.transform import Rotation

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.errors import InputError


def bend(scene) -> Any:
    """A transform that is not linear."""
    points = [vtk.vtkPoints() for _ in range(2)]
    for n, corner in enumerate(np.ndindex(2, 2, 2)):
        place = 40.0 * np.array(corner)
        points[0].InsertNextPoint(*place)
        points[1].InsertNextPoint(*(place + n % 3))
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    spline.SetSourceLandmarks(points[0])
    spline.SetTargetLandmarks(points[1])
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    node.SetAndObserveTransformToParent(spline)
    return node


def test_segments_and_label_maps_are_regions(scene, volumes) -> None:
    affine, volume = turned_affine(), volumes["T1"]
    node = segmentation_of(scene, {"a": ENHANCING, "b": CORE}, affine, volume)
    assert np.array_equal(scenes.mask_of_node(node, volume, "id a"), ENHANCING)
    assert np.array_equal(scenes.mask_of_node(node, volume, "B"), CORE)
    assert np.array_equal(scenes.mask_of_node(node, volume), CORE)
    with pytest.raises(InputError, match="drawing has no segment c; it has a, b"):
        scenes.mask_of_node(node, volume, "c")
    labels = label_volume(scene, "labels", NESTED.astype(np.int16), affine)
    mask = scenes.mask_of_node(labels, volume)
    assert mask.dtype == bool and np.array_equal(mask, WHOLE)
    with pytest.raises(InputError, match="No region was given"):
        scenes.mask_of_node(None, volume)
    with pytest.raises(InputError, match="head T2 cannot be a region"):
        scenes.mask_of_node(volumes["T2"], volume)
    with pytest.raises(InputError, match="the region, lies on another grid"):
        scenes.mask_of_node(label_volume(scene, "labels", np.ones((9, 14, 11), np.int16), affine), volume)


def roi_of(scene, center: np.ndarray, turn: np.ndarray, size: tuple[float, float, float]) -> Any:
    import slicer.util

    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, center
    node.SetSize(*size)
    node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return node


@pytest.mark.parametrize("moved", [False, True])
def test_a_turned_box_holds_the_voxels_whose_centres_lie_in_it(scene, volumes, moved: bool) -> None:
    """Voxel by voxel: the centre, in the world, projected onto the box's edges."""
    turn, size = Rotation.from_euler("zyx", [35, -20, 10], degrees=True).as_matrix(), (9.0, 6.0, 11.0)
    center = MIDDLE
    roi = roi_of(scene, center, turn, size)
    world, box_world = turned_affine(), np.eye(4)
    if moved:
        world, box_world = motion(4) @ world, motion(5)
        place_under(scene, volumes.values(), motion(4))
        place_under(scene, [roi], motion(5))
    mask = scenes.mask_of_node(roi, volumes["T1"])
    edges = box_world[:3, :3] @ turn
    middle = (box_world @ [*center, 1])[:3]
    wanted = np.zeros(mask.shape, bool)
    for k, j, i in np.ndindex(*mask.shape):
        place = (world @ (i, j, k, 1))[:3]
        wanted[k, j, i] = all(abs((place - middle) @ edges[:, n]) <= size[n] / 2 for n in range(3))
        assert not moved or wanted[k, j, i] == roi.IsPointInROIWorld(place)
    assert 50 < wanted.sum() < wanted.size / 2
    assert np.array_equal(mask, wanted)


def test_empty_regions_are_refused_in_words(scene, volumes) -> None:
    volume, affine = volumes["T1"], turned_affine()
    empty = segmentation_of(scene, {"a": CORE, "nothing": CORE & ~CORE}, affine, volume)
    outside = roi_of(scene, np.array([900.0, 0, 0]), np.eye(3), (9, 9, 9))
    for node, segment, name in (
        (empty, "id nothing", "nothing of drawing"),
        (scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "new"), "", "new"),
        (label_volume(scene, "labels", np.zeros((9, 14, 12), np.int16), affine), "", "labels"),
        (outside, "", "box"),
        (scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "unplaced"), "", "unplaced"),
    ):
        with pytest.raises(InputError, match=f"The region {name} is empty: no voxel of head T1"):
            scenes.mask_of_node(node, volume, segment)


def test_transforms_that_are_not_linear(scene, volumes) -> None:
    affine, volume = turned_affine(), volumes["T1"]
    node = segmentation_of(scene, {"Core": CORE}, affine, volume)
    roi = roi_of(scene, MIDDLE, np.eye(3), (9, 9, 9))
    alone = scenes.mask_of_node(roi, volume)
    bent = bend(scene).GetID()
    node.SetAndObserveTransformNodeID(bent)
    moved = scenes.mask_of_node(node, volume)
    assert moved.any() and not np.array_equal(moved, CORE)
    roi.SetAndObserveTransformNodeID(bent)
    with pytest.raises(InputError, match="box and head T1 lie under different transforms that are not linear"):
        scenes.mask_of_node(roi, volume)
    for volume in volumes.values():
        volume.SetAndObserveTransformNodeID(bent)
    assert np.array_equal(scenes.mask_of_node(node, volume), CORE)
    assert np.array_equal(scenes.mask_of_node(roi, volume), alone)
    assert np.array_equal(scenes.case_of_nodes(volumes, reference=node).label, CORE.astype(int))
