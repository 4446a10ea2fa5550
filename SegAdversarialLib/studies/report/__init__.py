"""The report of a study: one HTML file that says what was run, what came out, and what that does not say."""

from SegAdversarialLib.studies.report.scene_file import write_scene
from SegAdversarialLib.studies.report.writing import write

__all__ = ["write", "write_scene"]
