"""Shapes of tensors without torch: the same as torch reads, and nothing of what only torch may judge."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hostile_helpers import Canary
from monai.networks.nets import UNet

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.checkpoints import sets_of_tensors
from SegAdversarialLib.formats.tensor_shapes import Shape, shapes
from SegAdversarialLib.formats.weight_sets import weight_sets
from SegAdversarialLib.formats.weights_file import checkpoint

NETWORK = UNet(spatial_dims=3, in_channels=2, out_channels=3, channels=(2, 4), strides=(2,))
STATE = NETWORK.state_dict()
LIGHTNING = {"epoch": 3, "pytorch-lightning_version": "2.6.6", "state_dict": {f"model.{k}": x for k, x in STATE.items()}}
PARAMETERS = dict(NETWORK.named_parameters())
MIXED = {"half": torch.zeros(2, 3, 4, 5).half(), "part": torch.zeros(4, 6)[1:3, ::2], "one": torch.tensor(1), "flag": True}

SAVED: dict[str, Callable[[Path], Any]] = {
    "net.pt": lambda p: torch.save(STATE, p),
    "last.ckpt": lambda p: torch.save(LIGHTNING, p),
    "parameters.pth": lambda p: torch.save({"net": PARAMETERS, "sizes": torch.Size((1, 2))}, p),
    "mixed.pt": lambda p: torch.save({"a": {"b": MIXED}, "lr": [0.1, ("x", None)]}, p),
    "net.safetensors": lambda p: safetensors.torch.save_file(STATE, p, {"format": "pt"}),
    "mixed.safetensors": lambda p: safetensors.torch.save_file({k: x for k, x in MIXED.items() if k in ("half", "one")}, p),
}
LEFT: dict[str, Callable[[Path], Any]] = {
    "older.pt": lambda p: torch.save(STATE, p, _use_new_zipfile_serialization=False),
    "numpy.pt": lambda p: torch.save({"state_dict": STATE, "best": np.float32(0.5)}, p),
    "path.pt": lambda p: torch.save({"state_dict": STATE, "path": Path}, p),
    "canary.pt": lambda p: torch.save({"state_dict": STATE, "x": Canary(p.with_name("canary"))}, p),
    "whole.pt": lambda p: torch.save(NETWORK, p),
    "text.pt": lambda p: p.write_text("x" * 20),
}
"""What torch has to judge."""


@pytest.mark.parametrize("name", SAVED)
def test_they_are_what_torch_reads(name: str, tmp_path: Path) -> None:
    SAVED[name](tmp_path / name)
    ours = list(sets_of_tensors(shapes(tmp_path / name), Shape))
    torchs = list(sets_of_tensors(checkpoint(tmp_path / name), torch.Tensor))
    assert [(place, list(x)) for place, x in ours] == [(place, list(x)) for place, x in torchs]
    for (_, some), (_, others) in zip(ours, torchs):
        for key, shape in some.items():
            assert (shape.shape, shape.ndim, shape.numel()) == (
                tuple(others[key].shape),
                others[key].ndim,
                others[key].numel(),
            ), key
    assert ours and weight_sets(tmp_path / name)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_more_than_weights_is_left_to_torch(name: str, tmp_path: Path) -> None:
    LEFT[name](tmp_path / name)
    (tmp_path / "canary").unlink(missing_ok=True)
    assert shapes(tmp_path / name) is None
    assert not (tmp_path / "canary").exists()


def test_numbers_that_are_not_there(tmp_path: Path) -> None:
    """Words alone are no weights."""
    torch.save(STATE, tmp_path / "net.pt")
    with zipfile.ZipFile(tmp_path / "net.pt") as old, zipfile.ZipFile(tmp_path / "cut.pt", "w") as new:
        for member in old.namelist():
            new.writestr(member, old.read(member)[: 3 if member.endswith("data/0") else None])
    assert shapes(tmp_path / "cut.pt") is None
    safetensors.torch.save_file(STATE, tmp_path / "net.safetensors")
    whole = (tmp_path / "net.safetensors").read_bytes()
    for content in (whole[:-1], whole.replace(b'"F32"', b'"F64"', 1), whole.replace(b'"F32"', b'"XYZ"', 1)):
        (tmp_path / "net.safetensors").write_bytes(content)
        assert shapes(tmp_path / "net.safetensors") is None
    with zipfile.ZipFile(tmp_path / "net.pt", "a") as archive:
        archive.writestr("../outside", "x")
    with pytest.raises(InputError, match="leads out of the archive's folder"):
        shapes(tmp_path / "net.pt")


@pytest.mark.parametrize("name", ["last.ckpt", "net.pt", "net.safetensors"])
def test_info_needs_no_torch(name: str, tmp_path: Path) -> None:
    SAVED[name](tmp_path / name)
    code = "import sys; sys.modules['torch'] = None; from SegAdversarialLib.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "info", str(tmp_path / name)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "the first convolution takes 2 channels" in " ".join(done.stdout.split()) and "problem" not in done.stdout
