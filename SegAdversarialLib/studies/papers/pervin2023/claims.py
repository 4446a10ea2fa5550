"""What Pervin et al. 2023 claim, and how a study's rows judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from SegAdversarialLib.studies.papers.judging import Claim, Clause, Comparison, claim, greater, guarded, rising, untestable
from SegAdversarialLib.studies.papers.measured import Measured, Row, Values, by_patient, is_setting, together
from SegAdversarialLib.studies.papers.pervin2023.names import AUGMENTED, BACKGROUND, BY_FGSM, BY_INVERSE, after
from SegAdversarialLib.studies.papers.pervin2023.tables import EPSILONS, FGSM, INVERSE, PLAIN, TABLE_3

_OTHERS = tuple(name for (name,) in TABLE_3.rows if name != INVERSE)
_GAN = "U-Net + GAN"


def judge(measured: Measured) -> list[Claim]:
    """All claims, in the paper's order."""
    return [*_of_learning(measured), *_of_robustness(measured), *_of_augmentations(measured)]


def _of_learning(m: Measured) -> list[Claim]:
    return [
        claim(
            "With FGSM copies the network learns to segment better than without.",
            "Section 4.3; Table 1, epoch 30 (on colon cancer; on lumbar CT it is worse)",
            _on_useful(m, lambda: [_better(m, FGSM, PLAIN)]),
        ),
        claim(
            "With Inverse FGSM copies it learns to segment better than with FGSM copies.",
            "Section 4.3; Abstract; Table 1, epoch 30",
            _on_useful(m, lambda: [_better(m, INVERSE, FGSM)]),
        ),
        claim(
            "With either kind of copies it learns faster: it is better at epoch 10.",
            "Abstract; Table 1, epoch 10 (on colon cancer; on lumbar CT it is worse)",
            _on_useful(m, lambda: [_better(m, after(x, 10), after(PLAIN, 10)) for x in (FGSM, INVERSE)]),
        ),
    ]


def _of_robustness(m: Measured) -> list[Claim]:
    return [
        claim(
            "The larger the perturbation of FGSM, the lower mean IoU.",
            "Section 4.4; Table 2, before adversarial training",
            _on_useful(m, lambda: [_falls(m, BY_FGSM)]),
        ),
        claim(
            "The larger the perturbation of Inverse FGSM, the lower mean IoU.",
            "Table 2, before adversarial training (eq. 3 lowers the loss, which should raise it)",
            _on_useful(m, lambda: [_falls(m, BY_INVERSE)]),
        ),
        claim(
            "Training with FGSM copies restores robustness against FGSM at every epsilon.",
            "Section 4.4; Table 2",
            _on_useful(m, lambda: [_restores(m, BY_FGSM, epsilon) for epsilon in EPSILONS]),
        ),
        claim(
            "Training with Inverse FGSM copies restores robustness against Inverse FGSM at every epsilon.",
            "Section 4.4; Table 2",
            _on_useful(m, lambda: [_restores(m, BY_INVERSE, epsilon) for epsilon in EPSILONS]),
        ),
        untestable(
            "At epsilon 0.1 and below the changes cannot be seen.",
            "Section 4.4; Figures 3 and 4",
            "nobody looked at the images",
        ),
    ]


def _of_augmentations(m: Measured) -> list[Claim]:
    return [
        claim(
            "Inverse FGSM is the best of all augmentations.",
            "Section 4.5; Table 3 (on colon cancer; on lumbar CT plain training is)",
            _on_useful(m, lambda: [_better(m, INVERSE, x) for x in _OTHERS]),
        ),
        claim(
            "The GAN is the second best augmentation.",
            "Section 4.5; Table 3 (on colon cancer)",
            _on_useful(m, lambda: [_better(m, _GAN, x) for x in _OTHERS if x != _GAN]),
        ),
    ]


def clean(m: Measured, network: str) -> Values:
    """IoU of background and object without attack."""
    return _both(m.clean(lambda row: row["network"] == network, m.structures, "iou_before"))


def attacked(m: Measured, network: str, attack: str, epsilon: float) -> Values:
    """IoU of background and object under an attack."""

    def chosen(row: Row) -> bool:
        return row["network"] == network and row["attack"] == attack and is_setting(row, "epsilon", epsilon)

    return _both(m.attacked(chosen, m.structures, "iou_after"))


def _both(values: Values) -> Values:
    """Only of cases in which both could be measured: a mean of one of the two is no mean IoU."""
    structures = {key[2] for key in values}
    return {key: x for key, x in values.items() if all((*key[:2], name) in values for name in structures)}


def _on_useful(m: Measured, comparisons: Callable[[], Iterable[Comparison]]) -> list[Comparison]:
    objects = [x for x in m.structures if x != BACKGROUND]
    found = m.clean(lambda row: row["network"] == PLAIN, objects, "iou_before")
    return guarded(by_patient(found), "IoU of the object by the plain network", comparisons)


def _better(m: Measured, better: str, worse: str) -> Comparison:
    more, less = together(clean(m, better), clean(m, worse))
    return greater(more, less, Clause(f"mean IoU of {better} is", ("above", "below"), f"that of {worse}"))


def _falls(m: Measured, attack: str) -> Comparison:
    series = {0.0: clean(m, PLAIN), **{epsilon: attacked(m, PLAIN, attack, epsilon) for epsilon in EPSILONS}}
    levels = [(-epsilon, values) for epsilon, values in zip(series, together(*series.values()))]
    return rising(levels, Clause(f"{attack}: mean IoU", ("falls", "rises"), "with epsilon"))


def _restores(m: Measured, attack: str, epsilon: float) -> Comparison:
    more, less = together(*(attacked(m, x, attack, epsilon) for x in (AUGMENTED[attack], PLAIN)))
    under = f"that of {PLAIN} under {attack} of {epsilon:g}"
    return greater(more, less, Clause(f"mean IoU of {AUGMENTED[attack]} is", ("above", "below"), under))
