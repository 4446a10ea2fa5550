"""The random numbers that networks draw of torch's own generators, such as first weights and dropout, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@contextmanager
def drawing(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Torch's generators of the CPU and of one device draw from a seed; afterwards, and on other devices, all is as it was.

    Args:
        seed: from 0 on; a CPU's generator tells the lower 32 bits of it alone.
        device: where the network runs.
    """
    import torch

    device = torch.device(device)
    # not torch.manual_seed, which seeds the generators of all devices
    if device.type == "cuda":
        with torch.random.fork_rng(devices=[device]), torch.cuda.device(device):
            torch.default_generator.manual_seed(seed)
            torch.cuda.manual_seed(seed)
            yield
        return
    state = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            if device.type == "mps":
                torch.mps.manual_seed(seed)
            yield
    finally:
        if state is not None:
            torch.mps.set_rng_state(state)
