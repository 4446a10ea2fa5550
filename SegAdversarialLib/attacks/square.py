"""Random search with cubes: an attack that asks the network only for answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from SegAdversarialLib.attacks.additive import EPSILON_UNIT, AdditiveAttack
from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.settings import MOST_SNAPSHOTS, parameter, snapshots_apart
from SegAdversarialLib.attacks.untargeted import AgainstReference
from SegAdversarialLib.objectives import OBJECTIVES

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun

_HALVINGS = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
"""The queries, of 10,000, at which the share of the volume that a cube takes is halved (Andriushchenko et al. 2020)."""

_MOST_ROWS = 200
"""The trace has no more rows than this, however many queries there are."""

_MOST_DRAWS = 50
"""A cube that would change nothing is drawn again, but not for ever: a budget of 0 has none that does."""


class SquareAttack(AgainstReference, AdditiveAttack):
    """Square attack: random cubes of +-epsilon, each kept where the answer gets worse; no gradient is asked for.

    From stripes of +-epsilon, every query sets a random cube to original +- epsilon, one random sign for each channel, and
    keeps it if the loss has grown. The share of the volume that a cube takes is halved at fixed parts of the query budget
    (Andriushchenko et al. 2020, L-infinity, for images; here the side of a cube is the cube root of its volume, the stripes
    run along the slices' axis, and the loss is one of whole label maps; the first share is AutoAttack's). With answers =
    "labels" nothing but the segmentation is used, and the loss is 1 - mean Dice.
    """

    name: ClassVar[str] = "square"
    title: ClassVar[str] = "Square attack"
    groups: ClassVar[tuple[Group, ...]] = ("black-box",)
    citation: ClassVar[str] = "Andriushchenko et al. 2020, ECCV; part of AutoAttack, Croce & Hein 2020, ICML"

    epsilon: float = parameter(0.02, "Largest change of a voxel.", EPSILON_UNIT, ge=0)
    queries: int = parameter(
        2000, "How often the network is asked in all, the clean image and the result included.", "queries", ge=3, le=10**6
    )
    answers: Literal["logits", "labels"] = parameter(
        "logits",
        "logits: the loss is soft Dice; labels: only the segmentation is used, and the loss is 1 - mean Dice.",
        label="Answers used",
        texts={"logits": "logits", "labels": "segmentation only"},
    )
    first_share: float = parameter(
        0.8, "Share of the volume (or region) that the first cubes take.", advanced=True, label="First share", gt=0, le=1
    )
    snapshot_every: int = parameter(
        0,
        f"Keep image and segmentation of every k-th query or the next that was kept, {MOST_SNAPSHOTS} at most; 0: none.",
        unit="queries",
        label="Keep every",
        ge=0,
    )

    @property
    def is_random(self) -> bool:
        """Whether there is anything to draw."""
        return not self.does_nothing

    @property
    def cost(self) -> Cost:
        """The queries."""
        return Cost(answers=self.queries)

    @property
    def followed_losses(self) -> tuple[str, ...]:
        """Soft Dice, unless only the segmentation is known."""
        return ("soft_dice",) if self.answers == "logits" else ()

    def share(self, query: int) -> float:
        """The share of the volume that the cube of a query takes (query 0 is the first cube's)."""
        of_ten_thousand = query * 10_000 / self.queries
        return self.first_share / 2 ** sum(of_ten_thousand >= moment for moment in _HALVINGS)

    def _search(self, run: AttackRun) -> torch.Tensor:
        last = run.forward_evaluations + self.queries - 1  # which measures what is handed out
        targets, counted = self._targets(run)
        loss = self._loss(run, targets, counted)
        cubes, keeper = _Cubes(run, self.epsilon), _Keeper(self, run)
        image = cubes.stripes()
        logits = run.ask(image)
        best = loss(logits)
        keeper.take(0, best, logits, image)
        proposed = 0
        while run.forward_evaluations < last:
            query = self.queries - 1 - (last - run.forward_evaluations)
            run.report(query / self.queries, f"{self.title}: query {query + 1} of {self.queries}, loss {best:.4f}")
            change = cubes.change(image, self.share(proposed))
            if change is None:
                break
            proposed += 1
            place, before = change
            logits = run.ask(image)
            value = loss(logits)
            if value > best:
                best = value
                keeper.take(proposed, best, logits, image)
            else:
                image[place] = before
        image = run.finish(image)
        logits = run.ask(image)
        keeper.end(proposed + 1, loss(logits), logits, image)
        return image

    def _targets(self, run: AttackRun) -> tuple[torch.Tensor, list[int]]:
        """What each output should claim, (N, K, J, I) bool, and the positions of the outputs that count."""
        import torch

        given = torch.as_tensor(self._reference(run), device=run.device)
        targets = run.head.masks(given) if given.ndim == 3 else given.bool()
        return targets, self._structures(run.head)

    def _loss(self, run: AttackRun, targets: torch.Tensor, counted: list[int]) -> Callable[[torch.Tensor], float]:
        """Logits (N, K, J, I) to what the search makes as large as it can."""
        if self.answers == "logits":
            soft_dice = OBJECTIVES["soft_dice"](targets.cpu().numpy(), classes=self.classes)
            bound = soft_dice.bind(run.head, run.device, run.original.dtype)
            return lambda logits: float(bound(logits))
        sizes = {n: int(targets[n].count_nonzero()) for n in counted}

        def one_minus_dice(logits: torch.Tensor) -> float:
            claimed, total = run.head.predicted(logits), 0.0
            for n in counted:
                both = sizes[n] + int(claimed[n].count_nonzero())
                total += 2 * int((claimed[n] & targets[n]).count_nonzero()) / both if both else 1.0
            return 1 - total / len(counted)

        return one_minus_dice


class _Cubes:
    """Draws changes of an image: what may change is known by the run's bounds, so that every image stays in the budget."""

    def __init__(self, run: AttackRun, epsilon: float) -> None:
        self._original, self._bounds = run.original, run.bounds
        self._step = run.unit * epsilon
        self._generator = run.generator()
        shape = run.original.shape[1:]
        self._low, self._high = [0, 0, 0], list(shape)
        self._voxels: torch.Tensor | None = None
        if run.allowed is not None and run.allowed.shape[1:] == shape:
            # a region: cubes lie in its box, and each holds one of its voxels at least, however thin it is
            self._voxels = run.allowed.any(0).nonzero().cpu()
            self._low, self._high = self._voxels.amin(0).tolist(), (self._voxels.amax(0) + 1).tolist()

    def stripes(self) -> torch.Tensor:
        """Where the search starts: +-epsilon, one sign for each line of voxels along the first axis and channel."""
        channels, _, rows, columns = self._original.shape
        return (self._original + self._signs((channels, 1, rows, columns)) * self._step).clamp_(*self._bounds)

    def change(self, image: torch.Tensor, share: float) -> tuple[tuple[slice, ...], torch.Tensor] | None:
        """Change a cube of the image in place; where it lies and what was there, or None where nothing can change."""
        import torch

        for _ in range(_MOST_DRAWS):
            place = (slice(None), *self._place(share))
            signs = self._signs((len(image), 1, 1, 1))
            least, greatest = (x[place] for x in self._bounds)
            proposed = torch.clamp(self._original[place] + signs * self._step, least, greatest)
            if not torch.equal(proposed, image[place]):
                before = image[place].clone()
                image[place] = proposed
                return place, before
        return None

    def _place(self, share: float) -> list[slice]:
        extents = [high - low for low, high in zip(self._low, self._high)]
        side = max(1, round((share * extents[0] * extents[1] * extents[2]) ** (1 / 3)))
        sizes = [min(side, extent) for extent in extents]
        if self._voxels is None:
            starts = [self._integer(extent - size + 1) for extent, size in zip(extents, sizes)]
        else:
            inside = self._voxels[self._integer(len(self._voxels))].tolist()
            starts = [
                min(max(voxel - self._integer(size), low), high - size)
                for voxel, size, low, high in zip(inside, sizes, self._low, self._high)
            ]
        return [slice(start, start + size) for start, size in zip(starts, sizes)]

    def _integer(self, end: int) -> int:
        import torch

        return int(torch.randint(end, (), generator=self._generator))

    def _signs(self, shape: tuple[int, ...]) -> torch.Tensor:
        import torch

        return torch.randint(2, shape, generator=self._generator).mul_(2).sub_(1).to(self._original)


class _Keeper:
    """Writes the trace and the snapshots of a search: of what was kept, and not more than is bounded."""

    def __init__(self, attack: SquareAttack, run: AttackRun) -> None:
        self._run = run
        self._rows_every = -(-attack.queries // (_MOST_ROWS - 2))
        self._snapshots_every = snapshots_apart(attack.snapshot_every, attack.queries)
        self._next_row = self._next_snapshot = 0

    def take(self, query: int, loss: float, logits: torch.Tensor, image: torch.Tensor) -> None:
        """A change that was kept; written down where it is time to."""
        if query >= self._next_row:
            self._next_row = query + self._rows_every
            self._record(query, loss, logits, image)
        if self._snapshots_every and query >= self._next_snapshot:
            self._next_snapshot = query + self._snapshots_every
            # a copy: the search goes on in the image's own memory
            self._run.snapshots.append(self._run.keep_snapshot(query, image.clone(), logits))

    def end(self, query: int, loss: float, logits: torch.Tensor, image: torch.Tensor) -> None:
        """The result."""
        self._record(query, loss, logits, image)
        if self._snapshots_every:
            self._run.snapshots.append(self._run.keep_snapshot(query, image, logits))

    def _record(self, query: int, loss: float, logits: torch.Tensor, image: torch.Tensor) -> None:
        self._run.record(0, query, loss, logits, image)
        self._run.trace[-1]["queries"] = self._run.forward_evaluations
