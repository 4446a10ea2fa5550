"""What is lost when windows are attacked one by one, each by its own loss, instead of by the loss of the whole volume.

    python Testing/Benchmarks/tiles.py [--sizes 64 96] [--windows 32 48] [--overlaps 0 0.5] [--output FOLDER] [--resume]

Both ways run the same PGD (random start, soft Dice, same steps and epsilon) on the same images, normalised beforehand so that
both see the same intensities, with the built-in network in the same windows. Only voxels that normalisation does not set to
the background's 0 are attacked, as in an attack on the images as they came from the scanner:

- exact: each step follows the whole volume's gradient through all windows and their blending.
- tiles: each window is cut out and attacked on its own, with the soft Dice of that window against its part of the reference.
  The attacked windows are put together in two ways: "blended", their Gaussian-weighted mean, as predictions are blended (where
  windows overlap, changes that disagree cancel), and "nearest", each voxel from the window whose centre is nearest (no
  cancelling). Then the image is clamped into the budget and the intensity range of the whole.

Each window costs one backward pass in each step either way. The result is measured by what the network says of the whole
volume in those windows: mean Dice over its structures. Prints a table and saves it as CSV and a figure.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Cells, machine, mean_dice, save_figure, save_table

from SegAdversarialLib import Case, SegmentationModel, attacks, open_model, phantom
from SegAdversarialLib.evaluation.tables import format_table
from SegAdversarialLib.model.window_grid import WindowGrid

KEY = ("size", "window", "overlap", "case", "steps", "epsilon")
WAYS = ("exact", "tiles, blended", "tiles, nearest")
Shape = tuple[int, int, int]


class Rescaled(torch.nn.Module):
    """A network on channels whose largest absolute intensity is 1, so that one epsilon is the same share of every channel."""

    def __init__(self, network: torch.nn.Module, unit: np.ndarray) -> None:
        super().__init__()
        self.network = network
        self.unit = torch.as_tensor(unit, dtype=torch.float32).view(1, -1, 1, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, *window) of images (B, C, *window)."""
        return self.network(images * self.unit)


class _OfWindow(attacks.PGD):
    """PGD that also attacks windows without any structure, where soft Dice counts nothing but false claims."""

    def _needs_structures(self, head: Any) -> bool:
        return False


def prepared(model: SegmentationModel, case: Case) -> tuple[Case, Rescaled]:
    """The case as the network sees it, each channel divided by its largest absolute value, and the network for that."""
    steps = model.preprocessing.on_grid(case.shape, case.affine)
    channels = [torch.from_numpy(case.image[position]) for position in model.channel_positions(case)]
    scores = torch.stack([steps.forward_channel(channel, n) for n, channel in enumerate(channels)]).numpy()
    if scores.shape != case.image.shape:
        raise SystemExit("The network's grid is another one than the case's; take a case that needs no resampling.")
    unit = np.abs(scores).max((1, 2, 3))
    rescaled = Case(scores / unit[:, None, None, None], model.channels, case.affine, case.label, name=case.name)
    return rescaled, Rescaled(model.network, unit)


def in_windows(model: SegmentationModel, network: Rescaled, window: Shape | None, overlap: float) -> SegmentationModel:
    """The rescaled network with windows, or, without, for one window at a time."""
    return SegmentationModel.from_network(
        network,
        channels=model.channels,
        classes=dict(zip(model.head.labels, model.head.names)),
        window=window,
        overlap=overlap,
        size_multiple=model.windows.size_multiple,
    )


def different_settings(
    sizes: Sequence[int], windows: Sequence[int], overlaps: Sequence[float]
) -> list[tuple[int, int, float]]:
    """All (size, window, overlap), but of those that put the windows at the same places only the first."""
    found: dict[str, tuple[int, int, float]] = {}
    for size, window, overlap in itertools.product(sizes, windows, overlaps):
        places = WindowGrid((size,) * 3, (window,) * 3, overlap).places
        found.setdefault(str((size, places)), (size, window, overlap))
    return list(found.values())


def window_places(model: SegmentationModel, shape: Shape) -> list[tuple[slice, ...]]:
    """Where the windows of a model lie in a volume."""
    return WindowGrid(shape, model.window, model.windows.overlap, model.windows.size_multiple).places


def attacked_tiles(
    tile_model: SegmentationModel, case: Case, places: Sequence[tuple[slice, ...]], epsilon: float, steps: int
) -> list[np.ndarray]:
    """The change (C, *window) of each window, attacked on its own by its own loss."""
    changes = []
    for number, place in enumerate(places):
        part = Case(case.image[(slice(None), *place)], case.channels, case.affine, case.label[place], name=case.name)
        # the whole volume's range of intensities is kept to when the windows are put together
        inside = attackable(part)
        if not inside.any():
            changes.append(np.zeros_like(part.image))
            continue
        settings = {"epsilon": epsilon, "epsilon_units": "absolute", "steps": steps, "clip": False, "region": inside}
        found = _OfWindow(**settings, seed=number)(tile_model, part)
        changes.append(found.adversarial.image - part.image)
    return changes


def attackable(scores: Case) -> np.ndarray:
    """(K, J, I) bool: where a normalised image is not background."""
    return (scores.image != 0).any(0)


