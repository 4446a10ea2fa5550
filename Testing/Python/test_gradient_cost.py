"""The cost benchmarks at toy sizes: that they measure, save and judge; not what they find."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

sys.path.append(str(ROOT / "Testing" / "Benchmarks"))

import gpu_switches
import gradient_cost
import step_cost
import whole_volume


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_step_costs_are_saved_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--only", "step", "--sizes", "32", "--rounds", "1", "--output", str(tmp_path)]
    monkeypatch.setattr(gradient_cost, "STEP_LIMIT", 1e6)
    assert gradient_cost.main(words) == 0 and "All promises kept" in capsys.readouterr().out
    plain, preprocessed = rows_of(tmp_path / "step_cost.csv")
    assert float(plain["step / bare"]) > 0 and "thread" in plain["machine"] and preprocessed["input"] == "preprocessed"
    assert (tmp_path / "gradient_cost.png").stat().st_size > 1000
    monkeypatch.setattr(gradient_cost, "STEP_LIMIT", 0.0)
    assert gradient_cost.main(words) == 1 and "Broken: a step at 4x32^3" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read as Linux tells them")
def test_whole_volumes_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here in one process; so times and the gradient's error mean something, the memory does not."""

    def here(script: str, task: dict[str, object]) -> dict[str, object]:
        return whole_volume._measure({"threads": 1, **task})

    monkeypatch.setattr(whole_volume, "in_own_process", here)
    row = whole_volume.gradient_costs((16, 16, 32), 16, 0.5)
    assert (row["shape"], row["windows"]) == ("16x16x32", 3)
    assert row["seconds"] > 0 and row["bare windows s"] > 0
    rows = whole_volume.against_plain([(16, 16, 16), (16, 16, 32)], 16, 0.5)
    assert [x["windows"] for x in rows] == [1, 3] and all(x["relative error"] < whole_volume.ERROR_LIMIT for x in rows)


def test_memory_of_plain_autograd_is_extrapolated_along_the_windows() -> None:
    rows = [{"windows": 2, "plain autograd MiB": 300.0}, {"windows": 4, "plain autograd MiB": 500.0}]
    assert whole_volume.extrapolated(rows, 10) == pytest.approx(1100.0)
    assert whole_volume.extrapolated(rows[:1], 10) is None


def test_switches_are_compared_with_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {name: gpu_switches.SWITCHES[name] for name in ("float32", "bfloat16")}
    monkeypatch.setattr(gpu_switches, "SWITCHES", chosen)
    plain, half = gpu_switches.switch_costs(32, 1, "cpu")
    assert plain["relative error"] == 0 and plain["time / float32"] == 1
    assert half["in use"] == "mixed_precision" and 0 < half["relative error"] < 0.5 and half["equal signs"] > 0.7


def test_a_machine_without_a_gpu_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gradient_cost.torch.cuda, "is_available", lambda: False)
    assert gradient_cost.main(["--only", "gpu", "--output", str(tmp_path)]) == 0
    assert "There is no CUDA GPU here" in capsys.readouterr().out


def test_torchattacks_takes_the_same_images() -> None:
    """In [0, 1] for it, the network's own for the network."""
    low, span = torch.tensor([2.0, -1.0]).view(2, 1, 1, 1), torch.tensor([3.0, 4.0]).view(2, 1, 1, 1)
    image = low + span * torch.rand(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    seen = step_cost.UnitRange(torch.nn.Identity(), low, span)(((image - low) / span)[None])
    torch.testing.assert_close(seen[0], image)
