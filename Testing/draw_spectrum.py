"""Draw what `frequency` changes, on a phantom: `python Testing/draw_spectrum.py [FILE]`; `make_screenshots.py` draws it, too.

Above: a section of the channel that changed most, and its change. Below: the change's coefficients by the frequencies along
the section's two axes (root mean square over blocks and over the third frequency), and along all axes together beside those of
the original and the most that one may change.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

SEED, SIZE = 7, 64
DARK, LIGHT = "#16181d", "#f2f3f5"


def by_frequency(coefficients: np.ndarray, block: tuple[int, int, int]) -> np.ndarray:
    """Root mean square over the whole blocks of coefficients (K, J, I), for each frequency of a block (k, j, i)."""
    whole = [size // edge for size, edge in zip(coefficients.shape, block)]
    kept = coefficients[tuple(slice(0, n * edge) for n, edge in zip(whole, block))]
    parts = kept.reshape(whole[0], block[0], whole[1], block[1], whole[2], block[2])
    found: np.ndarray = np.sqrt((parts**2).mean((0, 2, 4)))
    return found


def draw_spectrum(path: Path) -> None:
    """Attack the demonstration's subject, and draw."""
    import torch
    from matplotlib.figure import Figure

    from SegAdversarialLib import attacks, evaluate, open_model, phantom
    from SegAdversarialLib.changes.quantisation import BlockCosines
    from SegAdversarialLib.scene.pictures import most_changed

    case = phantom.subject(seed=SEED, shape=(SIZE,) * 3)
    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    attack = attacks.FrequencyAttack()
    result = attack(model, case)
    before, after = evaluate(result, model).mean_dice
    channel = most_changed(result)
    original = case.channel(channel).astype(np.float64)
    change, span = result.adversarial.channel(channel) - original, float(original.max() - original.min())
    cosines = BlockCosines.of_mm(attack.block_mm, case.affine, case.shape, torch.zeros((), dtype=torch.float64))
    spectra = [
        by_frequency(cosines.coefficients(torch.from_numpy(x / span * 255)).numpy(), cosines.block)
        for x in (original - original.min(), change)
    ]

    figure = Figure(figsize=(11, 9.6), facecolor=DARK)
    axes = figure.subplots(2, 2)
    place = int((case.label > 0).sum((1, 2)).argmax())
    shown = axes[0, 0].imshow(original[place], cmap="gray", origin="lower")
    axes[0, 0].set_title(f"{channel}, original (scanner units)")
    figure.colorbar(shown, ax=axes[0, 0])
    largest = float(np.abs(change[place]).max())
    shown = axes[0, 1].imshow(change[place], cmap="RdBu_r", vmin=-largest, vmax=largest, origin="lower")
    axes[0, 1].set_title(f"Change, {span / largest:.0f} times enlarged")
    figure.colorbar(shown, ax=axes[0, 1])
    for one in axes[0]:
        one.set(xticks=[], yticks=[])
    in_plane = np.sqrt((spectra[1] ** 2).mean(0))
    shown = axes[1, 0].imshow(in_plane, cmap="magma", origin="lower", vmin=0)
    axes[1, 0].set(
        title="Coefficients of the change (255ths of the range)", xlabel="cosine along rows", ylabel="cosine along columns"
    )
    figure.colorbar(shown, ax=axes[1, 0])
    _curves(axes[1, 1], spectra, attack.q_max / 2)
    figure.suptitle(f"{attack.summary()}; mean Dice {before:.2f} before, {after:.2f} after", color=LIGHT)
    for one in figure.axes:
        one.tick_params(colors=LIGHT)
        for text in (one.title, one.xaxis.label, one.yaxis.label):
            text.set_color(LIGHT)
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(path, dpi=100)


def _curves(axes: object, spectra: list[np.ndarray], most: float) -> None:
    """Coefficients by how far their frequency is from that of an even block."""
    steps = np.stack(np.meshgrid(*(np.arange(n) for n in spectra[0].shape), indexing="ij"))
    radius = np.sqrt((steps**2).sum(0)).round().astype(int)
    for values, name, colour in zip(spectra, ("original", "change"), ("#8ab4f8", "#f28b82")):
        means = [np.sqrt((values[radius == r] ** 2).mean()) for r in range(spectra[0].shape[0])]
        axes.plot(means, "o-", color=colour, label=name)  # type: ignore[attr-defined]
    axes.axhline(most, linestyle=":", color=LIGHT, label="the most that one may change")  # type: ignore[attr-defined]
    axes.set(  # type: ignore[attr-defined]
        title="Coefficients by frequency (255ths of the range)",
        xlabel="frequency: length of the three cosines' numbers",
        yscale="log",
        facecolor=DARK,
    )
    axes.legend(facecolor=DARK, labelcolor=LIGHT)  # type: ignore[attr-defined]


if __name__ == "__main__":
    draw_spectrum(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures" / "frequency.png")
