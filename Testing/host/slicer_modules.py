"""`slicer.modules`: Slicer's own modules as far as their logics go, and scripted modules loaded from their files."""

from __future__ import annotations

import importlib
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Signal

from .gate import hostWidget, wrap
from .mrml_widget import MRMLWidget, Observers
from .slicer_app import nameless


@hostWidget("slicer", "qSlicerLoadableModule")
class CoreModule(QtCore.QObject):
    """One of Slicer's own modules: a name and a logic, no panel."""

    def __init__(self, name: str, logic: Any = None) -> None:
        super().__init__()
        self.moduleName = name
        self.moduleLogic = logic

    def name(self) -> str:
        return self.moduleName

    def title(self) -> str:
        return self.moduleName

    def path(self) -> str:
        return ""

    def logic(self) -> Any:
        return self.moduleLogic

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def widgetRepresentation(self) -> None:
        """There is none in the host."""


nameless("qSlicerSequencesModule", "slicer.qSlicerLoadableModule")


@hostWidget("slicer", "qSlicerSequencesModule")
class SequencesModule(CoreModule):
    """The module of sequences: which browser its toolbar shows."""

    def __init__(self, logic: Any) -> None:
        super().__init__("Sequences", logic)
        self.activeBrowser: Any = None
        self.barVisible = False
        self.autoShow = True
        self.observers = Observers(self)
        self.observers.observe(slicer.mrmlScene, slicer.vtkMRMLScene.NodeAddedEvent, self._nodeAdded)

    def _nodeAdded(self, _scene: Any, node: Any) -> None:
        """A new browser comes into the tool bar, which fills the nodes that show its selected item anew: these lose all
        attributes but one."""
        if node.IsA("vtkMRMLSequenceBrowserNode") and self.autoShow:
            self.showSequenceBrowser(node)
            QtCore.QTimer.singleShot(0, self, self._fillActive)

    def _fillActive(self) -> None:
        if self.activeBrowser is not None and self.activeBrowser.GetScene() is not None:
            self.moduleLogic.UpdateProxyNodesFromSequences(self.activeBrowser)

    def setToolBarActiveBrowserNode(self, node: Any) -> None:
        self.activeBrowser = node

    def showSequenceBrowser(self, node: Any) -> None:
        self.activeBrowser, self.barVisible = node, True

    def toolBarVisible(self) -> bool:
        return self.barVisible

    def setToolBarVisible(self, on: bool) -> None:
        self.barVisible = on

    def autoShowToolBar(self) -> bool:
        return self.autoShow

    def setAutoShowToolBar(self, on: bool) -> None:
        self.autoShow = on


def _text(name: str) -> tuple[Any, Any]:
    """Getter and setter of a property that is a text."""

    def get(self: ScriptedModule) -> str:
        return self.texts[name]

    def put(self: ScriptedModule, text: str) -> None:
        if not isinstance(text, str):
            raise ValueError(f"the module's {name} must be a text, not {type(text).__name__}")
        self.texts[name] = text

    return get, put


def _list(name: str) -> tuple[Any, Any]:
    """Getter and setter of a property that is a list of texts."""

    def get(self: ScriptedModule) -> tuple[str, ...]:
        return tuple(self.lists[name])

    def put(self: ScriptedModule, values: list[str]) -> None:
        if isinstance(values, str) or not all(isinstance(x, str) for x in values):
            raise ValueError(f"the module's {name} must be a list of texts")
        self.lists[name] = list(values)

    return get, put


@hostWidget("slicer", "qSlicerScriptedLoadableModule")
class ScriptedModule(CoreModule):
    """A module whose file says what it is: the `parent` of its ScriptedLoadableModule."""

    title, setTitle = _text("title")
    helpText, setHelpText = _text("helpText")
    acknowledgementText, setAcknowledgementText = _text("acknowledgementText")
    categories, setCategories = _list("categories")
    dependencies, setDependencies = _list("dependencies")
    contributors, setContributors = _list("contributors")
    associatedNodeTypes, setAssociatedNodeTypes = _list("associatedNodeTypes")

    def __init__(self, path: Path) -> None:
        super().__init__(path.stem)
        self.file = path
        self.texts: dict[str, str] = defaultdict(str, title=path.stem)
        self.lists: dict[str, list[str]] = defaultdict(list)
        self.picture = QtGui.QIcon()
        self.isHiddenModule = False
        self.position = -1
        self.panel: ModuleWidget | None = None

    def path(self) -> str:
        return str(self.file)

    def icon(self) -> QtGui.QIcon:
        return self.picture

    def setIcon(self, icon: QtGui.QIcon) -> None:
        self.picture = icon

    def hidden(self) -> bool:
        return self.isHiddenModule

    def setHidden(self, on: bool) -> None:
        self.isHiddenModule = on

    def index(self) -> int:
        return self.position

    def setIndex(self, index: int) -> None:
        self.position = index

    def widgetRepresentation(self) -> ModuleWidget:
        """The module's panel, which is built when first asked for."""
        if self.panel is None:
            self.panel = self.createNewWidgetRepresentation()
        return self.panel

    def createNewWidgetRepresentation(self) -> ModuleWidget:
        """A further panel."""
        panel = ModuleWidget(self)
        panel.build()
        return panel


