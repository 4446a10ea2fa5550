"""The devices and the precision of a training, through Lightning Fabric."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.devices import choose_device
from SegAdversarialLib.training.settings import TrainingSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def machine(settings: TrainingSettings, device: str) -> Fabric:
    """Fabric, launched: one process or several, on one machine or several.

    Under `fabric run` its own options count, and not these.

    Raises:
        InputError: Fabric is not installed, the precision does not go with the device, or there are not as many devices.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise InputError("Training needs lightning-fabric; install it (pip install lightning-fabric).") from None
    place = choose_device(device)
    _check(settings, place.type)
    if "LT_CLI_USED" in os.environ:
        return _launched(Fabric())
    several = settings.devices * settings.nodes > 1
    given: dict[str, Any] = {
        "accelerator": place.type,
        "devices": [place.index or 0] if place.type == "cuda" and settings.devices == 1 else settings.devices,
        "num_nodes": settings.nodes,
        "precision": settings.precision,
        "strategy": "ddp" if several else "auto",
    }
    try:
        return _launched(Fabric(**given))
    except (RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{settings.devices} device(s) of the kind {place.type} are not to be had: {error}") from error


def _launched(fabric: Fabric) -> Fabric:
    fabric.launch()
    return fabric


def _check(settings: TrainingSettings, kind: str) -> None:
    if settings.precision == "16-mixed" and kind != "cuda":
        raise InputError(
            f'The precision "16-mixed" needs a CUDA GPU; on {kind} use "bf16-mixed", which CPUs with AMX or AVX512-bf16 do '
            'quickly, or "32-true".'
        )
