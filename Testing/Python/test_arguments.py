"""What is given wrongly in Python is one sentence: by its place, misspelt, swapped, or of another kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case

import SegAdversarialLib
from SegAdversarialLib import (
    Case,
    InputError,
    Preprocessing,
    SegmentationModel,
    attacks,
    evaluate,
    objectives,
    open_model,
    phantom,
)
from SegAdversarialLib.arguments import checked, nearest
from SegAdversarialLib.changes.perturbation import Perturbation

CASE = toy_case()
MODEL = SegmentationModel.from_network(tiny_network(), channels=("A", "B"), classes=["background", "core", "rim"])
NETWORK = torch.nn.Conv3d(1, 2, 1)
ARRAY = np.zeros((1, 2, 2, 2))


def wrapped(**given: Any) -> SegmentationModel:
    return SegmentationModel.from_network(**{"network": NETWORK, "channels": ["A"], "classes": ["a", "b"], **given})


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: attacks.FGSM(0.05), "by their names, such as FGSM(epsilon=...); 0.05 was given"),
        (lambda: attacks.FGSM({"epsilon": 0.05}), "such as FGSM(**settings)"),
        (lambda: attacks.FGSM(MODEL, CASE), "FGSM()(model, case)"),
        (lambda: attacks.FGSM(epsilon="5%"), "epsilon: it must be a number (given: '5%')."),
        (lambda: attacks.FGSM(epsilom=0.05), "no setting epsilom; the nearest name is epsilon"),
        (lambda: attacks.FGSM(colour=1), "no setting colour; there are channels, "),
        (lambda: attacks.FGSM(classes=3.5), "give one of them, or a list"),
        (lambda: attacks.Attack(), "choose one of these"),
        (lambda: attacks.Transfer(method={"attack": "pgd", "stepss": 3}), "no setting stepss; the nearest name is steps"),
        (lambda: attacks.make_attack("fsgm"), 'no attack "fsgm"; the nearest name is fgsm'),
        (lambda: attacks.make_attack("fgsm", 0.05), 'settings by their names, such as {"epsilon": 0.05}; it is 0.05'),
        (lambda: attacks.make_attack(3), "the name of an attack"),
        (lambda: attacks.FGSM()(CASE, MODEL), "model and case are swapped"),
        (lambda: attacks.FGSM()(MODEL), "FGSM needs case (a Case)"),
        (lambda: attacks.FGSM()(MODEL, "t1.nii.gz"), "case must be a Case; it is 't1.nii.gz'"),
        (lambda: attacks.FGSM()("net.ts", CASE), "model must be a network"),
        (lambda: attacks.FGSM()(MODEL, CASE, progres=print), "no argument progres; the nearest name is progress"),
        (lambda: attacks.Transfer()(CASE, MODEL), "are swapped"),
        (lambda: attacks.UniversalPerturbation.learn(CASE, MODEL), "model must be a network"),
        (lambda: evaluate(CASE, MODEL), "result must be an attack's result; it is a Case"),
        (lambda: evaluate(MODEL, attacks.FGSM()(MODEL, CASE)), "result and model are swapped"),
        (lambda: evaluate(), "evaluate needs result (an attack's result), model"),
        (lambda: open_model(CASE), "a network's file or folder"),
        (lambda: open_model("builtin:brain-tumour-phantom", trust="yes"), "trust must be True or False; it is 'yes'"),
        (lambda: open_model("builtin:brain-tumour-phantom", chanels=["A"]), "no setting chanels"),
        (lambda: Case("t1.nii.gz"), "Case.read reads files; it is 't1.nii.gz'"),
        (lambda: Case(ARRAY), "Case needs channels (a list of texts), affine (an array)"),
        (lambda: Case(ARRAY, "A", "RAS"), "affine must be an array; it is 'RAS'"),
        (lambda: Case(ARRAY, "A", np.eye(4), lable=ARRAY[0]), "no argument lable; the nearest name is label"),
        (lambda: Case([["a"]], "A", np.eye(4)), "must hold numbers"),
        (lambda: Case.read("t1.nii.gz"), 'a file for each channel name, such as {"T1": "t1.nii.gz"}; it is \'t1.nii.gz\''),
        (lambda: Case.read({"A": ARRAY}), "a file for each channel name"),
        (lambda: Case.read({"A": "a.nii"}, labels="x"), "no argument labels; the nearest name is label"),
        (lambda: CASE.channel(0), "name must be a text; it is 0"),
        (lambda: MODEL.segment(CASE.image), "case must be a Case; it is an array of the shape (2, 14, 16, 18)"),
        (lambda: MODEL.prepare(None), "case must be a Case; it is None"),
        (lambda: evaluate(attacks.FGSM()(MODEL, CASE), MODEL).get(1, "Dice"), "name must be a text; it is 1"),
        (lambda: MODEL.value_and_gradient(objectives.SoftDice(CASE.label), CASE), "case and objective are swapped"),
        (lambda: wrapped(network="net.ts"), "a torch module; open_model opens a file; it is 'net.ts'"),
        (lambda: wrapped(channels="A"), "channels must be a list of texts; it is 'A'"),
        (lambda: wrapped(classes="ab"), "{label value: name} in the order of the outputs"),
        (lambda: wrapped(classes={"a": "b", "c": "d"}), "{label value: name} in the order of the outputs"),
        (lambda: wrapped(head="relu"), "head must be 'softmax' or 'sigmoid'; it is 'relu'"),
        (lambda: wrapped(window=64), "window must be a list of whole numbers or None; it is 64"),
        (lambda: wrapped(window=("a", "b", "c")), "window must be a list of whole numbers"),
        (lambda: wrapped(hed="softmax"), "no argument hed; the nearest name is head"),
        (lambda: wrapped(preprocessing=3), "preprocessing must be a Preprocessing, a mapping or None; it is 3"),
        (lambda: wrapped(preprocessing={"spacing": 1}), "Preprocessing: spacing: it must be a list (given: 1)."),
        (lambda: objectives.SoftDice("soft"), "SoftDice: reference must be an array; it is 'soft'"),
        (lambda: objectives.SoftDice(CASE), "reference must be an array; it is a Case"),
        (
            lambda: objectives.SoftDice(CASE.label, temperature="hot"),
            "temperature must be a number, 'auto' or 'deviation'; it is 'hot'",
        ),
        (lambda: objectives.CrossEntropy(CASE.label, clases=[1]), "no argument clases; the nearest name is classes"),
        (lambda: objectives.Margin(CASE.label, most="x"), "Margin: most must be a number"),
        (lambda: Preprocessing("RAS"), "such as Preprocessing(orientation=...)"),
        (lambda: Preprocessing(spaceing=1), "no setting spaceing; the nearest name is spacing"),
        (lambda: phantom.subject("seven"), "seed must be a whole number of 0 or more; it is 'seven'"),
        (lambda: Perturbation("noise"), "Perturbation: additive must be an array or None; it is 'noise'"),
        (lambda: attacks.FGSM()(MODEL, CASE).save(5), "folder must be a text or a path; it is 5"),
    ],
)
def test_one_sentence(wrong: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        wrong()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_what_is_right_goes_through() -> None:
    """Whatever stands for a kind: numpy's numbers, lists for arrays, a text for one channel, strangers' objects."""

    class Stranger:
        """Does what a network does."""

    @checked
    def call(number: float, whole: int, array: np.ndarray, case: Case | None, model: SegmentationModel, *rest: int) -> int:
        return len(rest)

    assert call(np.float32(1), np.int64(2), [[1, 2]], None, MODEL, 5, 6) == 2
    assert call(1, True, ARRAY, CASE, Stranger()) == 0
    assert call(number=1.5, whole=2, array=torch.zeros(2), case=CASE, model=MODEL) == 0
    assert Case([[[[1, 2]]]], "A", np.eye(4).tolist()).channels == ("A",)
    assert attacks.FGSM(epsilon=np.float32(0.5), channels=["A"], region=CASE.label).channels == ("A",)


def test_settings_inside_others_stay_with_their_place() -> None:
    """What is validated inside another model is told with where it stands there."""
    with pytest.raises(InputError, match=r"normalization.*msk"):
        Preprocessing(normalization={"kind": "zscore", "msk": "all"})
    with pytest.raises(ValueError, match="epsilon"):
        attacks.FGSM.model_validate({"epsilon": "x"})


def test_names_that_do_not_exist() -> None:
    assert nearest("epsilom", ["steps", "epsilon"]) == "; the nearest name is epsilon."
    assert nearest("colour", ["steps", "epsilon"]) == "; there are steps, epsilon."
    assert nearest("colour", []) == "."
    with pytest.raises(AttributeError, match="nearest name is FGSM"):
        attacks.Fgsm  # noqa: B018
    with pytest.raises(AttributeError, match="has no evaluat"):
        SegAdversarialLib.evaluat  # noqa: B018


def test_a_defect_inside_is_not_called_wrong_input() -> None:
    @checked
    def broken(number: int) -> int:
        return len(number)  # type: ignore[arg-type]

    with pytest.raises(TypeError):
        broken(3)
