"""The architecture that is trained where little or nothing is said of it."""

from __future__ import annotations

from typing import Any

USUAL: dict[str, Any] = {"channels": [16, 32, 64, 128], "strides": [2, 2, 2], "num_res_units": 0, "norm": "INSTANCE"}
"""The U-Net that is trained where nothing else is said."""


def named_network(name: str) -> dict[str, Any]:
    """An architecture by its name alone, with the arguments that go with it here."""
    return {"name": name, "arguments": dict(USUAL) if name == "UNet" else {}}
