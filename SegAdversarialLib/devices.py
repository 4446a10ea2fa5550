"""Where a network runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from SegAdversarialLib.errors import InputError

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)


def choose_device(wanted: str) -> torch.device:
    """The device that was asked for, or the CPU, with a warning that says so, where it is not to be had.

    Args:
        wanted: "cpu", "cuda", "cuda:1", "mps", or "auto" for the first GPU there is.

    Raises:
        InputError: it is no device name.
    """
    import torch

    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise InputError(f'There is no kind of device "{wanted}"; use auto, cpu, cuda, cuda:1 or mps.') from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        _log.warning("The device %s is not available; running on the CPU instead.", wanted)
        return torch.device("cpu")
    return device
