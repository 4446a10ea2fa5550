"""Cases and results of attacks as MRML nodes, scene files and pictures.

The same code works inside 3D Slicer and outside it, on the packages `slicer-core` and `trame-slicer` (see
`headless_application`). `slicer` is imported inside functions only, so that importing this package needs neither.
"""

from SegAdversarialLib.scene.application import headless_application, new_application
from SegAdversarialLib.scene.bundle import read_scene, write_scene
from SegAdversarialLib.scene.certificates import CertificateNodes, add_certificate
from SegAdversarialLib.scene.inputs import case_of_nodes, mask_of_node
from SegAdversarialLib.scene.meaning import segments_of_reference, undecided_segments
from SegAdversarialLib.scene.nodes import CaseNodes, ResultNodes, SegmentationNodes
from SegAdversarialLib.scene.pictures import picture
from SegAdversarialLib.scene.results import add_case, add_evaluation, add_result, add_segmentation_result
from SegAdversarialLib.scene.runs import configuration_of, find_results, find_runs
from SegAdversarialLib.scene.segmentations import color_of
from SegAdversarialLib.scene.view import check_drawing

__all__ = [
    "CaseNodes",
    "CertificateNodes",
    "ResultNodes",
    "SegmentationNodes",
    "add_case",
    "add_certificate",
    "add_evaluation",
    "add_result",
    "add_segmentation_result",
    "case_of_nodes",
    "check_drawing",
    "color_of",
    "configuration_of",
    "find_results",
    "find_runs",
    "headless_application",
    "mask_of_node",
    "new_application",
    "picture",
    "read_scene",
    "segments_of_reference",
    "undecided_segments",
    "write_scene",
]
