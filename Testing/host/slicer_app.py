"""`slicer.app`: the Qt application with what Slicer's own adds to it."""

from __future__ import annotations

import atexit
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal

from . import api
from .gate import hostWidget

VERSION = "5.12.0"
"""The Slicer that the host claims to be."""


def nameless(name: str, base: str, *more: str) -> None:
    """Tell the gate of a class that Python has no name for, only objects of it: it can do what its header says.

    Args:
        base: the class in Slicer's list whose names it has too, such as "qt.QObject".
        more: further names, which the list of headers has missed.
    """
    names = set(more)
    described: str | None = name
    while described in api._headerList():
        entry = api._headerList()[described]
        names.update(x.partition("(")[0] for part in ("properties", "signals", "slots", "invokables") for x in entry[part])
        described = entry["base"]
    api._pythonList()[f"slicer.{name}"] = {"has_all_of": base, "names": sorted(names)}


nameless("qSlicerCommandOptions", "qt.QObject")
nameless("qSlicerApplication", "qt.QApplication", "testingEnabled")


@hostWidget("slicer", "qSlicerCommandOptions")
class CommandOptions(QtCore.QObject):
    """What Slicer was started with: `Slicer --testing`, `Slicer --no-main-window`."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self.testing = False
        self.runAndExit = False

    def testingEnabled(self) -> bool:
        return self.testing

    def noMainWindow(self) -> bool:
        return False

    def noSplash(self) -> bool:
        return True

    def runPythonAndExit(self) -> bool:
        return self.runAndExit

    def setRunPythonAndExit(self, on: bool) -> None:
        self.runAndExit = on


@hostWidget("slicer", "qSlicerApplication", signals={"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"})
class Application(QtWidgets.QApplication):
    """Slicer's application object. Qt allows one in a process."""

    mrmlSceneChanged = Signal(object)
    startupCompleted = Signal()
    renderPaused = Signal(bool)

    def __init__(self, headless: Any) -> None:
        super().__init__(["Slicer"])
        self.headless = headless
        self.options = CommandOptions(self)
        self.layouts: Any = None
        self.modules: Any = None
        self.files: Any = None
        self.place = Path(tempfile.mkdtemp(prefix="Slicer-host-"))
        atexit.register(shutil.rmtree, self.place, ignore_errors=True)
        self.temporary = ""
        self.setApplicationName("Slicer")
        self.setOrganizationName("Slicer.org")
        self.setApplicationVersion(VERSION)
        self.setQuitOnLastWindowClosed(False)
        ini = QtCore.QSettings.Format.IniFormat
        QtCore.QSettings.setDefaultFormat(ini)
        for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
            QtCore.QSettings.setPath(ini, scope, str(self.place / "settings"))
        self.environmentAtStart = QtCore.QProcessEnvironment.systemEnvironment()
        self.ownSettings = QtCore.QSettings()

    # where things are

    def slicerHome(self) -> str:
        return str(self.place / "home")

    def temporaryPath(self) -> str:
        folder = Path(self.temporary or self.place / "temporary")
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def setTemporaryPath(self, path: str) -> None:
        self.temporary = path

    def cachePath(self) -> str:
        return str(self.place / "cache")

    def slicerUserSettingsFilePath(self) -> str:
        return self.ownSettings.fileName()

    def startupWorkingPath(self) -> str:
        return os.getcwd()

    # what it is

    def majorVersion(self) -> int:
        return int(VERSION.split(".")[0])

    def minorVersion(self) -> int:
        return int(VERSION.split(".")[1])

    def mainApplicationMajorVersion(self) -> int:
        return self.majorVersion()

    def mainApplicationMinorVersion(self) -> int:
        return self.minorVersion()

    def mainApplicationName(self) -> str:
        return "Slicer"

    def mainApplicationDisplayName(self) -> str:
        return "3D Slicer"

    def revision(self) -> str:
        return "0"

    def arch(self) -> str:
        return {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

    def os(self) -> str:
        return {"Windows": "win", "Darwin": "macosx"}.get(platform.system(), "linux")

    def platform(self) -> str:
        return f"{self.os()}-{self.arch()}"

    def isInstalled(self) -> bool:
        return True

    def documentationBaseUrl(self) -> str:
        return f"https://slicer.readthedocs.io/en/v{self.majorVersion()}.{self.minorVersion()}/"

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl()}user_guide/modules/{name.lower()}.html"

    # what it holds

    def applicationLogic(self) -> Any:
        return self.headless.app_logic

    def moduleLogic(self, name: str) -> Any:
        return self.headless.app_logic.GetModuleLogic(name)

    def mrmlScene(self) -> Any:
        return self.headless.scene

    def layoutManager(self) -> Any:
        return self.layouts

    def moduleManager(self) -> Any:
        return self.modules

    def coreIOManager(self) -> Any:
        return self.files

    def ioManager(self) -> Any:
        return self.files

    def commandOptions(self) -> CommandOptions:
        return self.options

    def testingEnabled(self) -> bool:
        return self.options.testing

    def settings(self) -> QtCore.QSettings:
        return self.ownSettings

    def userSettings(self) -> QtCore.QSettings:
        return self.ownSettings

    def revisionUserSettings(self) -> QtCore.QSettings:
        return self.ownSettings

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return self.environmentAtStart

    def environment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def pauseRender(self) -> None:
        self.renderPaused.emit(True)

    def resumeRender(self) -> None:
        self.renderPaused.emit(False)
