"""Figures that mean nothing are named in words: an empty reference, a blind network, a wrong one, an idle attack."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from conftest import toy_case
from hypothesis import given
from hypothesis import strategies as st

from SegAdversarialLib import InputError, SegmentationModel, attacks, evaluate
from SegAdversarialLib.evaluation.measuring import evaluate_pair, notes_on_label_map
from SegAdversarialLib.evaluation.notes import LOW_DICE, notes_on_answer, notes_on_attack, only, shown
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case

CLASSES = {0: "background", 1: "tumour"}


def threshold_network(level: float, sign: float = 1.0):
    """Says tumour where the first channel is above a level (sign 1) or below it (-1)."""
    import torch

    class Threshold(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            lead = sign * (image[:, :1] - level)
            return torch.cat([-lead, lead], 1)

    return SegmentationModel.from_network(Threshold(), channels=("A",), classes=CLASSES)


def ball_case(label: np.ndarray | None | str = "ball") -> Case:
    """A bright ball of 10 in noise about 0, and its label."""
    noise = np.random.default_rng(3).normal(0, 0.5, (10, 11, 12)).astype(np.float32)
    k, j, i = np.indices(noise.shape)
    ball = (k - 5) ** 2 + (j - 5) ** 2 + (i - 6) ** 2 < 12
    noise[ball] += 10
    return Case(noise[None], ("A",), np.eye(4), ball.astype(np.int16) if isinstance(label, str) else label, name="ball")


def pair_notes(model: SegmentationModel, case: Case) -> tuple[str, ...]:
    return evaluate_pair(case, case, model).notes


def test_a_right_answer_needs_no_words(caplog: pytest.LogCaptureFixture) -> None:
    found = evaluate_pair(ball_case(), ball_case(), threshold_network(5.0))
    assert found.notes == () and not caplog.records and "Note" not in found.table()


@pytest.mark.parametrize(
    ("level", "sign", "label", "words"),
    [
        (5.0, 1.0, np.zeros((10, 11, 12), np.int16), "holds none of the network's structures"),
        (50.0, 1.0, np.zeros((10, 11, 12), np.int16), "holds none of the network's structures"),
        (50.0, 1.0, "ball", "finds nothing in the unchanged case"),
        (50.0, 1.0, None, "finds nothing in the unchanged case"),
        (5.0, -1.0, "ball", "mean Dice on the unchanged case is 0:"),
        (0.0, 1.0, "ball", "mean Dice on the unchanged case is only 0."),
    ],
)
def test_each_kind_is_named_once_with_its_likely_causes(
    level: float, sign: float, label: np.ndarray | None | str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    case, model = ball_case(label), threshold_network(level, sign)
    with caplog.at_level(logging.WARNING):
        found = evaluate_pair(case, case, model)
    (note,) = found.notes
    assert words in note and [x.getMessage() for x in caplog.records] == [note]
    assert found.table().count(note) == 1
    if "holds none" not in words:
        assert "normalization" in note and "orientation" in note and "order of channels" in note
    caplog.clear()
    assert evaluate_pair(case, case, model, warn=False).notes == (note,) and not caplog.records


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_low_dice_is_noted_exactly_below_the_threshold(common: int, more: int, missed: int) -> None:
    """Against Dice by its definition, from the numbers of voxels."""
    answer, reference = np.zeros(120, bool), np.zeros(120, bool)
    answer[: common + more] = True
    reference[:common] = True
    reference[common + more : common + more + missed] = True
    notes = notes_on_answer({"x": answer.reshape(4, 5, 6)}, {"x": reference.reshape(4, 5, 6)})
    if not common + missed:
        assert "holds none" in notes[0]
    elif not common + more:
        assert "finds nothing" in notes[0]
    else:
        assert bool(notes) == (2 * common / (2 * common + more + missed) < LOW_DICE)
    assert len(notes) <= 1


def test_structures_that_the_reference_lacks_do_not_count() -> None:
    """A case without enhancing tumour is no hint that the preprocessing is wrong."""
    there, empty = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert not notes_on_answer({"a": there, "b": there, "c": there}, {"a": there, "b": empty, "c": empty})
    assert notes_on_answer({"a": empty, "b": there}, {"a": there, "b": empty})


@pytest.mark.parametrize(
    ("share", "decimals", "words"),
    [(0.382, 2, "only 0.38"), (0.298, 3, "only 0.298"), (0.0042, 2, "only 0.004"), (0.0002, 2, "below 0.001"), (0.0, 2, "0")],
)
def test_what_is_less_than_a_shown_digit_is_not_called_nothing(share: float, decimals: int, words: str) -> None:
    assert only(share, decimals) == words and shown(share, decimals) == words.removeprefix("only ")


def test_an_attack_that_raises_dice_is_named_unless_it_is_meant_to() -> None:
    assert not notes_on_attack(0.9, 0.905) and not notes_on_attack(0.9, 0.2)
    (note,) = notes_on_attack(0.38, 0.5)
    assert "from 0.38 to 0.50" in note
    assert "from 0.002 to 0.30" in notes_on_attack(0.0021, 0.3)[0]
    case, model = ball_case(), threshold_network(0.0)  # half of the noise is taken for tumour
    for attack, told in ((attacks.FGSM(epsilon=0.05), False), (attacks.InverseFGSM(epsilon=0.05), False)):
        notes = evaluate(attack(model, case), model).notes
        assert any("raised" in x for x in notes) == told
    # against its own wrong answer, the way away from it leads to the reference
    wrong = attacks.FGSM(epsilon=0.05, against="prediction")(model, case)
    assert any("raised" in x for x in evaluate(wrong, model).notes)


GRADIENT = ("fgsm", "pgd", "apgd", "worst-case", "deformation", "bias-field", "square")


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("against", ["label", "prediction"])
def test_nothing_to_attack_is_refused_before_any_work(name: str, against: str) -> None:
    empty = np.zeros((10, 11, 12), np.int16)
    case, model = ball_case(empty), threshold_network(5.0 if against == "label" else 50.0)
    attack = attacks.make_attack(name, {"against": against})
    with pytest.raises(InputError, match="cannot work against .* would have no gradient"):
        attack.check(model, case) if against == "label" else attack(model, case)


def test_what_counts_the_background_may_attack_a_healthy_subject() -> None:
    empty = np.zeros((10, 11, 12), np.int16)
    case, model = ball_case(empty), threshold_network(12.0)
    result = attacks.make_attack("pgd", {"loss": "cross_entropy", "epsilon": 0.4, "clip": False})(model, case)
    assert model.segment(result.adversarial).any() and not model.segment(case).any()
    for settings in ({"loss": "cross_entropy", "classes": ["tumour"]}, {"loss": "margin"}):
        with pytest.raises(InputError, match="no gradient"):
            attacks.make_attack("pgd", settings).check(model, case)
    attacks.make_attack("uniform-noise", {}).check(model, case)


def test_a_network_with_several_structures_is_attacked_where_one_is_there() -> None:
    case = toy_case()
    assert case.label is not None
    from conftest import tiny_network

    model = SegmentationModel.from_network(tiny_network(), channels=("A", "B"), classes={0: "background", 1: "core", 2: "rim"})
    only_rim = replace(case, label=np.where(case.label == 2, 2, 0).astype(np.int16))
    attacks.make_attack("fgsm", {}).check(model, only_rim)
    with pytest.raises(InputError, match=r"\(core\)"):
        attacks.make_attack("fgsm", {"classes": ["core"]}).check(model, only_rim)


def test_a_painted_label_map_says_the_same_as_the_masks() -> None:
    """Of nested regions the small ones are painted over the large ones, and are parts of them nevertheless."""
    head = OutputHead.of({1: "whole", 2: "core", 3: "enhancing"}, "sigmoid", {1: (1, 2, 4), 2: (1, 4), 3: (4,)})
    label = np.zeros((6, 6, 6), np.int16)
    label[1:5, 1:5, 1:5], label[2:4, 2:4, 2:5], label[2, 2, 2] = 2, 1, 4
    assert not notes_on_label_map(head.merged(label), head, label)
    (note,) = notes_on_label_map(np.roll(head.merged(label), 3, 2), head, label)
    assert "unchanged case is only" in note
    (note,) = notes_on_label_map(np.zeros_like(label), head, None)
    assert "finds nothing" in note
