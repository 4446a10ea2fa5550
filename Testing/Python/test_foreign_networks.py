"""Networks that another tool's reader describes: they open, are described and refused as every other network."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from SegAdversarialLib import Case
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import describe_file, described, open_model
from SegAdversarialLib.formats.described import Described
from SegAdversarialLib.formats.recognition import Content

SETTINGS = {"channels": ["t1"], "classes": ["background", "tumour"], "window": [8, 8, 8]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that a reader made up here knows by its file weights.bin."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "weights.bin").write_bytes(b"12")

    def reader(path: Path, runs=()):
        if not (path / "weights.bin").is_file():
            return None
        data = path / "weights.bin"

        def load(settings, device, sums=()):
            assert bool(sums) == bool(runs)
            network = torch.nn.Conv3d(1, len(settings.classes), 1).to(device)
            torch.nn.init.constant_(network.weight, float(data.read_bytes()))
            return network

        content = Content("foreign", "a network of another tool")
        return Described(content, SETTINGS, data, (data,), load, runs, ("Its windows are not blended.",))

    monkeypatch.setattr(described, "_reader", lambda name: reader)
    monkeypatch.setattr(described, "READERS", ("another",))
    return tmp_path / "net"


def test_it_opens_with_what_its_reader_says(folder, caplog):
    with caplog.at_level(logging.WARNING):
        model = open_model(folder, device="cpu")
    assert model.channels == ("t1",)
    assert "Its windows are not blended." in caplog.text
    assert torch.all(model.network.weight == 12)
    case = Case(np.ones((1, 8, 8, 8), np.float32), ["t1"], np.eye(4))
    assert model.segment(case).shape == (8, 8, 8)


def test_what_the_user_says_takes_the_place_of_what_it_says(folder):
    folder.with_suffix(".json").write_text(json.dumps({"window": [16, 16, 16], "channels": ["flair"]}))
    known = describe_file(folder, channels=["t2"])
    assert (known.window, known.channels, known.content) == ((16, 16, 16), ("t2",), "a network of another tool")
    assert known.files == (folder / "weights.bin", folder.with_suffix(".json"))
    assert not known.needs_trust


def test_one_that_could_run_code_opens_with_trust_alone(folder, monkeypatch):
    reader = described._reader("another")
    monkeypatch.setattr(described, "_reader", lambda name: lambda path: reader(path, ("scripts/network.py",)))
    assert describe_file(folder).needs_trust
    with pytest.raises(InputError, match=r"could run scripts/network\.py \(picklescan .* no pickle in it.*\); if you trust"):
        open_model(folder)
    open_model(folder, trust=True)
