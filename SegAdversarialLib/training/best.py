"""Which epoch was the best, and when to stop waiting for a better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from SegAdversarialLib.training.validation import MEAN

if TYPE_CHECKING:
    import torch


class Best:
    """The weights of the epoch with the best validation so far; empty before the first."""

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] = {}

    def keep(self, network: torch.nn.Module) -> None:
        """A network's weights as they are now."""
        self.weights = {name: x.detach().cpu().clone() for name, x in network.state_dict().items()}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights."""
        return self.weights

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take them over."""
        self.weights = dict(state)


def best_of(rows: Sequence[Mapping[str, float]]) -> int | None:
    """The number of the epoch with the highest mean Dice, the first of equals; None: none was validated."""
    validated = [n for n, row in enumerate(rows) if MEAN in row]
    return max(validated, key=lambda n: rows[n][MEAN]) if validated else None


def is_over(rows: Sequence[Mapping[str, float]], epochs: int, patience: int | None) -> bool:
    """Whether the last epoch is done, or a validation so many epochs after the best, or more, was no better."""
    best = best_of(rows)
    tired = patience is not None and best is not None and MEAN in rows[-1] and len(rows) - 1 - best >= patience
    return tired or len(rows) >= epochs
