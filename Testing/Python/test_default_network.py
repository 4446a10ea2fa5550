"""The built-in network on ten phantoms that it has never seen, and the order in which the attacks harm it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from SegAdversarialLib import attacks, open_model, phantom
from SegAdversarialLib.metrics import dice

SEEDS = range(10)
# signs of the same size as FGSM's, drawn at random
NOISE = attacks.UniversalRandomPerturbation(epsilon=0.05, epsilon_units="relative", radius=0, clip=True)
UNIFORM = attacks.UniformNoise(epsilon=0.05)


def region_dice(label: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    return {name: dice(np.isin(label, values), np.isin(reference, values)) for name, values in phantom.REGIONS.items()}


def mean_dice(seeds: Any, attack: attacks.Attack | None) -> dict[str, float]:
    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    rows = []
    for seed in seeds:
        case = phantom.subject(seed=seed, shape=(64, 64, 64))
        attacked = case if attack is None else attack(model, case).adversarial
        rows.append(region_dice(model.segment(attacked), case.label))
    return {name: float(np.mean([row[name] for row in rows])) for name in phantom.REGIONS}


def test_honest_dice() -> None:
    found = mean_dice(SEEDS, None)
    assert found["WT"] >= 0.90 and found["TC"] >= 0.80 and found["ET"] >= 0.75


def order_of_harm(seeds: Any) -> None:
    """i-FGSM harms more than FGSM, that more than noise of the same size; Inverse FGSM helps. Means over WT, TC and ET."""
    ways = {"clean": None, "noise": NOISE, "uniform": UNIFORM, "fgsm": attacks.FGSM(epsilon=0.05)}
    ways |= {"iterated": attacks.IFGSM(epsilon=0.05), "helped": attacks.InverseFGSM()}
    mean = {name: np.mean(list(mean_dice(seeds, attack).values())) for name, attack in ways.items()}
    assert mean["iterated"] < mean["fgsm"] < min(mean["noise"], mean["uniform"]), mean
    assert mean["clean"] < mean["helped"], mean


def test_order_of_harm_on_two() -> None:
    order_of_harm(range(2))


@pytest.mark.slow
def test_order_of_harm_on_ten() -> None:
    order_of_harm(SEEDS)


def test_size_of_the_weights() -> None:
    from SegAdversarialLib.formats import builtin

    settings = builtin.settings_file("builtin:brain-tumour-phantom")
    assert settings.with_suffix(".safetensors").stat().st_size < 5e6
