"""What is certified of a network whose smoothed answer has a closed form holds, and hardly any certificate is missing."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest
import torch
from certificate_helpers import Linear, Sections, case_of, linear_model
from scipy.stats import binom, norm

import SegAdversarialLib
from SegAdversarialLib.defenses.voting import Questions, Votes, vote
from SegAdversarialLib.errors import Cancelled, InputError
from SegAdversarialLib.model.noise import GaussianNoise
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.structures.output_head import OutputHead

certify = SegAdversarialLib.certify

WEIGHTS, BIAS, SIGMAS = (0.7, -1.1), 0.3, {"C0": 2.0, "C1": 0.5}
SCALE = math.hypot(WEIGHTS[0] * SIGMAS["C0"], WEIGHTS[1] * SIGMAS["C1"])
"""Standard deviation of w.x + b under the noise."""


def scores(image: np.ndarray) -> np.ndarray:
    """How far each voxel is from the boundary, in standard deviations of the noise; positive inside class 1."""
    return (WEIGHTS[0] * image[0].astype(np.float64) + WEIGHTS[1] * image[1] + BIAS) / SCALE


def random_image(seed: int, shape: tuple[int, ...] = (2, 6, 7, 8), scale: float = 3.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def test_votes_are_those_of_the_closed_form() -> None:
    image = random_image(1)
    model, case, n = linear_model(WEIGHTS, BIAS), case_of(image), 400
    noise = GaussianNoise.on(case, model.channels, SIGMAS, "absolute", seed=5)
    votes = vote(model, case, noise, Questions(model.head, {}), 10, n)
    chances = norm.cdf(scores(image))
    # each count is a binomial draw: even the most extreme of these voxels is no rarer than 1 in a million
    tails = np.minimum(binom.cdf(votes.counts[1], n, chances), binom.sf(votes.counts[1] - 1, n, chances))
    assert tails.min() * tails.size > 1e-6
    assert abs((votes.counts[1] / n - chances).mean()) < 0.01
    np.testing.assert_array_equal(votes.counts.sum(0), n)


def test_what_is_certified_lies_beyond_the_radius_and_what_lies_well_beyond_it_is_certified() -> None:
    image = random_image(2)
    found = certify(linear_model(WEIGHTS, BIAS), case_of(image), SIGMAS, 300, sigma_units="absolute", tau=0.8, seed=3)
    radius, distance = norm.ppf(0.8), scores(image)  # the exact distance to the boundary, in the norm weighted by sigma
    assert found.tests.weighted_radius == pytest.approx(radius)
    assert (np.abs(distance[~found.abstained]) >= radius).all()
    assert not found.abstained[np.abs(distance) > 2.5].any()
    assert found.abstained[np.abs(distance) < 0.3].all()
    np.testing.assert_array_equal(found.labels[~found.abstained], distance[~found.abstained] > 0)
    np.testing.assert_array_equal(found.certain["tumour"] == 1, ~found.abstained & (distance > 0))


def test_the_radius_of_a_channel_alone_and_of_all_together_are_the_closed_form_s() -> None:
    found = certify(linear_model(WEIGHTS, BIAS), case_of(random_image(2)), SIGMAS, 100, sigma_units="absolute")
    assert found.radii == pytest.approx({name: sigma * norm.ppf(0.75) for name, sigma in SIGMAS.items()})
    assert found.radius == pytest.approx(0.5 * norm.ppf(0.75))
    change = np.zeros((2, 6, 7, 8))
    change[0, 1, 2, 3] = 0.99 * found.radii["C0"]
    assert found.holds(change)
    change[1, 3, 2, 1] = 0.2 * found.radii["C1"]
    assert not found.holds(change)


@pytest.mark.parametrize("towards", [1, -1])
def test_no_change_within_the_radius_turns_the_smoothed_answer_of_a_certified_voxel(towards: int) -> None:
    image = random_image(4)
    found = certify(linear_model(WEIGHTS, BIAS), case_of(image), SIGMAS, 200, sigma_units="absolute")
    # the change of a single voxel that moves w.x + b most for its size in the weighted norm
    variances = np.array([SIGMAS["C0"] ** 2, SIGMAS["C1"] ** 2])
    worst = towards * 0.999 * found.tests.weighted_radius * variances * WEIGHTS / SCALE
    changed = scores(image + worst[:, None, None, None])
    certain = ~found.abstained
    np.testing.assert_array_equal(changed[certain] > 0, found.labels[certain] == 1)
    # and a little more of it would turn some voxel: the radius is no smaller than it need be
    assert np.abs(scores(image))[certain].min() < 3 * found.tests.weighted_radius


def test_wrong_certificates_of_whole_volumes_are_rarer_than_alpha() -> None:
    volumes, alpha, tau, n, n0 = 1000, 0.1, 0.75, 60, 9
    # all voxels are as near to being certain as a wrong one can be: their true share is tau, or just below
    wrong_at = 0.999 * norm.ppf(tau) * SCALE
    image = np.zeros((2, volumes, 4, 5), np.float32)
    image[0] = ((wrong_at - BIAS) / WEIGHTS[0]) * 1.0
    model, case = linear_model(WEIGHTS, BIAS), case_of(image)
    assert norm.cdf(scores(image)).max() <= tau
    noise = GaussianNoise.on(case, model.channels, SIGMAS, "absolute", seed=11)
    votes = vote(model, case, noise, Questions(model.head, {}), n0, n)
    wrong = 0
    for k in range(volumes):  # voxels are independent of each other: each slice is a volume certified by itself
        inside, outside, _ = Votes(votes.guesses[:, k], votes.counts[:, k], n).decide(tau, alpha)
        wrong += bool((inside | outside).any())  # nothing here may be certified
    # at most alpha; and the tests are no blunter than they must be
    assert binom.sf(wrong - 1, volumes, alpha) > 1e-6 and wrong <= alpha * volumes
    assert wrong > 0


def test_the_same_without_a_correction_would_be_wrong_far_more_often() -> None:
    tau, alpha, n = 0.75, 0.1, 60
    counts = np.random.default_rng(0).binomial(n, tau, (1000, 1, 5, 8)).astype(np.int16)
    guesses = np.ones((1, 5, 8), bool)
    alone = sum((binom.sf(x - 1, n, tau) <= alpha).any() for x in counts)
    together = sum(Votes(guesses, x, n).decide(tau, alpha)[0].any() for x in counts)
    assert alone > 900 and together <= 100


def test_a_voxel_between_two_classes_of_a_region_is_certain_for_the_region() -> None:
    network = Sections([0.0, 10.0])
    model = SegmentationModel.from_network(network, channels=["C0"], classes=("background", "oedema", "core"))
    image = np.full((1, 4, 4, 4), -30.0)
    image[0, 1] = 10.0  # on the border of both classes, far from the background
    image[0, 2] = 30.0
    label = np.zeros((4, 4, 4), np.int16)
    label[1], label[2] = 1, 2
    found = certify(model, case_of(image, label), 2.0, 100, sigma_units="absolute", regions={"tumour": (1, 2)})
    assert found.abstained[1].all() and not found.abstained[[0, 2, 3]].any()
    assert (found.certain["tumour"] == np.array([0, 1, 1, 0])[:, None, None]).all()
    assert found.get("tumour")["certified Dice"] == 1.0
    # the 16 undecided voxels are all the oedema there is
    assert found.get("oedema")["certified Dice"] == 0.0 and found.get("oedema")["abstained in reference"] == 1.0
    assert found.get("core")["certified Dice"] == pytest.approx(2 * 16 / (16 + 32))


def test_outputs_of_a_sigmoid_head_are_certified_each_by_itself() -> None:
    model = SegmentationModel.from_network(
        Linear((1.0,)), channels=["C0"], classes={1: "whole", 2: "other"}, head="sigmoid", device="cpu"
    )
    image = np.full((1, 3, 4, 4), 20.0)
    image[0, 1] = 0.0
    found = certify(model, case_of(image), 1.0, 100, sigma_units="absolute")
    assert set(found.certain) == {"whole", "other"} and found.reference == "prediction"
    assert (found.certain["other"][[0, 2]] == 1).all() and (found.certain["whole"][[0, 2]] == 0).all()
    assert found.abstained[1].all() and not found.abstained[[0, 2]].any()
    assert found.vote_share[0].min() == 1.0 and found.vote_share[1].max() < 0.8


def test_windows_see_the_same_noise_as_the_whole() -> None:
    image = random_image(6)
    ways = [linear_model(WEIGHTS, BIAS), linear_model(WEIGHTS, BIAS, window=(4, 4, 4), overlap=0.25)]
    found = [certify(model, case_of(image), SIGMAS, 60, sigma_units="absolute", seed=2) for model in ways]
    # a vote on the boundary may fall otherwise where windows are blended
    assert np.abs(found[0].vote_share - found[1].vote_share).max() <= 1 / 60 + 1e-6


def test_the_same_seed_gives_the_same_certificate_and_another_seed_other_votes() -> None:
    image, model = random_image(7), linear_model(WEIGHTS, BIAS)
    found = [certify(model, case_of(image), 0.2, 60, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(found[0].vote_share, found[1].vote_share)
    assert found[0].rows == found[1].rows
    assert (found[0].vote_share != found[2].vote_share).any()


def test_a_relative_sigma_is_a_share_of_each_channel_s_largest_intensity() -> None:
    image = random_image(8)
    found = certify(linear_model(WEIGHTS, BIAS), case_of(image), 0.1, 60)
    assert found.tests.sigmas == pytest.approx({f"C{n}": 0.1 * float(np.abs(image[n]).max()) for n in range(2)})


def test_what_is_kept_does_not_grow_with_the_number_of_draws() -> None:
    case, model = case_of(random_image(9, (2, 16, 16, 16))), linear_model(WEIGHTS, BIAS)
    noise, questions = GaussianNoise.on(case, model.channels, SIGMAS, "absolute"), Questions(model.head, {})
    held: list[int] = []

    def look(fraction: float, text: str) -> None:
        # exactly these: weak references, and what torch's compiler traces with, have no bytes
        alive = [x for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter, np.ndarray)]
        held.append(sum(x.nbytes for x in alive if not getattr(x, "is_sparse", False)))

    votes = vote(model, case, noise, questions, 3, 60, look)
    assert votes.counts.nbytes == 2 * 2 * 16**3 and votes.guesses.nbytes == 2 * 16**3
    # after the guesses: 45 copies add less than one would that is kept; what others hold meanwhile comes and goes
    assert held[-1] - held[len(held) // 4] < case.image.nbytes


def test_cancelling_stops_between_two_copies() -> None:
    told: list[str] = []
    model, case = linear_model(WEIGHTS, BIAS), case_of(random_image(10))
    with pytest.raises(Cancelled):
        certify(
            model, case, 0.1, 60, progress=lambda _, text: told.append(text), cancel=lambda: any("copy 7" in x for x in told)
        )
    assert not any("copy 8 " in x for x in told) and told[0].endswith("noisy copy 1 of 80")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sigma": 0.0}, "Sigma must be above 0"),
        ({"sigma": math.nan}, "Sigma must be above 0"),
        ({"sigma": math.inf}, "Sigma must be above 0"),
        ({"sigma": {"C0": 1.0}}, "missing for channel C1"),
        ({"sigma": {"C0": 1.0, "C1": 1.0, "T9": 1.0}}, "given for T9"),
        ({"tau": 0.5}, "Tau must be above 0.5"),
        ({"tau": 1.0}, "Tau must be above 0.5"),
        ({"alpha": 0.0}, "Alpha"),
        ({"alpha": math.nan}, "Alpha"),
        ({"n0": 0}, "n0"),
        ({"seed": -1}, "seed"),
        ({"n": 46}, "at least n = 47"),
        ({"regions": {"tumour": (1,)}}, "region name"),
    ],
)
def test_wrong_numbers_are_one_sentence(wrong: dict[str, object], words: str) -> None:
    asked: dict[str, object] = {"sigma": 0.1, "n": 60, **wrong}
    with pytest.raises(InputError, match=words):
        certify(linear_model(WEIGHTS, BIAS), case_of(random_image(1)), **asked)  # type: ignore[arg-type]


def test_a_channel_of_zeros_has_no_relative_sigma() -> None:
    image = random_image(1)
    image[1] = 0
    with pytest.raises(InputError, match="Channel C1 is 0 everywhere"):
        certify(linear_model(WEIGHTS, BIAS), case_of(image), 0.1, 60)


def test_heads_ask_for_every_output_and_region_once() -> None:
    head = OutputHead.of(("background", "a", "b"))
    assert Questions(head, {"both": (1, 2)}).names() == ["background", "a", "b", "both"]
