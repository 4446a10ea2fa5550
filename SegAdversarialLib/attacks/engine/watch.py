"""What is seen of an attack's iterations: the trace, the snapshots, and which of the images is handed out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from SegAdversarialLib.attacks.result import Snapshot
from SegAdversarialLib.attacks.settings import snapshots_apart

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.run import AttackRun

Score = tuple[float, float]
"""How well an image serves an attack, the more the better; the second number decides between equals."""

Judge = Callable[[float, torch.Tensor], Score]
"""Gives the score of an image from its loss and its logits (N, K, J, I), right after its row was written into the trace."""


@dataclass
class _Kept:
    """An image that may be handed out."""

    score: Score
    image: torch.Tensor
    restart: int
    iteration: int
    loss: float
    row: int
    snapshots: list[Snapshot]


class Watch:
    """Sees every iteration of every restart and keeps the image that serves the attack best.

    Args:
        run: the attack at work.
        judge: how well an image serves.
        best_step: compare all iterations; False: only the last one of each restart.
        enough: the score at which the attack has what it wants; None: it goes on to its end.
        steps: iterations of a restart; it says how far apart snapshots must be.
        snapshot_every: keep every k-th iteration; 0: none.
    """

    def __init__(
        self,
        run: AttackRun,
        judge: Judge,
        *,
        best_step: bool,
        enough: float | None,
        steps: int,
        snapshot_every: int,
    ) -> None:
        self._run, self._judge, self._best_step, self._enough = run, judge, best_step, enough
        self._snapshot_every = snapshots_apart(snapshot_every, steps)
        self._restart, self._snapshots = 0, list[Snapshot]()
        self._kept: _Kept | None = None

    @property
    def is_enough(self) -> bool:
        """Whether what was found is all that is wanted."""
        return self._enough is not None and self._kept is not None and self._kept.score[0] >= self._enough

    @property
    def best(self) -> Score | None:
        """The score of what is kept so far."""
        return self._kept.score if self._kept is not None else None

    def begin(self, restart: int) -> None:
        """Another restart begins."""
        self._restart, self._snapshots = restart, []

    def see(
        self,
        iteration: int,
        loss: float,
        logits: torch.Tensor,
        image: torch.Tensor,
        *,
        last: bool = False,
        counts: bool = True,
        targets: torch.Tensor | None = None,
    ) -> None:
        """Write down an iteration, and judge it where there is a reason to.

        Args:
            iteration: number of gradients before it, in its restart.
            loss, logits, image: what the network was asked, and what came of it; the image must not be changed afterwards.
            last: it is the end of its restart.
            counts: it may be handed out; not so the image that an attack starts from, or one outside the budget.
            targets: (N, K, J, I) bool, the reference where it lies in this image; None: where it was.
        """
        self._run.record(self._restart, iteration, loss, logits, image, targets)
        if self._snapshot_every and (last or iteration % self._snapshot_every == 0):
            self._snapshots.append(self._run.keep_snapshot(iteration, image, logits))
        if not (last or self._best_step or self._enough is not None):
            return
        score = self._judge(loss, logits)
        reached = self._enough is not None and score[0] >= self._enough
        if counts and (last or self._best_step or reached) and (self._kept is None or score > self._kept.score):
            self._keep(score, iteration, loss, logits, image)

    def result(self) -> torch.Tensor:
        """The image that is handed out, finished; the run's snapshots, trace row, restart and iteration are made to fit it."""
        kept, run = self._kept, self._run
        assert kept is not None
        run.kept_restart, run.kept_iteration, run.snapshots = kept.restart, kept.iteration, kept.snapshots
        image = run.finish(kept.image)
        if not torch.equal(image, kept.image):  # rounding may change what the network says
            logits = run.ask(image)
            run.record(kept.restart, kept.iteration, kept.loss, logits, image)
            run.trace[kept.row] = run.trace.pop()
            if run.snapshots:
                run.snapshots[-1] = run.keep_snapshot(kept.iteration, image, logits)
        return image

    def _keep(self, score: Score, iteration: int, loss: float, logits: torch.Tensor, image: torch.Tensor) -> None:
        snapshots = list(self._snapshots)  # those on the way to it, and itself
        if self._snapshot_every and snapshots[-1].iteration != iteration:
            snapshots.append(self._run.keep_snapshot(iteration, image, logits))
        row = len(self._run.trace) - 1
        self._kept = _Kept(score, image, self._restart, iteration, loss, row, snapshots)