def stitched(case: Case, places: Sequence[tuple[slice, ...]], changes: Sequence[np.ndarray], nearest: bool) -> np.ndarray:
    """The change (C, K, J, I) of the whole: of overlapping windows their Gaussian-weighted mean, or the nearest one's."""
    from monai.data.utils import compute_importance_map

    window = changes[0].shape[1:]
    importance = compute_importance_map(window, mode="gaussian", sigma_scale=0.125).numpy()
    total, heaviest = np.zeros_like(case.image), np.zeros(case.shape, np.float32)
    for place, change in zip(places, changes):
        inside = (slice(None), *place)
        if nearest:
            closer = importance > heaviest[place]
            total[inside] = np.where(closer, change, total[inside])
            heaviest[place] = np.maximum(importance, heaviest[place])
        else:
            total[inside] += change * importance
            heaviest[place] += importance
    return total if nearest else total / heaviest


def within(case: Case, change: np.ndarray, epsilon: float) -> np.ndarray:
    """The changed image, clamped into the budget and each channel's range of intensities."""
    lowest, highest = (f(case.image, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    limit = np.float32(epsilon)
    least, greatest = np.maximum(case.image - limit, lowest), np.minimum(case.image + limit, highest)
    return np.clip(case.image + change, least, greatest)


def measured(case: Case, window: Shape, overlap: float, epsilon: float, steps: int) -> dict[str, float]:
    """Mean Dice of one case, clean and attacked in each way, and what it took."""
    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    scores, network = prepared(model, case)
    whole = in_windows(model, network, window, overlap)
    places = window_places(whole, case.shape)
    found: dict[str, float] = {"windows": len(places), "clean": mean_dice(whole, scores, scores.image)}
    started = time.perf_counter()
    pgd = attacks.PGD(epsilon=epsilon, epsilon_units="absolute", steps=steps, region=attackable(scores))
    exact = pgd(whole, scores)
    found["exact"] = mean_dice(whole, scores, exact.adversarial.image)
    between = time.perf_counter()
    changes = attacked_tiles(in_windows(model, network, None, 0.0), scores, places, epsilon, steps)
    found["seconds exact"], found["seconds tiles"] = between - started, time.perf_counter() - between
    for way in WAYS[1:]:
        change = stitched(scores, places, changes, way.endswith("nearest"))
        found[way] = mean_dice(whole, scores, within(scores, change, epsilon))
    return found


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each volume, window and overlap: means over cases, and what the tiles lose."""
    settings = dict.fromkeys((row["size"], row["window"], row["overlap"]) for row in rows)
    table = []
    for size, window, overlap in settings:
        mine = [row for row in rows if (row["size"], row["window"], row["overlap"]) == (size, window, overlap)]
        mean = {column: float(np.mean([row[column] for row in mine])) for column in ("clean", *WAYS)}
        drop = mean["clean"] - mean["exact"]
        line: dict[str, Any] = {"volume": f"{size}^3", "window": f"{window}^3", "overlap": f"{overlap:g}"}
        line |= {"windows": str(mine[0]["windows"]), "cases": str(len(mine)), **mean}
        for way in WAYS[1:]:
            line[f"share of the drop: {way}"] = (mean["clean"] - mean[way]) / drop if drop > 0 else float("nan")
        line["cases where exact is lower"] = str(sum(row["exact"] < min(row[way] for way in WAYS[1:]) for row in mine))
        table.append(line)
    return table


def draw(table: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Bars of mean Dice: clean, tiles, exact."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 * len(table) + 3, 4.5))
    axes = figure.add_subplot()
    ways = ("clean", *reversed(WAYS))
    for number, way in enumerate(ways):
        places = np.arange(len(table)) + 0.2 * (number - 1.5)
        axes.bar(places, [line[way] for line in table], 0.19, label=way)
    names = [f"{line['volume']}\nwindow {line['window']}\noverlap {line['overlap']}" for line in table]
    axes.set_xticks(range(len(table)), names, fontsize=8)
    axes.set(ylabel="mean Dice", title=title)
    axes.legend(fontsize=8)
    save_figure(figure, path)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("tiles"), help="folder for table and figure")
    parser.add_argument("--subjects", type=int, default=5, help="how many phantoms")
    parser.add_argument("--first-seed", type=int, default=0, help="the first phantom's seed; 0 to 9 are the benchmark's")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96], help="voxels of a phantom along each axis")
    parser.add_argument("--windows", type=int, nargs="+", default=[32, 48], help="voxels of a window along each axis")
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--epsilon", type=float, default=0.02, help="of each channel's largest absolute normalised intensity")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, help="of the CPU; torch's own choice if left out")
    parser.add_argument("--resume", action="store_true", help="go on with what the output folder holds")
    options = parser.parse_args(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    cells = Cells(options.output / "tiles.jsonl", KEY, options.resume)
    settings = different_settings(options.sizes, options.windows, options.overlaps)
    rows = []
    for seed in range(options.first_seed, options.first_seed + options.subjects):
        for size, window, overlap in settings:
            case = phantom.subject(seed=seed, shape=(size,) * 3)
            key = {"size": size, "window": window, "overlap": overlap, "case": case.name}
            key |= {"steps": options.steps, "epsilon": options.epsilon}
            job = (case, (window,) * 3, overlap, options.epsilon, options.steps)
            rows.append(cells.get(key, lambda job=job: measured(*job)))  # type: ignore[misc]
            shown = ", ".join(f"{way} {rows[-1][way]:.4f}" for way in ("clean", *WAYS))
            print(f"{case.name}, {size}^3, window {window}^3, overlap {overlap:g}: {shown}", file=sys.stderr, flush=True)
    table = summary(rows)
    what = f"PGD of {options.steps} steps, L-inf {options.epsilon:g} of the largest normalised intensity"
    print(f"\n{what}; mean Dice\n{machine()}\n\n{format_table(table)}\n")
    save_table(table, options.output / "tiles.csv")
    save_table(rows, options.output / "tiles_cells.csv")
    draw(table, what, options.output / "tiles.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
