"""What the learned generator does to the built-in network on unseen phantoms, and whether its images look like clean ones.

python Testing/Benchmarks/generator.py [--subjects 10] [--critic-subjects 120] [--output folder]

Dice and perceptibility are means over the phantoms of the seeds 0, 1, ..., which no training has seen. For the critics'
figures new critics are trained to tell adversarial from clean images of other phantoms, none of which is in both halves, and
asked about phantoms that they have not seen either: one as in training (Wasserstein, weights clipped), and one that is free
to do better (cross-entropy, Adam). An area under the curve of 0.5 is chance, 1 certainty. Each image is standardised by
itself, as nobody who is shown it has the original.

Whatever moves a voxel by a fraction of its size also smooths the noise, adversarial or not. So adversarial images are told
from clean ones as they are, and from clean ones that were moved as well, by the field that the generator made for another
phantom. Clean images told from clean ones show what chance is with so few images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, save_figure, save_table

from SegAdversarialLib import Case, SegmentationModel, attacks, evaluate, open_model, phantom
from SegAdversarialLib.changes.fields import warp
from SegAdversarialLib.evaluation.evaluation import UNWARPED
from SegAdversarialLib.evaluation.tables import format_table
from SegAdversarialLib.networks.deformation_intensity_vae import Critic

STRENGTHS = (0.5, 1.0, 2.0, 3.0)
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"xi {xi:g}": {"xi": xi} for xi in STRENGTHS},
    "xi 2, deformation only": {"xi": 2.0, "parts": "deformation"},
    "xi 2, intensity only": {"xi": 2.0, "parts": "intensity"},
}
STRUCTURES = ("necrotic core", "oedema", "enhancing tumour")
FIRST_CRITIC_SEED = 1000
COMPARISONS = {
    ("clean", "adversarial"): "adversarial from clean",
    ("moved", "adversarial"): "adversarial from clean and moved",
    ("clean", "intensity"): "intensity only from clean",
    ("clean", "others"): "clean from clean (chance)",
}


def measured(model: SegmentationModel, case: Case, settings: dict[str, Any], generator: str, samples: int) -> dict[str, float]:
    """One draw, or the worst of several, on one phantom."""
    result = attacks.GenerativeAttack(generator=generator, samples=samples, **settings)(model, case)
    evaluation = evaluate(result, model)
    rows = {name: evaluation.get(name, "Dice") for name in STRUCTURES}
    moved = any(row["metric"] == UNWARPED for row in evaluation.rows)
    stayed = [evaluation.get(name, UNWARPED if moved else "Dice")["after"] for name in STRUCTURES]
    perceptible = [evaluation.get(channel, "Perceptibility")["value"] for channel in case.channels]
    return {
        "clean Dice": float(np.mean([row["before"] for row in rows.values()])),
        "Dice": float(np.mean([row["after"] for row in rows.values()])),
        "Dice, reference left in place": float(np.mean(stayed)),
        "successes": float(np.mean([row["success"] for row in rows.values()])),
        "perceptibility": float(np.mean(perceptible)),
        "largest perceptibility": max(perceptible),
        "largest displacement (mm)": result.perturbation.max_displacement(),
        "least Jacobian": result.perturbation.min_jacobian(case.affine),
    }


def standardized(image: np.ndarray) -> torch.Tensor:
    """An image as a critic sees it: (1, C, K, J, I)."""
    mean, deviation = (f(image, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
    return torch.from_numpy((image - mean) / deviation)[None]


def collections(
    model: SegmentationModel, generator: str, xi: float, count: int, progress: Callable[[str], None]
) -> dict[str, list[torch.Tensor]]:
    """Images of two halves of the phantoms: of one half clean ones, as they are and moved, of the other adversarial ones."""
    found: dict[str, list[torch.Tensor]] = {name: [] for name in ("clean", "moved", "adversarial", "intensity", "others")}
    whole, deformation, intensity = (
        attacks.GenerativeAttack(generator=generator, xi=xi, samples=1, parts=parts)
        for parts in ("both", "deformation", "intensity")
    )
    for number in range(0, count, 2):
        case, other = (phantom.subject(FIRST_CRITIC_SEED + number + k) for k in (0, 1))
        field = deformation(model, other).perturbation.displacement
        found["clean"].append(standardized(case.image))
        found["moved"].append(standardized(warp(torch.from_numpy(case.image), torch.from_numpy(field), case.affine).numpy()))
        found["adversarial"].append(standardized(whole(model, other).adversarial.image))
        found["intensity"].append(standardized(intensity(model, other).adversarial.image))
        found["others"].append(standardized(other.image))
        progress(f"critics' phantoms: {number + 2} of {count}")
    return found


def critics(images: dict[str, list[torch.Tensor]], xi: float, epochs: int) -> Iterator[dict[str, Any]]:
    """A row for each comparison and critic."""
    cut = len(images["clean"]) * 2 // 3
    for one, other in COMPARISONS:
        for critic_name, clipped in (("as in training", True), ("free", False)):
            critic = fitted(images[one][:cut], images[other][:cut], clipped, epochs)
            yield {
                "attack": f"xi {xi:g}: {COMPARISONS[one, other]}, critic {critic_name}",
                "AUC": area_under_curve(critic, images[one][cut:], images[other][cut:]),
                "AUC on its training images": area_under_curve(critic, images[one][:cut], images[other][:cut]),
            }


def fitted(clean: list[torch.Tensor], adversarial: list[torch.Tensor], clipped: bool, epochs: int) -> Critic:
    """A new critic that was trained to give more to clean images."""
    torch.manual_seed(0)
    critic = Critic(3, clean[0].shape[1], (16, 32, 64))
    parameters = list(critic.parameters())
    optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, 1e-3)
    if clipped:
        optimizer = torch.optim.RMSprop(parameters, 1e-4, alpha=0.9, eps=1e-10)
    order = np.random.default_rng(0)
    for _ in range(epochs):
        for one, other in zip(order.permutation(len(clean)), order.permutation(len(adversarial))):
            scores = critic(torch.cat([clean[one], adversarial[other]]))
            loss = (
                scores[1] - scores[0]
                if clipped
                else torch.nn.functional.softplus(-scores[0]) + torch.nn.functional.softplus(scores[1])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if clipped:
                critic.clip(0.01)
    return critic


@torch.no_grad()
def area_under_curve(critic: Critic, clean: list[torch.Tensor], adversarial: list[torch.Tensor]) -> float:
    """How often a clean image gets more than an adversarial one; equal scores count a half."""
    real, fake = (np.array([float(critic(x)) for x in images]) for images in (clean, adversarial))
    above = real[:, None] - fake
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def figure(table: list[dict[str, Any]]) -> Any:
    """Dice and perceptibility against xi."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6, 3.6))
    left = drawing.subplots()
    right = left.twinx()
    rows = {row["attack"]: row for row in table}
    ladder = [rows[f"xi {xi:g}"] for xi in STRENGTHS]
    known = [0.0, *STRENGTHS]
    left.plot(known, [ladder[0]["clean Dice"], *(row["Dice"] for row in ladder)], "o-", label="Dice, reference moved along")
    stayed = [row["Dice, reference left in place"] for row in ladder]
    left.plot(known, [ladder[0]["clean Dice"], *stayed], "o--", label="Dice, reference left in place")
    right.plot(known, [0.0, *(row["perceptibility"] for row in ladder)], "s-", color="tab:gray", label="perceptibility")
    for name, marker in (("deformation only", "^"), ("intensity only", "v")):
        left.plot([2.0], [rows[f"xi 2, {name}"]["Dice"]], marker, color="tab:red", label=f"Dice, {name}")
    left.set(xlabel="xi (nats)", ylabel="mean Dice", ylim=(0, 1))
    right.set(ylabel="perceptibility (standard deviations)", ylim=(0, 0.15))
    lines = [*left.get_lines(), *right.get_lines()]
    names = [str(x.get_label()) for x in lines]
    left.legend(lines, names, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    return drawing


def main() -> int:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="builtin:brain-tumour-phantom", help="file, or a built-in generator's name")
    parser.add_argument("--subjects", type=int, default=10, help="phantoms of the seeds 0, 1, ...")
    parser.add_argument("--samples", type=int, default=1, help="draws for each, of which the worst counts")
    parser.add_argument(
        "--critic-subjects", type=int, default=120, help="phantoms for the critics; a third is for asking them"
    )
    parser.add_argument("--critic-epochs", type=int, default=12)
    parser.add_argument("--critic-xi", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="folder for generator.csv and generator.png")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for seed in range(options.subjects):
        case = phantom.subject(seed)
        for name, settings in VARIANTS.items():
            found[name].append(measured(model, case, settings, options.generator, options.samples))
        say(f"phantom {seed} done")
    table = [
        {"attack": name, **{key: float(np.mean([row[key] for row in rows])) for key in rows[0]}}
        for name, rows in found.items()
    ]
    print(machine())
    print(format_table(table))
    if options.critic_subjects:
        images = collections(model, options.generator, options.critic_xi, options.critic_subjects, say)
        for row in critics(images, options.critic_xi, options.critic_epochs):
            print(format_table([row]), flush=True)
            table.append(row)
    if options.output:
        save_table(table, options.output / "generator.csv")
        save_figure(figure(table), options.output / "generator.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
