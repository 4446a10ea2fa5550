"""What goes wrong while a network trains, in one sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from SegAdversarialLib.errors import InputError

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
        stays = " The last checkpoint stays as it was." if kept and epoch else ""
        raise InputError(
            f"The loss became {'infinite' if math.isinf(loss) else 'NaN'} in epoch {epoch + 1}, at {', '.join(names)}; "
            f"{helps}, unless the images of that case are at fault.{stays}"
        )


@contextmanager
def memory_in_words(helps: str = MEMORY_HELPS) -> Iterator[None]:
    """Too little memory inside becomes an `InputError` that says what helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        where = "The GPU" if "CUDA" in str(error) or "GPU" in str(error) else "The computer"
        raise InputError(f"{where} has too little memory for this training; give {helps}.") from error


def is_of_memory(error: BaseException) -> bool:
    """Whether an error means that there is too little memory."""
    import torch

    said = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in said or "not enough memory" in said
