"""What all figures share: their look, and files that are the same whenever what is drawn is.

Figures are drawn with matplotlib's own defaults and what stands here, whatever the user has set, and without pyplot: no
window, no current figure, no setting of the user's is touched.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.files import whole_file

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito 2008, without the yellow that white paper swallows: told apart with any kind of colour vision."""

LABEL_COLORS = ("#D55E00", "#009E73", "#56B4E9", "#F0E442", "#CC79A7", "#E69F00", "#0072B2")
"""Of the same set, by label value, on images: nearest to the colours that the values have in Slicer's scenes."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)))

PANEL = 3.1, 2.7
"""Width and height of a panel in inches."""

MOST_COLUMNS = 3

DOTS_PER_INCH = 150

_SETTINGS: dict[Any, Any] = {
    **{"font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8},
    **{"legend.fontsize": 8, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False},
    **{"axes.grid": True, "grid.alpha": 0.3, "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.5},
    **{"lines.markersize": 4.5, "svg.hashsalt": "SegAdversarial", "svg.fonttype": "path", "figure.dpi": 100},
}

_LEFT_ALONE = ("backend", "interactive", "toolbar", "timezone", "webagg", "tk.", "figure.max_open_warning", "datapath")
"""Settings that are no look."""

_LEGEND_WIDTH = 30


@contextmanager
def own_style() -> Iterator[None]:
    """Draw as figures of this software look; afterwards the user's settings are what they were."""
    import matplotlib

    defaults: dict[Any, Any] = {x: y for x, y in matplotlib.rcParamsDefault.items() if not x.startswith(_LEFT_ALONE)}
    with matplotlib.rc_context({**defaults, **_SETTINGS}):
        yield


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches, which no window shows.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            "Figures need the package matplotlib, which is not installed; install it (pip install matplotlib)."
        ) from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(count: int, handles: Sequence[Any] = (), *, share_y: bool = True) -> tuple[Any, list[Any]]:
    """A figure with so many panels in rows of three at most, and a legend beside or, where it is long, below them."""
    columns = min(count, 2 if count == 4 else MOST_COLUMNS)
    rows = -(-count // columns)
    figure = new_figure(columns * PANEL[0], rows * PANEL[1])
    add_legend(figure, handles)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=share_y, sharex=True).ravel().tolist()
    for extra in grid[count:]:
        extra.remove()
    for axis in grid[:count]:
        axis.tick_params(labelbottom=True)
    return figure, grid[:count]


def add_legend(figure: Any, handles: Sequence[Any]) -> None:
    """Make room for a legend beside what the figure shows, or, where it is longer than that is high, below; never over it."""
    if not handles:
        return
    names = [wrapped(str(x.get_label())) for x in handles]
    across = 0.5 + 0.072 * max(len(line) for name in names for line in name.split("\n"))
    down = sum(0.135 * (name.count("\n") + 1) + 0.07 for name in names)
    width, height = figure.get_size_inches()
    if down <= height:
        figure.set_size_inches(width + across, height)
        figure.legend(handles, names, loc="outside right center", labelspacing=0.6)
    else:
        columns = max(1, int(width / across))
        figure.set_size_inches(width, height + down / columns + 0.3)
        figure.legend(handles, names, loc="outside lower center", ncols=columns, labelspacing=0.6)


def series_style(place: int) -> dict[str, Any]:
    """Colour, marker and line of a curve: no two of the first 210 are alike."""
    color, line = COLORS[place % len(COLORS)], LINES[place // len(COLORS) % len(LINES)]
    return {"color": color, "marker": MARKERS[place % len(MARKERS)], "linestyle": line}


def curve_handles(names: Iterable[str]) -> list[Any]:
    """What a legend shows of curves in the order of their places."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], label=name, **series_style(n)) for n, name in enumerate(names)]


def wrapped(text: str) -> str:
    """A long name in several lines; a setting and its value stay together."""
    kept = text.replace(" = ", "\u00a0=\u00a0")
    return "\n".join(textwrap.wrap(kept, _LEGEND_WIDTH)) or text


def save(figure: Any, folder: str | Path, name: str) -> tuple[Path, Path]:
    """Write a figure as NAME.svg and NAME.png; the same figure makes the same bytes.

    Raises:
        InputError: a file cannot be written.
    """
    paths = Path(folder) / f"{name}.svg", Path(folder) / f"{name}.png"
    with own_style():
        for path, metadata in zip(paths, ({"Date": None, "Creator": None}, {"Software": None})):
            with whole_file(path) as temporary:
                figure.savefig(temporary, dpi=DOTS_PER_INCH, metadata=metadata)
    return paths
