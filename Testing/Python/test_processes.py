"""The set-up commands: what an installation shows, and what it says when it fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "Testing"))
from processes import run_with_steps, step_of_pip  # noqa: E402


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("Collecting torch==2.13.0 (from -c constraints.txt (line 3))\n", "looking for torch"),
        ("  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (29 kB)\n", None),
        ("Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (887.9 MB)\n", "getting torch (887.9 MB)"),
        ("Downloading https://example.org/whl/vtk-9.5.0-cp311.whl (111.2 MB)\n", "getting vtk (111.2 MB)"),
        ("Using cached numpy-2.3.1-cp311-cp311-manylinux.whl (18.2 MB)\n", "getting numpy (18.2 MB)"),
        ("Installing collected packages: a, b, c\n", "installing 3 packages"),
        ("Requirement already satisfied: pip in x\n", None),
    ],
)
def test_steps_of_pip(line: str, step: str | None) -> None:
    assert step_of_pip(line) == step


def test_a_long_installation_is_told_in_few_lines(capfd: pytest.CaptureFixture[str]) -> None:
    code = "for n in range(500): print(f'Collecting package-{n}')"
    assert run_with_steps([sys.executable, "-c", code], step_of_pip, "looking for everything") == 0
    output, errors = capfd.readouterr()
    assert 1 <= len(output.splitlines()) < 5 and output.startswith("  0:0") and not errors


def test_a_failed_one_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import sys; print('Collecting x'); print('ERROR: No matching distribution', file=sys.stderr); sys.exit(1)"
    assert run_with_steps([sys.executable, "-c", code], step_of_pip, "looking for x") == 1
    assert "ERROR: No matching distribution" in capfd.readouterr().err


def test_an_environment_that_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    from environment import _has_pip

    assert not _has_pip(tmp_path / "bin" / "python")
    assert _has_pip(Path(sys.executable))
    half = tmp_path / "python"
    half.write_text("#!/bin/sh\nexit 1\n")
    half.chmod(0o755)
    assert not _has_pip(half)
