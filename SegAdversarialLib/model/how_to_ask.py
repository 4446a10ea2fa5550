"""All that counts about a network once it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.devices import GpuMemory
    from SegAdversarialLib.model.preprocessing import Preprocessing
    from SegAdversarialLib.model.windows import Windows
    from SegAdversarialLib.structures.output_head import OutputHead


@dataclass(frozen=True, eq=False)
class HowToAsk:
    """All about a network that counts once it is asked; see `SegmentationModel` for what each is."""

    name: str
    head: OutputHead
    preprocessing: Preprocessing
    windows: Windows
    window_batch: int
    most_windows: int
    memory: GpuMemory | None
    device: torch.device
    dtype: torch.dtype
    network_dtype: torch.dtype
    spares: bool
