"""Cases from nodes, against geometry computed with numpy, scipy and SimpleITK.

Skipped where Slicer's packages are missing.
"""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from scene_helpers import (
    CORE,
    ENHANCING,
    MIDDLE,
    NESTED,
    WHOLE,
    _scene,  # noqa: F401  (a fixture)
    _volumes,  # noqa: F401  (a fixture)
    label_volume,
    make_case,
    motion,
    place_under,
    segmentation_of,
    slicer,
    state_of,
    turned_affine,
    vtk,
)
from scipy import ndimage

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.application import nodes_of
from SegAdversarialLib.scene.rasterization import segment_masks
from SegAdversarialLib.scene.segmentations import add_segmentation
from SegAdversarialLib.scene.volumes import add_volume
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.geometry import itk_image

SOFTMAX = OutputHead.of({0: "background", 1: "Core", 2: "Oedema"})
MERGING = OutputHead.of({0: "background", 1: "Lesion"}, regions={1: (3, 5)})
BRATS = OutputHead.of({2: "WT", 1: "TC", 4: "ET"}, "sigmoid", {2: (1, 2, 4), 1: (1, 4)})


def test_volumes_become_a_case_of_their_values_types_and_place(scene, volumes) -> None:
    before = state_of(scene)
    case = scenes.case_of_nodes(volumes)
    made = make_case()
    assert case.channels == made.channels and case.label is None and case.name == "head T1"
    assert case.dtypes == ("int16", "uint16", "float32")
    assert np.array_equal(case.image, made.image)
    np.testing.assert_allclose(case.affine, made.affine, atol=1e-12)
    assert state_of(scene) == before
    # the user may go on drawing while the attack runs
    slicer.util.arrayFromVolume(volumes["FLAIR"])[:] = -1
    assert np.array_equal(case.image, made.image)
    assert scenes.case_of_nodes(volumes, name="Ms X").name == "Ms X"


def test_volumes_that_do_not_fit_are_refused_by_name(scene, volumes) -> None:
    affine = turned_affine()
    with pytest.raises(InputError, match="No volume was given for channel T2"):
        scenes.case_of_nodes({**volumes, "T2": None})
    with pytest.raises(InputError, match="No volume was given"):
        scenes.case_of_nodes({})
    with pytest.raises(InputError, match="empty, the volume of channel T2, holds no voxels"):
        scenes.case_of_nodes({**volumes, "T2": scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")})
    color = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(12, 14, 9)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    color.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="photo, the volume of channel T2, has 3 values for each voxel"):
        scenes.case_of_nodes({**volumes, "T2": color})
    small = add_volume(scene, "small", np.zeros((9, 14, 11), np.int16), affine)
    with pytest.raises(InputError, match=r"small.*another grid \(11x14x9 .* than head T1 \(12x14x9 .*[Rr]esample"):
        scenes.case_of_nodes({**volumes, "T2": small})
    sheared = affine.copy()
    sheared[:3, 2] += 0.3 * affine[:3, 1]
    tilted = add_volume(scene, "tilted", np.zeros((9, 14, 12), np.int16), sheared)
    with pytest.raises(InputError, match="tilted has sheared axes .* between j and k"):
        scenes.case_of_nodes({"T1": tilted})
    broken = np.zeros((9, 14, 12), np.float32)
    broken[2, 3, :4] = np.nan, np.inf, -np.inf, 0
    with pytest.raises(InputError, match=r"broken holds 3 voxel\(s\) that are NaN"):
        scenes.case_of_nodes({**volumes, "T2": add_volume(scene, "broken", broken, affine)})
    huge = np.full((9, 14, 12), 2**24 + 1, np.int32)
    with pytest.raises(InputError, match="huge holds whole numbers beyond"):
        scenes.case_of_nodes({"T1": add_volume(scene, "huge", huge, affine)})
    with pytest.raises(InputError, match="is no scalar volume"):
        scenes.case_of_nodes({"T1": scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "s")})
    place_under(scene, [volumes["T2"]], np.eye(4))
    with pytest.raises(InputError, match=r"head T2.*another transform \(moved\) than head T1 \(none\).*harden"):
        scenes.case_of_nodes(volumes)


