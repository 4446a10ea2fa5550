"""What all recipes promise: same seed same weights, equalities with standard training, their cost, labels that move along."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe_helpers import CHANNELS, PlainLearner, batches, run, small_network, trained

from SegAdversarialLib import InputError
from SegAdversarialLib.attacks import make_attack
from SegAdversarialLib.defenses import recipes
from SegAdversarialLib.defenses.recipes import RECIPES, AdversarialTraining, DefensiveDistillation, Recipe, Standard
from SegAdversarialLib.defenses.recipes.samples import AskedNetwork, case_of, label_of
from SegAdversarialLib.structures.output_head import OutputHead

PGD = {"attack": "pgd", "steps": 2}

MANY: list[Recipe] = [
    Standard(),
    AdversarialTraining(),
    AdversarialTraining(order="alternating"),
    AdversarialTraining(order="free", replays=2),
    AdversarialTraining(attack=PGD, epsilon_units="absolute"),
    recipes.NoiseAugmentation(kind="normal"),
    recipes.AttackAugmentation(),
    recipes.AttackAugmentation(attack=PGD, network="epoch"),
    DefensiveDistillation(temperature=20),
    recipes.ClassicAugmentation(),
]


def named(recipe: Recipe) -> str:
    said = recipe.model_dump(mode="json", exclude_defaults=True)
    return " ".join([recipe.name, *(f"{key}={value}" for key, value in said.items())])


@pytest.mark.parametrize("recipe", MANY, ids=named)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_same_seed_same_weights(recipe: Recipe, dimensions: int) -> None:
    weights = [trained(recipe, dimensions=dimensions, seed=seed).weights for seed in (0, 0)]
    assert torch.equal(*weights) and weights[0].isfinite().all()
    if recipe.name != "standard":
        assert not torch.equal(weights[0], trained(Standard(), dimensions=dimensions).weights)


@pytest.mark.parametrize("order", ["together", "alternating", "free"])
def test_beta_1_is_standard_training(order: str) -> None:
    assert torch.equal(trained(AdversarialTraining(beta=1, order=order)).weights, trained(Standard()).weights)


def test_a_one_hot_teacher_at_temperature_1_is_standard_training() -> None:
    class Knows(torch.nn.Module):
        """Says what the second channel's sign says, with no doubt."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(1e4))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            there = images[:, 1:] > 0.5
            return self.weight * torch.cat([~there, there, there & False], 1)

    found = []
    for recipe in (Standard(), DefensiveDistillation(temperature=1)):
        learner = PlainLearner(small_network(), before=Knows().eval())
        torch.manual_seed(0)
        given = batches(3)
        for batch in given:
            there = batch.images[:, 1] > 0.5
            batch.targets.copy_(torch.stack([~there, there, there & False], 1))
        run(recipe.begin(learner), given)
        found.append(learner.weights)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("recipe", "forwards", "backwards", "updates"),
    [
        (Standard(), 1, 1, 1),
        (AdversarialTraining(), 2, 2, 1),
        (AdversarialTraining(beta=0), 2, 2, 1),
        (AdversarialTraining(order="alternating"), 3, 3, 2),
        (AdversarialTraining(order="free", replays=5), 5, 5, 5),
        (AdversarialTraining(attack=PGD), 2, 2, 1),
        (recipes.NoiseAugmentation(), 2, 2, 2),
        (recipes.NoiseAugmentation(originals=False), 1, 1, 1),
        (DefensiveDistillation(), 1, 1, 1),
        (recipes.Tempered(), 1, 1, 1),
    ],
    ids=str,
)
def test_what_a_step_costs(recipe: Recipe, forwards: int, backwards: int, updates: int) -> None:
    learner = PlainLearner(small_network(), before=small_network(1).eval() if recipe.first else None)
    run(recipe.begin(learner), batches(1))
    assert (learner.forwards, learner.backwards, learner.updates) == (forwards, backwards, updates)


def test_a_share_of_the_steps_has_copies() -> None:
    learner = PlainLearner(small_network(), seed=3)
    logged = run(recipes.NoiseAugmentation(share=0.25).begin(learner), batches(40, size=6))
    copied = sum("copies' loss" in row for row in logged)
    assert 4 <= copied <= 16 and learner.updates == 40 + copied


