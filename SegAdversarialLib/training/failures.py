"""What goes wrong while a network trains, in one sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.memory import TooLittleMemory, is_of_memory

if TYPE_CHECKING:
    import torch

LOSS_HELPS = "a lower learning_rate, clip_gradient or the precision 32-true help"
MEMORY_HELPS = "a smaller patch, batch_size or network, or the precision bf16-mixed"
"""What helps where a segmentation network is trained."""


def check_finite(row: Mapping[str, float], epoch: int, names: Sequence[str], kept: bool, helps: str = LOSS_HELPS) -> None:
    """Refuse to go on where a loss is no finite number.

    Raises:
        InputError: it is not.
    """
    loss = row["loss"]
    if not math.isfinite(loss):
        raise InputError(
            f"The loss became {'infinite' if math.isinf(loss) else 'NaN'} in epoch {epoch + 1}, at {', '.join(names)}; "
            f"{helps}, unless the images of that case are at fault.{_stays(epoch, kept)}"
        )


def check_weights(network: torch.nn.Module, epoch: int, kept: bool, helps: str = LOSS_HELPS) -> None:
    """Refuse to keep weights that are no finite numbers: a finite loss can have a gradient that is none.

    Raises:
        InputError: they are not.
    """
    if not all(bool(x.isfinite().all()) for x in network.state_dict().values() if x.is_floating_point()):
        raise InputError(
            f"The weights became NaN or infinite at the end of epoch {epoch + 1}, although the loss did not; "
            f"{helps}.{_stays(epoch, kept)}"
        )


def _stays(epoch: int, kept: bool) -> str:
    return " The last checkpoint stays as it was." if kept and epoch else ""


@contextmanager
def memory_in_words(helps: str = MEMORY_HELPS) -> Iterator[None]:
    """Too little memory inside becomes an `InputError` that says what helps."""
    try:
        yield
    except (MemoryError, RuntimeError, TooLittleMemory) as error:
        if not (isinstance(error, TooLittleMemory) or is_of_memory(error)):
            raise
        said = str(error.__cause__ if isinstance(error, TooLittleMemory) else error)
        where = "The GPU" if "CUDA" in said or "GPU" in said else "The computer"
        raise InputError(f"{where} has too little memory for this training; give {helps}.") from error