@pytest.mark.parametrize("moved", [False, True])
def test_segments_on_another_grid_and_under_other_transforms_are_resampled(scene, volumes, moved: bool) -> None:
    """Against scipy (nearest neighbour) and SimpleITK, through the matrices above both nodes."""
    affine = np.diag([1.3, 1.2, 2.0, 1.0])
    affine[:3, 3] = MIDDLE - affine[:3, :3] @ (9, 9, 6.2)
    drawn = np.zeros((14, 20, 18), np.int16)
    drawn[3:9, 4:14, 5:15] = 1
    drawn[5:8, 6:12, 7:12] = 2
    drawn[6, 8, 8] = 4
    grid = add_volume(scene, "grid", drawn, affine)
    node = add_segmentation(scene, "drawn", drawn, affine, {1: "a", 2: "b", 4: "c"}, grid)
    above = [np.eye(4), np.eye(4)]
    if moved:
        above = [motion(1), motion(2)]
        place_under(scene, [node], above[0])
        place_under(scene, volumes.values(), above[1])
    before = state_of(scene)
    case = scenes.case_of_nodes(volumes, reference=node)
    assert state_of(scene) == before
    to_drawn = np.linalg.inv(above[0] @ affine) @ above[1] @ turned_affine()
    k, j, i = np.indices(case.shape)
    places = np.tensordot(to_drawn[:3, :3], np.stack([i, j, k]), 1) + to_drawn[:3, 3, None, None, None]
    wanted = ndimage.map_coordinates(drawn, places[::-1], order=0, mode="constant")
    assert set(np.unique(wanted)) >= {0, 1, 2}
    assert np.array_equal(case.label, wanted)
    image = itk_image(drawn, above[0] @ affine)
    like = itk_image(np.zeros(case.shape, np.int16), above[1] @ turned_affine())
    resampled = SimpleITK.Resample(image, like, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)
    assert np.array_equal(SimpleITK.GetArrayFromImage(resampled), wanted)
    assert case.label_names == {1: "a", 2: "b", 4: "c"}


@pytest.mark.parametrize("extent", [(2, 9, 3, 10, 2, 7), (-3, 8, 5, 20, 4, 30), (20, 25, 3, 10, -5, -2)])
def test_segments_that_hold_a_part_of_the_grid_or_more_are_put_in_their_place(scene, volumes, extent) -> None:
    """As the Segment Editor leaves them, which cuts label maps to what they hold; against the map without a hole."""
    import slicer.util
    from vtk.util.numpy_support import vtk_to_numpy

    padded = np.random.default_rng(1).integers(0, 3, (40, 40, 40)).astype(np.uint8)  # starts at i, j, k = -5
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*extent)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(turned_affine()))
    held = tuple(slice(low + 5, high + 6) for low, high in zip(extent[4::-2], extent[5::-2]))
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = padded[held].ravel()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "cut")
    for value in (1, 2):
        segment = slicer.vtkSegment()
        segment.SetLabelValue(value)
        segment.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(segment, f"s{value}")
    whole = np.zeros_like(padded)
    whole[held] = padded[held]
    wanted = whole[5:14, 5:19, 5:17]
    for value, (_, mask) in enumerate(segment_masks(node, volumes["T1"]), 1):
        assert np.array_equal(mask, wanted == value)
    # the way through Slicer's resampling gives the same
    place_under(scene, [node, *volumes.values()], motion(1))
    place_under(scene, [node], motion(1))
    for value, (_, mask) in enumerate(segment_masks(node, volumes["T1"]), 1):
        assert np.array_equal(mask, wanted == value)