@hostWidget("slicer", "qSlicerScriptedLoadableModuleWidget")
class ModuleWidget(MRMLWidget):
    """The widget that a scripted module's panel is built in: the `parent` of its ScriptedLoadableModuleWidget."""

    def __init__(self, module: ScriptedModule) -> None:
        super().__init__()
        QtWidgets.QVBoxLayout(self)
        self.scripted = module
        self.python: Any = None
        self.entered = False
        self.setObjectName(f"{module.moduleName}ModuleWidget")
        self.setMRMLScene(slicer.mrmlScene)

    def build(self) -> None:
        """Make the Python widget from the module's file as it is loaded now, and call its `setup`."""
        name = f"{self.scripted.moduleName}Widget"
        self.python = getattr(sys.modules[self.scripted.moduleName], name)(wrap(self))
        setattr(slicer.modules, name, self.python)
        self.python.setup()

    def reload(self) -> None:
        self.build()

    def self(self) -> Any:
        return self.python

    def module(self) -> ScriptedModule:
        return self.scripted

    def moduleName(self) -> str:
        return self.scripted.moduleName

    def isEntered(self) -> bool:
        return self.entered

    def enter(self) -> None:
        self.entered = True
        if hasattr(self.python, "enter"):
            self.python.enter()

    def exit(self) -> None:
        self.entered = False
        if hasattr(self.python, "exit"):
            self.python.exit()


@hostWidget("slicer", "qSlicerModuleFactoryManager")
class FactoryManager(QtCore.QObject):
    """Which modules are loaded."""

    def __init__(self, parent: ModuleManager) -> None:
        super().__init__(parent)
        self.known: dict[str, CoreModule] = {}

    def loadedModuleNames(self) -> list[str]:
        return list(self.known)

    def loadedModule(self, name: str) -> CoreModule | None:
        return self.known.get(name)

    def isLoaded(self, name: str) -> bool:
        return name in self.known


@hostWidget("slicer", "qSlicerModuleManager")
class ModuleManager(QtCore.QObject):
    """Loads and unloads modules."""

    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self.factory = FactoryManager(self)

    def factoryManager(self) -> FactoryManager:
        return self.factory

    def module(self, name: str) -> CoreModule | None:
        return self.factory.known.get(name)

    def modulesNames(self) -> list[str]:
        return list(self.factory.known)

    def add(self, module: CoreModule) -> None:
        """Put a module into `slicer.modules` and `slicer.moduleNames`."""
        name = module.moduleName
        self.factory.known[name] = module
        setattr(slicer.modules, name.lower(), wrap(module))
        setattr(slicer.moduleNames, name, name)
        self.moduleLoaded.emit(name)

    def addSlicersOwn(self, headless: Any) -> None:
        """Slicer's own modules whose logics are in slicer-core."""
        for name, logic in _logics(headless).items():
            self.add(CoreModule(name, logic))
        self.add(SequencesModule(headless.sequences_logic))

    def load(self, path: str | Path) -> ScriptedModule:
        """Load a scripted module from its file, as Slicer does at its start.

        Raises:
            FileNotFoundError, ImportError, AttributeError: there is no such file, or it holds no such module.
        """
        path = Path(path).resolve()
        if not path.is_file():
            raise FileNotFoundError(path)
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        module = ScriptedModule(path)
        instance = getattr(importlib.import_module(path.stem), path.stem)(wrap(module))
        setattr(slicer.modules, f"{path.stem}Instance", instance)
        self.add(module)
        return module

    def unload(self, name: str) -> None:
        """Unload a module: its panel is cleaned up and destroyed, its file is forgotten."""
        module = self.factory.known.pop(name)
        self.moduleAboutToBeUnloaded.emit(name)
        for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
            slicer.modules.__dict__.pop(attribute, None)
        slicer.moduleNames.__dict__.pop(name, None)
        getattr(slicer, "selfTests", {}).pop(name, None)
        if isinstance(module, ScriptedModule):
            _destroy(module.panel)
            sys.modules.pop(name, None)
            sys.path[:] = [x for x in sys.path if x != str(module.file.parent)]

    def unloadScripted(self) -> None:
        """Unload all scripted modules, as Slicer does when it closes."""
        for name in [name for name, module in self.factory.known.items() if isinstance(module, ScriptedModule)]:
            self.unload(name)


def _destroy(panel: ModuleWidget | None) -> None:
    """End a widget now, not in the next turn of the event loop."""
    if panel is not None:
        panel.setParent(None)
        panel.python = None
        panel.deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(panel, QtCore.QEvent.Type.DeferredDelete)


def _logics(headless: Any) -> dict[str, Any]:
    """The logics that Slicer's modules have, by the modules' names."""
    register = headless.register_module_logic
    return {
        "Volumes": headless.volumes_logic,
        "Segmentations": headless.segmentations_logic,
        "SubjectHierarchy": headless.subject_hierarchy_logic,
        "Markups": headless.app_logic.GetModuleLogic("Markups"),
        "Terminologies": headless.terminologies_logic,
        "Data": headless.data_logic,
        "Colors": headless.color_logic,
        "Plots": register(slicer.vtkSlicerPlotsLogic(), logic_name="Plots"),
        "Tables": register(slicer.vtkSlicerTablesLogic(), logic_name="Tables"),
        "Transforms": register(slicer.vtkSlicerTransformLogic(), logic_name="Transforms"),
    }


def namespaces() -> dict[str, Any]:
    """What the `slicer` package gets for modules to be found in."""
    return {"modules": SimpleNamespace(), "moduleNames": SimpleNamespace(), "selfTests": {}}
