"""What the installer sees of this Python and this computer."""

from __future__ import annotations

import importlib.metadata
import types
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def gui(slicerHost: Any) -> Any:
    """The module under test."""
    import SegAdversarialGui.installer as installer

    return installer


@pytest.mark.parametrize(
    ("text", "gpu", "advice"),
    [
        ("__version__ = '2.8.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", True, True),
        ("__version__ = '2.8.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", False, False),
        ("__version__ = '2.8.0+cu126'\ncuda: Optional[str] = '12.6'\nhip: Optional[str] = None\n", True, False),
        ("__version__ = '2.8.0'\ncuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n", True, False),
        ("nothing that is known", True, False),
        (None, True, False),
    ],
)
def test_a_torch_that_cannot_use_the_gpu(
    gui: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, gpu: bool, advice: bool
) -> None:
    from SegAdversarialGui import environment

    spec = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: spec if text is not None else None)
    monkeypatch.setattr(environment.shutil, "which", lambda name: "/usr/bin/nvidia-smi" if gpu else None)
    if text is not None:
        (tmp_path / "version.py").write_text(text)
    shown = gui.Installer().gpuAdvice()
    assert bool(shown) == advice
    assert not advice or ("PyTorch Utils" in shown and "Uninstall" in shown)


def test_leftovers_and_strange_versions(gui: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from SegAdversarialGui.environment import Environment

    (tmp_path / "leftover").mkdir()
    (tmp_path / "odd.py").touch()
    (tmp_path / "odd-1.dist-info").mkdir()
    (tmp_path / "odd-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 2.5-slicer built\n")
    monkeypatch.syspath_prepend(tmp_path)
    environment = Environment()
    assert not environment.holds("leftover") and environment.holds("odd")
    assert importlib.metadata.version("odd") == "2.5-slicer built" and environment.version("odd") is None
    assert not environment.holds("no_such_module") and environment.version("no-such-module") is None