def test_surfaces_are_cut_where_the_voxels_are_and_stay_surfaces(scene, volumes) -> None:
    place_under(scene, volumes.values(), motion(3))
    center, radius = MIDDLE + 1, 5.0
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(*center)
    sphere.SetRadius(radius)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "ball")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    segment = slicer.vtkSegment()
    segment.SetName("ball")
    segment.AddRepresentation("Closed surface", sphere.GetOutput())
    node.GetSegmentation().AddSegment(segment, "ball")
    mask = scenes.mask_of_node(node, volumes["T1"])
    k, j, i = np.indices(mask.shape)
    world = motion(3) @ turned_affine()
    places = np.tensordot(world[:3, :3], np.stack([i, j, k]), 1) + world[:3, 3, None, None, None]
    distance = np.linalg.norm(places - center[:, None, None, None], axis=0)
    wanted = distance <= radius
    assert wanted.sum() > 150
    # a surface is cut into voxels by how much of each voxel it fills, which may differ for those on its rim
    assert (mask != wanted)[np.abs(distance - radius) > 0.75].sum() == 0
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_segments_take_the_class_of_their_name(scene, volumes) -> None:
    affine = turned_affine()
    node = segmentation_of(scene, {"oedema": WHOLE, "CORE": CORE}, affine, volumes["T1"])
    case = scenes.case_of_nodes(volumes, reference=node, head=SOFTMAX)
    assert np.array_equal(case.label, np.where(CORE, 1, np.where(WHOLE, 2, 0)))
    assert case.label_names == {0: "background", 1: "Core", 2: "Oedema"}
    node = segmentation_of(scene, {"lesion": CORE}, affine, volumes["T1"])
    case = scenes.case_of_nodes(volumes, reference=node, head=MERGING)
    assert np.array_equal(MERGING.merged(case.label), CORE.astype(int))
    MERGING.check_label(case.label)


def test_segments_that_nobody_has_named_take_their_label_value(scene, volumes) -> None:
    affine, ring = turned_affine(), WHOLE & ~CORE
    one, two = "Segment_1", "Segment_2"
    node = segmentation_of(scene, {one: CORE, two: ring}, affine, volumes["T1"], {one: 1, two: 2})
    case = scenes.case_of_nodes(volumes, reference=node, head=SOFTMAX)
    assert np.array_equal(case.label, np.where(CORE, 1, np.where(WHOLE, 2, 0)))
    for masks, values, which, why in (
        ({one: CORE, two: ring}, None, one, "another segment has its number"),  # both have the value 1
        ({"Core": CORE, two: ring}, None, two, "another segment has its number"),
        ({"Core": CORE, two: ring}, {"Core": 5, two: 1}, two, "is the class of its number"),
        ({"Core": CORE, "skull": ring}, {"skull": 7}, "skull", "no class is called so"),
        ({"one": CORE, two: ring}, {"one": 1, two: 2}, "one", "no class is called so"),
        ({"oedema": CORE, one: ring}, {"oedema": 1, one: 2}, one, "is the class of its number"),
    ):
        node = segmentation_of(scene, masks, affine, volumes["T1"], values)
        with pytest.raises(InputError, match=rf"The reference drawing leaves open .*\"{which}\" \([^)]*{why}.* Core, Oedema,"):
            scenes.case_of_nodes(volumes, reference=node, head=SOFTMAX)
        answers = {f"id {name}": "background" for name in masks if name not in ("Core", "oedema")}
        known = scenes.case_of_nodes(volumes, reference=node, head=SOFTMAX, label_names=answers)
        assert not known.label[masks[which]].any()
    # a segment without a voxel needs no meaning
    node = segmentation_of(scene, {"Core": CORE, "skull": ring & CORE}, affine, volumes["T1"])
    assert np.array_equal(scenes.case_of_nodes(volumes, reference=node, head=SOFTMAX).label, CORE.astype(int))


