"""What the tests share: small networks and cases, and where the optional real data lies."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from SegAdversarialLib import Case

_NUMBERS = itertools.count()
ROOT = Path(__file__).resolve().parents[2]
REAL_DATA = Path(os.environ.get("SEGADVERSARIAL_TEST_DATA", ROOT.parent / "shared" / "data"))


def tiny_network(channels: int = 2, outputs: int = 3, dimensions: int = 3, seed: int = 0) -> torch.nn.Module:
    """A random smooth network with a receptive field of 5 voxels, in float64."""
    torch.manual_seed(seed)
    convolution = torch.nn.Conv3d if dimensions == 3 else torch.nn.Conv2d
    layers = [convolution(channels, 6, 3, padding=1), torch.nn.Tanh(), convolution(6, outputs, 3, padding=1)]
    return torch.nn.Sequential(*layers).double()


def toy_case(
    shape: tuple[int, int, int] = (14, 16, 18),
    channels: tuple[str, ...] = ("A", "B"),
    labels: int = 3,
    seed: int = 0,
    affine: np.ndarray | None = None,
    dtype: str = "int16",
) -> Case:
    """Random intensities around 300 (whole numbers), random blocks of labels."""
    generator = np.random.default_rng(seed)
    image = np.rint(generator.normal(300, 80, (len(channels), *shape))).astype(np.float32)
    blocks = generator.integers(0, labels, tuple(-(-n // 4) for n in shape))
    label = blocks.repeat(4, 0).repeat(4, 1).repeat(4, 2)[: shape[0], : shape[1], : shape[2]]
    return Case(image, channels, np.eye(4) if affine is None else affine, label, name="toy", dtypes=(dtype,) * len(channels))


def oblique_affine() -> np.ndarray:
    """Anisotropic, oblique, nearest to L-P-S."""
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.9, -1.1, 2.5])
    affine[:3, 3] = [31.5, -12.25, 70.0]
    return affine


@pytest.fixture
def real_data() -> Path:
    """The folder of real volumes and networks; tests that want it are skipped where it is missing."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data in {REAL_DATA} (set SEGADVERSARIAL_TEST_DATA)")
    return REAL_DATA


@pytest.fixture(autouse=True)
def _own_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered and kept for this computer's user is none of the tests' business."""
    for name in ("CONFIG", "MODELS"):
        folder = tmp_path_factory.getbasetemp() / f"{name.lower()}-{next(_NUMBERS)}"
        monkeypatch.setenv(f"SEGADVERSARIAL_{name}", str(folder))


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many windows go at once, which decides about last bits, is not left to how busy the machine is."""
    monkeypatch.setattr("SegAdversarialLib.model.windows_at_once.WORTH_MEASURING", 10**12)


@pytest.fixture(scope="module", name="slicerHost")
def slicer_host() -> Iterator[ModuleType]:
    """The host: `qt`, `ctk` and the Qt half of `slicer` can be imported while a test file has this fixture."""
    if importlib.util.find_spec("PySide6") is None:
        pytest.skip("PySide6 is missing: the tests of the window are left out")
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    # a process for each panel would take longer than most tests
    os.environ.setdefault("SEGADVERSARIAL_EARLY_WORKER", "0")
    # the module's own folder, which Slicer adds when it loads the module
    for folder in (ROOT / "Testing", ROOT / "SegAdversarial"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    import host

    host.start()
    yield host
    host.stop()


@pytest.fixture(autouse=True)
def _no_slot_errors() -> Iterator[None]:
    """An error in a slot is printed and swallowed by Slicer; here the test fails. So do a refused connection and a warning."""
    yield
    host = sys.modules.get("host")
    if host:
        lists = (host.slotErrors, host.refusedConnections, host.qtWarnings)
        found = [x for one in lists for x in one]
        for one in lists:
            one.clear()
        assert not found, f"in a slot: {found}"
