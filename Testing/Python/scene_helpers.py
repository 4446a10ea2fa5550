"""What the tests of scenes share: made-up cases and results, an empty scene, and readings of nodes by Slicer's own means.

Tests that import this are skipped where Slicer's packages are missing.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.attacks.result import AttackResult, Snapshot
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene import application, view
from SegAdversarialLib.scene.volumes import add_volume, fill_volume
from SegAdversarialLib.scene.voxels import label_image
from SegAdversarialLib.volumes.case import Case

slicer = pytest.importorskip("slicer")
vtk = pytest.importorskip("vtk")
pytest.importorskip("trame_slicer")

SHAPE = (9, 14, 12)
NAMES = {0: "background", 1: "necrotic core", 2: "oedema", 4: "enhancing tumour"}
SUMMARY = "FGSM, epsilon 0.05, T1 + T2"


def turned_affine() -> np.ndarray:
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
    affine = turned_affine() if affine is None else affine
    return Case(image, ("T1", "T2", "FLAIR"), affine, label, NAMES, name, ("int16", "uint16", "float32"))


def make_result(case: Case, *, snapshots: bool = True, restarts: int = 1) -> AttackResult:
    """T1 and T2 are attacked, T2 by half units that its integer type cannot hold."""
    added = np.zeros_like(case.image)
    added[0, 1:-1, 2:, :-3] = 30
    added[0, :, ::2] *= -1
    added[1, 2:4] = 0.5
    adversarial = case.with_image(case.image + added)
    attack = types.SimpleNamespace(
        name="fgsm", title="FGSM", epsilon=0.05, channels=("t1", "T2"), seed=11, summary=lambda: SUMMARY,
        describe=lambda: {"name": "fgsm", "epsilon": 0.05, "seed": 11},
    )  # fmt: skip
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
    maps = {"clean": make_clean(case), "attacked": make_attacked(case)}
    return types.SimpleNamespace(rows=rows, **maps, reference="label", notes=())


@contextmanager
def clean_scene() -> Iterator[Any]:
    """The one headless scene, afterwards as empty as it was."""
    app = scenes.headless_application()
    before = {node.GetID() for node in application.nodes_of(app.scene)}
    try:
        yield app.scene
    finally:
        application.subject_hierarchy(app.scene).RemoveAllItems(False)
        for node in application.nodes_of(app.scene):
            if node.GetID() not in before and app.scene.IsNodePresent(node):
                app.scene.RemoveNode(node)


@pytest.fixture(name="scene")
def _scene() -> Iterator[Any]:
    with clean_scene() as empty:
        yield empty


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


def make_volumes(scene) -> dict[str, Any]:
    """The channels of `make_case` as the user's own volumes."""
    case = make_case()
    kinds = dict(zip(case.channels, (np.int16, np.uint16, np.float64)))
    return {x: add_volume(scene, f"head {x}", case.channel(x).astype(kind), case.affine) for x, kind in kinds.items()}


@pytest.fixture(name="volumes")
def _volumes(scene) -> dict[str, Any]:
    return make_volumes(scene)


MIDDLE = (turned_affine() @ (5.5, 6.5, 4, 1))[:3]


def place_under(scene, nodes, matrix: np.ndarray) -> Any:
    import slicer.util

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def motion(seed: int) -> np.ndarray:
    """A turn about the middle of the volumes and a shift of some mm."""
    generator = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(generator.normal(0, 0.2, 3)).as_matrix()
    matrix[:3, 3] = MIDDLE - matrix[:3, :3] @ MIDDLE + generator.normal(0, 1.5, 3)
    return matrix


def segmentation_of(scene, masks: dict[str, np.ndarray], affine: np.ndarray, grid, values: dict[str, int] | None = None):
    """A segmentation whose segments may overlap: each in a label map of its own, as the Segment Editor makes them."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawing")
    node.SetReferenceImageGeometryParameterFromVolumeNode(grid)
    for name, mask in masks.items():
        segment = slicer.vtkSegment()
        segment.SetName(name)
        value = (values or {}).get(name, 1)
        segment.SetLabelValue(value)
        segment.AddRepresentation("Binary labelmap", label_image(value * mask.astype(np.int16), affine))
        node.GetSegmentation().AddSegment(segment, f"id {name}")
    return node


def box(k: slice, j: slice, i: slice) -> np.ndarray:
    mask = np.zeros((9, 14, 12), bool)
    mask[k, j, i] = True
    return mask


WHOLE = box(slice(2, 8), slice(2, 12), slice(2, 11))
CORE = box(slice(3, 7), slice(4, 10), slice(4, 9))
ENHANCING = box(slice(4, 6), slice(5, 8), slice(5, 7))
NESTED = np.where(ENHANCING, 4, np.where(CORE, 1, np.where(WHOLE, 2, 0))).astype(np.int16)


def label_volume(scene, name: str, array: np.ndarray, affine: np.ndarray) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    fill_volume(node, array, affine)
    return node


@pytest.fixture(name="drawing")
def _drawing() -> None:
    """Skips what is drawn where there is no OpenGL."""
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
