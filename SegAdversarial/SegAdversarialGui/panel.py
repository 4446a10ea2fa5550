"""The module's panel: its sections, one under the other, and what they do together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SegAdversarialGui import catalog, trust, widgets
from SegAdversarialGui.attack_section import AttackSection
from SegAdversarialGui.defend_section import DefendSection
from SegAdversarialGui.images_section import ImagesSection
from SegAdversarialGui.network_section import NetworkSection
from SegAdversarialGui.published import Fetcher, publishedNetworks
from SegAdversarialGui.results_section import ResultsSection
from SegAdversarialGui.run_section import RunSection
from SegAdversarialGui.runner import sentenceOf
from SegAdversarialGui.settings_form import setTabOrder
from SegAdversarialGui.state import State
from SegAdversarialGui.study_section import StudySection
from SegAdversarialGui.work import Work

MODULE_NAME = "SegAdversarial"
SHOWN = "SegAdversarial.Shown"
"""The node attribute of the parameter node that a panel shows."""

_STATE_CHANGED = "applicationStateChanged(Qt::ApplicationState)"


class Panel(Work, VTKObservationMixin):
    """Everything that the module shows.

    The sections write what the user chooses into the parameter node; whenever that node changes, all of them show it anew.

    Attributes:
        images, network, attack, defend, study, run, results: the sections, from top to bottom.
        state: the parameter node that is shown, or None while a scene is closed.
        showing: whether something has come or gone that is shown in the next turns of the event loop.
    """

    def __init__(self, layout: Any, logic: Any, installer: Any) -> None:
        VTKObservationMixin.__init__(self)
        self.logic, self.installer = logic, installer
        self.state: State | None = None
        self._scene: Any = None
        self._refreshing = self._loading = self._closed = False
        self._makeTop(layout)
        self._due = ""
        self._timer = qt.QTimer(self.installBox)
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._turn)
        self._steps: Iterator[None] | None = None
        self.showing = False
        self.images = ImagesSection(self.loadSample)
        self.network = NetworkSection(
            *(catalog.network, catalog.builtinNetworks, trust.askTrust, self.findDevices),
            published=publishedNetworks,
            fetcher=Fetcher(),
        )
        self.attack = AttackSection(catalog.attacks)
        self.defend = DefendSection(self.trainNow, self.useTrained)
        self.study = StudySection(self.runStudy, self.openReport, self.loadStudyCase)
        self.run = RunSection(self.segmentNow, self.attackNow, self.cancel, self.auditNow, self.certifyNow)
        self.results = ResultsSection(_findResults, lambda: slicer.app.layoutManager())
        for section in self.sections:
            layout.addWidget(section.widget)
        layout.addStretch(1)
        self.network.onNetworkChanged = self._showNetwork
        self.network.onForgotten = self.logic.worker.letGo
        self.images.onChanged = self._showProblems
        self.run.onEndOfWork = self._afterWork
        self._setTabOrder()
        self._showInstallation()
        self._showNetwork()
        slicer.app.connect(_STATE_CHANGED, self._applicationStateChanged)

    @property
    def sections(self) -> list[Any]:
        """All sections, from top to bottom."""
        return [self.images, self.network, self.attack, self.defend, self.study, self.run, self.results]

    def setScene(self, scene: Any) -> None:
        """Offer the nodes of a scene; None: of no scene. Its parameter node is shown by `setParameterNode`."""
        self._scene = scene
        # the selector takes the first node at once, and would tell of it before the sections know the scene
        with widgets.blocked(self.parameterNodes):
            self.parameterNodes.setMRMLScene(scene)
        for section in self.sections:
            section.setScene(scene)
        if scene is not None and not self.hasObserver(scene, scene.NodeAddedEvent, self._nodesChanged):
            self.addObserver(scene, scene.NodeAddedEvent, self._nodesChanged)
            self.addObserver(scene, scene.NodeRemovedEvent, self._nodesChanged)

    def setParameterNode(self, node: Any) -> None:
        """Show the choices of a parameter node; None: of no node, as while a scene is closed."""
        import vtk

        if self.state is not None:
            self.removeObserver(self.state.node, vtk.vtkCommand.ModifiedEvent, self._stateChanged)
        self.state = State(node) if node is not None else None
        if node is not None:
            for other in self.logic.getAllParameterNodes():
                other.SetAttribute(SHOWN, "true" if other is node else None)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._stateChanged)
        with widgets.blocked(self.parameterNodes):
            self.parameterNodes.setCurrentNode(node)
        for section in self.sections:
            section.setState(self.state)
        self.refresh()

    def ensureParameterNode(self) -> None:
        """Show a parameter node of the scene, where none is shown that is in it: of several the one that was shown when the
        scene was saved; it is made where there is none."""
        if self.state is None or not self._scene.IsNodePresent(self.state.node):
            shown = next((x for x in self.logic.getAllParameterNodes() if x.GetAttribute(SHOWN)), None)
            self.setParameterNode(shown if shown is not None else self.logic.getParameterNode())

    def holdChoices(self) -> None:
        """A scene is about to be loaded: Slicer's selectors will drop the nodes that they show, which is no user's choice."""
        self._loading = True
        self.images.setState(None)

    def showLoaded(self, nodes: list[Any]) -> None:
        """A scene was loaded: show the choices again.

        Of several parameter nodes it is the one that was shown when its scene was saved; an untouched one gives way.
        """
        self._loading = False
        if self.state is None:
            return
        mine = self.state.node
        others = [x for x in nodes if x is not mine] if self.state.untouched else []
        chosen = next((x for x in others if x.GetAttribute(SHOWN)), others[0] if others else mine)
        self.setParameterNode(chosen)
        if chosen is not mine:
            self._scene.RemoveNode(mine)

    def refresh(self) -> None:
        """Show everything as it is now."""
        if self._refreshing or self._closed:
            return
        for section in self.sections:
            self._quietly(section.refresh)
        self._quietly(self._showProblems)

    def _quietly(self, work: Callable[[], Any]) -> None:
        """Do what may change the choices, without the whole panel being shown anew."""
        self._refreshing = True
        try:
            work()
        finally:
            self._refreshing = False

    def cleanup(self) -> None:
        """Stop what runs and listen to nothing any more; again is harmless."""
        if self._closed:
            return
        self._closed = True
        slicer.app.disconnect(_STATE_CHANGED, self._applicationStateChanged)
        self._timer.stop()
        self.logic.runner.cancel()
        self.network.cleanup()
        self.removeObservers()
        self.results.cleanup()
        self.setScene(None)
        for section in self.sections:
            section.setState(None)

    def findDevices(self) -> None:
        """Ask the worker on what networks can run."""
        if self._ready(_("Looking for devices")):
            self.logic.worker.submit({"request": "devices"}, self._devicesFound)

    def install(self, folder: str | None = None) -> None:
        """Install what is missing, after a question; from the internet, or from a folder of downloaded packages."""
        if self.installer.install(folder):
            self._packagesAreThere()
            self.prepareWorker()
        self._showInstallation()
        self.refresh()

    def installFromFolder(self) -> None:
        """Let the user choose a folder of downloaded packages, and install from it."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of downloaded packages"))
        if folder:
            self.install(folder)

    def lookForPackages(self) -> None:
        """Find out whether the user has installed elsewhere what was missing."""
        if not self.installer.ready():
            self.installer.lookAgain()
            if self.installer.ready():
                self._packagesAreThere()
            self._showInstallation()

    def prepareWorker(self) -> None:
        """Start the worker before it is needed, where all is there that it needs: the first answer then comes sooner."""
        if self.installer.ready():
            self.logic.worker.prepare()

    def _packagesAreThere(self) -> None:
        self.attack.reload()
        self.defend.reload()
        self.run.checks.reload()
        self._showNetwork()

    def lookAt(self, run: str) -> None:
        """Look at the run that has just come, in a turn after the one in which its nodes came."""
        self._due = run
        self._nodesChanged()

    def _devicesFound(self, event: dict[str, Any]) -> None:
        if event["event"] == "done":
            self.network.setDevices(event["devices"], event.get("advice") or self.installer.gpuAdvice())
        elif event["event"] == "error":
            slicer.util.errorDisplay(event["message"], windowTitle=_("SegAdversarial"))

    def _showNetwork(self) -> None:
        """Let the other sections follow the network."""
        entry = self.network.entry()
        self.images.setNetwork(entry)
        self.attack.setNetwork(entry)
        self.refresh()

    def _stateChanged(self, _caller: Any = None, _event: Any = None) -> None:
        self.refresh()

    def _applicationStateChanged(self, state: Any) -> None:
        """The user comes back from another program, in which a chosen file may have been edited."""
        if state == qt.Qt.ApplicationActive:
            self.refresh()

    def _nodesChanged(self, _caller: Any = None, _event: Any = None) -> None:
        """Nodes often come and go by the dozen: look once, when all of them are there."""
        self._steps, self.showing = None, True
        self._timer.start(0)

    def _turn(self) -> None:
        """One step of showing everything anew, and then a turn for everything else in the window."""
        if self._closed:
            return
        steps = self._steps = self._steps or self._refreshSteps()
        if next(steps, self) is not self:
            self._timer.start(0)
        elif self._steps is steps:
            self._steps, self.showing = None, False

    def _refreshSteps(self) -> Iterator[None]:
        """Show everything as it is now, section after section, and then the run that is due."""
        if self.state is not None:
            # the user may have removed the set of choices that is shown
            self.ensureParameterNode()
        if self._due:
            self._quietly(lambda: self.results.choose(self._due))
        for section in self.sections:
            self._quietly(section.refresh)
            yield
        self._showProblems()
        due, self._due = self._due, ""
        if due:
            yield
            self.results.show(due)

    def _showInstallation(self) -> None:
        self.installBox.setVisible(not self.installer.ready())

    def _makeTop(self, layout: Any) -> None:
        form = qt.QFormLayout()
        self.parameterNodes = slicer.qMRMLNodeComboBox()
        self.parameterNodes.nodeTypes = ["vtkMRMLScriptedModuleNode"]
        self.parameterNodes.addAttribute("vtkMRMLScriptedModuleNode", "ModuleName", MODULE_NAME)
        self.parameterNodes.showHidden = True
        self.parameterNodes.noneEnabled = False
        self.parameterNodes.addEnabled = False
        self.parameterNodes.removeEnabled = True
        self.parameterNodes.renameEnabled = True
        widgets.narrow(self.parameterNodes.findChild(qt.QComboBox))
        self.parameterNodes.connect("currentNodeChanged(vtkMRMLNode*)", self._parameterNodeChosen)
        widgets.row(
            form,
            _("Choices"),
            self.parameterNodes,
            "parameterNodeSelector",
            _("All that is chosen in this panel, saved with the scene; several sets can be kept side by side"),
        )
        self.addButton = widgets.button(
            _("New set of choices"), "newParameterNodeButton", _("Keep these choices and go on with a copy of them")
        )
        self.addButton.connect("clicked(bool)", lambda _checked=False: self._copyParameterNode())
        form.addRow(self.addButton)
        layout.addLayout(form)
        self.installBox = qt.QWidget()
        self.installBox.objectName = "installBox"
        box = qt.QVBoxLayout(self.installBox)
        self.installNote = widgets.note("installNote")
        self.installNote.text = _("PyTorch and MONAI are needed to run networks, and are not installed in this Slicer yet.")
        box.addWidget(self.installNote)
        self.installButton = widgets.button(
            _("Install..."), "installButton", _("Shows what would be installed and how large it is, and asks first")
        )
        self.installButton.connect("clicked(bool)", lambda _checked=False: self.install())
        box.addWidget(self.installButton)
        self.installFolderButton = widgets.button(
            _("Install from a folder..."),
            "installFolderButton",
            _("For computers without internet; how to fill the folder is said when the other button does not succeed"),
        )
        self.installFolderButton.connect("clicked(bool)", lambda _checked=False: self.installFromFolder())
        box.addWidget(self.installFolderButton)
        layout.addWidget(self.installBox)

    def _parameterNodeChosen(self, node: Any) -> None:
        if self._closed or self._loading or node is None:
            return
        if self.state is None or node is not self.state.node:
            self.setParameterNode(node)

    def _copyParameterNode(self) -> None:
        node = self._scene.AddNode(self.logic.createParameterNode())
        if self.state is not None:
            name = node.GetName()
            node.Copy(self.state.node)
            node.SetName(name)
        self.setParameterNode(node)

    def _setTabOrder(self) -> None:
        order = [self.parameterNodes, self.addButton, self.installButton, self.installFolderButton]
        for section in self.sections:
            order += section.tabOrder()
        setTabOrder(order)


def _findResults() -> list[Any]:
    """All results in the scene; none where the library cannot be used yet."""
    from SegAdversarialLib import scene

    try:
        return list(scene.find_runs())
    except ImportError as error:
        raise RuntimeError(sentenceOf(error)) from error
