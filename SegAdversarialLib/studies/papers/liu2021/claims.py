"""What Liu et al. 2021 claim, and how a study's rows judge it."""

from __future__ import annotations

from collections.abc import Callable

from SegAdversarialLib.studies.papers.judging import (
    Claim,
    Clause,
    Comparison,
    above_zero,
    claim,
    greater,
    guarded,
    rising,
    same,
    untestable,
)
from SegAdversarialLib.studies.papers.liu2021.names import ATTACKS, FGSM, IFGSM, NOISE, TIFGSM, in_2d
from SegAdversarialLib.studies.papers.liu2021.tables import DISTILLED, EPSILONS, NOTHING, REGIONS, TRAINED
from SegAdversarialLib.studies.papers.measured import Measured, Row, Values, by_patient, is_setting, together

_USUAL, _WORST = _SIZES = EPSILONS[1:]
_ALL = tuple(REGIONS)
_HOTTEST = DISTILLED[max(DISTILLED)]


def judge(measured: Measured) -> list[Claim]:
    """All claims, in the paper's order."""
    m = measured
    return [
        claim(
            "FGSM, i-FGSM and ti-FGSM each lower Dice in every region.",
            "Table 1; Results, Adversarial Attacks",
            _on(m, NOTHING, lambda: [_hurts(m, attack, region) for attack in ATTACKS for region in _ALL]),
        ),
        claim(
            "i-FGSM lowers Dice more than ti-FGSM, and ti-FGSM more than FGSM.",
            "Table 1",
            _on(m, NOTHING, lambda: [_worse(m, IFGSM, TIFGSM), _worse(m, TIFGSM, FGSM)]),
        ),
        claim(
            "With more iterations of i-FGSM and ti-FGSM Dice falls.",
            "Fig. 3",
            _on(m, NOTHING, lambda: [_falls(m, attack, "dice mean", "Dice") for attack in (IFGSM, TIFGSM)]),
        ),
        claim(
            "With more iterations of i-FGSM and ti-FGSM PSNR falls.",
            "Fig. 4",
            [_falls(m, attack, "psnr", "PSNR") for attack in (IFGSM, TIFGSM)],
        ),
        untestable(
            "The attacks' changes are hardly visible.",
            "Fig. 2; Results, Adversarial Attacks",
            "nobody looked at the images; PSNR, SSIM and RMSE stand in Table 1",
        ),
        *_of_distillation(m),
        *_of_training(m),
        *_of_both(m),
        *_of_2d(m),
    ]


def _of_distillation(m: Measured) -> list[Claim]:
    temperatures = {1: NOTHING, **DISTILLED}
    source = "Fig. 5; Results, Defense via Distillation"
    return [
        claim(
            "Distillation makes the network more robust in every region, at every temperature.",
            "Table 2",
            _on(m, NOTHING, lambda: [_defends(m, x, region) for x in DISTILLED.values() for region in _ALL]),
        ),
        claim(
            "Robustness grows with the temperature.",
            source,
            _on(m, NOTHING, lambda: [_grows(m, temperatures, region) for region in _ALL]),
        ),
        claim(
            "For the whole tumour the gain saturates: over T = 100 it is negligible.",
            "Fig. 5a",
            _on(m, NOTHING, lambda: [_saturates(m, t, 100) for t in (500, 5000)]),
        ),
        claim(
            "Distillation keeps the accuracy without attack.",
            source,
            _on(m, NOTHING, lambda: [_keeps(m, x) for x in DISTILLED.values()]),
        ),
        claim(
            "Without attack all distilled networks find the enhancing tumour better than the original network.",
            "Fig. 5c (Table 2 has T = 5000 below it)",
            _on(m, NOTHING, lambda: [_better_clean(m, x, NOTHING, ("ET",)) for x in DISTILLED.values()]),
        ),
    ]


def _of_training(m: Measured) -> list[Claim]:
    source = "Fig. 7; Results, Adversarial Training"
    return [
        claim(
            "Adversarial training makes the network more robust in every region, at every epsilon of the training.",
            "Table 2; Fig. 7",
            _on(m, NOTHING, lambda: [_defends(m, x, region) for x in TRAINED.values() for region in _ALL]),
        ),
        claim(
            "Noise of radius 0.01 in training makes the network more robust than none.",
            source,
            _on(m, NOTHING, lambda: [_more_left(m, NOISE, NOTHING)]),
        ),
        claim(
            "Adversarial training makes it more robust than noise does, at every epsilon of the training.",
            source,
            _on(m, NOTHING, lambda: [_more_left(m, x, NOISE) for x in TRAINED.values()]),
        ),
        claim(
            "Adversarial training has only a moderate effect on the accuracy without attack.",
            source,
            _on(m, NOTHING, lambda: [_keeps(m, x) for x in TRAINED.values()]),
        ),
    ]


def _of_both(m: Measured) -> list[Claim]:
    return [
        claim(
            "For the enhancing tumour distillation (T = 5000) is more robust than adversarial training.",
            "Results, Distillation vs. Adversarial Training; Abstract",
            _on(
                m,
                NOTHING,
                lambda: [_more_left(m, _HOTTEST, x, ("ET",), e) for x in TRAINED.values() for e in (_USUAL, _WORST)],
            ),
        ),
        claim(
            "Every defended network under attack is worse than the network without defence is without attack.",
            "Results, Adversarial Training; Abstract",
            _on(m, NOTHING, lambda: [_below_clean(m, x) for x in (*DISTILLED.values(), *TRAINED.values())]),
        ),
    ]


