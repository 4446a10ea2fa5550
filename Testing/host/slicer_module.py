"""The half of the `slicer` package that slicer-core has not: application, modules, widgets, dialogs, views.

    slicer_module.install()         after `qt` and `ctk` are in `sys.modules`
    slicer_module.uninstall()       `slicer` is slicer-core's again
    slicer_module.reset()           between two tests: no modules, an empty scene, nothing recorded

`loadModule`, `moduleWidget`, `window`, `renderAll` and `quit` are for tests; see also `slicer_dialogs` and `i18n`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from . import gate, i18n, signals, slicer_dialogs
from .gate import wrap

_FOUR_UP = 3
_state: dict[str, Any] = {}


def install() -> None:
    """Start Slicer's scene, and add to `slicer` what a Slicer with a window has. A second call does nothing."""
    if _state:
        return
    from SegAdversarialLib.scene.application import headless_application

    headless = headless_application()
    import slicer
    import slicer.util

    _state.update(slicer=dict(vars(slicer)), util=dict(vars(slicer.util)))
    from . import mrml_combo, mrml_segments, mrml_sequences, mrml_table  # noqa: F401  (these declare widgets)
    from .slicer_app import Application
    from .slicer_io import IOManager
    from .slicer_modules import ModuleManager, namespaces
    from .view_layout import LayoutManager
    from .view_window import MainWindow

    application = Application.instance() or Application(headless)
    application.modules = ModuleManager(application)
    application.files = IOManager(headless, application)
    application.layouts = LayoutManager(headless.app_logic, application)
    vars(slicer).update(app=wrap(application), **namespaces(), __getattr__=_widgetClass)
    application.modules.addSlicersOwn(headless)
    application.layouts.setMRMLScene(headless.scene)
    application.layouts.setLayout(_FOUR_UP)
    _state.update(application=application, window=MainWindow(application.modules, application.layouts))
    _addModule("i18n", i18n)
    from . import slicer_scripted

    _addModule("ScriptedLoadableModule", slicer_scripted)
    vars(slicer.util).update(messageBox=slicer_dialogs.messageBox, pip_install=slicer_dialogs.recordPipInstall)
    _state["window"].show()
    _state["hook"], sys.excepthook = sys.excepthook, _noteError


def _noteError(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python prints an error in an observer of a VTK object, and goes on; here it is written down as well."""
    signals.slotErrors.append(error)
    _state["hook"](kind, error, trace)


def _widgetClass(name: str) -> Any:
    """`slicer.qMRMLNodeComboBox` and the like."""
    if not name.startswith(("q", "ctk")):
        raise AttributeError(f"module 'slicer' has no attribute {name!r}")
    return gate.classOf("slicer", name)


def _addModule(name: str, module: ModuleType) -> None:
    import slicer

    setattr(slicer, name, module)
    sys.modules[f"slicer.{name}"] = module


def packaging(on: bool = True) -> None:
    """Have `slicer.packaging`, as from Slicer 5.12 on, or not, as before. It only records what it is asked for."""
    import slicer

    if on:
        module = ModuleType("slicer.packaging")
        module.pip_ensure = slicer_dialogs.recordPipEnsure
        module.pip_install = slicer_dialogs.recordPipInstall
        _addModule("packaging", module)
    else:
        vars(slicer).pop("packaging", None)
        sys.modules.pop("slicer.packaging", None)


def window() -> Any:
    """The main window: its `grabTo(path)` and `grabPanel(path, width)` write pictures."""
    return _state["window"]


def application() -> Any:
    """The object behind `slicer.app`."""
    return _state["application"]


def loadModule(path: str | Path) -> Any:
    """Load a scripted module from its file, as Slicer does at its start, and return it as in `slicer.modules`."""
    module = application().modules.load(path)
    application().startupCompleted.emit()
    return wrap(module)


def moduleWidget(name: str) -> Any:
    """Select a module and return its Python widget."""
    import slicer

    slicer.util.selectModule(name)
    return slicer.util.getModuleWidget(name)


def renderAll() -> None:
    """Draw all views that are on the screen. Nothing draws them otherwise."""
    window().settle()
    application().layouts.renderAll()


def quit() -> None:
    """What happens when a user closes Slicer, as far as modules see it."""
    application().aboutToQuit.emit()
    application().modules.unloadScripted()


def reset() -> None:
    """Unload the modules, empty the scene, forget what was recorded, and take the first layout."""
    import slicer

    from .view_window import SIZE

    i18n.pseudo = False
    application().options.testing = False
    application().modules.unloadScripted()
    application().ownSettings.clear()
    slicer.mrmlScene.Clear(0)
    # closing a scene leaves modules the parameter nodes of which there is only one
    while slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode"):
        slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))
    application().layouts.setLayout(_FOUR_UP)
    application().applicationLogic().GetSelectionNode().SetActiveVolumeID(None)
    window().takeSize(*SIZE)
    packaging(False)
    slicer_dialogs.clear()
    window().settle()


def uninstall() -> None:
    """Give `slicer` back as slicer-core has it, so that the library takes this process for one without Slicer's window."""
    if not _state:
        return
    import slicer

    reset()
    application().layouts.finish()
    window().close()
    window().deleteLater()
    for name in ("i18n", "ScriptedLoadableModule"):
        sys.modules.pop(f"slicer.{name}", None)
    for namespace, before in ((vars(slicer), "slicer"), (vars(slicer.util), "util")):
        for name in set(namespace) - set(_state[before]):
            del namespace[name]
        namespace.update(_state[before])
    sys.excepthook = _state["hook"]
    _state.clear()
