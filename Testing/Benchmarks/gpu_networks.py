"""The networks, cases and precisions of the GPU check."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch

from SegAdversarialLib import Case, Preprocessing, SegmentationModel, open_model, phantom

BUILT_IN = "builtin:brain-tumour-phantom"
CLASSES = {0: "background", 1: "necrotic core", 2: "oedema", 4: "enhancing tumour"}


@dataclass(frozen=True)
class Precision:
    """How a network is run.

    Attributes:
        switches: of `Acceleration`.
        tf32: convolutions in TF32, which the library itself does not allow.
        quickest: cuDNN may choose its quickest algorithms, which need not give the same bits each time.
    """

    switches: dict[str, Any] = field(default_factory=dict)
    tf32: bool = False
    quickest: bool = False

    @contextmanager
    def convolutions(self) -> Iterator[None]:
        """cuDNN as this precision wants it; inside of `SegmentationModel.on`, whose own choice it replaces."""
        chosen = {"benchmark": self.quickest, "deterministic": not self.quickest, "allow_tf32": self.tf32}
        with torch.backends.cudnn.flags(enabled=True, **chosen):
            yield

    @property
    def low(self) -> torch.dtype | None:
        """The type that convolutions are computed in, if that is a half one."""
        return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.switches.get("mixed_precision", ""))


BFLOAT16, FLOAT16 = {"mixed_precision": "bfloat16"}, {"mixed_precision": "float16"}
PRECISIONS = {
    "float32": Precision(),
    "TF32": Precision(tf32=True),
    "bfloat16": Precision(BFLOAT16),
    "float16": Precision(FLOAT16),
    "float32, channels-last": Precision({"channels_last": True}),
    "bfloat16, channels-last": Precision({**BFLOAT16, "channels_last": True}),
    "float32, quickest algorithms": Precision(quickest=True),
    "TF32, quickest algorithms": Precision(tf32=True, quickest=True),
}
COMPILED = {
    "float32, compiled": Precision({"compiled": True}),
    "bfloat16, compiled": Precision({**BFLOAT16, "compiled": True}),
}

NETWORKS = ("built-in", "UNet 16-64", "UNet 32-256", "DynUNet 32-320")


@cache
def network(name: str) -> torch.nn.Module:
    """A network on the CPU, the same each time; use a copy. All but the built-in one have random weights."""
    from monai.networks.nets import DynUNet, UNet

    torch.manual_seed(0)
    common = {"in_channels": 4, "out_channels": 4}
    if name == "built-in":
        return open_model(BUILT_IN, device="cpu").network
    if name == "DynUNet 32-320":
        return DynUNet(
            3,
            **common,
            kernel_size=[3] * 6,
            strides=[1, 2, 2, 2, 2, 2],
            upsample_kernel_size=[2] * 5,
            filters=(32, 64, 128, 256, 320, 320),
            norm_name="instance",
        )
    features = (32, 64, 128, 256) if name == "UNet 32-256" else (16, 32, 64)
    dimensions = 2 if name == "UNet 2D" else 3
    return UNet(dimensions, **common, channels=features, strides=(2,) * (len(features) - 1), num_res_units=2, norm="INSTANCE")


def model_of(name: str, device: str, switches: dict[str, Any] | None = None, double: bool = False, **how: Any):
    """A network that takes phantoms as `scored_case` gives them; more keyword arguments go to `from_network`."""
    own = copy.deepcopy(network(name))
    multiple = 32 if name.startswith("DynUNet") else 8
    if name == "UNet 2D":
        how = {"preprocessing": Preprocessing(axes="ji"), **how}
    return SegmentationModel.from_network(
        own.double() if double else own,
        channels=phantom.CHANNELS,
        classes=CLASSES,
        size_multiple=multiple,
        device=device,
        acceleration=switches or {},
        name=name,
        **how,
    )


@cache
def raw_case(shape: tuple[int, int, int], seed: int = 0) -> Case:
    """A phantom; a large one is a smaller one whose voxels are repeated, which is quickly made."""
    if max(shape) <= 128:
        return phantom.subject(seed=seed, shape=shape)
    small = phantom.subject(seed=seed, shape=(64, 64, 64))
    places = np.ix_(*(np.arange(n) * 64 // n for n in shape))
    image = np.stack([channel[places] for channel in small.image])
    noise = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    return Case(image + noise * (image > 0), small.channels, np.diag([-1.0, -1, 1, 1]), small.label[places], name="phantom")


@cache
def scored_case(shape: tuple[int, int, int], seed: int = 0) -> Case:
    """The same as the built-in network's preprocessing leaves it, so that a network may see it as it is."""
    case = raw_case(shape, seed)
    return case.with_image(open_model(BUILT_IN, device="cpu").prepare(case).numpy())


class Bare:
    """A network's forward and input gradient in a precision, with nothing around it.

    Args:
        name: of the network.
        device: where it runs.
        precision: how; channels-last holds for the weights, too.
    """

    def __init__(self, name: str, device: str, precision: Precision) -> None:
        net = copy.deepcopy(network(name)).to(device).eval().requires_grad_(False)
        if precision.switches.get("channels_last"):
            net = net.to(memory_format=torch.channels_last_3d)
        self.run: Callable[[torch.Tensor], torch.Tensor] = torch.compile(net) if precision.switches.get("compiled") else net
        self._device, self._precision = torch.device(device).type, precision

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        if self._precision.switches.get("channels_last"):
            batch = batch.contiguous(memory_format=torch.channels_last_3d)
        low = self._precision.low
        with torch.autocast(self._device, low) if low else contextlib.nullcontext():
            return self.run(batch)

    def forward(self, batch: torch.Tensor) -> None:
        """Logits, thrown away."""
        with torch.no_grad(), self._precision.convolutions():
            self._forward(batch)

    def gradient(self, batch: torch.Tensor) -> None:
        """Logits and the gradient of their sum, thrown away."""
        leaf = batch.detach().requires_grad_(True)
        with self._precision.convolutions():
            logits = self._forward(leaf)
            torch.autograd.grad(logits, leaf, torch.ones_like(logits))


def quickest(functions: Sequence[Callable[[], object]], device: str, rounds: int = 5, warm: int = 2) -> list[float]:
    """Seconds of each function in its quickest round, in turns; slow ones (over 2 s) get two rounds."""
    found: list[list[float]] = [[] for _ in functions]
    for number in range(warm + rounds):
        for taken, function in zip(found, functions):
            if len(taken) >= 2 and taken[-1] > 2:
                continue
            taken.append(seconds_of(function, device))
        if number + 1 == warm:
            found = [taken[-1:] if taken[-1] > 2 else [] for taken in found]
    return [min(taken) for taken in found]


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Seconds of one call, what the GPU does included."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def wait(device: str) -> None:
    """Until the GPU has done all that it was told."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def differences(found: torch.Tensor, expected: torch.Tensor) -> dict[str, float]:
    """How far a gradient is from another: relative error (Euclidean), and the share of equal signs where that one is not 0."""
    a, b = found.detach().double().cpu(), expected.detach().double().cpu()
    counts = b != 0
    return {
        "relative error": float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)),
        "equal signs": float((a.sign() == b.sign())[counts].double().mean()) if counts.any() else float("nan"),
    }
