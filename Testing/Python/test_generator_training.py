"""Training a generator: its losses and gradients against definitions, interruption, and the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import oblique_affine
from generator_helpers import QUICK, SMALL, subject, toy_generator, toy_model

from SegAdversarialLib import Case, InputError, SegmentationModel
from SegAdversarialLib.changes.fields import warp
from SegAdversarialLib.cli import main
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.jobs import make_job, read_job
from SegAdversarialLib.networks.generator import Generator
from SegAdversarialLib.objectives import MaskedCrossEntropy
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.training.checkpoints import CHECKPOINT_FILE
from SegAdversarialLib.training.generator import GENERATOR_FILE, train_generator
from SegAdversarialLib.training.generator_losses import Terms, masked_cross_entropy
from SegAdversarialLib.training.generator_settings import GeneratorTraining, made_for
from SegAdversarialLib.training.generator_steps import Step, Trainer
from SegAdversarialLib.training.patches import patch_of


def a_step(model: SegmentationModel, case: Case, bound: Any, **settings: Any) -> tuple[Trainer, Step]:
    trainer = Trainer(model, toy_generator(case), GeneratorTraining(**{**QUICK, **settings}), None)
    return trainer, Step(trainer, bound, trainer.generator.on(case, bound.image))


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
    wanted = float(-(mask * (clean * attacked.log()).sum(0)).sum().detach() / mask.sum().detach())
    assert terms.cross_entropy == pytest.approx(wanted, rel=1e-6)
    assert float(terms.attack) == pytest.approx((xi - wanted) ** 2, rel=1e-5)
    assert float(terms.deformation) == pytest.approx(float((fields.displacement**2).sum(0).mean()), rel=1e-6)
    assert float(terms.intensity) == pytest.approx(float((fields.intensity**2).mean()), rel=1e-6)

    def standard(image: torch.Tensor) -> torch.Tensor:
        flat = image.flatten(1)  # a critic does not know the original
        return ((flat - flat.mean(1, True)) / flat.std(1, correction=0, keepdim=True)).reshape(image.shape)[None]

    def turned(image: torch.Tensor) -> torch.Tensor:
        return standard(image).flip(3, 4)  # from RAS, as the toy case lies, to LPS

    score = trainer.critic(turned(bound.image)) - trainer.critic(turned(image))
    assert float(terms.critic) == pytest.approx(float(score), rel=1e-5, abs=1e-9)
    how = GeneratorTraining(critic_weight=3, deformation_weight=5, intensity_weight=7, kl_weight=11)
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
    how = GeneratorTraining()
    assert (how.deformation_weight, how.intensity_weight) == (0.1, 0.01)
    assert (how.learning_rate, how.decay, how.rms_epsilon) == (1e-4, 0.9, 1e-10)
    assert made_for(toy_model(), subject()).xi == (0.5, 3.0)
    trainer = Trainer(toy_model(), toy_generator(), how, None)
    for optimizer in trainer.optimizers:
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
        loss = loss - trainer.critic(makes.as_batch(image)).mean()
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
    assert seen[-1].startswith("epoch 2 of 3: subject") and seen[-1].endswith(" left")
    assert len(Generator.read(tmp_path / GENERATOR_FILE).learned["by_epoch"]) == 1
    assert_same(Generator.read(tmp_path / GENERATOR_FILE), trained(epochs=1))
    assert {x.name for x in tmp_path.iterdir()} == {GENERATOR_FILE, CHECKPOINT_FILE, "training.csv"}


def test_each_epoch_is_logged(tmp_path: Path) -> None:
    """As a row of the table, as TensorBoard events, and told; also what was done before a break."""
    told: list[dict[str, float]] = []
    for epochs in (1, 2):
        told.clear()
        how = {**QUICK, "epochs": epochs, "tensorboard": True}
        made = train_generator(toy_model(), [subject()], how, generator=SMALL, folder=tmp_path, on_epoch=told.append)
    assert told == made.learned["by_epoch"] and len(told) == 2
    with (tmp_path / "training.csv").open() as table:
        assert [float(row["loss"]) for row in csv.DictReader(table)] == [row["loss"] for row in told]
    events = b"".join(x.read_bytes() for x in (tmp_path / "tensorboard").iterdir())
    assert b"perceptibility" in events


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(tmp_path, epochs=1)
    before = {x.name: x.read_bytes() for x in tmp_path.iterdir()}
    see = Trainer.see
    monkeypatch.setattr(Trainer, "see", lambda *given: [{**row, "loss": float("nan")} for row in see(*given)])
    with pytest.raises(
        InputError, match=r"NaN in epoch 2, at subject \d; a lower learning_rate, .* The last checkpoint stays"
    ):
        trained(tmp_path, epochs=2)
    assert {x.name: x.read_bytes() for x in tmp_path.iterdir()} == before


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
    retrained = toy_model()
    with torch.no_grad():
        next(retrained.network.parameters()).mul_(1.1)
    with pytest.raises(InputError, match="another network; use the same settings, or another folder"):
        train_generator(retrained, [case], {**QUICK, "epochs": 1}, generator=SMALL, folder=tmp_path)
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="is damaged"):
        trained(tmp_path, epochs=1, cases=[case])


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
    assert main(["train-generator", "--phantom", "102", *words[5:]]) == 2
    told = capsys.readouterr().err
    assert "holds the results of a job of other cases; give another output folder." in told
    assert read_job(output / "job.json") == job
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
