"""What is seen of an attack's iterations: the trace, the snapshots, and which of the images is handed out.

Where an attack searches in low precision, the rows of its steps are the search's. What is handed out is judged by the network
itself: it is asked about the best of the search once more, as that is saved, and about those that may be as good: no further
behind than twice what the search was wrong by about the best one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from SegAdversarialLib.attacks.result import Snapshot
from SegAdversarialLib.attacks.settings import snapshots_apart

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.run import AttackRun

Score = tuple[float, float]
"""How well an image serves an attack, the more the better; the second number decides between equals."""

Judge = Callable[[float, torch.Tensor], Score]
"""Gives the score of an image from its loss and its logits (N, K, J, I), right after its row was written into the trace."""


CLOSE = 3
"""So many images of a search in low precision are judged again at most."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network was asked at an iteration, and by what its answer is judged.

    Attributes:
        image: (C, K, J, I).
        loss_at: the loss of logits at that iteration.
        judge: how well the image serves.
        targets: (N, K, J, I) bool, the reference where it lies in this image; None: where it was.
        state: what the search itself wants to know of the image that is handed out.
    """

    image: torch.Tensor
    loss_at: Callable[[torch.Tensor], float]
    judge: Judge
    targets: torch.Tensor | None = None
    state: Any = None


@dataclass
class _Kept:
    """An image that may be handed out; `again` gives what was seen."""

    score: Score
    again: Callable[[], Seen]
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
        self._rough: list[_Kept] = []
        """The best of what only a search in low precision has judged, the best first."""

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
        loss_at: Callable[[torch.Tensor], float] | None = None,
        again: Callable[[], Seen] | None = None,
    ) -> None:
        """Write down an iteration, and judge it where there is a reason to.

        Args:
            iteration: number of gradients before it, in its restart.
            loss, logits, image: what the network was asked, and what came of it; the image must not be changed afterwards.
            last: it is the end of its restart.
            counts: it may be handed out; not so the image that an attack starts from, or one outside the budget.
            targets: (N, K, J, I) bool, the reference where it lies in this image; None: where it was.
            loss_at: the loss of other logits at this iteration; None: what was given stands.
            again: makes once more what was seen, for searches that need less memory to know it than an image takes; None: the
                image is kept.
        """
        self._run.record(self._restart, iteration, loss, logits, image, targets)
        if self._snapshot_every and (last or iteration % self._snapshot_every == 0):
            self._snapshots.append(self._run.keep_snapshot(iteration, image, logits))
        if not (last or self._best_step or self._enough is not None):
            return
        score = self._judge(loss, logits)
        reached = self._enough is not None and score[0] >= self._enough
        if not counts or not (last or self._best_step or reached):
            return
        again = again or partial(_itself, Seen(image, loss_at or (lambda logits: loss), self._judge, targets))
        if self._run.is_rough:
            self._note(self._candidate(score, iteration, loss, logits, image, again), reached)
        elif self._kept is None or score > self._kept.score:
            self._kept = self._candidate(score, iteration, loss, logits, image, again)

    def result(self) -> Seen:
        """What is handed out, its image finished; the run's snapshots, trace row, restart and iteration are made to fit it."""
        self._judge_again()
        kept, run = self._kept, self._run
        assert kept is not None
        run.kept_restart, run.kept_iteration, run.snapshots = kept.restart, kept.iteration, kept.snapshots
        seen = kept.again()
        finished = replace(seen, image=run.finish(seen.image))
        if not torch.equal(finished.image, seen.image):  # rounding may change what the network says
            self._ask(kept, replace(finished, loss_at=lambda logits: kept.loss))
        return finished

    def _note(self, found: _Kept, reached: bool) -> None:
        """Remember what a search in low precision has judged; where that says it is enough, the network itself is asked."""
        if reached:
            self._confirm(found)
        else:
            self._rough = sorted([*self._rough, found], key=lambda x: x.score, reverse=True)[:CLOSE]

    def _judge_again(self) -> None:
        """Let the network judge the best of the search, and those that its error may have put behind."""
        margin, best = 0.0, self._rough[0].score[0] if self._rough else 0.0
        for n, found in enumerate(self._rough):
            rough = found.score[0]
            if n and rough < best - margin:
                break
            self._confirm(found)
            margin = max(margin, 2 * abs(found.score[0] - rough))
        self._rough.clear()

    def _confirm(self, found: _Kept) -> None:
        """Keep it if it is the best by what the network itself says of it as it is saved."""
        seen = found.again()
        seen = replace(seen, image=self._run.finish(seen.image))
        logits = self._ask(found, seen)
        found.score = self._judge_row(found, seen.judge, logits)
        if self._kept is None or found.score > self._kept.score:
            self._kept, found.again = found, partial(_itself, seen)

    def _judge_row(self, found: _Kept, judge: Judge, logits: torch.Tensor) -> Score:
        """The score, with the row of `found` as the trace's last one, as a judge expects it."""
        trace = self._run.trace
        trace.append(trace[found.row])
        try:
            return judge(found.loss, logits)
        finally:
            trace.pop()

    def _ask(self, kept: _Kept, seen: Seen) -> torch.Tensor:
        """The network's logits for the image; the row and the snapshot are made to fit them."""
        run = self._run
        logits = run.ask(seen.image)
        kept.loss = seen.loss_at(logits)
        run.record(kept.restart, kept.iteration, kept.loss, logits, seen.image, seen.targets)
        run.trace[kept.row] = run.trace.pop()
        if kept.snapshots and kept.snapshots[-1].iteration == kept.iteration:
            kept.snapshots[-1] = run.keep_snapshot(kept.iteration, seen.image, logits)
        return logits

    def _candidate(
        self,
        score: Score,
        iteration: int,
        loss: float,
        logits: torch.Tensor,
        image: torch.Tensor,
        again: Callable[[], Seen],
    ) -> _Kept:
        snapshots = list(self._snapshots)  # those on the way to it, and itself
        if self._snapshot_every and snapshots[-1].iteration != iteration:
            snapshots.append(self._run.keep_snapshot(iteration, image, logits))
        return _Kept(score, again, self._restart, iteration, loss, len(self._run.trace) - 1, snapshots)


def _itself(seen: Seen) -> Seen:
    return seen
