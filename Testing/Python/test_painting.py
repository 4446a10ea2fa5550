"""Which of overlapping regions a label map shows."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from SegAdversarialLib import SegmentationModel
from SegAdversarialLib.formats.settings import ModelSettings
from SegAdversarialLib.structures.output_head import OutputHead

CLASSES = {3: "enhancing", 1: "core", 2: "whole"}
REGIONS = {3: (3,), 1: (1, 3), 2: (1, 2, 3)}
LOGITS = torch.tensor([[1.0, -1, -1, -1], [1, 1, -1, -1], [1, 1, 1, -1]]).reshape(3, 1, 1, 4)


@pytest.mark.parametrize(
    "painting, expected",
    [("largest first", [3, 1, 2, 0]), ("in order", [2, 2, 2, 0])],  # in order, the last output covers all before it
)
def test_label_map(painting, expected) -> None:
    head = OutputHead.of(CLASSES, "sigmoid", REGIONS, painting=painting)
    assert head.label_map(LOGITS).flatten().tolist() == expected
    # what a reference becomes is what a network without errors says of it
    reference = np.array([3, 1, 2, 0], np.int16).reshape(1, 1, 4)
    claimed = head.masks(torch.from_numpy(reference))
    assert torch.equal(claimed, LOGITS > 0)
    np.testing.assert_array_equal(head.merged(reference), head.label_map(LOGITS).numpy())


def test_it_is_a_setting_of_networks() -> None:
    """From the settings file to the opened network and what it describes."""
    assert ModelSettings().painting == OutputHead.of(["a", "b"]).painting == "largest first"
    with pytest.raises(ValidationError, match="in order"):
        ModelSettings(painting="smallest first")
    network = torch.nn.Conv3d(1, 3, 1)
    settings = {"channels": ["t1"], "classes": CLASSES, "regions": REGIONS, "head": "sigmoid"}
    model = SegmentationModel.from_network(network, **settings, painting="in order")
    assert model.describe()["painting"] == model.head.painting == "in order"
