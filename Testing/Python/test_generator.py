"""The learned attack: its networks, its losses against definitions, training that can be interrupted, and drawing from it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import ROOT, oblique_affine, tiny_network, toy_case

from SegAdversarialLib import Case, InputError, Preprocessing, SegmentationModel, open_model, phantom
from SegAdversarialLib.attacks import GenerativeAttack, make_attack
from SegAdversarialLib.cli import main
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.fields import jacobian_determinant, warp
from SegAdversarialLib.formats import builtin
from SegAdversarialLib.head import OutputHead
from SegAdversarialLib.jobs import make_job, read_job
from SegAdversarialLib.networks.deformation_intensity_vae import Critic, Gaussian
from SegAdversarialLib.networks.generator import BoundGenerator, Generator
from SegAdversarialLib.objectives import MaskedCrossEntropy
from SegAdversarialLib.training.checkpoints import CHECKPOINT_FILE
from SegAdversarialLib.training.generator import (
    GENERATOR_FILE,
    Terms,
    Training,
    _Step,
    _Trainer,
    made_for,
    masked_cross_entropy,
    train_generator,
)
from SegAdversarialLib.training.patches import patch_of

SHAPE = (10, 12, 14)
SMALL: dict[str, Any] = {"features": (4, 8), "latents": 2, "largest_displacement": 1.5, "smoothing": 2.0}
QUICK: dict[str, Any] = {"critic_steps": 1, "critic_features": (4, 8)}


def subject(seed: int = 0, shape: tuple[int, int, int] = SHAPE, **settings: Any) -> Case:
    case = toy_case(shape, seed=seed, **settings)
    return replace(case, name=f"subject {seed}")


def toy_model(dimensions: int = 3, **settings: Any) -> SegmentationModel:
    axes = {"preprocessing": Preprocessing(axes="ji")} if dimensions == 2 else {}
    classes = ["background", "core", "rim"]
    network = Standardized(tiny_network(dimensions=dimensions))
    return SegmentationModel.from_network(network, channels=("A", "B"), classes=classes, **axes, **settings)


class Standardized(torch.nn.Module):
    """A network for intensities around 300."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return 4 * self.network((batch - 300) / 80)


def toy_generator(case: Case | None = None, seed: int = 0, dimensions: int = 3, **settings: Any) -> Generator:
    """A random one whose fields are not small."""
    found = made_for(toy_model(dimensions), case or subject(), {**SMALL, **settings})
    generator = Generator.new(found, seed)
    with torch.no_grad():
        for decoder in (generator.network.deformation, generator.network.intensity):
            decoder.levels[-1].conv.weight.mul_(25)
    return generator


def bound_to(generator: Generator, case: Case) -> BoundGenerator:
    return generator.on(case, torch.from_numpy(case.image))


def drawn(makes: BoundGenerator, xi: float = 2.0, seed: int = 0) -> Any:
    return makes.decode(makes.encode(xi), makes.noise(torch.Generator().manual_seed(seed)), xi)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 10, 13)])
@pytest.mark.parametrize("affine", [np.eye(4), oblique_affine()], ids=["unit", "oblique"])
def test_fields_fit_the_case_and_their_bounds(dimensions: int, shape: tuple[int, int, int], affine: np.ndarray) -> None:
    case = subject(shape=shape, affine=affine)
    generator = toy_generator(case, dimensions=dimensions)
    with torch.no_grad():
        fields = drawn(bound_to(generator, case), 3.0)
        assert fields.displacement.shape == (3, *shape) and fields.intensity.shape == (2, *shape)
        length = fields.displacement.norm(dim=0)
        assert 0.1 < float(length.max()) <= 1.5 and 0.05 < float(fields.intensity.abs().max()) <= 1.0
        assert float(jacobian_determinant(fields.displacement, affine).min()) > 0
        if dimensions == 2:  # nothing moves across the slices
            across = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
            assert float(torch.einsum("c...,c->...", fields.displacement.double(), torch.tensor(across)).abs().max()) < 1e-6
        changed = bound_to(generator, case).apply(fields)
        assert changed.shape == case.image.shape
        low, high = case.image.min((1, 2, 3)), case.image.max((1, 2, 3))
        assert (changed.numpy().min((1, 2, 3)) >= low).all() and (changed.numpy().max((1, 2, 3)) <= high).all()


