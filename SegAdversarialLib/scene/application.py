"""Slicer's scene, inside Slicer and outside it, and changes of it that happen as a whole or not at all."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from SegAdversarialLib.errors import InputError


@functools.cache
def headless_application() -> Any:
    """Start Slicer without its window, once for each process; afterwards `slicer.mrmlScene` exists as it does in Slicer.

    Not needed inside Slicer. VTK's warnings are no longer printed, its errors still are.

    Returns:
        trame-slicer's `SlicerApp`; its `scene` is `slicer.mrmlScene`.

    Raises:
        InputError: slicer-core or trame-slicer is missing, or this process already is Slicer.
    """
    application = new_application()
    import slicer

    slicer.mrmlScene = application.scene
    return application


def new_application() -> Any:
    """A further Slicer without a window, with a scene of its own that nobody else sees.

    Raises:
        InputError: slicer-core or trame-slicer is missing, or this process already is Slicer.
    """
    check_headless()
    import slicer
    from trame_slicer.core import SlicerApp

    application = SlicerApp()
    _quieten_vtk()
    # what Slicer's modules register and SlicerApp does not; the logic lives only as long as something holds it
    application.sequences_logic = application.register_module_logic(slicer.vtkSlicerSequencesLogic())
    application.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    return application


def check_headless() -> None:
    """Find out whether Slicer can be started without its window.

    Raises:
        InputError: slicer-core or trame-slicer is missing, or this process already is Slicer.
    """
    try:
        import slicer

        if hasattr(slicer, "app"):
            raise InputError("This is Slicer already: use its own scene (slicer.mrmlScene) and views.")
        import trame_slicer.core  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"Working on Slicer scenes outside Slicer needs slicer-core and trame-slicer ({error}); "
            'install them with: pip install "trame-slicer[standalone]".'
        ) from error


def current_scene(scene: Any = None) -> Any:
    """The scene that is meant: the one given, else Slicer's own, which is started where there is none."""
    if scene is not None:
        return scene
    try:
        import slicer
    except ImportError:
        return headless_application().scene
    return slicer.mrmlScene if hasattr(slicer, "mrmlScene") else headless_application().scene


def add_node(scene: Any, class_name: str, name: str) -> Any:
    """Add a node to a scene.

    Raises:
        InputError: the scene does not know the class.
    """
    # Slicer writes the file names that it makes of node names without escaping this letter, and cannot read them back
    node = scene.AddNewNodeByClass(class_name, name.replace("&", "and"))
    if node is None:
        raise InputError(
            f"The scene cannot hold a {class_name}; use the scene of Slicer or of headless_application(), "
            "in which Slicer's modules have registered their nodes."
        )
    return node


def subject_hierarchy(scene: Any) -> Any:
    """The scene's subject hierarchy node."""
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def hierarchy_item(scene: Any, node: Any) -> int:
    """The node's subject hierarchy item; it is made at the top where there is none, as outside Slicer nothing else does."""
    hierarchy = subject_hierarchy(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item != hierarchy.GetInvalidItemID():
        return item
    return hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def put_in_folder(scene: Any, folder: int, node: Any) -> None:
    """Move a node's subject hierarchy item into a folder."""
    subject_hierarchy(scene).SetItemParent(hierarchy_item(scene, node), folder)


@contextmanager
def all_or_nothing(scene: Any) -> Iterator[None]:
    """If the block raises, every node and subject hierarchy item that it added is removed from the scene again."""
    nodes_before = {node.GetID() for node in nodes_of(scene)}
    items_before = set(_hierarchy_items(scene))
    try:
        yield
    except BaseException:
        # a sequence browser goes before the nodes that it shows, which it would make anew
        for node in [x for x in nodes_of(scene) if x.GetID() not in nodes_before]:
            if scene.IsNodePresent(node):
                scene.RemoveNode(node)
        for item in _hierarchy_items(scene):
            if item not in items_before:
                subject_hierarchy(scene).RemoveItem(item, False, False)
        raise


def nodes_of(scene: Any) -> list[Any]:
    """All nodes of a scene, in the order in which they were added."""
    return [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]


def _hierarchy_items(scene: Any) -> list[int]:
    import vtk

    hierarchy = subject_hierarchy(scene)
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    return [items.GetId(n) for n in range(items.GetNumberOfIds())]


def _quieten_vtk() -> None:
    """Let VTK print errors, but no warnings (it warns that there is no display, which is so on purpose).

    No Python function may listen to VTK's messages instead: they also come from VTK's own threads while this one waits for
    these threads and holds the interpreter's lock.
    """
    import vtk

    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_ERROR)
    vtk.vtkOutputWindow.GetInstance().SetDisplayModeToNever()
