"""What a result's nodes will hold: all that needs no scene and takes long, so that the background thread can make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.scene.iterations import States, states_of
from SegAdversarialLib.scene.parts import Parts, parts_of
from SegAdversarialLib.scene.segmentations import classes_of
from SegAdversarialLib.scene.voxels import Voxels, change_voxels, input_voxels, label_image, stored_voxels
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.writing import stored

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.result import AttackResult
    from SegAdversarialLib.evaluation.evaluation import Evaluation


@dataclass(frozen=True, eq=False)
class CaseContent:
    """A case: its channels, its reference's label image (None without one), and its classes' names by label value."""

    channels: Mapping[str, Voxels]
    reference: Any
    classes: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Answers:
    """The network's answers before and after, as label images, and the classes' names by label value."""

    clean: Any
    attacked: Any
    classes: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class ResultContent:
    """What an attack did: its images, by how much those that changed did so, the parts of that, and the kept states."""

    adversarial: Mapping[str, Voxels]
    change: Mapping[str, Voxels]
    parts: Parts
    states: States | None


def case_content(case: Case, names: Mapping[int, str] | None) -> CaseContent:
    """The content of a case's nodes; the label values' names are the case's own unless given."""
    assert case.dtypes is not None
    channels = {x: input_voxels(stored(*found)) for x, *found in zip(case.channels, case.image, case.dtypes)}
    classes = classes_of(names or case.label_names, [case.label])
    return CaseContent(channels, None if case.label is None else label_image(case.label, case.affine), classes)


def answers_of(case: Case, evaluation: Evaluation, names: Mapping[int, str] | None) -> Answers:
    """The content of the nodes of the network's answers; the label values' names are the case's own unless given."""
    classes = classes_of(names or case.label_names, [case.label, evaluation.clean, evaluation.attacked])
    clean, attacked = (label_image(x, case.affine) for x in (evaluation.clean, evaluation.attacked))
    return Answers(clean, attacked, classes)


def result_content(result: AttackResult, channels: Sequence[str], memory: int) -> ResultContent:
    """The content of a result's nodes.

    Args:
        channels: those that were attacked.
        memory: how many bytes the states may take.
    """
    case = result.adversarial
    assert case.dtypes is not None
    adversarial, change, changes = {}, {}, result.change()
    for channel in channels:
        n = case.channel_index(channel)
        adversarial[channel] = stored_voxels(case.image[n], case.dtypes[n])
        if changes[n].any():
            change[channel] = change_voxels(changes[n])
    shown = [x for x in channels if x in change] or channels
    states = states_of(result.original, result.snapshots, shown, memory) if result.snapshots else None
    return ResultContent(adversarial, change, parts_of(result, channels), states)
