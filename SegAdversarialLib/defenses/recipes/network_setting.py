"""A trained network as a setting of a recipe: a file, or an opened network."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer, WithJsonSchema

from SegAdversarialLib.model.segmentation_model import SegmentationModel


def _file_or_network(given: Any) -> Any:
    if given is None or isinstance(given, SegmentationModel):
        return given
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        return str(given).strip() or None
    raise ValueError("it must be the file of a network or an opened network")


def _as_data(given: Any) -> Any:
    return given.name if isinstance(given, SegmentationModel) else given


NetworkSetting = Annotated[
    Any, AfterValidator(_file_or_network), PlainSerializer(_as_data), WithJsonSchema({"type": "string"})
]
"""A text (a file, or what a recipe gives a meaning), an opened network, of which data keep the name, or None."""

TrustSetting = bool | tuple[str, ...]

TRUST_DESCRIPTION = "Whether that file is trusted, or the SHA-256 of what is: programs (TorchScript) open only then."
