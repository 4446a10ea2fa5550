"""The scene changes whole or not at all, also where it changes meanwhile: results that come in steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scene_helpers import clean_scene, make_case, make_evaluation, make_result, voxels

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene import application, steps

slicer = pytest.importorskip("slicer")


@pytest.fixture(name="scene")
def _scene() -> Iterator[Any]:
    with clean_scene() as empty:
        yield empty


def state_of(scene: Any) -> tuple[list[str], int]:
    return [x.GetID() for x in application.nodes_of(scene)], len(application._hierarchy_items(scene))


def settle(stepping: Any) -> bool:
    """One step of adding, once the background thread is ready; False at the end."""
    try:
        waited = next(stepping)
    except StopIteration:
        return False
    if waited is not None:
        waited.exception()
    return True


def half_way(scene: Any, stepping: Any, more: int) -> None:
    """Go on until nodes have been added in a number of steps."""
    before = len(application.nodes_of(scene))
    while len(application.nodes_of(scene)) == before:
        assert settle(stepping)
    for _step in range(more):
        assert settle(stepping)


def shape_of(nodes: Any) -> dict[str, Any]:
    """What a result consists of: names, classes, marks and voxels, without identifiers."""
    made = [*nodes.adversarial.values(), *nodes.perturbation.values(), nodes.clean, nodes.attacked, nodes.metrics]
    made += [nodes.configuration, nodes.chart, *nodes.series, *nodes.traces.values(), nodes.browser, *nodes.sequences]
    made += nodes.proxies
    found: dict[str, Any] = {}
    for n, node in enumerate(made):
        own = ("SegAdversarial.Run", "SegAdversarial.Made")
        marks = {x: node.GetAttribute(x) for x in node.GetAttributeNames() if x not in own}
        found[f"{n} {node.GetClassName()}"] = marks
        if node.IsA("vtkMRMLScalarVolumeNode"):
            display = node.GetDisplayNode()
            found[f"{n} voxels"] = voxels(node).tobytes(), display.GetWindow(), display.GetLevel()
    return found


def test_steps_give_the_nodes_of_the_blocking_call(scene: Any) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    at_once = scenes.add_result(make_result(case), make_evaluation(case), inputs)
    stepping, count = scenes.result_steps(make_result(case), make_evaluation(case), inputs), 0
    try:
        while True:
            waited = next(stepping)
            count += 1
            if waited is not None:
                waited.exception()
    except StopIteration as end:
        in_steps = end.value
    assert count > 20
    assert shape_of(in_steps) == shape_of(at_once)
    assert [x.run for x in scenes.find_results()] == [at_once.run, in_steps.run]


@pytest.mark.parametrize("more", [0, 1, 3, 8, 12])
def test_closed_half_way_nothing_is_left(scene: Any, more: int) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    before = state_of(scene)
    stepping = scenes.result_steps(make_result(case), make_evaluation(case), inputs)
    half_way(scene, stepping, more)
    assert state_of(scene) != before and not scenes.find_results(), "half a result is none"
    theirs = scene.AddNewNodeByClass("vtkMRMLTextNode", "what the user adds meanwhile")
    stepping.close()
    assert scene.IsNodePresent(theirs)
    scene.RemoveNode(theirs)
    after = state_of(scene)
    assert after[0] == before[0] and after[1] == before[1]


@pytest.mark.parametrize("adding", ["result", "case"])
def test_a_scene_that_is_closed_meanwhile_stays_empty(adding: str) -> None:
    app = scenes.new_application()
    scene, case = app.scene, make_case()
    inputs = scenes.add_case(case, scene).channels
    ways: dict[str, Callable[[], Any]] = {
        "result": lambda: scenes.result_steps(make_result(case), make_evaluation(case), inputs, scene),
        "case": lambda: scenes.case_steps(case, scene),
    }
    stepping = ways[adding]()
    half_way(scene, stepping, 1)
    scene.Clear(0)
    other = scenes.add_case(make_case(name="another"), scene)
    before = state_of(scene)
    with pytest.raises(InputError, match="closed or changed"):
        steps.finished(stepping)
    assert state_of(scene) == before
    assert all(map(scene.IsNodePresent, other.channels.values()))


def test_a_node_that_the_user_removes_meanwhile_takes_the_whole_with_it(scene: Any) -> None:
    case = make_case()
    inputs = scenes.add_case(case).channels
    before = state_of(scene)
    stepping = scenes.result_steps(make_result(case), make_evaluation(case), inputs)
    half_way(scene, stepping, 2)
    added = [x for x in application.nodes_of(scene) if x.GetID() not in before[0] and x.IsA("vtkMRMLScalarVolumeNode")]
    scene.RemoveNode(added[0])
    with pytest.raises(InputError, match="closed or changed"):
        steps.finished(stepping)
    assert state_of(scene)[0] == before[0]


def test_iterations_do_not_share_voxels_with_what_the_browser_shows(scene: Any) -> None:
    case = make_case()
    nodes = scenes.add_result(make_result(case), make_evaluation(case), scenes.add_case(case).channels)
    last = nodes.sequences[0].GetNthDataNode(nodes.sequences[0].GetNumberOfDataNodes() - 1)
    kept = voxels(last).copy()
    assert np.array_equal(voxels(nodes.proxies[0]), kept)
    voxels(nodes.proxies[0])[:] = -1
    assert np.array_equal(voxels(last), kept)
    nodes.browser.SetSelectedItemNumber(0)
    nodes.browser.SetSelectedItemNumber(nodes.browser.GetNumberOfItems() - 1)
    assert np.array_equal(voxels(last), kept) and np.array_equal(voxels(nodes.proxies[0]), kept)


def test_nodes_and_results_do_not_share_memory(scene: Any) -> None:
    case, result = make_case(), None
    result = make_result(case)
    before = result.adversarial.image.copy()
    nodes = scenes.add_result(result, make_evaluation(case))
    for node in (*nodes.inputs.values(), *nodes.adversarial.values(), *nodes.perturbation.values()):
        voxels(node)[:] = 7
    assert np.array_equal(result.adversarial.image, before) and not np.any(case.image[2] == 7)


def test_what_the_background_thread_raises_is_raised_here() -> None:
    def fail() -> None:
        raise InputError("the file is damaged")

    with pytest.raises(InputError, match="damaged"):
        steps.finished(steps.in_background(fail))