def test_no_fold_whatever_the_decoder_says() -> None:
    """The worst field that is bounded: every voxel of the decoder at its bound, in a random direction, or in checkerboard."""
    network = toy_generator(largest_displacement=2.0).network
    for number in range(20):
        raw = torch.randn((1, 3, 8, 8, 8), generator=torch.Generator().manual_seed(number))
        if number == 0:
            raw = torch.ones(1, 3, 8, 8, 8)
            raw[..., 4:] = -1
        field = 2.0 * raw / raw.norm(dim=1, keepdim=True)
        finished = network.deformation.finished(field)[0]
        assert float(finished.norm(dim=0).max()) <= 2.0
        kji_as_ras = finished.flip(0)
        assert float(jacobian_determinant(kji_as_ras, np.eye(4)).min()) > 0


def test_components_point_along_the_bodys_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a turned and oblique grid, one mm along the axis that points left goes one mm along that axis of the case."""
    affine = oblique_affine()[:, [2, 0, 1, 3]] * np.array([-1, 1, 1, 1])
    case = subject(shape=(9, 10, 11), affine=affine)
    makes = bound_to(toy_generator(case), case)
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    for axis, body in ((2, (-1, 0, 0)), (1, (0, -1, 0)), (0, (0, 0, 1))):  # i, j, k point to L, P, S
        components = torch.zeros(3, *case.shape)
        components[axis] = 1
        closest = directions[:, np.abs(np.array(body) @ directions).argmax()]
        expected = closest * np.sign(np.array(body) @ closest)
        found = makes._in_millimetres(components)
        np.testing.assert_allclose(found[:, 4, 4, 4], expected, atol=1e-6)


def test_a_coarser_grid_sees_the_same_place() -> None:
    """The fields of a generator of 2 mm lie on a case of 1 mm where they lie on one of 2 mm."""
    fine = subject(shape=(16, 16, 16))
    coarse_affine = np.diag([2.0, 2, 2, 1])
    coarse_affine[:3, 3] = 0.5
    image = fine.image.reshape(2, 8, 2, 8, 2, 8, 2).mean((2, 4, 6))
    coarse = Case(image, fine.channels, coarse_affine, name="coarse")
    generator = toy_generator(fine, spacing=(2, 2, 2))
    with torch.no_grad():
        makes = bound_to(generator, fine)
        makes_coarse = bound_to(generator, coarse)
        makes_coarse._seen = makes._seen
        first, second = drawn(makes), drawn(makes_coarse)
    mean = first.displacement.reshape(3, 8, 2, 8, 2, 8, 2).mean((2, 4, 6))
    np.testing.assert_allclose(mean[:, 1:-1, 1:-1, 1:-1], second.displacement[:, 1:-1, 1:-1, 1:-1], atol=0.05)


def test_xi_of_zero_is_nothing_bit_for_bit() -> None:
    case = subject()
    makes = bound_to(toy_generator(), case)
    with torch.no_grad():
        np.testing.assert_array_equal(makes.apply(drawn(makes, 0.0)), case.image)


def test_background_keeps_its_intensity() -> None:
    case = subject()
    case.image[:, :3] = 0
    with torch.no_grad():
        for foreground in (True, False):
            makes = bound_to(toy_generator(case, foreground=foreground, largest_displacement=0.0), case)
            changed = makes.apply(drawn(makes, 3.0)).numpy()
            assert (changed[:, :3] != 0).any() == (not foreground)
            assert (changed[:, 3:] != case.image[:, 3:]).any()


def test_divergence_is_that_of_the_normal_distribution() -> None:
    mean, log_variance = torch.tensor([0.5, -1.0]), torch.tensor([0.3, -2.0])
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0, 1)).mean()
    assert float(Gaussian(mean, log_variance).divergence()) == pytest.approx(float(wanted))


def test_the_critics_weights_are_clipped() -> None:
    critic = Critic(3, 2, (4, 8))
    critic.clip(0.01)
    assert max(float(x.detach().abs().max()) for x in critic.parameters()) == pytest.approx(0.01)
    assert critic(torch.randn(3, 2, 9, 10, 11)).shape == (3,)


def a_step(model: SegmentationModel, case: Case, bound: Any, **settings: Any) -> tuple[_Trainer, _Step]:
    trainer = _Trainer(model, toy_generator(case), Training(**{**QUICK, **settings}), None)
    return trainer, _Step(trainer, bound, trainer.generator.on(case, bound.image))


@pytest.mark.parametrize("compare", ["warped", "original"])
def test_loss_terms_are_the_papers(compare: str) -> None:
    """Every term of eq. 2 to 6, computed again from the images and fields."""
    model, case, xi = toy_model(), subject(), 1.5
    with model.on(case) as bound:
        trainer, step = a_step(model, case, bound, compare=compare)
        terms, image = step.terms(xi, torch.Generator().manual_seed(3))
        makes = trainer.generator.on(case, bound.image)
        latents = makes.encode(xi)
        fields = makes.decode(latents, makes.noise(torch.Generator().manual_seed(3)), xi)
        torch.testing.assert_close(image, makes.apply(fields))
        clean, attacked = bound.logits(bound.image).softmax(0), bound.logits(image).softmax(0)
    if compare == "warped":
        clean = warp(clean, fields.displacement, case.affine)
    mask = clean[1:].sum(0)
    wanted = float(-(mask * (clean * attacked.log()).sum(0)).sum() / mask.sum())
    assert terms.cross_entropy == pytest.approx(wanted, rel=1e-6)
    assert float(terms.attack) == pytest.approx((xi - wanted) ** 2, rel=1e-5)
    assert float(terms.deformation) == pytest.approx(float((fields.displacement**2).sum(0).mean()), rel=1e-6)
    assert float(terms.intensity) == pytest.approx(float((fields.intensity**2).mean()), rel=1e-6)

    def standard(image: torch.Tensor) -> torch.Tensor:
        flat = bound.image.flatten(1)
        return ((image.flatten(1) - flat.mean(1, True)) / flat.std(1, correction=0, keepdim=True)).reshape(image.shape)[None]

    def turned(image: torch.Tensor) -> torch.Tensor:
        return standard(image).flip(3, 4)  # from RAS, as the toy case lies, to LPS

    score = trainer.critic(turned(bound.image)) - trainer.critic(turned(image))
    assert float(terms.critic) == pytest.approx(float(score), rel=1e-5, abs=1e-9)
    how = Training(critic_weight=3, deformation_weight=5, intensity_weight=7, kl_weight=11)
    parts = Terms(*(torch.tensor(float(x)) for x in (1, 10, 100, 1000, 10000)), cross_entropy=0.0)
    assert float(parts.total(how)) == 3 + 10 + 500 + 7000 + 110000


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_masked_cross_entropy(kind: Literal["softmax", "sigmoid"]) -> None:
    """It is the objective of this name; balanced, each structure counts by its own mean; what is not there does not count."""
    source = torch.Generator().manual_seed(0)
    head = OutputHead.of(["background", "core", "rim"] if kind == "softmax" else ["core", "rim"], kind)
    logits, clean = (3 * torch.randn(len(head.labels), 4, 5, 6, generator=source).double() for _ in range(2))
    targets = clean.softmax(0) if kind == "softmax" else clean.sigmoid()
    objective = MaskedCrossEntropy(targets.numpy()).bind(head, "cpu", torch.float64)
    torch.testing.assert_close(masked_cross_entropy(logits, targets, head, False), objective(logits))
    if kind == "softmax":
        voxelwise = -(targets * logits.log_softmax(0)).sum(0)
    else:
        voxelwise = -(targets * logits.sigmoid().log() + (1 - targets) * (1 - logits.sigmoid()).log()).mean(0)
    parts = [(targets[n] * voxelwise).sum() / targets[n].sum() for n in head.foreground]
    torch.testing.assert_close(masked_cross_entropy(logits, targets, head, True), sum(parts) / 2)
    gone = targets.clone()
    gone[-1] *= 1e-6
    wanted = (gone[-2] * -(gone * logits.log_softmax(0)).sum(0)).sum() / gone[-2].sum()
    if kind == "softmax":
        torch.testing.assert_close(masked_cross_entropy(logits, gone, head, True), wanted)
    assert float(masked_cross_entropy(logits, gone * 1e-6, head, True)) == 0


def test_defaults_are_the_papers() -> None:
    how = Training()
    assert (how.deformation_weight, how.intensity_weight) == (0.1, 0.01)
    assert (how.learning_rate, how.decay, how.rms_epsilon) == (1e-4, 0.9, 1e-10)
    assert made_for(toy_model(), subject()).xi == (0.5, 3.0)
    trainer = _Trainer(toy_model(), toy_generator(), how, None)
    for optimizer in trainer._optimizers:
        group = optimizer.param_groups[0]
        assert (group["lr"], group["alpha"], group["eps"]) == (1e-4, 0.9, 1e-10)


@pytest.mark.parametrize("compare", ["warped", "original"])
def test_gradient_is_that_of_plain_autograd(compare: str) -> None:
    """The gradient in the generator's weights, against one graph from the weights to the loss."""
    model, case, xi = toy_model(), subject(), 1.5
    with model.on(case) as bound:
        trainer, step = a_step(model, case, bound, compare=compare)
        network = trainer.generator.network
        step.terms(xi, torch.Generator().manual_seed(3))[0].total(step._how).backward()
        found = [x.grad.clone() for x in network.parameters()]
        network.zero_grad()
        makes = trainer.generator.on(case, bound.image)
        latents = makes.encode(xi)
        fields = makes.decode(latents, makes.noise(torch.Generator().manual_seed(3)), xi)
        image = makes.apply(fields)
        clean = model.network(bound.image[None])[0].softmax(0).detach()
        targets = warp(clean, fields.displacement, case.affine) if compare == "warped" else clean
        mask = targets[1:].sum(0)
        voxelwise = -(targets * model.network(image[None])[0].log_softmax(0)).sum(0)
        loss = (xi - (mask * voxelwise).sum() / mask.sum()) ** 2
        loss = loss - trainer.critic(makes.as_batch(makes.standardized(image))).mean()
        loss = loss + 0.1 * (fields.displacement**2).sum(0).mean() + 0.01 * (fields.intensity**2).mean()
        loss = loss + 0.01 * (latents.deformation.divergence() + latents.intensity.divergence())
        loss.backward()
    largest = max(float(x.grad.abs().max()) for x in network.parameters())
    assert largest > 1e-3
    for one, parameter in zip(found, network.parameters()):
        torch.testing.assert_close(one, parameter.grad, rtol=1e-6, atol=1e-9 * largest)


