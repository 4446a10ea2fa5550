"""The user cancels, closes the scene or deletes an input while a result is being added: it comes whole or not at all."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gui_helpers import sceneState
from scene_helpers import make_case, make_evaluation, make_result

from SegAdversarialLib.scene.steps import background

FAKE = str(Path(__file__).with_name("fake_worker.py"))


class Heard:
    """A listener that remembers the end."""

    def __init__(self) -> None:
        self.ends: list[Any] = []

    def onProgress(self, fraction: float, message: str, remaining: float | None) -> None:
        """Not asked here."""

    def onLog(self, text: str) -> None:
        """Not asked here."""

    def onEnd(self, outcome: Any) -> None:
        self.ends.append(outcome)


def disturbed(adding: Any, when: int, act: Callable[[], None]) -> Any:
    """The same steps; in the middle of them something is going to happen."""
    import slicer

    before = slicer.mrmlScene.GetNumberOfNodes()
    try:
        while True:
            try:
                waited = next(adding)
            except StopIteration as end:
                return end.value
            when -= slicer.mrmlScene.GetNumberOfNodes() != before
            if when == 0:
                act()
            yield waited
    finally:
        adding.close()


@pytest.fixture
def stage(slicerHost: Any, tmp_path: Path) -> Iterator[Any]:
    """A scene with a case, and what adds a result to it; `act` is called after some steps of adding."""
    import slicer
    from SegAdversarialGui.exchange import Subject, Task
    from SegAdversarialGui.runner import Runner
    from SegAdversarialGui.worker import Worker

    from SegAdversarialLib import scene

    slicer.mrmlScene.Clear(0)
    case = make_case()
    inputs = scene.add_case(case).channels

    class Adding(Task):
        title = "adding"
        act: Callable[[], None] = staticmethod(lambda: None)
        when = 6

        def prepare(self, folder: Path) -> Iterator[None]:
            (folder / "input").write_text("x")
            yield

        def job(self, folder: Path) -> dict[str, Any]:
            return {"act": "work"}

        def deliver(self, folder: Path) -> Any:
            adding = scene.result_steps(make_result(case), make_evaluation(case), inputs, slicer.mrmlScene)
            self.nodes = yield from self._whilePresent(disturbed(adding, self.when, type(self).act))

    worker = Worker(lambda: [sys.executable, FAKE])
    runner = Runner(worker, lambda: str(tmp_path))
    task = Adding(Subject(slicer.mrmlScene, inputs), {})
    task.runner = runner
    yield task
    worker.stop()
    slicer.mrmlScene.Clear(0)


def outcomeOf(host: Any, task: Any) -> Any:
    heard = Heard()
    task.runner.start(task, heard)
    end = time.monotonic() + 60
    while not heard.ends:
        assert time.monotonic() < end
        host.processEvents(0.01)
    host.processEvents(0.1)
    (outcome,) = heard.ends
    return outcome


def later(action: Callable[[], Any]) -> None:
    import qt

    qt.QTimer.singleShot(0, action)


def test_undisturbed_the_result_is_there(slicerHost: Any, stage: Any) -> None:
    from SegAdversarialLib import scene

    outcome = outcomeOf(slicerHost, stage)
    assert outcome.kind == "done", outcome
    assert [x.run for x in scene.find_results()] == [outcome.nodes.run]


@pytest.mark.parametrize("when", [1, 3, 10, 14, 17])
def test_cancelled_while_it_is_added_nothing_is_left(slicerHost: Any, stage: Any, tmp_path: Path, when: int) -> None:
    before = sceneState()
    type(stage).when = when
    type(stage).act = staticmethod(lambda: later(stage.runner.cancel))
    assert outcomeOf(slicerHost, stage).kind == "cancelled"
    assert sceneState()[::2] == before[::2]
    background().submit(int).result()  # which removes the files
    assert not list(tmp_path.iterdir())


def test_an_input_that_is_deleted_takes_the_result_with_it(slicerHost: Any, stage: Any) -> None:
    import slicer

    from SegAdversarialLib import scene

    volume = stage.subject.channels["T2"]
    type(stage).act = staticmethod(lambda: later(lambda: slicer.mrmlScene.RemoveNode(volume)))
    kept = [x for x in sceneState()[0] if x != volume.GetID()]
    outcome = outcomeOf(slicerHost, stage)
    assert outcome.kind == "failed" and "was removed from the scene" in outcome.message and not outcome.details
    assert not scene.find_results()
    left = [x for x in sceneState()[0] if "Volume" in x or "Segmentation" in x or "Sequence" in x]
    assert left == [x for x in kept if x in left]


@pytest.mark.parametrize("when", [1, 6, 14])
def test_a_scene_that_is_closed_stays_empty(slicerHost: Any, stage: Any, when: int) -> None:
    import slicer

    from SegAdversarialLib import scene

    type(stage).when = when
    type(stage).act = staticmethod(lambda: later(lambda: slicer.mrmlScene.Clear(0)))
    outcome = outcomeOf(slicerHost, stage)
    assert outcome.kind == "failed" and "was removed from the scene" in outcome.message
    assert not scene.find_results()
    assert not slicer.mrmlScene.GetNodesByClass("vtkMRMLScalarVolumeNode").GetNumberOfItems()
