"""Cases and results of attacks as MRML nodes, scene files and pictures.

The same code works inside 3D Slicer and outside it, on the packages `slicer-core` and `trame-slicer` (see
`headless_application`). `slicer` is imported inside functions only, so that importing this package needs neither.
"""

from SegAdversarialLib.scene.application import headless_application, new_application
from SegAdversarialLib.scene.bundle import read_scene, write_scene
from SegAdversarialLib.scene.certificates import add_certificate, certificate_steps
from SegAdversarialLib.scene.figures import TrainingCurves, add_audit, audit_steps
from SegAdversarialLib.scene.inputs import case_of_nodes, mask_of_node, mask_steps, reading_steps
from SegAdversarialLib.scene.meaning import segments_of_reference, undecided_segments
from SegAdversarialLib.scene.nodes import CaseNodes, CertificateNodes, FigureNodes, ResultNodes, SegmentationNodes
from SegAdversarialLib.scene.pictures import picture
from SegAdversarialLib.scene.results import (
    add_case,
    add_evaluation,
    add_result,
    add_segmentation_result,
    case_steps,
    evaluation_steps,
    result_steps,
    segmentation_steps,
)
from SegAdversarialLib.scene.runs import configuration_of, find_results, find_runs
from SegAdversarialLib.scene.segmentations import color_of
from SegAdversarialLib.scene.study_tables import add_study, study_steps
from SegAdversarialLib.scene.view import check_drawing

__all__ = [
    "CaseNodes",
    "CertificateNodes",
    "FigureNodes",
    "ResultNodes",
    "SegmentationNodes",
    "TrainingCurves",
    "add_audit",
    "add_case",
    "add_certificate",
    "add_evaluation",
    "add_result",
    "add_segmentation_result",
    "add_study",
    "audit_steps",
    "case_of_nodes",
    "case_steps",
    "certificate_steps",
    "check_drawing",
    "color_of",
    "configuration_of",
    "evaluation_steps",
    "find_results",
    "find_runs",
    "headless_application",
    "mask_of_node",
    "mask_steps",
    "new_application",
    "picture",
    "read_scene",
    "reading_steps",
    "result_steps",
    "segmentation_steps",
    "segments_of_reference",
    "study_steps",
    "undecided_segments",
    "write_scene",
]
