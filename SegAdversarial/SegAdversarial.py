"""SegAdversarial: attack medical segmentation networks on the volumes of the scene, and look at what that does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import SegAdversarialLib  # noqa: F401
except ModuleNotFoundError:
    # a checkout of the sources: the library lies beside the module's folder. Appended, so that it hides nothing of Slicer's
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from SegAdversarialGui.logic import Logic
from SegAdversarialGui.worker import Worker, holdSharedWorker, releaseSharedWorker, stopSharedWorker

_OURS = ("SegAdversarialGui", "SegAdversarialLib")
_LAST = -1000.0


class SegAdversarial(ScriptedLoadableModule):
    """What Slicer knows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SegAdversarial")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["SegAdversarial contributors"]
        self.parent.helpText = _(
            "Attacks segmentation networks on multi-modal volumes: noise, gradient signs, projected gradients. Shows what the "
            "network said before and after, what was done to the images, and by how much every metric moved. For research "
            "only; not a medical device."
        )
        self.parent.acknowledgementText = _(
            "The attacks are those of Cheng and Ji 2020, Liu et al. 2020 and 2021, Pervin et al. 2023 and Chen et al. 2019; "
            "please cite the ones that you use."
        )
        slicer.app.connect("startupCompleted()", _afterStartup)


def _afterStartup() -> None:
    """Make known what is used without the module being opened: the sample, and the layout of saved scenes."""
    from SegAdversarialGui import layout, sample_data

    # the class as it is then: the module may have been reloaded
    sample_data.register(lambda: sys.modules[__name__].SegAdversarialLogic().sample())
    if slicer.app.layoutManager() is not None:
        layout.ensureLayout(slicer.app.layoutManager())


class SegAdversarialWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel in Slicer's window; see `SegAdversarialGui.panel`."""

    def __init__(self, parent: Any = None) -> None:
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.panel: Any = None
        # last: without a parent it builds the panel at once
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        from SegAdversarialGui.installer import Installer
        from SegAdversarialGui.panel import Panel

        holdSharedWorker(self)
        self.logic = SegAdversarialLogic()
        self.panel = Panel(self.layout, self.logic, Installer())
        self.panel.setScene(slicer.mrmlScene)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        # after the node selectors, which lose their nodes in this event
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport, priority=_LAST)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """The panel goes away: nothing of it may stay."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.cleanup()
        releaseSharedWorker(self)

    def enter(self) -> None:
        """The user opens the module."""
        self.initializeParameterNode()
        self.panel.lookForPackages()
        self.panel.prepareWorker()

    def exit(self) -> None:
        """The user leaves the module; work goes on."""

    def onSceneStartClose(self, _caller: Any, _event: Any) -> None:
        """The scene is about to be emptied: what runs was meant for it."""
        self.logic.runner.cancel()
        self.panel.setParameterNode(None)
        self.panel.results.leaveViews()

    def onSceneEndClose(self, _caller: Any, _event: Any) -> None:
        """The scene was emptied."""
        self.initializeParameterNode()

    def onSceneStartImport(self, _caller: Any, _event: Any) -> None:
        """A scene is about to be loaded, into the one that is there."""
        self.panel.holdChoices()

    def onSceneEndImport(self, _caller: Any, _event: Any) -> None:
        """A scene was loaded: its choices take the place of untouched ones."""
        self.initializeParameterNode()
        self.panel.showLoaded(self.logic.getAllParameterNodes())

    def initializeParameterNode(self) -> None:
        """Show the scene's parameter node; it is made where there is none."""
        self.panel.ensureParameterNode()

    def onReload(self) -> None:
        """Load the module anew from its files, the library's included."""
        stopSharedWorker()
        for name in list(sys.modules):
            if name.partition(".")[0] in _OURS:
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class SegAdversarialLogic(ScriptedLoadableModuleLogic, Logic):
    """Segment, attack and evaluate volumes of the scene from Slicer's Python console or a script.

    Example::

        from SegAdversarial import SegAdversarialLogic
        from SegAdversarialLib import attacks

        logic = SegAdversarialLogic()
        case = logic.sample()
        nodes = logic.attack(case.channels, attack=attacks.FGSM(epsilon=0.05), reference=case.reference)
    """

    def __init__(self, worker: Worker | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        # several sets of choices may lie side by side in one scene
        self.isSingletonParameterNode = False
        Logic.__init__(self, worker)


class SegAdversarialTest(ScriptedLoadableModuleTest):
    """The module's self-test: sample, segment, attack, results, save and load; see `SegAdversarialGui.self_test`."""

    def runTest(self) -> None:
        """Run it all, from an empty scene."""
        from SegAdversarialGui.self_test import SelfTest

        self.setUp()
        SelfTest(self.delayDisplay, SegAdversarialLogic).run()

    def setUp(self) -> None:
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear()
