"""Parts of the GPU check about results: agreement with the CPU, the same bits each time, and attacks from end to end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from gpu_networks import BUILT_IN, PRECISIONS, Precision, differences, model_of, raw_case, scored_case
from gpu_rows import Rows

from SegAdversarialLib import Case, Preprocessing, SegmentationModel, attacks, objectives, open_model
from SegAdversarialLib.metrics import dice

AGREEMENT = ("float32", "TF32", "bfloat16", "float16", "float32, channels-last")


def gradient(model: SegmentationModel, case: Case, precision: Precision | None = None) -> torch.Tensor:
    """The exact gradient of soft Dice, on the CPU; without a precision as the library itself runs the network."""
    with model.on(case) as bound:
        loss = objectives.SoftDice(case.label).bind(model.head, model.device, model.dtype)
        if precision is None:
            return bound.search(bound.image, loss)[1].cpu()
        with precision.convolutions():
            return bound.search(bound.image, loss)[1].cpu()


def resampled(device: str, switches: dict[str, Any] | None = None, double: bool = False) -> SegmentationModel:
    """The built-in network behind z-scores and voxels of another size."""
    steps = Preprocessing(spacing=(3.1, 2.6, 2.9), normalization={"kind": "zscore", "mask": "above_mean", "background": 0.0})
    return model_of("built-in", device, switches, double, preprocessing=steps)


def _subjects(small: bool) -> dict[str, tuple[Callable[..., SegmentationModel], Case]]:
    """What agreement is measured on: how a model is made, and its case."""
    size = (32, 32, 32) if small else (64, 64, 64)
    wide = (48, 32, 32) if small else (96, 64, 64)
    window = (32, 32, 32) if small else (48, 48, 48)
    large = {} if small else {"DynUNet 32-320": (partial(model_of, "DynUNet 32-320"), scored_case(size))}
    return {
        "built-in network": (partial(model_of, "built-in"), scored_case(size)),
        "built-in network, z-scores and resampling": (resampled, raw_case(size)),
        "built-in network in windows": (partial(model_of, "built-in", window=window), scored_case(wide)),
        "UNet 32-256": (partial(model_of, "UNet 32-256"), scored_case(size)),
        "UNet 2D": (partial(model_of, "UNet 2D"), _with_noise(scored_case(size))),
        **large,
    }


def _with_noise(case: Case) -> Case:
    """The same without constant slices, on which an instance norm divides by rounding."""
    noise = np.random.default_rng(0).normal(0, 0.1, case.image.shape).astype(np.float32)
    return case.with_image(case.image + noise)


def agreement(rows: Rows, device: str) -> None:
    """Gradients in every precision against double precision on the CPU."""
    on_gpu = device != "cpu"
    for name, (make, case) in _subjects(not on_gpu).items():
        kept: dict[str, torch.Tensor] = {}

        def reference(make: Any = make, case: Case = case, kept: dict[str, torch.Tensor] = kept) -> dict[str, Any]:
            kept["float64"] = gradient(make("cpu", double=True), case)
            return differences(gradient(make("cpu"), case), kept["float64"])

        if rows.add(f"{name}: CPU float32", reference, 40) is None:
            continue
        if on_gpu:
            rows.add(f"{name}: GPU float64", partial(_in_double, partial(make, device, double=True), case, kept["float64"]))
        for label in AGREEMENT if on_gpu else ("bfloat16",):
            rows.add(f"{name}: {device} {label}", partial(_agrees, make, device, label, case, kept["float64"]))


def _in_double(make: Any, case: Case, expected: torch.Tensor) -> dict[str, Any]:
    return differences(gradient(make(), case), expected)


def _agrees(make: Any, device: str, label: str, case: Case, expected: torch.Tensor) -> dict[str, Any]:
    precision = PRECISIONS[label]
    model = make(device, precision.switches)
    found = differences(gradient(model, case, precision), expected)
    return {**found, "in use": " ".join(model.describe()["acceleration"]["in_use"])}


@contextmanager
def _settings(name: str) -> Iterator[Precision | None]:
    """How repeatable torch is told to be: the library's own way, quickest algorithms, or deterministic ones only."""
    if name == "deterministic algorithms only":
        torch.use_deterministic_algorithms(True)
    try:
        yield Precision(quickest=True) if name == "quickest algorithms" else None
    finally:
        torch.use_deterministic_algorithms(False)


def _fingerprint(array: torch.Tensor | np.ndarray) -> str:
    values = array.cpu().numpy() if isinstance(array, torch.Tensor) else array
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:12]


