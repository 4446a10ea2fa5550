"""How a network is run faster than as it stands: mixed precision, channels-last memory, compilation, folded batch norms.

Each has a switch. What is asked for and fails is left out, with one warning; what is left to be measured ("auto") is used on a
GPU where it is faster on the first window and gives the same gradient, else not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from SegAdversarialLib.errors import Cancelled, InputError, detail_of, first_problem

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.network_outputs import NetworkOutputs

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

FASTER = 0.95
"""Measured switches stay on where they take at most this share of the time without them."""
SAME = {"channels_last": 1e-3, "mixed_precision": 5e-2}
"""Largest relative difference of the gradient (Euclidean norm) with which a measured switch stays on."""


class Acceleration(BaseModel):
    """Switches for running a network faster.

    By default only what gives the same numbers every time is on: a switch that is measured may be on in one run and off in
    the next, and their results then differ by rounding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fused: bool = Field(True, description="Fold batch norms into the convolutions before them where that changes nothing.")
    channels_last: bool | Literal["auto"] = Field(
        False, description="Images in channels-last memory order; auto: on a GPU where it is measured to be faster."
    )
    mixed_precision: bool | Literal["auto", "float16", "bfloat16"] = Field(
        False,
        description="Convolutions in half precision, with scaled gradients; true: float16, on a CPU bfloat16; auto: on a GPU "
        "where it is measured to be faster.",
    )
    compiled: bool = Field(
        False, description="torch.compile, which takes a minute at first; then batch norms are left to the compiler."
    )

    @classmethod
    def of(cls, settings: Acceleration | Mapping[str, Any] | None) -> Acceleration:
        """The switches from themselves, from a mapping, or the default.

        Raises:
            InputError: a switch is unknown or wrongly set.
        """
        if isinstance(settings, Acceleration):
            return settings
        try:
            return cls(**(settings or {}))
        except ValidationError as error:
            raise InputError(f"Acceleration: {first_problem(error)}") from None