def test_gradient_through_windows() -> None:
    """The slope of the loss along a direction of the weights, where the network sees the case in overlapping windows."""
    model, case, xi = toy_model(window=(8, 8, 8)), subject(), 1.5
    with model.on(case) as bound:
        trainer, step = a_step(model, case, bound)
        network = trainer.generator.network

        def loss() -> torch.Tensor:
            return step.terms(xi, torch.Generator().manual_seed(3))[0].total(step._how)

        loss().backward()
        direction = [
            torch.randn(x.shape, generator=torch.Generator().manual_seed(n), dtype=x.dtype)
            for n, x in enumerate(network.parameters())
        ]
        slope = sum(float((x.grad * d).sum()) for x, d in zip(network.parameters(), direction))
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for parameter, d in zip(network.parameters(), direction):
                    parameter.add_(d, alpha=sign * 1e-7 * (1 if sign == 1 else 2))
            values.append(float(loss().detach()))
    assert slope == pytest.approx((values[0] - values[1]) / 2e-7, rel=1e-3)


def trained(folder: Path | None = None, epochs: int = 3, cases: Any = None, dimensions: int = 3, **settings: Any) -> Generator:
    cancel, start = settings.pop("cancel", None), settings.pop("start", None)
    made = None if start is not None else {**SMALL, **settings.pop("generator", {})}
    how = {**QUICK, "epochs": epochs, **settings}
    cases = [subject(n) for n in range(3)] if cases is None else cases
    return train_generator(toy_model(dimensions), cases, how, generator=made, start=start, folder=folder, cancel=cancel)


