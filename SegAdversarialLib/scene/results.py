"""A case, and what an attack did to it, as nodes of a scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.application import (
    added_whole,
    current_scene,
)
from SegAdversarialLib.scene.contents import Answers, CaseContent, ResultContent, answers_of, case_content, result_content
from SegAdversarialLib.scene.iterations import ITERATION_MEMORY, add_iterations
from SegAdversarialLib.scene.nodes import CaseNodes, ResultNodes, SegmentationNodes
from SegAdversarialLib.scene.parts import add_parts
from SegAdversarialLib.scene.references import add_reference, file_under, new_folder, reference_beside
from SegAdversarialLib.scene.runs import RESULT, SEGMENTATION, Run
from SegAdversarialLib.scene.segmentations import add_segmentation, classes_of
from SegAdversarialLib.scene.steps import Steps, finished, in_background
from SegAdversarialLib.scene.tables import add_dice_plot, add_metrics_table, add_trace_tables
from SegAdversarialLib.scene.volumes import SCANNER_UNITS, add_input_volume, add_perturbation_volume, add_volume_like
from SegAdversarialLib.scene.voxels import label_image
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.result import AttackResult
    from SegAdversarialLib.evaluation.evaluation import Evaluation


def add_case(case: Case, scene: Any = None, *, names: Mapping[int, str] | None = None) -> CaseNodes:
    """Add a case's channels and reference labels to a scene, in a subject hierarchy folder with the case's name.

    Args:
        case: the subject. Each channel is stored in its own voxel type.
        scene: Slicer's own unless given.
        names: the label values' names; the case's own unless given.

    Raises:
        InputError: the scene cannot hold the nodes. The scene is then as it was.
    """
    return finished(case_steps(case, scene, names=names))


def case_steps(case: Case, scene: Any = None, *, names: Mapping[int, str] | None = None) -> Steps[CaseNodes]:
    """`add_case` in steps."""
    scene = current_scene(scene)
    content = yield from in_background(lambda: case_content(case, names))
    return (yield from added_whole(scene, _add_case(scene, case, content)))


def _add_case(scene: Any, case: Case, content: CaseContent) -> Steps[CaseNodes]:
    folder = new_folder(scene, case.name or "case")
    channels = {}
    for channel, found in content.channels.items():
        channels[channel] = add_input_volume(scene, f"{case.name} {channel}".strip(), found, case.affine)
        file_under(scene, folder, channels[channel], "input")
        yield None
    reference = None
    if content.reference is not None:
        reference = add_reference(scene, case, content.reference, content.classes, channels)
    return CaseNodes(channels, reference, folder)


def add_result(
    result: AttackResult,
    evaluation: Evaluation,
    inputs: Mapping[str, Any] | None = None,
    scene: Any = None,
    *,
    names: Mapping[int, str] | None = None,
    record: Mapping[str, Any] | None = None,
    iteration_memory: int = ITERATION_MEMORY,
) -> ResultNodes:
    """Add what an attack did to a scene, in a subject hierarchy folder beside the input that is named after the attack.

    The inputs are left as they are. Of the segmentations only the attacked one starts visible, so that they do not cover
    each other. The reference labels are added beside the input once for each case. `find_results` finds the nodes again.

    Args:
        result: what the attack gave back.
        evaluation: the metrics and the network's answers on both images.
        inputs: the volume node of each channel; without them the case is added first (`add_case`).
        scene: Slicer's own unless given.
        names: the label values' names; the case's own unless given.
        record: how the result was made, as plain JSON data, such as the content of a result.json; what the result itself
            knows unless given.
        iteration_memory: how many bytes the iterations may take; where all of them need more, an even choice is kept.

    Raises:
        InputError: an attacked channel has no input node, or the label maps lie on another grid than the image. Whatever is
            raised, the scene is then as it was.
    """
    steps = result_steps(result, evaluation, inputs, scene, names=names, record=record, iteration_memory=iteration_memory)
    return finished(steps)


def result_steps(
    result: AttackResult,
    evaluation: Evaluation,
    inputs: Mapping[str, Any] | None = None,
    scene: Any = None,
    *,
    names: Mapping[int, str] | None = None,
    record: Mapping[str, Any] | None = None,
    iteration_memory: int = ITERATION_MEMORY,
    adding: Callable[[], None] = lambda: None,
) -> Steps[ResultNodes]:
    """`add_result` in steps; `adding` is called before the first node is added."""
    scene, case = current_scene(scene), result.original
    _check_shapes(case, evaluation)
    record = _record(result.describe(), evaluation) if record is None else record
    channels = yield from in_background(lambda: attacked_channels(result))
    attacked = channels if inputs is None else [x for x in channels if _input_of(inputs, x)]
    content = yield from in_background(lambda: result_content(result, attacked, iteration_memory))
    answers = yield from in_background(lambda: answers_of(case, evaluation, names))
    adding()
    return (yield from added_whole(scene, _add_result(scene, result, evaluation, inputs, content, answers, record)))


def _add_result(
    scene: Any,
    result: AttackResult,
    evaluation: Evaluation,
    inputs: Mapping[str, Any] | None,
    content: ResultContent,
    answers: Answers,
    record: Mapping[str, Any],
) -> Steps[ResultNodes]:
    case = result.original
    if inputs is None:
        added = yield from in_background(lambda: case_content(case, answers.classes))
        inputs = (yield from _add_case(scene, case, added)).channels
    attacked = {channel: _input_of(inputs, channel) for channel in content.adversarial}
    reference = yield from reference_beside(scene, case, answers.classes, inputs)
    run = Run(scene, RESULT, result.attack.summary(), attacked, reference)
    adversarial, perturbation = yield from _add_images(run, result, content)
    parts = yield from add_parts(run, content.parts, case, answers.classes)
    trace = yield from _add_trace(run, result, answers.classes)
    states = yield from _add_states(run, case, content, answers.classes)
    measured = yield from _add_measured(run, case, evaluation, answers, record)
    return ResultNodes(**measured, **parts, adversarial=adversarial, perturbation=perturbation, **trace, **states)


def add_evaluation(
    case: Case,
    evaluation: Evaluation,
    inputs: Mapping[str, Any],
    scene: Any = None,
    *,
    title: str,
    adversarial: Mapping[str, Any] | None = None,
    names: Mapping[int, str] | None = None,
    record: Mapping[str, Any] | None = None,
) -> ResultNodes:
    """Add what a network says of images before and after a change that are in the scene already, beside the first of them.

    Args:
        case: the subject before the change.
        evaluation: the metrics and the network's answers on both images.
        inputs: the volume node of each channel before the change.
        scene: Slicer's own unless given.
        title: the folder's name, which the nodes' names end with.
        adversarial: the volume node of each channel after the change, to be remembered as the result's own.
        names: the label values' names; the case's own unless given.
        record: how the evaluation was made, as plain JSON data; its rows unless given.

    Returns:
        The nodes; the volumes are those that were given.

    Raises:
        InputError: there are no input nodes, or the label maps lie on another grid than the image. Whatever is raised, the
            scene is then as it was.
    """
    return finished(
        evaluation_steps(case, evaluation, inputs, scene, title=title, adversarial=adversarial, names=names, record=record)
    )


def evaluation_steps(
    case: Case,
    evaluation: Evaluation,
    inputs: Mapping[str, Any],
    scene: Any = None,
    *,
    title: str,
    adversarial: Mapping[str, Any] | None = None,
    names: Mapping[int, str] | None = None,
    record: Mapping[str, Any] | None = None,
) -> Steps[ResultNodes]:
    """`add_evaluation` in steps."""
    scene = current_scene(scene)
    _check_shapes(case, evaluation)
    if not inputs:
        raise InputError("No input volume was given; give the volume of each channel.")
    record = _record({"case": case.name}, evaluation) if record is None else record
    answers = yield from in_background(lambda: answers_of(case, evaluation, names))

    def add() -> Steps[ResultNodes]:
        reference = yield from reference_beside(scene, case, answers.classes, inputs)
        run = Run(scene, RESULT, title, inputs, reference)
        measured = yield from _add_measured(run, case, evaluation, answers, record, adversarial)
        return ResultNodes(**measured, adversarial=dict(adversarial or {}), perturbation={})

    return (yield from added_whole(scene, add()))


def add_segmentation_result(
    case: Case,
    labels: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Any],
    scene: Any = None,
    *,
    title: str,
    names: Mapping[int, str] | None = None,
    record: Mapping[str, Any] | None = None,
) -> SegmentationNodes:
    """Add what a network says of a case, visible, in a subject hierarchy folder beside the input.

    Args:
        case: the subject.
        labels: (K, J, I) label map on the case's grid.
        rows: what was measured, such as Volume and Dice for each structure.
        inputs: the volume node of each channel.
        scene: Slicer's own unless given.
        title: the folder's name, such as the network's, which the nodes' names end with.
        names: the label values' names; the case's own unless given.
        record: how the answer was made, as plain JSON data; its rows unless given.

    Raises:
        InputError: there are no input nodes, or the label map lies on another grid than the image. Whatever is raised, the
            scene is then as it was.
    """
    return finished(segmentation_steps(case, labels, rows, inputs, scene, title=title, names=names, record=record))


def segmentation_steps(
    case: Case,
    labels: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Any],
    scene: Any = None,
    *,
    title: str,
    names: Mapping[int, str] | None = None,
    record: Mapping[str, Any] | None = None,
) -> Steps[SegmentationNodes]:
    """`add_segmentation_result` in steps."""
    scene = current_scene(scene)
    _check_shape(case, labels, "")
    if not inputs:
        raise InputError("No input volume was given; give the volume of each channel.")
    if record is None:
        record = {"case": case.name, "network": title, "evaluation": list(rows)}
    classes = yield from in_background(lambda: classes_of(names or case.label_names, [case.label, labels]))
    image = yield from in_background(lambda: label_image(labels, case.affine))

    def add() -> Steps[SegmentationNodes]:
        run = Run(scene, SEGMENTATION, title, inputs)
        first = next(iter(run.inputs.values()))
        node = add_segmentation(scene, f"segmentation - {title}", image, case.affine, classes, first)
        segmentation = run.file(node, "segmentation")
        yield None
        return SegmentationNodes(
            run=run.identifier,
            summary=title,
            folder=run.folder,
            inputs=run.inputs,
            segmentation=segmentation,
            table=run.file_table(add_metrics_table(scene, f"metrics - {title}", rows)),
            configuration=run.add_configuration(record),
        )

    return (yield from added_whole(scene, add()))


def attacked_channels(result: AttackResult) -> list[str]:
    """The channels that the attack was told to attack or that it changed; all of them if it neither was nor did."""
    case = result.original
    chosen = {case.channel_index(x) for x in result.attack.channels or ()} | set(changed_positions(result))
    return [case.channels[n] for n in sorted(chosen)] or list(case.channels)


def changed_positions(result: AttackResult) -> list[int]:
    """The positions of the channels of which any intensity changed."""
    return [n for n, values in enumerate(result.change()) if np.any(values)]


def _record(about: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    measured = {"evaluation": evaluation.rows, "reference": evaluation.reference, "notes": list(evaluation.notes)}
    return {**about, **measured}


def _add_images(run: Run, result: AttackResult, content: ResultContent) -> Steps[tuple[dict[str, Any], dict[str, Any]]]:
    """The adversarial channels, and by how much those that changed did so."""
    adversarial, perturbation, affine = {}, {}, result.adversarial.affine
    for channel, volume in run.inputs.items():
        name = f"{volume.GetName()} adversarial - {run.summary}"
        node = add_volume_like(run.scene, name, content.adversarial[channel], affine, volume)
        node.SetDescription(f"{run.summary}; seed {result.attack.seed}; network {result.model or 'none'}")
        adversarial[channel] = run.file(node, "adversarial", channel)
        yield None
        if channel in content.change:
            name = f"{volume.GetName()} change - {run.summary}"
            title = f"{channel}, {SCANNER_UNITS}"
            node = add_perturbation_volume(run.scene, name, title, content.change[channel], affine, volume)
            perturbation[channel] = run.file(node, "perturbation", channel)
            yield None
    return adversarial, perturbation


def _add_answers(run: Run, case: Case, answers: Answers) -> Steps[dict[str, Any]]:
    """The network's answers before and after; the one after is visible."""
    first = next(iter(run.inputs.values()))
    found = {}
    for role, image in (("clean", answers.clean), ("attacked", answers.attacked)):
        name = f"{role} segmentation - {run.summary}"
        node = add_segmentation(run.scene, name, image, case.affine, answers.classes, first)
        node.GetDisplayNode().SetVisibility(role == "attacked")
        found[role] = run.file(node, role)
        yield None
    return found


