"""Channels and perturbations as scalar volume nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from SegAdversarialLib.scene.application import add_node
from SegAdversarialLib.scene.voxels import Voxels, change_voxels, input_voxels, voxels

COLOR_NODE_NAME = "SegAdversarial change"
SCANNER_UNITS = "scanner units"
"""What intensities, and changes of them, are measured in."""

# Dark in the middle, so that what was not changed sinks into the background of Slicer's views; blue below, orange above,
# which people with every kind of colour vision can tell apart.
_DIVERGING = np.array(
    [
        (0.38, 0.76, 1.00),
        (0.16, 0.50, 0.94),
        (0.08, 0.22, 0.50),
        (0.05, 0.05, 0.06),
        (0.52, 0.16, 0.05),
        (0.92, 0.42, 0.09),
        (1.00, 0.72, 0.30),
    ]
)
_NUMBER_OF_COLORS = 255


def add_volume(scene: Any, name: str, content: np.ndarray | Voxels, affine: np.ndarray) -> Any:
    """Add a scalar volume.

    Args:
        content: (K, J, I), of any integer or float type; the node's voxels get the same type.
        affine: (i, j, k) to RAS, in mm.
    """
    node = add_node(scene, "vtkMRMLScalarVolumeNode", name)
    fill_volume(node, content, affine)
    give_display(scene, node)
    return node


def give_display(scene: Any, node: Any) -> None:
    """Give a volume that has none a display node in grey.

    As Slicer does it, but without the window that it would work out from all voxels, which takes a while.
    """
    if node.GetDisplayNode() is not None:
        return
    display = add_node(scene, "vtkMRMLScalarVolumeDisplayNode", "")
    display.SetAutoWindowLevel(False)
    display.SetDefaultColorMap()
    node.SetAndObserveDisplayNodeID(display.GetID())


def fill_volume(node: Any, content: np.ndarray | Voxels, affine: np.ndarray) -> None:
    """Give a volume node its voxels, (K, J, I), and its place in space."""
    import slicer.util

    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    content = content if isinstance(content, Voxels) else voxels(content)
    node.SetAndObserveImageData(content.image)


def add_input_volume(scene: Any, name: str, content: np.ndarray | Voxels, affine: np.ndarray) -> Any:
    """Add a channel as it came from the scanner, in grey, from its darkest to nearly its brightest voxel."""
    content = content if isinstance(content, Voxels) else input_voxels(content)
    node = add_volume(scene, name, content, affine)
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    if content.high > content.low:
        display.SetWindowLevelMinMax(content.low, content.high)
    return node


def add_volume_like(scene: Any, name: str, content: np.ndarray | Voxels, affine: np.ndarray, like: Any) -> Any:
    """Add a volume that is displayed, and transformed, exactly as another one."""
    node = add_volume(scene, name, content, affine)
    node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    display_like(node, like)
    return node


def display_like(node: Any, like: Any) -> None:
    """Show a volume in the window, level and colours of another one."""
    display, model = node.GetDisplayNode(), like.GetDisplayNode()
    if model is None:
        return
    display.SetAndObserveColorNodeID(model.GetColorNodeID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(model.GetWindow(), model.GetLevel())
    display.SetInterpolate(model.GetInterpolate())


def add_perturbation_volume(
    scene: Any, name: str, title: str, content: np.ndarray | Voxels, affine: np.ndarray, like: Any
) -> Any:
    """Add the change of a channel in diverging colours, with a symmetric window and a colour legend.

    Args:
        title: the legend's title.
        content: (K, J, I) float32, in the channel's intensity units or, for a bias field, in percent.
        like: the channel's volume, whose transform is shared.
    """
    content = content if isinstance(content, Voxels) else change_voxels(content)
    node = add_volume(scene, name, content, affine)
    node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    largest = content.high or 1.0
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_diverging_color_node(scene).GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(2 * largest, 0)
    # interpolating between changes of opposite sign would show changes that nobody made
    display.SetInterpolate(False)
    add_color_legend(scene, node, title)
    return node


def diverging_colors() -> np.ndarray:
    """The colours of changes from the most negative to the most positive: (255, 3), red, green, blue from 0 to 1."""
    stops = np.linspace(-1, 1, len(_DIVERGING))
    positions = np.linspace(-1, 1, _NUMBER_OF_COLORS)
    return np.stack([np.interp(positions, stops, part) for part in _DIVERGING.T], axis=1)


def add_color_legend(scene: Any, volume: Any, title: str) -> None:
    """Add the legend of a volume's colours to the views that show it."""
    legend = add_node(scene, "vtkMRMLColorLegendDisplayNode", f"{volume.GetName()} legend")
    volume.AddAndObserveDisplayNodeID(legend.GetID())
    legend.SetAndObservePrimaryDisplayNode(volume.GetDisplayNode())
    legend.SetTitleText(title)
    legend.SetLabelFormat("%.4g")
    legend.SetNumberOfLabels(5)


def color_table(scene: Any, name: str, colors: np.ndarray, texts: Sequence[str]) -> Any:
    """The colour table of a name in a scene; it is made where there is none yet.

    Args:
        colors: (n, 3), red, green and blue from 0 to 1.
        texts: what each colour is called.
    """
    found = scene.GetFirstNode(name, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    node = add_node(scene, "vtkMRMLColorTableNode", name)
    node.SetTypeToUser()
    node.SetNumberOfColors(len(colors))
    for n, (color, text) in enumerate(zip(colors, texts)):
        node.SetColor(n, text, *color.tolist(), 1.0)
    return node


def _diverging_color_node(scene: Any) -> Any:
    """The colour table of all perturbations in a scene."""
    places = np.linspace(-1, 1, _NUMBER_OF_COLORS)
    return color_table(scene, COLOR_NODE_NAME, diverging_colors(), [f"{x:+.3f}" for x in places])