def assert_same(first: Generator, second: Generator) -> None:
    assert first.fingerprint == second.fingerprint
    assert first.learned["by_epoch"] == second.learned["by_epoch"]


def after(calls: int) -> Any:
    """A cancel check that says yes at the last of some calls."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_training_changes_what_it_should() -> None:
    made = {**SMALL, "xi": (1.5, 1.5)}
    before, model = Generator.new(made_for(toy_model(), subject(), made)), toy_model()
    weights = [x.clone() for x in model.network.parameters()]
    generator = train_generator(model, [subject()], {**QUICK, "epochs": 25, "learning_rate": 5e-3}, generator=made)
    assert generator.fingerprint != before.fingerprint
    assert all(torch.equal(x, y) and x.requires_grad for x, y in zip(weights, model.network.parameters()))
    rows = generator.learned["by_epoch"]
    assert [row["epoch"] for row in rows] == list(range(25))
    assert np.mean([row["attack"] for row in rows[-8:]]) < np.mean([row["attack"] for row in rows[:8]])
    assert generator.learned["network"] == "network"


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    trained(tmp_path / "parts", epochs=1)
    with pytest.raises(Cancelled):
        trained(tmp_path / "parts", cancel=after(8))
    assert_same(trained(tmp_path / "parts"), whole)
    assert_same(Generator.read(tmp_path / "parts" / GENERATOR_FILE), whole)
    assert_same(trained(), whole)
    assert_same(trained(tmp_path / "whole"), whole)  # which is finished already


def test_cancelling_loses_at_most_an_epoch(tmp_path: Path) -> None:
    seen: list[str] = []
    with pytest.raises(Cancelled):
        train_generator(
            toy_model(),
            [subject(n) for n in range(3)],
            {**QUICK, "epochs": 3},
            generator=SMALL,
            folder=tmp_path,
            progress=lambda fraction, text: seen.append(text),
            cancel=lambda: len(seen) == 5,
        )
    assert "epoch 2 of 3" in seen[-1]
    assert len(Generator.read(tmp_path / GENERATOR_FILE).learned["by_epoch"]) == 1
    assert_same(Generator.read(tmp_path / GENERATOR_FILE), trained(epochs=1))
    assert {x.name for x in tmp_path.iterdir()} == {GENERATOR_FILE, CHECKPOINT_FILE, "training.csv"}


def test_seeds_and_other_ways_to_give_cases() -> None:
    first, again, other = (trained(epochs=1, seed=seed) for seed in (1, 1, 2))
    assert_same(first, again)
    assert first.fingerprint != other.fingerprint
    torch.manual_seed(5)

    def each() -> Iterable[Case]:
        return (subject(n) for n in range(2))

    assert [row["cases"] for row in trained(epochs=2, cases=each).learned["by_epoch"]] == [2, 2]


def test_slices_patches_draws_and_losses(tmp_path: Path) -> None:
    flat = trained(epochs=1, dimensions=2, patch=(3, 12, 14), draws=2)
    assert flat.settings.dimensions == 2 and flat.settings.axes == "ji"
    trained(epochs=1, patch=(8, 8, 8), balanced=True, critic_steps=0)
    fixed = trained(epochs=1, generator={"xi": (2.0, 2.0)})
    assert not fixed.settings.conditional
    assert {row["xi"] for row in fixed.learned["by_epoch"]} == {2.0}
    further = trained(tmp_path, epochs=1, start=fixed)
    assert further.settings == fixed.settings and further.fingerprint != fixed.fingerprint


def test_patches_lie_where_they_lay() -> None:
    case = subject(affine=oblique_affine())
    label = np.zeros(case.shape, np.int16)
    label[8, 2, 12] = 1
    case = replace(case, label=label)
    part = patch_of(case, (4, 20, 6), np.random.default_rng(0))
    assert part.shape == (4, 12, 6) and part.label is not None
    (k,), (j,), (i,) = np.nonzero(part.label)
    np.testing.assert_allclose(part.affine @ [i, j, k, 1], case.affine @ [12, 2, 8, 1])
    np.testing.assert_array_equal(part.image[:, k, j, i], case.image[:, 8, 2, 12])
    assert patch_of(case, None, np.random.default_rng(0)) is case
    assert patch_of(case, (20, 20, 20), np.random.default_rng(0)) is case


def test_what_training_refuses(tmp_path: Path) -> None:
    case = subject()
    other = Case(case.image[:1].copy(), ("C",), case.affine, name="other")
    for cases, settings, made, message in (
        ([], {}, {}, "no cases"),
        (iter([case]), {}, {}, "as a list, or as a function"),
        ([other], {}, {}, "takes 2 channel"),
        ([case], {"epochs": 0}, {}, "epochs"),
        ([case], {"lambda": 1}, {}, "no setting lambda"),
        ([case], {"critic_features": (3,)}, {}, "multiples of 4"),
        ([case], {"patch": (0, 1, 1)}, {}, "at least 1 voxel"),
        ([case], {}, {"features": (6,)}, "multiples of 4"),
        ([case], {}, {"largest_displacement": 9.0, "smoothing": 8.0}, "does not fold"),
        ([case], {}, {"xi": (2.0, 1.0)}, "the smaller first"),
        ([case], {}, {"axes": "kk"}, "axes"),
        ([case], {}, {"channels": ("A", "Z")}, "lacks Z"),
    ):
        with pytest.raises(InputError, match=message):
            train_generator(toy_model(), cases, {**QUICK, "epochs": 1, **settings}, generator={**SMALL, **made})
    trained(tmp_path, epochs=1, cases=[case])
    with pytest.raises(InputError, match="another learning rate; use the same settings"):
        trained(tmp_path, epochs=1, cases=[case], learning_rate=1.0)
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="is damaged"):
        trained(tmp_path, epochs=1, cases=[case])


def test_files(tmp_path: Path) -> None:
    generator, case = toy_generator(), subject()
    path = tmp_path / "folder" / "g.safetensors"
    replace(generator, learned={"network": "toy"}).write(path)
    read = Generator.read(path)
    assert read.settings == generator.settings and read.learned == {"network": "toy"}
    assert read.fingerprint == generator.fingerprint
    with torch.no_grad():
        first, second = (drawn(bound_to(x, case)) for x in (generator, read))
    torch.testing.assert_close(first.displacement, second.displacement, rtol=0, atol=0)
    path.write_bytes(b"no tensors")
    weights = ROOT / "Resources" / "brain-tumour-phantom.safetensors"
    for wrong, message in (
        (path, "damaged"),
        (tmp_path / "none", "no generator file"),
        (tmp_path, "no generator file"),
        (weights, "holds no generator"),
        ("builtin:none", "no built-in generator"),
    ):
        with pytest.raises(InputError, match=message) as found:
            GenerativeAttack(generator=wrong)(toy_model(), case)
        assert str(found.value).count("\n") == 0


def attack(**settings: Any) -> GenerativeAttack:
    return GenerativeAttack(**{"generator": toy_generator(), "samples": 3, **settings})


def test_the_worst_draw_is_kept_and_the_reference_moves_along() -> None:
    model, case = toy_model(), subject()
    far = toy_generator(largest_displacement=5.0, smoothing=5.0)
    far.network.deformation.levels[-1].conv.bias.data.fill_(5.0)
    result = attack(generator=far, keep="all")(model, case)
    rows = result.trace
    assert [row["iteration"] for row in rows] == [0, 1, 2] == [x.iteration for x in result.snapshots]
    worst = min(rows, key=lambda row: row["dice mean"])
    assert result.iteration == worst["iteration"] and result.kept_row == worst
    np.testing.assert_array_equal(result.snapshots[result.iteration].image, result.adversarial.image)
    done = result.perturbation
    assert done.displacement is not None and 0.5 < done.max_displacement() <= 5 and done.min_jacobian(case.affine) > 0
    again = done.apply(case, warp_label=True)
    np.testing.assert_allclose(again.image, result.adversarial.image, atol=1e-2)
    np.testing.assert_array_equal(again.label, result.adversarial.label)
    assert (result.adversarial.label != case.label).any()
    said = model.segment(result.adversarial)
    dice = []
    for n in (1, 2):
        wanted = result.adversarial.label == n
        dice.append(2 * ((said == n) & wanted).sum() / ((said == n).sum() + wanted.sum()))
    assert worst["dice mean"] == pytest.approx(np.mean(dice))
    only = attack(generator=far)(model, case)
    assert not only.snapshots
    np.testing.assert_array_equal(only.adversarial.image, result.adversarial.image)


def test_parts() -> None:
    model, case = toy_model(), subject()
    both, moved, shaded = (attack(parts=x, samples=1)(model, case) for x in ("both", "deformation", "intensity"))
    np.testing.assert_array_equal(both.perturbation.displacement, moved.perturbation.displacement)
    assert moved.perturbation.additive is None and shaded.perturbation.displacement is None
    np.testing.assert_array_equal(shaded.adversarial.label, case.label)
    largest = np.abs(shaded.perturbation.additive).max((1, 2, 3))
    assert (largest > 0).all() and (largest <= case.image.std((1, 2, 3)) * (1 + 1e-5)).all()


@pytest.mark.parametrize("nothing", [{"scale": 0.0}, {"xi": 0.0}])
def test_zero_changes_nothing_bit_for_bit(nothing: dict[str, float]) -> None:
    case = subject()
    result = attack(**nothing)(toy_model(), case)
    np.testing.assert_array_equal(result.adversarial.image, case.image)
    np.testing.assert_array_equal(result.adversarial.label, case.label)
    assert attack(**nothing).does_nothing


def test_channels_and_region() -> None:
    model, case = toy_model(), subject()
    region = np.zeros(case.shape, bool)
    region[2:9, 2:11, 2:13] = True
    shaded = attack(channels="B", parts="intensity", region=region)(model, case)
    np.testing.assert_array_equal(shaded.adversarial.image[0], case.image[0])
    np.testing.assert_array_equal(shaded.adversarial.image[1][~region], case.image[1][~region])
    assert (shaded.adversarial.image[1][region] != case.image[1][region]).any()
    result = attack(region=region, scale=0.5)(model, case)
    np.testing.assert_array_equal(result.adversarial.image[:, ~region], case.image[:, ~region])
    np.testing.assert_array_equal(result.adversarial.label[~region], case.label[~region])
    assert not result.perturbation.displacement[:, ~region].any()
    assert 0 < result.perturbation.max_displacement() <= 0.75 and result.perturbation.min_jacobian(case.affine) > 0
    np.testing.assert_allclose(result.perturbation.apply(case).image, result.adversarial.image, atol=1e-2)


def test_without_reference_and_in_whole_numbers() -> None:
    case = subject()
    bare = Case(case.image, case.channels, case.affine, name="bare", dtypes=case.dtypes)
    result = attack(quantize=True)(toy_model(), bare)
    assert result.adversarial.label is None
    np.testing.assert_array_equal(result.adversarial.image, np.rint(result.adversarial.image))
    assert all("dice mean" in row for row in result.trace)


def test_seeds_files_and_descriptions(tmp_path: Path) -> None:
    model, case = toy_model(), subject()
    path = tmp_path / "g.safetensors"
    toy_generator().write(path)
    one, same, other = (attack(generator=path, seed=seed)(model, case) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.adversarial.image, same.adversarial.image)
    assert (one.adversarial.image != other.adversarial.image).any()
    described = json.loads(json.dumps(one.describe()["attack"]))
    assert described["fingerprint"] == toy_generator().fingerprint
    again = make_attack(described.pop("attack"), described)
    np.testing.assert_array_equal(again(model, case).adversarial.image, one.adversarial.image)
    assert attack().describe()["generator"] == {"fingerprint": toy_generator().fingerprint}
    toy_generator(seed=1).write(path)
    with pytest.raises(InputError, match="another one"):
        again(model, case)
    assert attack(xi=None, parts="intensity", scale=0.5).summary() == (
        "Learned generator, greatest xi, intensity only, times 0.5, all channels"
    )


def test_what_the_attack_refuses() -> None:
    model, case = toy_model(), subject()
    lacking = Case(case.image[:1].copy(), ("A",), case.affine, case.label)
    wide = Case(np.stack([*case.image, case.image[0]]), ("A", "B", "C"), case.affine, case.label)
    fixed = toy_generator(xi=(2.0, 2.0))
    for one, of, message in (
        (attack(), lacking, "lacks B; it has A"),
        (attack(xi=4.0), case, "trained for xi from 0.5 to 3, not 4"),
        (attack(generator=fixed, xi=1.0), case, "trained for xi of 2, not 1"),
        (attack(generator=fixed, xi=0.0), case, "trained for xi of 2, not 0"),
        (attack(channels="C"), wide, "does not take the channel"),
        (attack(channels="B"), case, "moves all channels of subject 0"),
    ):
        with pytest.raises(InputError, match=message):
            one(model, of)
    attack(generator=fixed, xi=None)(model, case)
    for settings, message in (
        ({"generator": 7}, "must be a file"),
        ({"generator": " "}, "must be a file"),
        ({"scale": 2}, "scale"),
    ):
        with pytest.raises(InputError, match=message):
            make_attack("generative", settings)


def test_trained_and_drawn_from_by_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "trained"
    words = ["train-generator", "--phantom", "100", "--phantom", "101", "--phantom-size", "32", "--device", "cpu"]
    words += ["--set", "epochs=1", "--set", "critic_steps=1", "--set", "generator.features=4,8", "--output", str(output)]
    assert main(words) == 0
    path = output / GENERATOR_FILE
    first = Generator.read(path)
    assert first.learned["network"] == "builtin:brain-tumour-phantom" and first.settings.features == (4, 8)
    job = read_job(output / "job.json")
    assert job.kind == "train-generator"
    assert main(["run", str(output / "job.json")]) == 0  # goes on from the checkpoint: nothing is left to do
    assert_same(Generator.read(path), first)
    words = ["attack", "--phantom", "200", "--phantom-size", "32", "--device", "cpu", "--attack", "generative"]
    assert main([*words, "--set", f"generator={path}", "--set", "samples=2", "--output", str(tmp_path / "attacked")]) == 0
    record = json.loads((tmp_path / "attacked" / "generative" / "result.json").read_text())
    assert record["attack"]["fingerprint"] == first.fingerprint
    capsys.readouterr()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / GENERATOR_FILE).write_text("the user's own")
    assert main(["train-generator", "--phantom", "100", "--output", str(tmp_path / "own")]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert main(["train-generator", "--output", str(tmp_path / "x")]) == 2
    assert main(["train-generator", "--phantom", "100", "--start", str(path), "--output", str(output)]) == 2
    given = {"kind": "train-generator", "cases": [{"phantom": {}}], "output": "o", "start": "g.safetensors"}
    assert Path(make_job(given).anywhere().start).is_absolute()


def test_the_built_in_generator() -> None:
    """It does what its dial says, on phantoms that it has not seen: less Dice for more xi, and hardly to be seen."""
    assert builtin.generator_names() == ["builtin:brain-tumour-phantom"]
    assert builtin.generator_file("builtin:brain-tumour-phantom").stat().st_size < 5e6
    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    dice: dict[float, list[float]] = {0.0: [], 0.5: [], 3.0: []}
    for case in phantom.cohort((200, 201), (64, 64, 64)):
        for xi, values in dice.items():
            result = GenerativeAttack(xi=xi, samples=1)(model, case)
            values.append(result.trace[0]["dice mean"])
            assert result.perturbation.perceptibility(case).mean() < 0.1
    assert np.mean(dice[0.0]) > np.mean(dice[0.5]) > np.mean(dice[3.0]) + 0.1
