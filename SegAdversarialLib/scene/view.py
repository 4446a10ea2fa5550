"""Slicer's slice view, drawn off screen."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.application import all_or_nothing, check_headless, new_application, nodes_of

TILE = (640, 720)
"""Width and height of a view in pixels."""

_MARGIN = 1.06
_PROBE = """
import vtk
vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
window = vtk.vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
window.AddRenderer(vtk.vtkRenderer())
window.Render()
raise SystemExit(0 if window.SupportsOpenGL() else 1)
"""


@dataclass(frozen=True)
class Frame:
    """What a view looks at: an axial rectangle around a point.

    Attributes:
        center: RAS, in mm.
        size: width and height in mm; the view shows at least that.
    """

    center: tuple[float, float, float]
    size: tuple[float, float]


@functools.cache
def check_drawing() -> None:
    """Find out whether views can be drawn off screen. VTK ends the process where they cannot, so a second process tries.

    Raises:
        InputError: there is no off-screen OpenGL on this machine.
    """
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=120).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        done = False
    if not done:
        raise InputError(
            "Slice views cannot be drawn on this machine, which has no off-screen OpenGL; "
            "install libegl1 and libgl1-mesa-dri (Debian, Ubuntu) or libosmesa6."
        )


@contextmanager
def stage() -> Iterator[Stage]:
    """A slice view on an empty scene of its own; what the block adds to that scene is gone afterwards.

    Raises:
        InputError: views cannot be drawn here, or slicer-core or trame-slicer is missing.
    """
    check_headless()
    check_drawing()
    place = _stage()
    try:
        with all_or_nothing(place.scene):
            yield place
            raise _Done
    except _Done:
        pass
    finally:
        place.show(None, [])


class Stage:
    """A scene that nobody else sees, and a slice view of it."""

    def __init__(self) -> None:
        from trame_slicer.views import SliceView
        from trame_slicer.views.render_scheduler import NoScheduleRendering

        # kept, because its logics take Slicer's colour tables with them when they go
        self._application = new_application()
        self.scene = self._application.scene
        self._view = SliceView(self.scene, self._application.app_logic, "SegAdversarial", NoScheduleRendering())
        self._view.render_window().SetSize(*TILE)
        self._view.set_orientation("Axial")

    def show(self, volume: Any, over: list[Any]) -> None:
        """Choose the volume in the background, and the segmentations and displacements over it."""
        for node in (x for x in nodes_of(self.scene) if x.IsA("vtkMRMLSegmentationNode") or x.IsA("vtkMRMLTransformNode")):
            if node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(node in over)
        self._view.set_background_volume_id(volume.GetID() if volume is not None else None)

    def draw(self, frame: Frame) -> np.ndarray:
        """What the view shows of the frame: (height, width, 3) uint8, patient's right on the left."""
        import vtk
        from vtk.util.numpy_support import vtk_to_numpy

        self._view.fit_view_to_content()
        node = self._view.get_view_node()
        width, height = TILE
        scale = _MARGIN * max(frame.size[0] / width, frame.size[1] / height)
        node.SetFieldOfView(scale * width, scale * height, node.GetFieldOfView()[2])
        for row, position in enumerate(frame.center):
            node.GetSliceToRAS().SetElement(row, 3, position)
        node.UpdateMatrices()
        self._view.render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._view.render_window())
        grab.ReadFrontBufferOff()
        grab.Update()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
        return pixels.reshape(height, width, -1)[::-1, :, :3].copy()


class _Done(Exception):
    """Ends a stage's block, so that its scene becomes empty again."""


@functools.cache
def _stage() -> Stage:
    return Stage()


def frame_of(image: np.ndarray, labels: np.ndarray, affine: np.ndarray) -> Frame:
    """The axial slice with the largest labelled area, and what of the image fills it.

    Args:
        image: (K, J, I) or (C, K, J, I); of several channels, what any of them fills.
        labels: (K, J, I) label map; where it is empty the middle of the image is shown.
        affine: (i, j, k) to RAS, in mm.
    """
    filled = np.zeros(labels.shape, bool)
    for channel in image.reshape(-1, *labels.shape):
        low, high = (float(x) for x in np.percentile(channel, (0.1, 99.8)))
        filled |= channel > low + 0.05 * (high - low)
    if not filled.any():
        filled = np.ones(image.shape, bool)
    step = float(np.abs(affine[2, :3]).max())
    position = _axial_position(labels > 0, affine, step) if (labels > 0).any() else _middle(filled, affine)
    right, anterior, superior = _positions(filled, affine)
    near = np.abs(superior - position) <= step
    if near.any():
        right, anterior = right[near], anterior[near]
    spans = [(float(x.min()), float(x.max())) for x in (right, anterior)]
    center = (sum(spans[0]) / 2, sum(spans[1]) / 2, position)
    one_voxel = float(np.abs(affine[:2, :3]).max())
    return Frame(center, (spans[0][1] - spans[0][0] + one_voxel, spans[1][1] - spans[1][0] + one_voxel))


def _axial_position(mask: np.ndarray, affine: np.ndarray, step: float) -> float:
    """The height in mm at which a mask's axial section is largest."""
    superior = _positions(mask, affine)[2]
    layers = np.rint((superior - superior.min()) / step).astype(int)
    return float(superior[layers == np.bincount(layers).argmax()].mean())


def _middle(mask: np.ndarray, affine: np.ndarray) -> float:
    superior = _positions(mask, affine)[2]
    return float((superior.min() + superior.max()) / 2)


def _positions(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Where a mask's voxels are: (3, N), RAS, in mm."""
    k, j, i = np.nonzero(mask)
    return affine[:3, :3] @ np.stack([i, j, k]) + affine[:3, 3:]
