"""Cases and results of attacks as MRML nodes, scene files and pictures.

The same code works inside 3D Slicer and outside it, on the packages `slicer-core` and `trame-slicer` (see
`headless_application`). `slicer` is imported inside functions only, so that importing this package needs neither.
"""

from SegAdversarialLib.scene.application import headless_application
from SegAdversarialLib.scene.bundle import read_scene, write_scene
from SegAdversarialLib.scene.pictures import picture, write_pictures
from SegAdversarialLib.scene.results import CaseNodes, ResultNodes, add_case, add_result
from SegAdversarialLib.scene.segmentations import color_of

__all__ = [
    "CaseNodes",
    "ResultNodes",
    "add_case",
    "add_result",
    "color_of",
    "headless_application",
    "picture",
    "read_scene",
    "write_pictures",
    "write_scene",
]
