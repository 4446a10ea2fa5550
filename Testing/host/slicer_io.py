"""`slicer.app.coreIOManager()`: what `slicer.util.loadScene`, `loadVolume` and `saveScene` rest on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6 import QtCore

from .gate import hostWidget

_ENDINGS = {".mrb": "SceneFile", ".mrml": "SceneFile", ".nrrd": "VolumeFile", ".nii": "VolumeFile", ".gz": "VolumeFile"}


@hostWidget("slicer", "qSlicerIOManager")
class IOManager(QtCore.QObject):
    """Reads scenes and volumes, writes scenes."""

    def __init__(self, headless: Any, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self.reader = headless.io_manager
        self.scene = headless.scene
        self.applicationLogic = headless.app_logic

    def fileType(self, path: str) -> str:
        return _ENDINGS.get(Path(path).suffix.lower(), "NoFile")

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        """Add a file's nodes to the scene; a scene replaces what is there only with the property `clear`."""
        path = Path(properties["fileName"])
        if kind == "SceneFile":
            return path.is_file() and self.loadScene(str(path), bool(properties.get("clear", False)))
        if kind != "VolumeFile":
            raise NotImplementedError(f"the host loads no {kind}")
        nodes = self.reader.load_volumes([str(path)]) if path.is_file() else []
        for node in nodes:
            if loaded is not None:
                loaded.AddItem(node)
        if nodes and properties.get("show", True):
            # into all slice views, also those that are made later
            self.applicationLogic.GetSelectionNode().SetActiveVolumeID(nodes[-1].GetID())
            self.applicationLogic.PropagateVolumeSelection()
        return bool(nodes)

    def loadScene(self, path: str, clear: bool = True) -> bool:
        path = str(Path(path).resolve())
        if path.lower().endswith(".mrb"):
            return bool(self.scene.ReadFromMRB(path, clear))
        self.scene.SetURL(path)
        return bool(self.scene.Connect() if clear else self.scene.Import())

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None) -> bool:
        if kind != "SceneFile":
            raise NotImplementedError(f"the host saves no {kind}")
        return self.saveScene(str(properties["fileName"]))

    def saveScene(self, path: str, screenShot: Any = None) -> bool:
        return bool(self.scene.WriteToMRB(str(Path(path).resolve())))
