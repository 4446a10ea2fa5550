"""Networks that other tools trained, and cases for them, to be attacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conftest import ROOT

from SegAdversarialLib import Case, open_model

NETWORKS = ROOT / "Testing" / "networks"
EPSILON = 0.1

Foreign = tuple[str, dict[str, Any], list[str]]
FOREIGN: dict[str, Foreign] = {
    "nnunet-slices": ("case-500", {"mirror": ""}, ["--mirror", ""]),
    "nnunet-regions": ("case-500", {}, []),
    "nnunet-sagittal": ("case-500", {"mirror": ""}, ["--mirror", ""]),
    "monai-softmax": ("flat", {}, []),
    "monai-regions": ("flat", {}, []),
    "auto3dseg": ("flat", {"channels": ["FLAIR"]}, ["--model-channels", "FLAIR"]),
}


def files_for(name: str, folder: Path) -> dict[str, Path]:
    """A part of a case that the network's own tool has segmented, as files, by channel."""
    case_name, settings, _ = FOREIGN[name]
    channels = open_model(NETWORKS / name, device="cpu", **settings).channels
    if name.startswith("nnunet"):
        paths = {x: NETWORKS / name / "cases" / f"{case_name}_{n:04d}.nii.gz" for n, x in enumerate(channels)}
    else:
        paths = {x: NETWORKS / "monai-cases" / f"{case_name}_{x}.nii.gz" for x in channels}
    whole = Case.read(paths)
    some = slice(None) if name != "nnunet-slices" else slice(14, 22)
    part = Case(whole.image[:, some], channels, whole.affine, name=name)
    return {channel: path for channel, path in part.write(folder).items() if channel in channels}
