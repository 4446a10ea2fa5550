"""Running a study, and loading one of its cases, as tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from SegAdversarialGui.exchange import Task

if TYPE_CHECKING:
    from SegAdversarialLib.scene.steps import Steps


@dataclass(frozen=True)
class StudyReport:
    """What a study gave: its folder and its report, and how many jobs of how many are done."""

    folder: str
    report: str
    done: int
    jobs: int


class StudyTask(Task):
    """Run a study; what is finished is told row by row. The scene is not changed.

    Args:
        path: the study file.
        tell: gets a row for each job that is finished.
        trust: the SHA-256 of its programs that the user trusts; what the file says of trust does not count.
    """

    title = "study"

    def __init__(self, path: str, tell: Callable[[Mapping[str, Any]], None], trust: Sequence[str] = ()) -> None:
        super().__init__(None, {})
        self._path, self._tell, self._trust = path, tell, list(trust)
        self._rows = 0
        self._result: Mapping[str, Any] = {}

    def prepare(self, folder: Path) -> Steps[None]:
        """Nothing: the worker reads the file."""
        yield

    def job(self, folder: Path) -> dict[str, Any]:
        """The study."""
        return {"kind": "study", "study": self._path, "trust": self._trust}

    def hear(self, event: Mapping[str, Any]) -> None:
        """Pass a row on; keep where the report is."""
        if event["event"] == "trace":
            self._rows += 1
            self._tell(event)
        else:
            self._result = event

    def deliver(self, folder: Path) -> Steps[None]:
        """All of it lies in the study's folder."""
        row = self._result["row"]
        self.nodes = StudyReport(self._result["folder"], self._result["report"], row["done"], row["jobs"])
        yield

    def cancelledSentence(self) -> str:
        """What is left of a study that was cancelled."""
        return _("Cancelled; what was finished is kept, and running the study again goes on from there.")


class LoadCaseTask(Task):
    """Read a case of a study, and put it into the scene.

    Args:
        scene: where to.
        entry: the case as plain data (`cohorts.entry.Entry`).
    """

    title = "load case"

    def __init__(self, scene: Any, entry: Mapping[str, Any]) -> None:
        super().__init__(None, {})
        self._scene, self._entry = scene, dict(entry)

    def prepare(self, folder: Path) -> Steps[None]:
        """Read the case: the worker has nothing to do."""
        from SegAdversarialLib.cohorts.entry import Entry
        from SegAdversarialLib.scene.steps import in_background

        self._enter("reading files")
        entry = Entry.model_validate(self._entry)
        self._case = yield from in_background(entry.read)
        self._labelNames = {int(value): name for value, name in entry.names.items() if value.lstrip("-").isdecimal()}

    def job(self, folder: Path) -> None:
        """Nothing for the worker."""

    def deliver(self, folder: Path) -> Steps[None]:
        """Add the channels and the reference."""
        from SegAdversarialLib import scene

        self._enter("adding nodes")
        self.nodes = yield from scene.case_steps(self._case, self._scene, names=self._labelNames or None)