def _twice(work: Callable[[Precision | None], torch.Tensor | np.ndarray], settings: str) -> dict[str, Any]:
    with _settings(settings) as precision:
        first, second = work(precision), work(precision)
    a, b = (torch.as_tensor(x).double() for x in (first, second))
    apart = float((a - b).abs().max() / a.abs().max())
    same = _fingerprint(first) == _fingerprint(second)
    return {"same bits": same, "largest difference / largest value": apart, "fingerprint": _fingerprint(first)}


def bits(rows: Rows, device: str) -> None:
    """Two runs, bit for bit; the fingerprint tells whether another process comes to the same."""
    size = (64, 64, 64) if device != "cpu" else (32, 32, 32)
    scored, raw = scored_case(size), raw_case(size)
    low = PRECISIONS["bfloat16"].switches
    gradients: dict[str, tuple[Callable[[], SegmentationModel], Case]] = {
        "built-in network": (partial(model_of, "built-in", device), scored),
        "in windows": (partial(model_of, "built-in", device, window=tuple(n // 2 for n in size)), scored),
        "bfloat16": (partial(model_of, "built-in", device, low), scored),
        "z-scores and resampling": (partial(resampled, device), raw),
        "UNet 2D": (partial(model_of, "UNet 2D", device), scored),
    }
    for settings in ("as the library runs it", "deterministic algorithms only", "quickest algorithms"):
        for name, (make, case) in gradients.items():

            def work(precision: Precision | None, make: Any = make, case: Case = case) -> torch.Tensor:
                return gradient(make(), case, precision)

            rows.add(f"gradient, {name}; {settings}", partial(_twice, work, settings))
    runs = {
        "PGD, 5 steps": attacks.PGD(steps=5),
        "worst case, 5 gradients": attacks.WorstCase(gradient_budget=5),
        "deformation, 5 steps": attacks.make_attack("deformation", {"steps": 5}),
    }
    for name, attack in runs.items():

        def image(precision: Precision | None, attack: Any = attack) -> np.ndarray:
            return attack(open_model(BUILT_IN, device=device), raw).adversarial.image

        rows.add(f"{name}; as the library runs it", partial(_twice, image, "as the library runs it"))


def whole_attacks(rows: Rows, device: str) -> None:
    """Attacks on the CPU and on the GPU, also searched in half precision; judged by the CPU's float32 network."""
    on_gpu = device != "cpu"
    size, count = ((64, 64, 64), 20) if on_gpu else ((32, 32, 32), 2)
    chosen = {
        "FGSM": attacks.FGSM(epsilon=0.02),
        f"PGD, {count} steps": attacks.PGD(epsilon=0.02, steps=count),
        f"APGD, {count} steps": attacks.APGD(epsilon=0.02, steps=count),
        f"worst case, {count} gradients": attacks.WorstCase(epsilon=0.02, gradient_budget=count),
    }
    judge = open_model(BUILT_IN, device="cpu")
    places: dict[str, tuple[str, dict[str, Any]]] = {"CPU, float32": ("cpu", {})}
    if on_gpu:
        places |= {"GPU, float32": (device, {}), "GPU, bfloat16": (device, PRECISIONS["bfloat16"].switches)}
    for seed in (0, 1):
        case = raw_case(size, seed)
        clean = partial(lambda case: {"Dice": _mean_dice(judge, case, case.image)}, case)
        rows.add(f"phantom {seed}: clean", clean)
        for where, (place, switches) in places.items():
            for name, attack in chosen.items():
                rows.add(f"phantom {seed}: {name}; {where}", partial(_attacked, attack, place, switches, case, judge))


def _attacked(
    attack: attacks.Attack, device: str, switches: dict[str, Any], case: Case, judge: SegmentationModel
) -> dict[str, Any]:
    result = attack(open_model(BUILT_IN, device=device, acceleration=switches), case)
    return {
        "Dice": _mean_dice(judge, case, result.adversarial.image),
        "Dice in the trace": result.kept_row.get("dice mean"),
        "gradients": result.gradient_evaluations,
        "attack s": result.seconds,
    }


def _mean_dice(judge: SegmentationModel, case: Case, image: np.ndarray) -> float:
    claimed = judge.predict(case.with_image(image)).masks
    wanted = judge.head.masks(torch.from_numpy(case.label)).numpy()
    return float(np.mean([dice(claimed[n], wanted[n]) for n in judge.head.foreground]))