def _of_2d(m: Measured) -> list[Claim]:
    flat = in_2d(NOTHING)
    return [
        claim(
            "The 2D U-Net is sensitive as well: FGSM lowers Dice in every region.",
            "Table 3; Fig. 6",
            _on(m, flat, lambda: [_hurts(m, FGSM, region, flat) for region in _ALL]),
        ),
        claim(
            "Distillation makes the 2D U-Net more robust in the whole tumour and the tumour core.",
            "Table 3; Fig. 6",
            _on(
                m,
                flat,
                lambda: [_defends(m, in_2d(x), region, flat) for x in DISTILLED.values() for region in ("WT", "TC")],
            ),
        ),
        claim(
            "Adversarial training makes the 2D U-Net more robust in the whole tumour and the tumour core.",
            "Table 3; Fig. 8",
            _on(m, flat, lambda: [_defends(m, in_2d(x), region, flat) for x in TRAINED.values() for region in ("WT", "TC")]),
        ),
        claim(
            "Without attack the 3D U-Net is better than the 2D U-Net.",
            "Results, Defense via Distillation",
            _on(m, NOTHING, lambda: [_better_clean(m, NOTHING, flat, _ALL)]),
        ),
    ]


def _on(m: Measured, network: str, comparisons: Callable[[], list[Comparison]]) -> list[Comparison]:
    clean = by_patient(m.clean(lambda row: row["network"] == network, _ALL))
    return guarded(clean, f"Dice of {network}", comparisons)


def clean(m: Measured, network: str, regions: tuple[str, ...] = _ALL) -> Values:
    return m.clean(lambda row: row["network"] == network, regions)


def left(m: Measured, network: str, regions: tuple[str, ...] = _ALL, epsilon: float = _WORST, attack: str = FGSM) -> Values:
    """Dice under an attack."""

    def chosen(row: Row) -> bool:
        return row["network"] == network and row["attack"] == attack and is_setting(row, "epsilon", epsilon)

    return m.attacked(chosen, regions)


def _hurts(m: Measured, attack: str, region: str, network: str = NOTHING) -> Comparison:
    before, after = together(clean(m, network, (region,)), left(m, network, (region,), _USUAL, attack))
    return greater(before, after, Clause(attack, ("lowers", "raises"), f"Dice of {region}"))


def _worse(m: Measured, stronger: str, weaker: str) -> Comparison:
    less, more = together(*(left(m, NOTHING, _ALL, _USUAL, x) for x in (stronger, weaker)))
    return greater(more, less, Clause(f"{stronger} leaves", ("less", "more"), f"Dice than {weaker}"))


def _falls(m: Measured, attack: str, column: str, name: str) -> Comparison:
    steps = m.steps(lambda row: row["network"] == NOTHING and row["attack"] == attack, column)
    levels = [(-float(step), by_patient(values)) for step, values in steps.items()]
    return rising(levels, Clause(f"{attack}: {name}", ("falls", "rises"), "with the iterations"))


def _grows(m: Measured, networks: dict[int, str], region: str) -> Comparison:
    known = {t: left(m, x, (region,)) for t, x in networks.items()}
    missing = [networks[t] for t, values in known.items() if not values]
    if missing:
        return Comparison(None, f"{', '.join(missing)}: not measured")
    levels = list(zip(map(float, known), together(*known.values())))
    return rising(levels, Clause(f"Dice of {region} at epsilon {_WORST:g}", ("rises", "falls"), "with T"))


def _defends(m: Measured, network: str, region: str, undefended: str = NOTHING) -> Comparison:
    """More Dice left at both sizes of the attack, over which the patient's values are averaged."""
    pairs = [together(*(left(m, x, (region,), e) for x in (network, undefended))) for e in _SIZES]
    margins = {x: sum(more[x] - less[x] for more, less in pairs) / len(_SIZES) for x in pairs[0][0] if x in pairs[1][0]}
    what = Clause(f"{network} leaves", ("more", "less"), f"Dice of {region} than {undefended}")
    return above_zero(margins, what)


def _more_left(m: Measured, better: str, worse: str, regions: tuple[str, ...] = _ALL, epsilon: float = _WORST) -> Comparison:
    more, less = together(*(left(m, x, regions, epsilon) for x in (better, worse)))
    what = Clause(f"{better} leaves", ("more", "less"), f"Dice than {worse} at epsilon {epsilon:g}")
    return greater(more, less, what)


def _keeps(m: Measured, network: str) -> Comparison:
    one, other = together(clean(m, network), clean(m, NOTHING))
    return same(one, other, Clause(f"clean Dice of {network} is", ("above", "below"), f"that of {NOTHING}"))


def _better_clean(m: Measured, better: str, worse: str, regions: tuple[str, ...]) -> Comparison:
    more, less = together(*(clean(m, x, regions) for x in (better, worse)))
    return greater(more, less, Clause(f"clean Dice of {better} is", ("above", "below"), f"that of {worse}"))


def _below_clean(m: Measured, network: str) -> Comparison:
    before, after = together(clean(m, NOTHING), left(m, network, _ALL, _USUAL))
    what = Clause(f"Dice of {network} at epsilon {_USUAL:g} is", ("below", "above"), f"clean Dice of {NOTHING}")
    return greater(before, after, what)


def _saturates(m: Measured, hotter: int, hot: int) -> Comparison:
    one, other = together(*(left(m, DISTILLED[x], ("WT",)) for x in (hotter, hot)))
    return same(one, other, Clause(f"Dice of WT at T = {hotter} is", ("above", "below"), f"that at T = {hot}"))
