"""A job's results as a Slicer scene and as pictures, while they come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from SegAdversarialLib import scene
from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.files import check_writable
from SegAdversarialLib.jobs.running import AttackOutcome
from SegAdversarialLib.jobs.specification import AttackJob


class Display:
    """Collects the attacks of a job in one scene and draws a picture of each.

    Raises:
        InputError: the scene's name does not end in .mrb, its folder cannot be written to, or Slicer's libraries are missing.
    """

    def __init__(self, job: AttackJob, console: Console) -> None:
        self._console, self._output, self._pictures = console, Path(job.output), job.pictures
        self._file = Path(job.scene) if job.scene else None
        self._inputs: dict[str, Any] | None = None
        if self._file is not None:
            if self._file.suffix != ".mrb":
                raise InputError(f"The scene file must end in .mrb; it is {self._file}.")
            check_writable(self._file.parent)
        scene.headless_application()

    def show(self, outcome: AttackOutcome) -> None:
        """Take in one finished attack."""
        result, evaluation = outcome.result, outcome.evaluation
        if self._pictures:
            path = self._output / "pictures" / f"{outcome.name}.png"
            scene.picture(result, evaluation, path, names=outcome.classes)
            self._console.emit({"event": "log", "level": "info", "message": f"picture: {path}"})
        if self._file is not None:
            if self._inputs is None:
                self._inputs = scene.add_case(result.original, names=outcome.classes).channels
            scene.add_result(result, evaluation, self._inputs, names=outcome.classes)

    def finish(self) -> None:
        """Write the scene."""
        if self._file is not None:
            scene.write_scene(self._file)
            self._console.emit({"event": "log", "level": "info", "message": f"scene: {self._file}"})
