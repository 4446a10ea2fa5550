"""A job's results as a Slicer scene and as pictures, while they come in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from SegAdversarialLib import scene
from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.defenses.certificate import Certificate
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.jobs.results import PICTURES
from SegAdversarialLib.jobs.running import AttackOutcome
from SegAdversarialLib.jobs.specification import AnyJob
from SegAdversarialLib.volumes.files import RESULT_MARKER, check_writable


class Display:
    """Collects the attacks of a job, or its certificate, in one scene and draws a picture of each attack.

    Raises:
        InputError: the scene's name does not end in .mrb, its folder cannot be written to, Slicer's libraries are
            missing, or this machine cannot draw.
    """

    def __init__(self, job: AnyJob, console: Console) -> None:
        self._console, self._output, self._pictures = console, Path(job.output), getattr(job, "pictures", False)
        file = getattr(job, "scene", None)
        self._file = Path(file) if file else None
        self._inputs: dict[str, Any] | None = None
        self._scene: Any = None
        if self._pictures:
            scene.check_drawing()
        if self._file is not None:
            if self._file.suffix.lower() != ".mrb":
                raise InputError(f"The scene file must end in .mrb; it is {self._file}.")
            check_writable(self._file.parent, make=False)
            # a scene of its own: another job in the same process must not appear in this one's file
            self._application = scene.new_application()
            self._scene = self._application.scene

    def show(self, outcome: AttackOutcome | Certificate) -> None:
        """Take in one finished attack, or a certificate."""
        if isinstance(outcome, Certificate):
            self._show_certificate(outcome)
            return
        evaluation, head = outcome.evaluation, outcome.head
        classes = dict(zip(head.labels, head.names))
        # the reference in the network's own classes, so that one colour and name means the same everywhere
        result = outcome.result.in_classes_of(head)
        if self._pictures:
            path = self._output / PICTURES / f"{outcome.name}.png"
            scene.picture(result, evaluation, path, names=classes)
            self._console.emit({"event": "log", "level": "info", "message": f"picture: {path}"})
        if self._file is not None:
            if self._inputs is None:
                self._inputs = scene.add_case(result.original, self._scene, names=classes).channels
            record = json.loads((outcome.folder / RESULT_MARKER).read_text(encoding="utf-8"))
            scene.add_result(result, evaluation, self._inputs, self._scene, names=classes, record=record)

    def _show_certificate(self, found: Certificate) -> None:
        network = found.network
        classes = {x["label"]: x["name"] for x in network["classes"]}
        self._inputs = scene.add_case(found.case, self._scene, names=classes).channels
        scene.add_certificate(
            found.case,
            found.labels,
            found.abstained,
            found.vote_share,
            found.rows,
            self._inputs,
            self._scene,
            title=f"certificate of {network['name']}",
            names=classes,
            record=found.describe(),
        )

    def finish(self) -> None:
        """Write the scene with what has come in."""
        if self._file is not None and self._inputs is not None:
            scene.write_scene(self._file, self._scene)
            self._console.emit({"event": "log", "level": "info", "message": f"scene: {self._file}"})
