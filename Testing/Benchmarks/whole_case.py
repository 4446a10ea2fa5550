"""Attacks on a whole multi-modal volume, on all of its channels and on each alone: Dice before and after, and what it took.

    python Testing/Benchmarks/whole_case.py CASE.npz NETWORK.ts --channels FLAIR,T1,T1ce,T2 --window 155,128,128

The case is an archive of arrays, so that nothing is needed that reads images: image (C, K, J, I), channels, affine, label.
`whole_case.py --pack CASE.npz T1=t1.nii.gz ... --label seg.nii.gz` writes one. The network is TorchScript with the
classes 0 background and 1 whole tumour, and sees z-scores over the voxels above 0. The most important rows come first; what no
time is left for is said to be left out. Dice is judged in float32 (without TF32), on the image as it would be saved.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import FLOAT32, machine  # noqa: E402
from measuring import memory_bytes  # noqa: E402

from SegAdversarialLib import Case, SegmentationModel, open_model  # noqa: E402
from SegAdversarialLib.attacks import make_attack  # noqa: E402
from SegAdversarialLib.metrics import dice  # noqa: E402

ATTACKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("FGSM", "fgsm", {"epsilon": 0.05}),
    ("PGD, 10 steps", "pgd", {"epsilon": 0.05, "steps": 10}),
    ("APGD, 10 gradients", "apgd", {"epsilon": 0.05, "steps": 10}),
    ("worst case, 10 gradients", "worst-case", {"epsilon": 0.05, "gradient_budget": 10}),
    (
        "Cheng's noise, 15 + 15 units, inside the head",
        "universal-random-perturbation",
        {"epsilon": 15.0, "radius": 15.0, "region": "foreground"},
    ),
)


def pack(path: Path, images: list[str], label: str) -> None:
    """Write a case as an archive of arrays."""
    case = Case.read(dict(x.split("=", 1) for x in images), label=label)
    whole = all(np.array_equal(x, np.round(x)) for x in case.image)
    image = case.image.astype(np.int16) if whole else case.image
    np.savez_compressed(path, image=image, channels=np.array(case.channels), affine=case.affine, label=case.label)


def unpacked(path: Path) -> Case:
    """The case in an archive."""
    with np.load(path, allow_pickle=False) as found:
        return Case(found["image"], tuple(found["channels"].tolist()), found["affine"], found["label"], name=path.stem)


def whole_tumour(model: SegmentationModel, image: np.ndarray, case: Case) -> float:
    """Dice of what the network says of an image, as it would be saved."""
    said = model.segment(case.with_image(np.round(image)))
    return dice(said == 1, case.label > 0)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("network")
    parser.add_argument("more", nargs="*", help="with --pack: CHANNEL=FILE")
    parser.add_argument("--pack", action="store_true")
    parser.add_argument("--label")
    parser.add_argument("--channels", default="FLAIR,T1,T1ce,T2")
    parser.add_argument("--window", default="155,128,128")
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--only", action="append", help="attacks, by their names")
    parser.add_argument("--alone", action="append", help="only the rows of these channels, each alone")
    parser.add_argument(
        "--search", choices=("auto", "float32", "float16", "bfloat16"), default="auto", help="in which precision"
    )
    parser.add_argument("--output", type=Path, default=Path("whole-case-results"))
    return parser.parse_args()


def opened(given: argparse.Namespace) -> SegmentationModel:
    """The network."""
    return open_model(
        given.network,
        trust=True,
        device=given.device,
        channels=given.channels.split(","),
        classes={"0": "background", "1": "whole tumour"},
        stands_for={"1": [1, 2, 4]},
        preprocessing={"normalization": {"kind": "zscore", "mask": "positive", "background": 0.0}},
        window=[int(x) for x in given.window.split(",")],
        overlap=given.overlap,
        acceleration=FLOAT32 if given.search == "float32" else {"mixed_precision": given.search},
    )


class Told:
    """Says once a minute how far an attack is: on a processor a gradient takes minutes."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, fraction: float, text: str) -> None:
        """What attacks call."""
        if time.monotonic() - self._last >= 60:
            self._last = time.monotonic()
            print(f"    {fraction:.0%}: {text}", file=sys.stderr, flush=True)


def attacked(model: SegmentationModel, case: Case, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What an attack leaves, and what it took."""
    began, used = time.perf_counter(), time.process_time()
    result = make_attack(name, settings)(model, case, progress=Told())
    row: dict[str, Any] = {"seconds": round(time.perf_counter() - began, 2)}
    row["processor seconds"] = round(time.process_time() - used, 1)
    row["mixed precision"] = str(model.settled_acceleration.mixed_precision)
    row["Dice"] = whole_tumour(model, result.adversarial.image, case)
    if torch.cuda.is_available():
        row["peak MiB"] = round(torch.cuda.max_memory_allocated() / 2**20)
    elif Path("/proc/self/status").exists():
        row["peak MiB"] = round(memory_bytes("VmHWM") / 2**20)
    return row


def main() -> int:
    """Attack, judge, and write each row at once."""
    given = arguments()
    if given.pack:
        pack(given.case, [given.network, *given.more], given.label)
        return 0
    given.output.mkdir(parents=True, exist_ok=True)
    print(machine(), flush=True)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    case, model = unpacked(given.case), opened(given)
    rows: list[dict[str, Any]] = [{"attack": "none", "channels": "all", "Dice": whole_tumour(model, case.image, case)}]
    print(f"Clean: {rows[0]['Dice']:.4f}", flush=True)
    end = time.monotonic() + given.seconds
    alone: list[list[str] | None] = [[x] for x in given.alone or case.channels]
    wanted = alone if given.alone else [None, *alone]
    for title, name, settings in ATTACKS:
        for channels in wanted if given.only is None or name in given.only else ():
            row: dict[str, Any] = {"attack": title, "channels": "all" if channels is None else channels[0]}
            try:
                late = time.monotonic() > end
                found = (
                    attacked(model, case, name, {**settings, "channels": channels}) if not late else {"left out": "no time"}
                )
            except Exception as error:  # one row must not cost the others
                found = {"failed": f"{type(error).__name__}: {error}"[:500]}
                traceback.print_exc(limit=-6)
            rows.append({**row, **found})
            print("  " + ", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            (given.output / "whole_case.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    return 1 if any("failed" in x for x in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
