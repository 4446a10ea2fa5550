"""Slicer's scene, inside Slicer and outside it, and changes of it that happen as a whole or not at all."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.steps import Result, Steps


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
    node = scene.AddNewNodeByClass(class_name, _safe(name))
    if node is None:
        raise InputError(
            f"The scene cannot hold a {class_name}; use the scene of Slicer or of headless_application(), "
            "in which Slicer's modules have registered their nodes."
        )
    return node


def put_node(scene: Any, node: Any) -> Any:
    """Put a node that was made and filled outside the scene into it."""
    node.SetName(scene.GenerateUniqueName(_safe(node.GetName())))
    return scene.AddNode(node)


def _safe(name: str) -> str:
    # Slicer writes the file names that it makes of node names without escaping this letter, and cannot read them back
    return name.replace("&", "and")


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


class Additions:
    """The nodes and subject hierarchy items that somebody has added to a scene, so that they can be taken out again."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._nodes: list[Any] = []
        self._items: list[int] = []
        self._closed = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Whatever comes into the scene during the block belongs to them."""
        nodes, items = set(nodes_of(self._scene)), set(_hierarchy_items(self._scene))
        try:
            yield
        finally:
            self._nodes += [node for node in nodes_of(self._scene) if node not in nodes]
            self._items += [item for item in _hierarchy_items(self._scene) if item not in items]

    def forget(self) -> None:
        """The scene was closed: nothing is left, and what comes now may have the same numbers."""
        self._nodes, self._items, self._closed = [], [], True

    def complete(self) -> bool:
        """Whether all of the nodes are still in the scene."""
        return not self._closed and all(map(self._scene.IsNodePresent, self._nodes))

    def remove(self) -> None:
        """Take out what is still there."""
        # a sequence browser goes before the nodes that it shows, which it would make anew
        for node in sorted(self._nodes, key=lambda x: not x.IsA("vtkMRMLSequenceBrowserNode")):
            if self._scene.IsNodePresent(node):
                self._scene.RemoveNode(node)
        known = set(_hierarchy_items(self._scene))
        for item in self._items:
            if item in known:
                subject_hierarchy(self._scene).RemoveItem(item, False, False)


@contextmanager
def all_or_nothing(scene: Any) -> Iterator[None]:
    """If the block raises, every node and subject hierarchy item that it added is removed from the scene again."""
    additions = Additions(scene)
    try:
        with additions.noted():
            yield
    except BaseException:
        additions.remove()
        raise


def added_whole(scene: Any, steps: Steps[Result]) -> Steps[Result]:
    """Steps that add to a scene, as a whole or not at all.

    If one of them raises, if they are closed before their end, or if something that they have added is removed meanwhile,
    every node and subject hierarchy item that they added is removed from the scene again.

    Raises:
        InputError: the scene was closed, or something that belongs to the whole was removed, between two steps.
    """
    additions = Additions(scene)
    tag = scene.AddObserver(scene.EndCloseEvent, lambda _caller, _event: additions.forget())
    try:
        while True:
            if not additions.complete():
                raise InputError("The scene was closed or changed while a result was being added; it was dropped.")
            try:
                with additions.noted():
                    waited = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield waited
    except BaseException:
        steps.close()
        additions.remove()
        raise
    finally:
        scene.RemoveObserver(tag)


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
