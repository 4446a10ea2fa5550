"""What the tests of the host's Slicer half share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(name="parts")
def _parts(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The host's own module, with everything as after the start."""
    request.getfixturevalue("slicerHost")
    from host import slicer_module

    slicer_module.reset()
    yield slicer_module
    slicer_module.reset()


@pytest.fixture(name="scene")
def _scene(parts: Any) -> Any:
    import slicer

    return slicer.mrmlScene


def volume(name: str = "volume", shape: tuple[int, int, int] = (4, 5, 6)) -> Any:
    """A new volume in Slicer's scene."""
    import slicer

    node = slicer.util.addVolumeFromArray(np.arange(np.prod(shape), dtype=np.int16).reshape(shape))
    node.SetName(name)
    return node


def pixels(path: Path) -> np.ndarray:
    """A picture's pixels: (height, width, 3)."""
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).astype(int)