def test_labels_move_with_a_deformation() -> None:
    (batch,) = batches(1, size=12)
    learner = PlainLearner(small_network())
    attack = make_attack("deformation", {"steps": 1, "max_displacement": 3.0, "spacing_mm": 6.0, "loss": "cross_entropy"})
    asked = AskedNetwork(learner.network, learner, "network")
    images, targets = asked.attacked(batch, attack)
    seed = int(np.random.default_rng([0, 0, 0, 1]).integers(2**63 - 1))
    result = attack.model_copy(update={"seed": seed})(asked._as_model(batch), case_of(batch, 1, learner))
    assert np.array_equal(images[1].numpy(), result.adversarial.image)
    assert np.array_equal(targets[1].argmax(0).numpy(), result.adversarial.label)
    assert torch.equal(targets.sum(1), torch.ones(2, 12, 12, 12))
    assert (targets != batch.targets).any() and learner.network.training


@pytest.mark.parametrize("kind", ["flip", "rotate", "crop"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_labels_move_with_classic_augmentations(kind: str, dimensions: int) -> None:
    (batch,) = batches(1, size=16, dimensions=dimensions)
    batch.images.copy_(batch.targets[:, 1:])
    copier = recipes.ClassicAugmentation(kinds=kind, rotation=60).copier(PlainLearner(small_network()))
    images, targets = copier(batch)
    assert images.shape == batch.images.shape and (targets != batch.targets).any()
    assert torch.equal(targets.sum(1), torch.ones_like(targets[:, 0]))
    # linear and nearest neighbour agree but on borders
    differs = ((images > 0.5) != (targets[:, 1:] > 0.5)).float().mean()
    assert differs == 0 if kind == "flip" else differs < 0.05
    again, other = copier(batch)[0], copier(batches(2, size=16, dimensions=dimensions)[1])[0]
    assert torch.equal(again, images) and not torch.equal(other, images)


def test_jitter_leaves_labels_where_they_are() -> None:
    (batch,) = batches(1)
    images, targets = recipes.ClassicAugmentation(kinds=("jitter",)).copier(PlainLearner(small_network()))(batch)
    assert torch.equal(targets, batch.targets) and not torch.equal(images, batch.images)
    assert type(images) is torch.Tensor


def test_samples_without_a_structure_are_left_alone() -> None:
    (batch,) = batches(1)
    batch.targets[0] = 0
    batch.targets[0, 0] = 1
    learner = PlainLearner(small_network())
    for against in ("label", "prediction"):
        attack = make_attack("pgd", {"steps": 1, "against": against})
        images, _targets = AskedNetwork(learner.network, learner, "network").attacked(batch, attack)
        if against == "label":
            assert torch.equal(images[0], batch.images[0]) and not torch.equal(images[1], batch.images[1])
        assert images.isfinite().all()


def test_the_training_of_madry_begins_at_another_point_in_every_step() -> None:
    """With a budget that is crossed in no step, what is handed out is where it began; the images are the same ones."""
    attack = make_attack(
        "pgd", {"steps": 1, "step_size": 1e-7, "loss": "cross_entropy", "random_start": True, "keep": "last", "clip": False}
    )
    learner = PlainLearner(small_network())
    (batch,) = batches(1)
    later = type(batch)(**{**vars(batch), "step": batch.step + 1})
    network = AskedNetwork(learner.network, learner, "network")
    first, again, other = (network.attacked(x, attack)[0] - batch.images for x in (batch, batch, later))
    unit = batch.images.abs().flatten(2).amax(2)
    share = first.flatten(2).abs().amax(2) / unit
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-3 * float(first.abs().max()))
    assert (share <= attack.epsilon * 1.001).all() and (share > 0.9 * attack.epsilon).all()
    plain = AdversarialTraining(attack="pgd")
    assert not plain._chosen().is_random, "the recipe follows Liu et al. 2021, who do not train with PGD"


def test_targets_as_a_label_map() -> None:
    label = torch.tensor([0, 1, 2, 4]).reshape(1, 1, 4)
    regions = {1: (1, 4), 2: (1, 2, 4), 4: (4,)}
    head = OutputHead.of({1: "TC", 2: "WT", 4: "ET"}, "sigmoid", regions)
    assert label_of(head.masks(label).float(), head).tolist() == label.tolist()
    merged = OutputHead.of({0: "background", 1: "tumour"}, "softmax", {1: (1, 2, 4)})
    masks = merged.masks(label).float()
    assert torch.equal(merged.masks(torch.from_numpy(label_of(masks, merged))).float(), masks)


def test_a_sigmoid_head_is_distilled_with_sigmoids() -> None:
    from SegAdversarialLib.defenses.recipes.defensive_distillation import softened

    logits = torch.tensor([[2.0, -1.0]])
    assert torch.allclose(softened(logits, 4, "sigmoid"), torch.sigmoid(logits / 4))
    assert torch.allclose(softened(logits, 4, "softmax"), torch.softmax(logits / 4, 1))


def test_dropout_draws_the_same_whether_or_not_an_attack_is_run() -> None:
    learner = PlainLearner(small_network())
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    AskedNetwork(learner.network, learner, "network").attacked(batches(1)[0], make_attack("pgd", {"steps": 1}))
    assert torch.equal(torch.rand(3), expected)


def test_recipes_come_back_from_what_describes_them() -> None:
    for recipe in [*MANY, *(cls() for cls in RECIPES.values())]:
        told = json.loads(json.dumps(recipe.describe()))
        assert recipes.make(told) == recipe and recipes.find(told["recipe"]) is type(recipe)
    assert recipes.find("AdversarialTraining") is recipes.find("adversarial_training") is AdversarialTraining


@pytest.mark.parametrize("cls", RECIPES.values(), ids=lambda cls: cls.name)
def test_each_says_what_it_is(cls: type[Recipe]) -> None:
    schema = cls.model_json_schema()
    assert cls.title and len(schema["description"]) > 20
    for name, field in schema["properties"].items():
        assert field["description"].endswith("."), name
        if "number" in (field.get("type"), *(x.get("type") for x in field.get("anyOf", ()))):
            assert field["unit"], name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"recipe": "adversarial"}, "There is no recipe"),
        ({"epsilon": 0.1}, "needs its name"),
        ({"recipe": "adversarial-training", "epsilom": 0.1}, "nearest name is epsilon"),
        ({"recipe": "adversarial-training", "beta": 2}, "beta"),
        ({"recipe": "adversarial-training", "attack": "pdg"}, "nearest name is pgd"),
        ({"recipe": "adversarial-training", "attack": "pgd", "order": "free"}, "choose the attack fgsm"),
        ({"recipe": "adversarial-training", "attack": "pgd", "epsilon_units": "range"}, "choose relative"),
        ({"recipe": "classic-augmentation", "kinds": []}, "at least one kind"),
        ({"recipe": "defensive-distillation", "temperature": 0}, "temperature"),
    ],
)
def test_wrong_settings_are_one_sentence(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        recipes.make(settings)
    assert "\n" not in str(error.value)


def test_what_must_come_before_is_missed() -> None:
    for recipe in (DefensiveDistillation(), recipes.AttackAugmentation()):
        assert recipe.first is not None
        with pytest.raises(InputError, match="trained before"):
            recipe.begin(PlainLearner(small_network()))


def test_a_teacher_with_other_channels_or_classes_is_refused() -> None:
    from SegAdversarialLib import SegmentationModel

    def model(channels: tuple[str, ...], classes: tuple[str, ...]) -> SegmentationModel:
        return SegmentationModel.from_network(small_network(outputs=len(classes)), channels=channels, classes=classes)

    for given, said in (
        (model(("B", "A"), ("background", "core", "rim")), "channels"),
        (model(CHANNELS, ("background", "core")), "classes"),
    ):
        recipe = DefensiveDistillation(teacher=given)
        assert recipe.first is None
        with pytest.raises(InputError, match=said):
            recipe.begin(PlainLearner(small_network()))
    fits = DefensiveDistillation(teacher=model(CHANNELS, ("background", "core", "rim")))
    assert run(fits.begin(PlainLearner(small_network())), batches(1))[0]["loss"] > 0


def test_a_teacher_that_is_a_program_opens_when_its_bytes_are_trusted(tmp_path: Path) -> None:
    path = tmp_path / "teacher.ts"
    torch.jit.trace(small_network().eval(), torch.zeros(1, 2, 8, 8, 8)).save(str(path))
    settings = {"channels": list(CHANNELS), "classes": ["background", "core", "rim"]}
    path.with_suffix(".json").write_text(json.dumps(settings))
    trusted = (hashlib.sha256(path.read_bytes()).hexdigest(),)
    for trust in (False, ("0" * 64,)):
        with pytest.raises(InputError, match="teacher.ts is a TorchScript file, .*if you trust its source"):
            DefensiveDistillation(teacher=str(path), trust=trust).begin(PlainLearner(small_network()))
    recipe = DefensiveDistillation(teacher=str(path), trust=trusted)
    assert run(recipe.begin(PlainLearner(small_network())), batches(1))[0]["loss"] > 0
    assert "trust" not in recipe.describe()
