"""Training in two processes on a CPU, launched by Fabric, against the same in one."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from training_helpers import block, trained, weights_of

HOW = {"epochs": 3, "optimizer": "sgd", "learning_rate": 0.05, "augmentation": "mirror"}
"""Three cases in batches of two: the last batch of an epoch has one, which both processes see."""

PROGRAM = """
    import json, os, sys
    from pathlib import Path
    from test_training_processes import HOW
    from training_helpers import block, trained, weights_of
    from safetensors.torch import save_file
    from SegAdversarialLib.errors import Cancelled

    place, stop = Path(sys.argv[1]), sys.argv[2]
    rank, said = int(os.environ.get("LOCAL_RANK", 0)), []

    def cancel():
        return bool(rank == 0 and said and all(x in said[-1] for x in stop.split(", ")))

    try:
        model = trained(
            {**HOW, "devices": 2},
            folder=place / "trained",
            validation=[block(n) for n in (7, 8, 9)],
            progress=lambda fraction, text: said.append(text),
            cancel=cancel,
        )
    except Cancelled:
        (place / f"cancelled-{rank}").write_text(said[-1] if said else "")
    else:
        save_file(weights_of(model), place / f"rank-{rank}.safetensors")
        (place / f"said-{rank}.json").write_text(json.dumps(said))
"""


def in_two_processes(place: Path, stop: str = "never") -> None:
    program = place / "training.py"
    program.write_text(textwrap.dedent(PROGRAM))
    own = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE", "NODE_RANK")}
    environment = {**own, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    done = subprocess.run(
        [sys.executable, str(program), str(place), stop], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch cannot train in several processes")
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """Stopped by the first process alone, in the middle of a validation, and gone on with."""
    in_two_processes(tmp_path, "epoch 2 of 3: validating case-7")
    assert {x.name for x in tmp_path.glob("cancelled-*")} == {"cancelled-0", "cancelled-1"}
    assert len(rows_of(tmp_path / "trained")) == 1
    in_two_processes(tmp_path)
    first, second = (load_file(tmp_path / f"rank-{n}.safetensors") for n in (0, 1))
    one = weights_of(trained({**HOW, "batch_size": 2}, validation=[block(n) for n in (7, 8, 9)]))
    written = load_file(tmp_path / "trained" / "model.safetensors")
    for name, x in first.items():
        assert torch.equal(x, second[name]) and torch.equal(x, written[name])
        torch.testing.assert_close(x, one[name], rtol=1e-4, atol=1e-5)
    assert len(rows_of(tmp_path / "trained")) == 3  # one process writes
    assert json.loads((tmp_path / "said-0.json").read_text()) and not json.loads((tmp_path / "said-1.json").read_text())


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "training.csv").open() as table:
        return list(csv.DictReader(table))
