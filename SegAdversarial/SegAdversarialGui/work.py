"""What the panel starts, and what happens when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAdversarialGui import display
from SegAdversarialGui.defense_tasks import AuditTask, CertifyTask, TrainedNetwork, TrainTask
from SegAdversarialGui.exchange import AttackTask, SampleTask, SegmentTask, Task
from SegAdversarialGui.runner import Outcome
from SegAdversarialGui.state import State
from SegAdversarialGui.study_tasks import LoadCaseTask, StudyReport, StudyTask
from SegAdversarialGui.subject import Region, Subject


class Work:
    """Starts the tasks of the panel that it is a part of, and says what is missing for each.

    The panel has the sections as attributes (`images`, `network`, `attack`, `defend`, `study`, `run`, `results`).
    """

    images: Any
    network: Any
    attack: Any
    defend: Any
    study: Any
    run: Any
    results: Any
    logic: Any
    installer: Any
    state: State | None
    _scene: Any
    _closed: bool

    def refresh(self) -> None:
        """Show everything as it is now."""
        raise NotImplementedError

    def lookAt(self, run: str) -> None:
        """Look at a run that has just come."""
        raise NotImplementedError

    def install(self, folder: str | None = None) -> None:
        """Install what is missing."""
        raise NotImplementedError

    def subject(self) -> Subject:
        """What is chosen to be segmented or attacked."""
        assert self.state is not None
        return Subject(self._scene, self.images.volumes(), self.state.reference, self.images.segments())

    def region(self) -> Region:
        """Where the attack may work."""
        assert self.state is not None
        settings = self.state.settings
        if settings.region == "node":
            return Region("node", self.state.region, settings.regionSegment)
        return Region(settings.region)

    def segmentNow(self) -> None:
        """Let the network segment the images."""
        if self.network.ensureTrust():
            self._start(SegmentTask(self.subject(), self.network.source()), _("Segmenting"))

    def attackNow(self) -> None:
        """Attack the network on the images."""
        if self.network.ensureTrust() and self.attack.ensureTrust():
            task = AttackTask(self.subject(), self.network.source(), self.attack.settings(), self.region())
            self._start(task, _("Attacking"))

    def auditNow(self) -> None:
        """Find out on the images whether the network's robustness is real."""
        assert self.state is not None
        if self.network.ensureTrust():
            settings = self.state.settings.auditSettings
            self._start(AuditTask(self.subject(), self.network.source(), settings), _("Auditing"))

    def certifyNow(self) -> None:
        """Find out what no attack within a radius can change of the network's answer for the images."""
        assert self.state is not None
        if self.network.ensureTrust():
            settings = self.state.settings.certifySettings
            self._start(CertifyTask(self.subject(), self.network.source(), settings), _("Certifying"))

    def trainNow(self) -> None:
        """Train a network; the chart is shown as soon as there is a first epoch."""
        if not self.defend.ensureTrust():
            return
        task = TrainTask(self.subject(), self.network.source(), self.defend.training(), self.lookAt)
        self._start(task, _("Training"))

    def useTrained(self, folder: str) -> None:
        """Choose a trained network in the section Network."""
        if self.state is not None and folder:
            self.state.change(network=folder, networkSettings="")

    def runStudy(self) -> None:
        """Run the chosen study, or go on with it; each finished job is a row of the section's table."""
        if self.study.problems():  # the file was edited since
            self._showProblems()
            return
        if not self.study.ensureTrust():
            return
        self.study.begin()
        self._start(StudyTask(self.study.path(), self.study.add, self.study.granted()), _("Running the study"))

    def openReport(self, path: str) -> None:
        """Show a report in the user's web browser."""
        if not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path)):
            slicer.util.errorDisplay(
                _("No program here shows web pages; open {path} yourself.").format(path=path), windowTitle=_("SegAdversarial")
            )

    def loadStudyCase(self, row: Mapping[str, Any]) -> None:
        """Put the case of a study's row into the scene."""
        self._start(LoadCaseTask(self._scene, row["entry"]), _("Loading {case}").format(case=row["case"]))

    def loadSample(self) -> None:
        """Put a synthetic subject into the scene."""
        if not self._ready(_("Making the synthetic subject")):
            return
        self._start(SampleTask(self._scene), _("Making a synthetic subject"))

    def cancel(self) -> None:
        """Stop what runs."""
        if self.logic.runner.busy:
            self.run.onLog(_("Cancelling"))
            self.logic.runner.cancel()

    def _ready(self, what: str) -> bool:
        """Whether the packages are there; the user is asked to install them where they are not."""
        if self.installer.ready():
            return True
        self.run.onLog(_("{what} needs packages that are not installed yet").format(what=what))
        self.install()
        return bool(self.installer.ready())

    def _start(self, task: Task, text: str) -> None:
        if self.logic.runner.busy:
            return
        self.run.begin(text)
        self.logic.runner.start(task, self.run)
        self._showProblems()

    def _afterWork(self, outcome: Outcome) -> None:
        if self._closed:
            return
        self.study.end()
        if outcome.kind == "done" and self.state is not None:
            if isinstance(outcome.nodes, StudyReport):
                text = _('{done} of {jobs} jobs are done; "Open report" in the section Study shows what came out.')
                self.run.say(text.format(done=outcome.nodes.done, jobs=outcome.nodes.jobs))
            elif isinstance(outcome.nodes, TrainedNetwork):
                text = _('Trained; the network is in {folder}. "Use as network" chooses it.')
                self.run.say(text.format(folder=outcome.nodes.network))
            elif hasattr(outcome.nodes, "run"):
                self.lookAt(outcome.nodes.run)
                return
            else:
                display.showSample(slicer.app.layoutManager(), outcome.nodes)
        elif outcome.kind == "failed":
            details = {"detailedText": outcome.details} if outcome.details else {}
            slicer.util.errorDisplay(outcome.message, windowTitle=_("SegAdversarial"), **details)
        self.refresh()

    def _showProblems(self) -> None:
        missing = [] if self.installer.ready() else [_("Install the needed packages first (button at the top).")]
        if self.state is None:
            missing.append(_("There is no scene."))
        problem = self.network.problem()
        network = [problem] if problem else []
        common = missing or [*network, *self.images.problems()]
        busy = self.logic.runner.busy
        self.run.setProblems(common, [*common, *([] if missing else self._attackProblems())], busy)
        self.defend.setProblems(missing or self._trainProblems(network), busy)
        self.study.setProblems(missing or self.study.problems(), busy)

    def _attackProblems(self) -> list[str]:
        assert self.state is not None
        problem = self.attack.problem()
        found = [problem] if problem else []
        found += self.images.regionProblems()
        if self.attack.needsReference() and self.state.reference is None:
            found.append(_("Choose a reference segmentation, or attack against the network's own prediction."))
        return found

    def _trainProblems(self, network: list[str]) -> list[str]:
        assert self.state is not None
        found: list[str] = self.defend.problems()
        if self.defend.learnsFromImages():
            # what the network is to find is as with the chosen one
            found += [*network, *self.images.problems()]
            if self.state.reference is None:
                found.append(_("Choose a reference segmentation, from which the network learns."))
        return found
