"""Scene files (.mrb): written whole or not at all, and read back."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.application import current_scene, headless_application, nodes_of
from SegAdversarialLib.volumes.archives import checked_zip
from SegAdversarialLib.volumes.files import whole_file

_ENDING = ".mrb"


def write_scene(path: str | Path, scene: Any = None) -> Path:
    """Write a scene with all its data into one file that Slicer opens.

    Nodes that have not been stored before are stored compressed.

    Args:
        path: a name that ends in .mrb.
        scene: Slicer's own unless given.

    Raises:
        InputError: the name has another ending, or the file cannot be written.
    """
    path, scene = Path(path), current_scene(scene)
    if path.suffix.lower() != _ENDING:
        raise InputError(f"{path} must end in {_ENDING}, the ending of Slicer's scene files.")
    for node in nodes_of(scene):
        unstored = node.IsA("vtkMRMLStorableNode") and node.GetSaveWithScene() and not node.GetStorageNode()
        if unstored and node.AddDefaultStorageNode() and node.GetStorageNode():
            node.GetStorageNode().SetUseCompression(True)
    with whole_file(path) as temporary, tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
        # the folder inside the file is named after the file, so that the name must be right from the start
        bundle = Path(folder) / path.name
        _write(scene, bundle)
        os.replace(bundle, temporary)
    return path


def read_scene(path: str | Path) -> Any:
    """Read a scene file into a new scene, outside Slicer.

    Returns:
        A vtkMRMLScene that holds the file's nodes with their data.

    Raises:
        InputError: the file does not exist, is no scene file or an archive that could do harm, or slicer-core is missing.
    """
    path = Path(path)
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no Slicer scene file ({_ENDING}); check the path.")
    with checked_zip(path):  # Slicer unpacks it as it says itself
        pass
    application = headless_application()
    import slicer

    scene = slicer.vtkMRMLScene()
    application.scene.CopyRegisteredNodesToScene(scene)
    with tempfile.TemporaryDirectory() as folder:
        cache, files = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
        cache.SetRemoteCacheDirectory(folder)
        files.SetCacheManager(cache)
        scene.SetCacheManager(cache)
        scene.SetDataIOManager(files)
        # Slicer unpacks the file elsewhere, and looks for a relative path there
        if not scene.ReadFromMRB(str(path.resolve())):
            raise InputError(f"{path} cannot be read as a Slicer scene; it may be damaged.")
        scene.SetDataIOManager(None)
        scene.SetCacheManager(None)
    return scene


def _write(scene: Any, bundle: Path) -> None:
    import slicer

    messages = slicer.vtkMRMLMessageCollection()
    written = scene.WriteToMRB(str(bundle), None, messages)
    if not written or not bundle.is_file() or not zipfile.is_zipfile(bundle):
        details = " ".join(messages.GetAllMessagesAsString().split())
        raise OSError(f"Slicer could not write the scene{f' ({details})' if details else ''}")
