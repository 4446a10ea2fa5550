"""How a network is run faster than as it stands: mixed precision, channels-last memory, compilation, folded batch norms.

Each has a switch. What is asked for and fails is left out, with one warning; what is left to be measured ("auto") is used
where it is faster on a window and gives the same gradient, else not. Low precision is for the search of an attack alone:
answers, and gradients that are handed out, are always those of the network as it stands.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from SegAdversarialLib.errors import Cancelled, InputError, detail_of, first_problem

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.low_precision import LowPrecision
    from SegAdversarialLib.model.network_outputs import NetworkOutputs
    from SegAdversarialLib.model.search_precision import SearchPrecision

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

FASTER = 0.95
"""Measured switches stay on where they take at most this share of the time without them."""
SAME = {"channels_last": 1e-3}
"""Largest relative difference of the gradient (Euclidean norm) with which a measured switch stays on."""
_HALF = {"float16", "bfloat16"}


class Acceleration(BaseModel):
    """Switches for running a network faster.

    By default only what gives the same answers every time is on. In which precision attacks search is measured once in a
    process for a network, and stands in the results, so that it can be asked for again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fused: bool = Field(True, description="Fold batch norms into the convolutions before them where that changes nothing.")
    channels_last: bool | Literal["auto"] = Field(
        False, description="Images in channels-last memory order; auto: on a GPU where it is measured to be faster."
    )
    mixed_precision: bool | Literal["auto", "tf32", "float16", "bfloat16"] = Field(
        "auto",
        description="Attacks search in low precision, and the network itself judges what they find; true: float16, on a CPU "
        "bfloat16; tf32: on a GPU; auto: what is clearly faster, on a CPU bfloat16 where it computes in it; false: never.",
    )
    compiled: bool = Field(
        False, description="torch.compile, which takes a minute at first; then batch norms are left to the compiler."
    )

    spared: bool = Field(
        True,
        description="Windows whose answer or gradient is known to the last bit are not asked again; results stay the same.",
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
        searches_in: the precision of searches; None: it is still to be measured.
        search_share: what a gradient in that precision takes, beside one of the network as it stands; None: not measured.
        file_hash: of the file that the network is from; "": unknown.
    """

    def __init__(self, network: torch.nn.Module, settings: Acceleration, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        from SegAdversarialLib.model.folding import Folding

        self._network, self.settings, self._device = network, settings, device
        self.outputs: NetworkOutputs | None = None
        self.in_place = False
        self._folding = Folding()
        self._compiled: Callable[[torch.Tensor], Any] | None = None
        self.file_hash = ""
        self.searches_in = _search_precision(settings.mixed_precision, device, dtype)
        self.search_share: float | None = None
        self._is_searching = False
        self._low: LowPrecision | None = None
        wanted = {name: getattr(settings, name) for name in ("compiled", "channels_last")}
        if settings.compiled and isinstance(network, torch.jit.ScriptModule):
            _log.warning("A TorchScript network cannot be compiled; it runs as it is.")
            wanted["compiled"] = False
        self.active = [name for name, switch in wanted.items() if switch and switch != "auto"]
        self.undecided = [x for x in SAME if wanted[x] == "auto" and device.type == "cuda"]

    @property
    def precision(self) -> SearchPrecision:
        """What the network computes in now."""
        return self.searches_in or "full" if self._is_searching else "full"

    @property
    def scales_gradients(self) -> bool:
        """Whether small gradients would be lost without a scale: bfloat16 has as wide a range as single precision."""
        return self.precision == "float16"

    @property
    def in_use(self) -> list[str]:
        """The switches that are on, as far as they have an effect."""
        low = ["mixed_precision"] if self.searches_in not in (None, "full") else []
        return sorted([*self.active, *low, *(["fused"] if self._folding.count else [])])

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Inside, the network is asked in the precision of searches."""
        import torch

        before, self._is_searching = self._is_searching, True
        try:
            if self.precision == "tf32":
                with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
                    yield
            else:
                yield
        finally:
            self._is_searching = before

    @property
    def state(self) -> tuple[str, ...]:
        """How it computes now: where this is the same, so are the bits of its answers."""
        return (self.precision, *self.active)

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
        precision = self.precision
        if precision in _HALF:
            return self._ask_roughly(run, batch, getattr(torch, precision))
        if run is not self._network or self._device.type != "cpu":
            return run(batch)
        from SegAdversarialLib.model.quick_convolutions import QuickConvolutions

        with QuickConvolutions():
            return run(batch)

    def _ask_roughly(self, run: Callable[[torch.Tensor], Any], batch: torch.Tensor, low: torch.dtype) -> Any:
        import torch

        from SegAdversarialLib.model.low_precision import LowPrecision

        if run is not self._network:  # a compiler has made of it what it likes
            with torch.autocast(self._device.type, low):
                return run(batch)
        if self._low is None:
            self._low = LowPrecision(self._network, low, self._device)
        return self._low(batch)

    @contextmanager
    def folded(self, channels: int, dimensions: int, multiple: int) -> Iterator[None]:
        """Batch norms folded inside, if that is wanted; the network must be in evaluation mode and frozen."""
        self._let_go_of_other_weights()
        try:
            if not self.settings.fused or "compiled" in self.active:
                yield
                return
            with self._folding.of(self._network, channels, dimensions, multiple):
                yield
        finally:
            self._let_go_of_other_weights()

    def _let_go_of_other_weights(self) -> None:
        """Forget what was made of the network's weights, unless they are known to be the same."""
        if self._low is not None and not self._low.may_stay:
            self._low = None

    def trying(self, work: Callable[[], _Answer]) -> _Answer:
        """What `work` gives, which asks this network; where it fails, with fewer switches, one less at a time.

        Raises:
            whatever `work` raises with all switches off.
        """
        import torch

        before, left_out = (list(self.active), self.searches_in, self.search_share), list[str]()
        while True:
            try:
                answer = work()
            except (Cancelled, torch.OutOfMemoryError):
                raise
            except Exception as error:  # a compiler, a driver or a stranger's network may raise anything
                switch = None if isinstance(error.__cause__, torch.OutOfMemoryError) else self._switch_off()
                if switch is None:
                    self.active, self.searches_in, self.search_share = before
                    raise
                left_out.append(f"{switch} ({detail_of(error.__cause__ or error)})")
                continue
            if left_out:
                _log.warning("The network does not run with %s; going on without.", "; ".join(left_out))
            return answer

    def _switch_off(self) -> str | None:
        """Go on with one switch less, and tell which; None: all that have an effect now are off."""
        if "compiled" not in self.active and self.precision != "full":
            self.searches_in, self.search_share, self._low = "full", 1.0, None
            return "mixed_precision"
        return self.active.pop(0) if self.active else None

    def settle_search(self, crop: torch.Tensor) -> None:
        """Decide in which precision attacks search, or remember what was decided for the same file. A precision that was asked
        for is only measured.

        Args:
            crop: (1, C, *window) of what the network will see.
        """
        from SegAdversarialLib.model.search_precision import known, quickest, remember, that_may_do

        asked, gradient = self.searches_in, partial(self._gradient_in, crop)
        found = known(self.file_hash, crop.shape, self._device)
        try:
            if asked is not None and (found is None or found.precision != asked):
                found = quickest(gradient, [asked], self._device, at_most=math.inf)._replace(precision=asked)
            elif found is None:
                found = quickest(gradient, that_may_do(self._device), self._device)
                remember(self.file_hash, crop.shape, self._device, found)
        except BaseException:  # also somebody's Ctrl-C: nothing is decided by what was being tried
            self.searches_in, self._low = asked, None
            raise
        self.searches_in, self.search_share = found

    def _gradient_in(self, crop: torch.Tensor, precision: SearchPrecision) -> torch.Tensor:
        if self.searches_in != precision:
            self.searches_in, self._low = precision, None
        with self.searching():
            return self._gradient(crop)

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

    def settled(self) -> Acceleration:
        """The switches with what was measured of the precision of searches in the place of "auto", for running it again."""
        if self.settings.mixed_precision != "auto" or self.searches_in is None:
            return self.settings
        return self.settings.model_copy(update={"mixed_precision": False if self.searches_in == "full" else self.searches_in})

    def describe(self) -> dict[str, Any]:
        """The switches, what of them is in use, and in which precision attacks search ("auto": not measured), as plain JSON
        data."""
        return {**self.settings.model_dump(mode="json"), "in_use": self.in_use, "searches_in": self.searches_in or "auto"}


def _search_precision(wanted: bool | str, device: torch.device, dtype: torch.dtype) -> SearchPrecision | None:
    """The precision of searches as far as it is settled; None: it is to be measured.

    float16 keeps three bits more of a gradient than bfloat16, and a CPU is slow with it.
    """
    import torch

    if not wanted or dtype not in (torch.float32, torch.float64):
        return "full"  # weights in half precision compute in it by themselves
    if wanted == "auto":
        return None if dtype == torch.float32 else "full"
    if wanted == "tf32":
        return "tf32" if device.type == "cuda" else "full"
    if wanted == "float16" or (wanted is True and device.type != "cpu"):
        return "float16"
    return "bfloat16"
