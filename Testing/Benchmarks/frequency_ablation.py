"""What each part of `frequency` is worth, at one similarity: its gradient, blocks, bound, SSIM term and tables.

    python Testing/Benchmarks/frequency_ablation.py [--output FOLDER] [--seeds 200 201 ...] [--resume]

On each phantom VAFA's published form, as its program has it, goes first. Whatever follows must keep in every channel at least
the mean similarity that it has left, changes one thing of `frequency`, and gets as many gradients. Two rows learn no tables:
one draws them at random and keeps the worst; one rounds all coefficients of a channel to the same step, the largest that the
similarity allows. Built-in network, in overlapping windows, on images that it takes as they are, searched in float32.

Prints a table and saves it as CSV. Finished measurements are kept in frequency_ablation.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import FLOAT32, Cells, machine, mean_dice, save_table
from frequency import FORMS, Q_MAX
from measuring import without_preprocessing
from vafa import Vafa, _windows

from SegAdversarialLib import Case, SegmentationModel, attacks, objectives, open_model, phantom
from SegAdversarialLib.changes.quantisation import BlockCosines, quantised
from SegAdversarialLib.evaluation.tables import format_table
from SegAdversarialLib.metrics import ssim

PUBLISHED = "published form, as released"
KEY = ("row", "case", "size", "window", "steps")
HALVINGS = 12


class WindowByWindow(attacks.FrequencyAttack):
    """The same search along the sum of the windows' own gradients, each of its own soft Dice, side by side as in VAFA."""

    def _search(self, run: Any) -> Any:
        model, label = run.model, run.case.label

        def differentiate(
            image: torch.Tensor, loss: Callable, exactly: bool = False
        ) -> tuple[float, torch.Tensor, torch.Tensor]:
            gradient, value = torch.zeros_like(image), 0.0
            for part in _windows(run.case.shape, model.window):
                own = objectives.SoftDice(label[part]).bind(model.head, "cpu", image.dtype)
                with torch.enable_grad():
                    window = image[(slice(None), *part)].clone().requires_grad_(True)
                    here = own(model.network(window[None])[0])
                gradient[(slice(None), *part)] += torch.autograd.grad(here, window)[0]
                value += float(here.detach())
            return value, gradient, run.ask(image)

        run.differentiate = differentiate
        return super()._search(run)


ROWS: dict[str, tuple[type[attacks.FrequencyAttack], dict[str, Any]]] = {
    "`frequency`": (attacks.FrequencyAttack, {}),
    "gradient window by window": (WindowByWindow, {}),
    "without the SSIM term": (attacks.FrequencyAttack, {"ssim_weight": 0.0}),
    "blocks of 4^3": (attacks.FrequencyAttack, {"block": 4}),
    "blocks of 16^3": (attacks.FrequencyAttack, {"block": 16}),
    "q_max 10": (attacks.FrequencyAttack, {"q_max": 10.0}),
    "q_max 40": (attacks.FrequencyAttack, {"q_max": 40.0}),
    "random tables, the worst of 20": (attacks.FrequencyAttack, {"steps": 0, "restarts": 20}),
}
FIXED = "one step for all coefficients"


def published(model: SegmentationModel, case: Case, block: int, steps: int) -> np.ndarray:
    """The image of VAFA's released form."""
    settings = FORMS["as released: from q_max, 5 to q_max, with SSIM"]
    return Vafa(q_max=Q_MAX, block=block, steps=steps, **settings).attack(model, case)[0].numpy()


def changed(
    row: tuple[type[attacks.FrequencyAttack], dict[str, Any]],
    model: SegmentationModel,
    case: Case,
    block: int,
    steps: int,
    similarity: float,
) -> np.ndarray:
    """The image of one variant of `frequency`."""
    spacing = float(np.linalg.norm(case.affine[:3, :3], axis=0).mean())
    given = {"q_max": Q_MAX, "block": block, "steps": steps, **row[1]}
    edge = given.pop("block") * spacing
    return row[0](block_mm=edge, least_ssim=min(similarity, 0.9999), **given)(model, case).adversarial.image