class AcceleratedNetwork:
    """A network behind its switches: (B, C, *window) to logits (B, N, *window).

    Args:
        network: it stays as it is.
        settings: what is wanted.
        device: where it runs.
        dtype: the type of its weights.

    Attributes:
        outputs: how logits are found in what the network gives; None: what it gives is handed out.
        in_place: the network changes its input: it gets a copy.
    """

    def __init__(self, network: torch.nn.Module, settings: Acceleration, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        from SegAdversarialLib.model.folding import Folding

        self._network, self.settings, self._device = network, settings, device
        self.outputs: NetworkOutputs | None = None
        self.in_place = False
        self._folding = Folding()
        self._compiled: Callable[[torch.Tensor], Any] | None = None
        self._low = _low_precision(settings.mixed_precision, device)
        wanted = {name: getattr(settings, name) for name in ("compiled", "mixed_precision", "channels_last")}
        if dtype not in (torch.float32, torch.float64):
            wanted["mixed_precision"] = False  # it computes in half precision by itself
        if settings.compiled and isinstance(network, torch.jit.ScriptModule):
            _log.warning("A TorchScript network cannot be compiled; it runs as it is.")
            wanted["compiled"] = False
        self.active = [name for name, switch in wanted.items() if switch and switch != "auto"]
        self.undecided = [x for x in SAME if wanted[x] == "auto" and device.type == "cuda"]

    @property
    def scales_gradients(self) -> bool:
        """Whether small gradients would be lost without a scale."""
        return "mixed_precision" in self.active

    @property
    def in_use(self) -> list[str]:
        """The switches that are on, as far as they have an effect."""
        return sorted([*self.active, *(["fused"] if self._folding.count else [])])

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, *window) for (B, C, *window).

        Raises:
            InputError: the network gives something else.
        """
        given = self._ask(batch.clone() if self.in_place else batch)
        return given if self.outputs is None else self.outputs.logits(given, batch)

    def _ask(self, batch: torch.Tensor) -> Any:
        import torch

        if "channels_last" in self.active:
            order = torch.channels_last_3d if batch.ndim == 5 else torch.channels_last
            batch = batch.contiguous(memory_format=order)
        run: Callable[[torch.Tensor], Any] = self._network
        if "compiled" in self.active:
            if self._compiled is None:
                self._compiled = torch.compile(self._network)
            run = self._compiled
        if "mixed_precision" in self.active:
            with torch.autocast(self._device.type, self._low):
                return run(batch)
        return run(batch)

    @contextmanager
    def folded(self, channels: int, dimensions: int, multiple: int) -> Iterator[None]:
        """Batch norms folded inside, if that is wanted; the network must be in evaluation mode and frozen."""
        if not self.settings.fused or "compiled" in self.active:
            yield
            return
        with self._folding.of(self._network, channels, dimensions, multiple):
            yield

    def trying(self, work: Callable[[], _Answer]) -> _Answer:
        """What `work` gives, which asks this network; where it fails, with fewer switches, one less at a time.

        Raises:
            whatever `work` raises with all switches off.
        """
        import torch

        before, left_out = list(self.active), list[str]()
        while True:
            try:
                answer = work()
            except (Cancelled, torch.OutOfMemoryError):
                raise
            except Exception as error:  # a compiler, a driver or a stranger's network may raise anything
                if not self.active or isinstance(error.__cause__, torch.OutOfMemoryError):
                    self.active = before
                    raise
                left_out.append(f"{self.active.pop(0)} ({detail_of(error.__cause__ or error)})")
                continue
            if left_out:
                _log.warning("The network does not run with %s; going on without.", "; ".join(left_out))
            return answer

    def settle(self, crop: torch.Tensor, seconds: Callable[[Callable[[], object]], float] | None = None) -> None:
        """Decide what was left to be measured.

        Args:
            crop: (1, C, *window) of what the network will see.
            seconds: how long a call takes; None: the middle one of three, after one that does not count.
        """
        import torch

        seconds = seconds or self._seconds
        undecided, self.undecided = self.undecided, []
        expected = self._gradient(crop)
        best = seconds(lambda: self._gradient(crop))
        for name in undecided:
            before, self.active = self.active, [*self.active, name]
            try:
                difference = torch.linalg.vector_norm(self._gradient(crop) - expected) / torch.linalg.vector_norm(expected)
                needed = seconds(lambda: self._gradient(crop))
            except Exception as error:
                _log.debug("%s fails: %s", name, detail_of(error))
                self.active = before
                continue
            keeps = needed <= FASTER * best and bool(difference <= SAME[name])
            _log.info("%s takes %.3f s instead of %.3f s: %s.", name, needed, best, "used" if keeps else "not used")
            self.active, best = (self.active, needed) if keeps else (before, best)

    def _gradient(self, crop: torch.Tensor) -> torch.Tensor:
        import torch

        leaf = crop.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = self(leaf).to(crop.dtype)
            (gradient,) = torch.autograd.grad(logits.square().mean(), leaf)
        return gradient

    def _seconds(self, call: Callable[[], object]) -> float:
        import torch

        taken = []
        for _ in range(4):
            torch.cuda.synchronize(self._device)
            started = time.perf_counter()
            call()
            torch.cuda.synchronize(self._device)
            taken.append(time.perf_counter() - started)
        return sorted(taken[1:])[1]

    def describe(self) -> dict[str, Any]:
        """The switches, and what of them is in use, as plain JSON data."""
        return {**self.settings.model_dump(mode="json"), "in_use": self.in_use}


def _low_precision(wanted: bool | str, device: torch.device) -> torch.dtype:
    """The type for mixed precision: float16 keeps three bits more of a gradient than bfloat16, and a CPU is slow with it."""
    import torch

    if wanted in ("float16", "bfloat16"):
        return torch.float16 if wanted == "float16" else torch.bfloat16
    return torch.bfloat16 if device.type == "cpu" else torch.float16
