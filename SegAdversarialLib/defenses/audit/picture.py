"""Dice against epsilon, for each attack and in the worst case, as a picture."""

from __future__ import annotations

from pathlib import Path

from SegAdversarialLib.defenses.audit.measured import Measured
from SegAdversarialLib.volumes.files import whole_file

_SIZE = (8.0, 5.0)


def draw(measured: Measured, path: Path) -> bool:
    """Write the picture; False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    sizes = [x for x in measured.epsilons() if x < 1]  # the full range would push all others together
    for attack in measured.attacks():
        own = [x for x in measured.epsilons(attack) if x < 1]
        curve = [(0.0, measured.clean_mean), *((x, measured.mean(attack, x)) for x in own if x > 0)]
        axes.plot(*zip(*curve), marker=".", linewidth=1, label=attack)
    audited = [measured.audited(x)["mean"] for x in sizes]
    axes.plot(sizes, audited, color="black", linewidth=2.5, marker="o", label="audited (worst case)")
    axes.set_xlabel("epsilon (share of each channel's largest intensity)")
    axes.set_ylabel("mean Dice")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return True