def _add_measured(
    run: Run,
    case: Case,
    evaluation: Evaluation,
    answers: Answers,
    record: Mapping[str, Any],
    adversarial: Mapping[str, Any] | None = None,
) -> Steps[dict[str, Any]]:
    """What every run has: its identity, the network's answers, the table of metrics and the configuration.

    Both of the latter come last, in one step: by them the run is found.
    """
    found = yield from _add_answers(run, case, answers)
    table = add_metrics_table(run.scene, f"metrics - {run.summary}", evaluation.rows)
    return {
        "run": run.identifier,
        "summary": run.summary,
        "folder": run.folder,
        "inputs": run.inputs,
        "reference": run.reference,
        **found,
        "metrics": run.file_table(table, adversarial),
        "configuration": run.add_configuration(record, adversarial),
    }


def _add_trace(run: Run, result: AttackResult, classes: Mapping[int, str]) -> Steps[dict[str, Any]]:
    """Dice against iteration as tables and a chart, where there is a trace."""
    traces = add_trace_tables(run.scene, f"trace - {run.summary}", result.trace)
    if not traces:
        return {}
    run.file_traces(traces)
    yield None
    against = "budget" if result.thresholds else "iteration"
    title = f"{result.attack.title}: Dice against {against}"
    chart, series = add_dice_plot(run.scene, f"Dice against {against} - {run.summary}", title, traces, classes)
    run.file_all([chart, *series], "trace")
    yield None
    return {"traces": traces, "chart": chart, "series": series}


def _add_states(run: Run, case: Case, content: ResultContent, classes: Mapping[int, str]) -> Steps[dict[str, Any]]:
    """The iterations and their browser, where states were kept."""
    if content.states is None:
        return {}
    inputs = {channel: run.inputs[channel] for channel in content.states.volumes}
    added = yield from add_iterations(run, content.states, inputs, case.affine, classes)
    return dict(zip(("browser", "sequences", "proxies"), added))


def _input_of(inputs: Mapping[str, Any], channel: str) -> Any:
    for name, node in inputs.items():
        if name.lower() == channel.lower():
            return node
    raise InputError(
        f"Channel {channel} was attacked, but its input volume was not given; given: {', '.join(inputs) or 'none'}."
    )


def _check_shapes(case: Case, evaluation: Evaluation) -> None:
    _check_shape(case, evaluation.clean, "clean ")
    _check_shape(case, evaluation.attacked, "attacked ")


def _check_shape(case: Case, labels: np.ndarray, which: str) -> None:
    if labels.shape != case.shape:
        raise InputError(
            f"The {which}segmentation has the shape {labels.shape}, the image {case.shape}; it belongs to another case."
        )
