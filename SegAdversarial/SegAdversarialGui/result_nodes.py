"""What is left of a run in the scene, which iterations it kept, where its labels are; and how a run is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
import vtk

if TYPE_CHECKING:
    from SegAdversarialLib.scene import ResultNodes
    from SegAdversarialLib.scene.runs import AnyRun

ROLE, RUN = "SegAdversarial.Role", "SegAdversarial.Run"
"""The attributes by which the library marks the nodes of a run."""


_NO_IMAGES: dict[str, Any] = {"inputs": {}, "adversarial": {}, "perturbation": {}, "reference": None, "attacked": None}


def asResult(nodes: AnyRun) -> ResultNodes:
    """Any run as a result: one that has only segmented is a result without anything adversarial; what lies in colours over the
    images of a certificate is the share of votes; an audit or a training has no images."""
    from SegAdversarialLib.scene import CertificateNodes, FigureNodes, ResultNodes

    if isinstance(nodes, ResultNodes):
        return nodes
    if isinstance(nodes, FigureNodes):
        return ResultNodes(
            nodes.run,
            nodes.summary,
            nodes.folder,
            **_NO_IMAGES,
            clean=None,
            metrics=nodes.table,
            configuration=nodes.configuration,
            chart=nodes.chart,
            series=nodes.series,
        )
    over = dict.fromkeys(nodes.inputs, nodes.votes) if isinstance(nodes, CertificateNodes) and nodes.votes is not None else {}
    return ResultNodes(
        nodes.run,
        nodes.summary,
        nodes.folder,
        **{**_NO_IMAGES, "inputs": nodes.inputs, "perturbation": over},
        clean=nodes.segmentation,
        metrics=nodes.table,
        configuration=nodes.configuration,
    )


def hasImages(result: ResultNodes) -> bool:
    """Whether there is anything to be looked at beside figures: audits and trainings have none."""
    return bool(channelsOf(result)) or result.chart is None


def alive(node: Any) -> bool:
    """Whether a node is there, and nobody has removed it from its scene."""
    return node is not None and node.GetScene() is not None


def living(node: Any) -> Any:
    """The node, or None if it is gone."""
    return node if alive(node) else None


def channelsOf(result: ResultNodes) -> list[str]:
    """The channels that can be looked at: the attacked ones of which a volume is left."""
    groups = (result.inputs, result.adversarial, result.perturbation)
    return list(dict.fromkeys(name for group in groups for name, node in group.items() if alive(node)))


def notesOf(result: ResultNodes) -> list[str]:
    """What makes a run's figures say less than they seem to, one sentence each."""
    answers = {x.sentence for x in thresholdsOf(result)}
    return [str(note) for note in _recordOf(result).get("notes", []) if note not in answers]


def thresholdsOf(result: ResultNodes) -> list[Any]:
    """The least budgets that a run has found (`Threshold`), that for the mean Dice first; none if it has not looked."""
    from SegAdversarialLib.attacks.threshold import Threshold

    try:
        return [Threshold(**x) for x in _recordOf(result).get("thresholds", [])]
    except TypeError:  # changed by hand
        return []


def _recordOf(result: ResultNodes) -> dict[str, Any]:
    """How a run was made and what was noted of it; empty where that is gone."""
    from SegAdversarialLib.errors import InputError
    from SegAdversarialLib.scene import configuration_of

    if not alive(result.configuration):
        return {}
    try:
        return dict(configuration_of(result))
    except InputError:
        return {}


def missing(result: ResultNodes, view: str, channel: str) -> list[str]:
    """Which volumes a view needs and has not: "input", "adversarial", "perturbation"."""
    needed = {"original": ("input",), "adversarial": ("adversarial",), "difference": ("input", "perturbation")}
    groups = {"input": result.inputs, "adversarial": result.adversarial, "perturbation": result.perturbation}
    return [what for what in needed.get(view, ("input", "adversarial")) if not alive(groups[what].get(channel))]


def iterationCount(result: ResultNodes) -> int:
    """How many iterations were kept; 0 where none was, or where their nodes are gone."""
    return result.browser.GetNumberOfItems() if alive(result.browser) and result.browser.GetMasterSequenceNode() else 0


def iterationValue(result: ResultNodes, index: int) -> str:
    """The number of the iteration at a place of the sequence."""
    return result.browser.GetMasterSequenceNode().GetNthIndexValue(index)


def selectedIteration(result: ResultNodes) -> int:
    """The place of the iteration that the browser shows, from 0; the last where none is selected, 0 where there are none."""
    last = iterationCount(result) - 1
    if last < 0:
        return 0
    selected = result.browser.GetSelectedItemNumber()
    return selected if 0 <= selected <= last else last


def selectIteration(result: ResultNodes, index: int) -> None:
    """Let the browser show an iteration by its place, from 0; `showingSteps` then show it as the adversarial image.

    The last iteration is the result itself, of which the run's own volume and segmentation are shown.
    """
    result.browser.SetSelectedItemNumber(index)