@pytest.mark.parametrize("nested", [True, False])
def test_regions_may_overlap_or_lie_within_each_other(scene, volumes, nested: bool) -> None:
    masks = {"wt": WHOLE, "tc": CORE, "ET": ENHANCING}
    if not nested:
        masks = {"WT": WHOLE & ~CORE, "TC": CORE & ~ENHANCING, "ET": ENHANCING}
    node = segmentation_of(scene, masks, turned_affine(), volumes["T1"])
    case = scenes.case_of_nodes(volumes, reference=node, head=BRATS)
    assert np.array_equal(case.label, NESTED)
    assert case.label_names == {1: "TC", 2: "WT", 4: "ET"}
    if nested:
        with pytest.raises(InputError, match=rf'"wt" and "tc" .* overlap in {CORE.sum()} voxel\(s\).*head=model.head'):
            scenes.case_of_nodes(volumes, reference=node)
        return
    # without a network each segment is a class of its own, numbered because all have the value 1
    case = scenes.case_of_nodes(volumes, reference=node)
    assert case.label_names == dict(enumerate(masks, 1))
    assert np.array_equal(case.label == 3, ENHANCING)


def test_regions_that_no_label_belongs_to_are_refused(scene, volumes) -> None:
    head = OutputHead.of({1: "liver", 2: "spleen"}, "sigmoid")
    node = segmentation_of(scene, {"liver": WHOLE, "spleen": CORE}, turned_affine(), volumes["T1"])
    with pytest.raises(InputError, match=rf"{CORE.sum()} voxel\(s\) of the reference drawing lie in \"liver\" and \"spleen\""):
        scenes.case_of_nodes(volumes, reference=node, head=head)


def test_many_segments_are_read_in_their_order(scene, volumes) -> None:
    masks = {f"s{n}": np.roll(CORE, n % 3, axis=1) for n in range(9)}
    node = segmentation_of(scene, masks, turned_affine(), volumes["T1"])
    found = dict(segment_masks(node, volumes["T1"]))
    assert list(found) == [f"id s{n}" for n in range(9)]
    assert all(np.array_equal(found[f"id {name}"], mask) for name, mask in masks.items())


def test_a_reference_beside_the_volume_is_refused_an_empty_one_is_not(scene, volumes) -> None:
    far = turned_affine()
    far[:3, 3] += 500
    node = segmentation_of(scene, {"Core": CORE}, far, volumes["T1"])
    with pytest.raises(InputError, match="No segment of the reference drawing lies within head T1"):
        scenes.case_of_nodes(volumes, reference=node, head=SOFTMAX)
    healthy = segmentation_of(scene, {"Core": CORE & ~CORE}, turned_affine(), volumes["T1"])
    assert not scenes.case_of_nodes(volumes, reference=healthy, head=SOFTMAX).label.any()
    with pytest.raises(InputError, match="has no segments"):
        scenes.case_of_nodes(volumes, reference=scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "new"))


def test_a_label_map_volume_is_a_reference_on_the_same_grid(scene, volumes) -> None:
    node = label_volume(scene, "labels", NESTED.astype(np.uint8), turned_affine())
    case = scenes.case_of_nodes(volumes, reference=node, head=BRATS)
    assert np.array_equal(case.label, NESTED) and case.label.dtype == np.int16
    with pytest.raises(InputError, match="label value.* 4,"):
        scenes.case_of_nodes(volumes, reference=node, head=SOFTMAX)
    with pytest.raises(InputError, match="labels, the reference, lies on another grid"):
        scenes.case_of_nodes(volumes, reference=label_volume(scene, "labels", NESTED[1:], turned_affine()))
    with pytest.raises(InputError, match="head T2 cannot be the reference"):
        scenes.case_of_nodes(volumes, reference=volumes["T2"])
    place_under(scene, volumes.values(), motion(1))
    with pytest.raises(InputError, match="labels, the reference, lies under another transform"):
        scenes.case_of_nodes(volumes, reference=node)


def test_nothing_is_added_to_the_scene_on_the_way(scene, volumes) -> None:
    node = segmentation_of(scene, {"Core": CORE}, turned_affine(), volumes["T1"])
    events = []
    tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, lambda *_: events.append("added"))
    times = [x.GetMTime() for x in nodes_of(scene)]
    scenes.case_of_nodes(volumes, reference=node, head=SOFTMAX)
    scenes.mask_of_node(node, volumes["T1"])
    scene.RemoveObserver(tag)
    assert not events and times == [x.GetMTime() for x in nodes_of(scene)]
