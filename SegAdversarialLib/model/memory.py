"""Too little memory, in words: for the windows that a network sees at once, or for the volumes around them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from SegAdversarialLib.errors import InputError

if TYPE_CHECKING:
    import torch


class TooLittleMemory(InputError):
    """Memory does not suffice for whole volumes, whatever the windows."""


def is_of_memory(error: BaseException | None) -> bool:
    """Whether an error of PyTorch's or Python's means that there is too little memory."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # where it was never imported, the error is none of its own
    if torch is not None and isinstance(error, getattr(torch, "OutOfMemoryError", ())):
        return True
    # what PyTorch says of the machine's own memory is a RuntimeError
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("allocate memory" in said or "not enough memory" in said)


@contextmanager
def volumes_in_words(shape: Sequence[int], channels: int, device: torch.device) -> Iterator[None]:
    """Too little memory inside, where windows are told of by themselves, becomes an `InputError` about whole volumes.

    Args:
        shape: of the case, in voxels.
        channels: of the case.
        device: where the volumes lie.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        from SegAdversarialLib.volumes.geometry import sizes  # imports numpy, and jobs that fail early need none

        where = "a computer with more memory" if device.type == "cpu" else "another device, such as cpu,"
        raise TooLittleMemory(
            f"A volume of {sizes(shape)} voxels in {channels} channel{'s' if channels > 1 else ''}, with all that is computed "
            f"for the whole of it, does not fit into {_place(device)}; a smaller window hardly helps, but a cropped or "
            f"coarser volume, or {where} does."
        ) from error


@contextmanager
def weights_in_words(name: str, device: torch.device) -> Iterator[None]:
    """Too little memory for a network's weights becomes an `InputError` about them."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        other = "close other programs" if device.type == "cpu" else "close other programs that use it, or use another device"
        raise InputError(f"The weights of the network {name} do not fit into {_place(device)}; {other}.") from error


def _place(device: torch.device) -> str:
    return "the computer's memory" if device.type == "cpu" else f"the memory that is free on {device}"