def proxies(result: ResultNodes) -> tuple[dict[str, Any], Any]:
    """The nodes in which the browser shows the selected iteration: of each channel, and of the segmentation."""
    nodes = [result.browser.GetProxyNode(x) if alive(x) else None for x in result.sequences]
    volumes = [x for x in nodes if alive(x) and x.IsA("vtkMRMLVolumeNode")]
    # the sequences have the order of the channels: of all that were attacked, or of those that changed
    channels = next((x for x in (result.inputs, result.perturbation) if len(x) == len(volumes)), {})
    segmentation = next((x for x in nodes if alive(x) and x.IsA("vtkMRMLSegmentationNode")), None)
    return dict(zip(channels, volumes)), segmentation


def proxiesOf(browser: Any) -> list[Any]:
    """All nodes in which a sequence browser shows the selected item."""
    shown = vtk.vtkCollection()
    browser.GetAllProxyNodes(shown)
    return [shown.GetItemAsObject(n) for n in range(shown.GetNumberOfItems())]


def largestSection(segmentation: Any) -> tuple[float, float, float] | None:
    """The middle (RAS, in mm) of the axial section in which a segmentation's segments have the largest area together.

    Returns:
        None where there is no segmentation, or nothing is labelled in it.
    """
    import numpy as np

    if not (alive(segmentation) and segmentation.IsA("vtkMRMLSegmentationNode")):
        return None
    found = [(points, step) for points, step in map(_labelledPoints, _labelMaps(segmentation)) if points.shape[1]]
    if not found:
        return None
    right, anterior, superior = np.concatenate([points for points, _step in found], axis=1)
    layers = np.rint((superior - superior.min()) / min(step for _points, step in found)).astype(int)
    chosen = layers == np.bincount(layers).argmax()
    local = [float(x[chosen].mean()) for x in (right, anterior, superior)]
    transform = segmentation.GetParentTransformNode()
    return _toWorld(transform, local) if transform is not None else tuple(local)


def removeResult(scene: Any, result: ResultNodes) -> None:
    """Remove a run's nodes, with their display and storage nodes, and its folder if nothing else is in it.

    The input and the reference stay.
    """
    nodes = [node for node in _allNodes(scene) if node.GetAttribute(RUN) == result.run]
    nodes += [node for node in result.proxies if alive(node) and node not in nodes]
    kept = [*result.inputs.values(), result.reference]
    nodes = [node for node in nodes if node not in kept]
    # a sequence browser goes before the nodes that it shows, which it would make anew
    nodes.sort(key=lambda node: not node.IsA("vtkMRMLSequenceBrowserNode"))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for gone in nodes + [x for node in nodes for x in _attachments(node)]:
        if scene.IsNodePresent(gone):
            scene.RemoveNode(gone)
        # Slicer's window does this by itself
        item = hierarchy.GetItemByDataNode(gone)
        if item != hierarchy.GetInvalidItemID():
            hierarchy.RemoveItem(item, False, False)
    # nodes can be moved between folders: only what is an empty folder now was the run's alone
    if hierarchy.GetItemLevel(result.folder) == "Folder" and not hierarchy.GetNumberOfItemChildren(result.folder):
        hierarchy.RemoveItem(result.folder, False, False)


def _labelMaps(segmentation: Any) -> list[Any]:
    """The label maps of a segmentation; segments share them."""
    content = segmentation.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    maps = [content.GetNthSegment(n).GetRepresentation(name) for n in range(content.GetNumberOfSegments())]
    return [x for x in dict.fromkeys(maps) if x is not None and x.GetPointData().GetScalars() is not None]


def _labelledPoints(image: Any) -> tuple[Any, float]:
    """Where an oriented image's labelled voxels are: (3, N), in mm; and how far its slices lie apart along the body, in mm."""
    import numpy as np
    from vtk.util.numpy_support import vtk_to_numpy

    iFirst, iLast, jFirst, jLast, kFirst, kLast = image.GetExtent()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    # ten times as quick as asking for three indices of every voxel
    labelled = np.flatnonzero(voxels != 0)
    k, j, i = np.unravel_index(labelled, (kLast - kFirst + 1, jLast - jFirst + 1, iLast - iFirst + 1))
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    affine = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(3)])
    points = affine[:, :3] @ np.stack([i + iFirst, j + jFirst, k + kFirst]) + affine[:, 3:]
    return points, float(np.abs(affine[2, :3]).max())


def _toWorld(transform: Any, point: list[float]) -> tuple[float, float, float]:
    world = vtk.vtkGeneralTransform()
    transform.GetTransformToWorld(world)
    return tuple(world.TransformPoint(point))


def _allNodes(scene: Any) -> list[Any]:
    return [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]


def _attachments(node: Any) -> list[Any]:
    """A node's display and storage nodes."""
    displayable, storable = node.IsA("vtkMRMLDisplayableNode"), node.IsA("vtkMRMLStorableNode")
    found = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())] if displayable else []
    found += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())] if storable else []
    return [x for x in found if x is not None]
