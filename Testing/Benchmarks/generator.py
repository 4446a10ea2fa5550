"""What the learned generator does to the built-in network on unseen phantoms, and whether its images look like clean ones.

python Testing/Benchmarks/generator.py [--subjects 10] [--critic-subjects 96] [--output folder]

Dice and perceptibility are means over the phantoms of the seeds 0, 1, ..., which no training has seen. For the critics'
figures new critics are trained to tell adversarial from clean images of other phantoms, none of which is in both halves, and
asked about phantoms that they have not seen either: one as in training (Wasserstein, weights clipped), and one that is free to
do better (cross-entropy, Adam). An area under the curve of 0.5 is chance, 1 certainty.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, save_figure, save_table

from SegAdversarialLib import Case, SegmentationModel, attacks, evaluate, open_model, phantom
from SegAdversarialLib.evaluation import UNWARPED, format_table
from SegAdversarialLib.networks.deformation_intensity_vae import Critic

STRENGTHS = (0.5, 1.0, 2.0, 3.0)
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"xi {xi:g}": {"xi": xi} for xi in STRENGTHS},
    "xi 2, deformation only": {"xi": 2.0, "parts": "deformation"},
    "xi 2, intensity only": {"xi": 2.0, "parts": "intensity"},
}
STRUCTURES = ("necrotic core", "oedema", "enhancing tumour")
FIRST_CRITIC_SEED = 1000


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


def standardized(case: Case, original: Case) -> torch.Tensor:
    """An image as a critic sees it: (1, C, K, J, I)."""
    mean, deviation = (f(original.image, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
    return torch.from_numpy((case.image - mean) / deviation)[None]


def collections(
    model: SegmentationModel, generator: str, xi: float, count: int, progress: Any
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Clean images, and adversarial ones of other phantoms."""
    attack = attacks.GenerativeAttack(generator=generator, xi=xi, samples=1)
    clean, adversarial = [], []
    for number in range(count):
        case = phantom.subject(FIRST_CRITIC_SEED + number)
        if number % 2:
            adversarial.append(standardized(attack(model, case).adversarial, case))
        else:
            clean.append(standardized(case, case))
        progress(f"critic's phantom {number + 1} of {count}")
    return clean, adversarial


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
    parser.add_argument("--critic-subjects", type=int, default=96, help="phantoms for the critics; a third is for asking them")
    parser.add_argument("--critic-epochs", type=int, default=15)
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
        clean, adversarial = collections(model, options.generator, options.critic_xi, options.critic_subjects, say)
        cut = len(clean) * 2 // 3
        for name, clipped in (("as in training", True), ("free", False)):
            critic = fitted(clean[:cut], adversarial[:cut], clipped, options.critic_epochs)
            area = area_under_curve(critic, clean[cut:], adversarial[cut:])
            seen = area_under_curve(critic, clean[:cut], adversarial[:cut])
            line = {"attack": f"xi {options.critic_xi:g}, critic {name}", "AUC": area, "AUC on its training images": seen}
            print(format_table([line]))
            table.append(line)
    if options.output:
        save_table(table, options.output / "generator.csv")
        save_figure(figure(table), options.output / "generator.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