def fixed(case: Case, similarity: float, block: int) -> np.ndarray:
    """The image whose coefficients are all rounded to one step, in each channel the largest that keeps the similarity."""
    return np.stack([_coarsest(channel, similarity, block) for channel in case.image])


def _coarsest(channel: np.ndarray, similarity: float, block: int) -> np.ndarray:
    low, high = float(channel.min()), float(channel.max())
    cosines = BlockCosines((block,) * 3, torch.from_numpy(channel))
    coefficients = cosines.coefficients(torch.from_numpy(channel - low)[None])

    def rounded(step: float) -> np.ndarray:
        table = torch.full_like(coefficients, step * (high - low))
        found: np.ndarray = (cosines.voxels(quantised(coefficients, table))[0] + low).clamp(low, high).numpy()
        return found

    least, most = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        least, most = (middle, most) if ssim(channel, rounded(middle)) >= similarity else (least, middle)
    return rounded(least) if least else channel


def makers(model: SegmentationModel, case: Case, block: int, steps: int) -> dict[str, Callable[[float], np.ndarray]]:
    """What makes the image of each row from the similarity that it must keep."""
    found: dict[str, Callable[[float], np.ndarray]] = {
        "none": lambda similarity: case.image,
        PUBLISHED: lambda similarity: published(model, case, block, steps),
        FIXED: lambda similarity: fixed(case, similarity, block),
    }
    return found | {name: partial(changed, row, model, case, block, steps) for name, row in ROWS.items()}


def measured(model: SegmentationModel, case: Case, make: Callable[[], np.ndarray]) -> dict[str, float]:
    """Dice and similarity (the mean of the channels, and the least) of an image."""
    image = make()
    similar = [ssim(before, after) for before, after in zip(case.image, image)]
    return {"dice": mean_dice(model, case, image), "ssim": float(np.mean(similar)), "least ssim": float(min(similar))}


def summarised(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the phantoms; and in how many a row leaves a higher Dice than `frequency`."""
    own = {row["case"]: row["dice"] for row in rows if row["row"] == next(iter(ROWS))}
    table = []
    for name in dict.fromkeys(row["row"] for row in rows):
        found = [row for row in rows if row["row"] == name]
        line = {"": name, "phantoms": len(found), "Dice": float(np.mean([row["dice"] for row in found]))}
        line["SSIM"] = float(np.mean([row["ssim"] for row in found]))
        table.append({**line, "weaker in": sum(row["dice"] > own.get(row["case"], 2) for row in found)})
    return table


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(200, 210)), help="of the phantoms")
    parser.add_argument("--size", type=int, default=32, help="voxels of a volume along each axis")
    parser.add_argument("--window", type=int, default=24, help="voxels of a window, a multiple of a block's")
    parser.add_argument("--block", type=int, default=8, help="voxels of a block along each axis")
    parser.add_argument("--steps", type=int, default=20, help="gradients of the volume, and of each window")
    parser.add_argument("--resume", action="store_true", help="keep finished measurements")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, save."""
    options = parsed(words)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    cells = Cells(options.output / "frequency_ablation.jsonl", KEY, options.resume)
    network = open_model("builtin:brain-tumour-phantom", device="cpu", window=(options.window,) * 3)
    block, steps = options.block, options.steps
    for seed in options.seeds:
        subject = phantom.subject(seed=seed, shape=(options.size,) * 3)
        model, case = without_preprocessing(network, subject, FLOAT32)
        key = {"case": case.name, "size": options.size, "window": options.window, "steps": steps}
        similarity = 1.0
        for name, make in makers(model, case, block, steps).items():
            found = cells.get({"row": name, **key}, partial(measured, model, case, partial(make, similarity)))
            similarity = found["ssim"] if name == PUBLISHED else similarity
            print(f"{case.name}, {name}: Dice {found['dice']:.3f} at SSIM {found['ssim']:.4f}", flush=True)
    table = summarised(cells.rows)
    print(f"\n{steps} gradients, {options.size}^3, blocks of {block}^3; {machine()}\n\n{format_table(table)}")
    save_table(table, options.output / "frequency_ablation.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
