"""Each claim of each paper, on rows on which it must hold, must not hold, and cannot be tested."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from paper_helpers import Row, patients, result, scatter, verdicts

from SegAdversarialLib.studies import papers
from SegAdversarialLib.studies.papers.chen2019 import names as chen
from SegAdversarialLib.studies.papers.cheng2020.names import ENSEMBLE
from SegAdversarialLib.studies.papers.liu2021 import names as liu
from SegAdversarialLib.studies.papers.liu2021.tables import DISTILLED, NOTHING, TRAINED
from SegAdversarialLib.studies.papers.pervin2023 import names as pervin
from SegAdversarialLib.studies.papers.pervin2023.tables import EPSILONS, FGSM, INVERSE, PLAIN, TABLE_3

ENOUGH, FEW = 8, 3
BRATS = ("WT", "TC", "ET")
Rows = dict[str, list[Row]]


def liu_rows(count: int, as_claimed: bool) -> Rows:
    """A world that is as the paper says, or the other way round."""
    sign = 1 if as_claimed else -1
    clean = {NOTHING: 0.80, liu.NOISE: 0.80, **dict.fromkeys((*DISTILLED.values(), *TRAINED.values()), 0.80)}
    if not as_claimed:
        clean |= {**dict.fromkeys((*DISTILLED.values(), *TRAINED.values()), 0.6), TRAINED[0.01]: 0.9}
    lost = {NOTHING: 0.40, liu.NOISE: 0.40 - sign * 0.05}
    lost |= {x: 0.40 - sign * 0.1 * (n + 1) for n, x in enumerate(TRAINED.values())}
    gains = (0.10, 0.33, 0.34, 0.35) if as_claimed else (-0.1, -0.2, 4.0, 5.0)
    lost |= {x: 0.40 - y for x, y in zip(DISTILLED.values(), gains)}
    rows, channels, traces = [], [], []
    for patient in patients(count):
        for flat in (False, True):
            for network in liu.NETWORKS:
                # the whole tumour saturates, the others do not; distilled networks find the enhancing tumour better
                before = {x: clean[network] - 0.1 * flat * sign + scatter(patient, x) for x in BRATS}
                if network in DISTILLED.values():
                    before["ET"] += sign * 0.02
                called = liu.in_2d(network) if flat else network
                for epsilon in (0.05, 0.1):
                    share = epsilon / 0.1 if as_claimed else -epsilon / 2
                    after = {x: before[x] - share * lost[network] + scatter(patient, x, network, epsilon) for x in BRATS}
                    rows += result(called, liu.FGSM, patient, after, before, {"epsilon": epsilon})
        before = {x: 0.8 + scatter(patient, x) for x in BRATS}
        for attack, drop in ((liu.TIFGSM, 0.3), (liu.IFGSM, 0.4)):
            after = {x: before[x] - sign * drop for x in BRATS}
            rows += result(NOTHING, attack, patient, after, before, {"epsilon": 0.05})
            about = {"network": NOTHING, "attack": attack, "patient": patient, "case": patient, "settings": {"epsilon": 0.05}}
            for n in range(5):
                fallen = {"dice mean": 0.8 - sign * 0.1 * n, "psnr": 40.0 - sign * n}
                traces.append({**about, "restart": 0, "iteration": n, **fallen})
    return {"results": rows, "channels": channels, "traces": traces}


def cheng_rows(count: int, as_claimed: bool) -> Rows:
    drops = {"T2": 0.05, "FLAIR": 0.1, "T1": 0.15, "T1ce": 0.2, "all": 0.4}
    slopes = {"T2": 400.0, "FLAIR": 300.0, "T1": 200.0, "T1ce": 100.0}
    if not as_claimed:
        drops = {"T2": 0.3, "FLAIR": 0.1, "T1": -0.15, "T1ce": 0.05, "all": 0.02}
        slopes = {"T2": 100.0, "FLAIR": 90.0, "T1": 200.0, "T1ce": 80.0}
    rows, channels = [], []
    for patient in patients(count):
        before = {x: 0.8 + scatter(patient, x) for x in BRATS}
        for epsilon in (1.0, 15.0, 50.0):
            for radius in (1.0, 15.0, 50.0):
                setting = {"epsilon": epsilon, "radius": radius}
                for attacked, drop in drops.items():
                    more = 0.0 if as_claimed else 0.005 * epsilon
                    after = {x: before[x] - drop - more + scatter(patient, x, attacked, epsilon, radius) for x in BRATS}
                    rows += result(ENSEMBLE, "noise", patient, after, before, setting, attacked)
        about = {"network": ENSEMBLE, "attack": "noise", "patient": patient, "case": patient, "settings": {}}
        for name, slope in slopes.items():
            own = slope * (1 + scatter(patient, name))
            channels.append({**about, "channel": name, "qq_slope_before": own, "qq_intercept_before": 1.3 * own})
    return {"results": rows, "channels": channels, "traces": []}


def pervin_rows(count: int, as_claimed: bool) -> Rows:
    sign = 1 if as_claimed else -1
    ranks = {name: 0.7 for (name,) in TABLE_3.rows}
    ranks |= {FGSM: 0.7 + sign * 0.03, "U-Net + GAN": 0.7 + sign * 0.05, INVERSE: 0.7 + sign * 0.09}
    rows = []

    def add(patient: str, network: str, attack: str, epsilon: float, left: float) -> None:
        before = {x: ranks.get(network, 0.0) + scatter(patient, x) for x in (pervin.BACKGROUND, pervin.OBJECT)}
        if network.endswith("epoch 10"):
            early = 0.5 if network.startswith(f"{PLAIN},") else 0.5 + sign * 0.1
            before = {x: early + scatter(patient, x) for x in (pervin.BACKGROUND, pervin.OBJECT)}
        after = {x: y - left + scatter(patient, x, network, attack, epsilon) for x, y in before.items()}
        rows.extend(result(network, attack, patient, after, before, {"epsilon": epsilon}, measure="iou"))

    for patient in patients(count):
        for network in (*ranks, *(pervin.after(x, 10) for x in (PLAIN, FGSM, INVERSE))):
            add(patient, network, "none", 0.0, 0.0)
        for attack, augmented in pervin.AUGMENTED.items():
            for n, epsilon in enumerate(EPSILONS):
                add(patient, PLAIN, attack, epsilon, sign * 0.1 * (n + 1))
                add(patient, augmented, attack, epsilon, 0.02 if as_claimed else 0.2)
    return {"results": rows, "channels": [], "traces": []}


def chen_rows(count: int, as_claimed: bool) -> Rows:
    organs = ("pancreas", "kidneys", "liver", "spleen")
    sign = 1 if as_claimed else -1
    rows, channels = [], []

    def add(patient: str, attack: str, xi: float, drops: dict[str, float], seen: float) -> None:
        before = {x: 0.9 + scatter(patient, x) for x in organs}
        after = {x: before[x] - drops[x] + scatter(patient, x, attack, xi) for x in organs}
        rows.extend(result(chen.NETWORK, attack, patient, after, before, {"xi": xi}))
        about = {"network": chen.NETWORK, "attack": attack, "patient": patient, "case": patient, "settings": {"xi": xi}}
        channels.append({**about, "channel": "CT", "perceptibility": seen + 0.01 * scatter(patient, xi)})

    for patient in patients(count):
        for xi in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
            easy, hard = (0.28 + 0.1 * xi, 0.15 * xi) if as_claimed else (-0.05 * xi, -0.02 * xi)
            drops = {"pancreas": hard, "kidneys": hard, "liver": easy, "spleen": easy}
            add(patient, chen.BOTH, xi, {x: drop + 0.05 * as_claimed for x, drop in drops.items()}, 0.05 + sign * 0.01 * xi)
        add(patient, chen.SHADED, 2.0, {x: 0.2 + sign * 0.05 * (-1 if x == "kidneys" else 1) for x in organs}, 0.06)
        add(patient, chen.DEFORMED, 2.0, dict.fromkeys(organs, 0.2), 0.05)
    return {"results": rows, "channels": channels, "traces": []}


WORLDS: dict[str, Callable[[int, bool], Rows]] = {
    "cheng2020": cheng_rows,
    "liu2021": liu_rows,
    "pervin2023": pervin_rows,
    "chen2019": chen_rows,
}
READERS = {"hardly visible", "cannot be seen", "look real"}


def judged(name: str, rows: Rows) -> dict[str, Any]:
    return {x.text: x for x in papers.claims(name, rows["results"], channels=rows["channels"], traces=rows["traces"])}


def needs_readers(text: str) -> bool:
    return any(x in text for x in READERS)


@pytest.mark.parametrize("name", papers.NAMES)
def test_claims_hold_where_the_world_is_as_the_paper_says(name: str) -> None:
    found = judged(name, WORLDS[name](ENOUGH, True))
    assert {x.text: x.evidence for x in found.values() if x.verdict != "holds" and not needs_readers(x.text)} == {}


@pytest.mark.parametrize("name", papers.NAMES)
def test_claims_do_not_hold_where_it_is_the_other_way_round(name: str) -> None:
    found = judged(name, WORLDS[name](ENOUGH, False))
    held = {x.text: x.evidence for x in found.values() if x.verdict != "does not hold" and not needs_readers(x.text)}
    assert held == {}


@pytest.mark.parametrize("name", papers.NAMES)
@pytest.mark.parametrize("as_claimed", [True, False])
def test_a_sign_never_contradicts_its_word(name: str, as_claimed: bool) -> None:
    for found in judged(name, WORLDS[name](ENOUGH, as_claimed)).values():
        assert not re.search(r"(?:by|=) -", found.evidence), found.evidence


def test_the_word_is_that_of_the_numbers() -> None:
    for as_claimed, word in ((True, "below"), (False, "above")):
        rows = cheng_rows(ENOUGH, as_claimed)
        means = {x: sum(row["dice_after"] for row in rows["results"] if row["channels"] == x) for x in ("T1", "T2")}
        assert (means["T1"] < means["T2"]) is as_claimed
        found = judged("cheng2020", rows)["T2 is the modality whose attack hurts least."]
        assert f"Dice with T1 attacked is {word} that with T2 attacked by 0." in found.evidence


@pytest.mark.parametrize("name", papers.NAMES)
@pytest.mark.parametrize("as_claimed", [True, False])
def test_no_claim_is_testable_on_too_few_patients(name: str, as_claimed: bool) -> None:
    assert set(verdicts(judged(name, WORLDS[name](FEW, as_claimed)).values()).values()) == {"not testable"}


@pytest.mark.parametrize("name", papers.NAMES)
def test_no_claim_is_testable_without_rows(name: str) -> None:
    found = papers.claims(name, [])
    assert {x.verdict for x in found} == {"not testable"} and all(x.evidence and x.source for x in found)


@pytest.mark.parametrize("name", papers.NAMES)
def test_claims_say_where_they_stand_and_each_stands_once(name: str) -> None:
    texts = [x.text for x in papers.claims(name, [])]
    assert len(set(texts)) == len(texts) >= 8 and all(x.endswith(".") for x in texts)


def test_claims_of_organs_need_the_organs() -> None:
    rows = chen_rows(ENOUGH, True)
    for row in rows["results"]:
        row["structure"] = {"liver": "oedema", "spleen": "necrotic core", "pancreas": "enhancing tumour"}.get(row["structure"])
    rows["results"] = [x for x in rows["results"] if x["structure"]]
    found = judged("chen2019", rows)
    kidneys = next(x for text, x in found.items() if text.startswith("For the kidneys"))
    assert kidneys.verdict == "not testable" and "kidneys" in kidneys.evidence
    harder = next(x for text, x in found.items() if text.startswith("Pancreas and kidneys"))
    assert harder.evidence == "the cohort has no pancreas, kidneys, liver or spleen"
    others = next(x for text, x in found.items() if text.startswith("The intensity variation alone"))
    assert others.verdict == "holds"


def test_a_network_that_finds_nothing_makes_no_claim_testable() -> None:
    rows = liu_rows(ENOUGH, True)
    for row in rows["results"]:
        row["dice_before"] = 0.05
    found = judged("liu2021", rows)
    attacks = next(x for text, x in found.items() if text.startswith("i-FGSM lowers Dice more"))
    assert attacks.verdict == "not testable" and "0.05" in attacks.evidence


def test_a_structure_that_one_side_could_not_measure_counts_on_neither() -> None:
    """Else a network without its worst structure would look better."""
    rows = cheng_rows(ENOUGH, True)
    for row in rows["results"]:
        if row["structure"] == "ET" and row["channels"] == "T1ce":
            row["dice_after"] = float("nan")
        elif row["structure"] == "ET":
            row["dice_after"] = 0.0
    assert judged("cheng2020", rows)["T1ce is the modality whose attack hurts most."].verdict == "holds"
