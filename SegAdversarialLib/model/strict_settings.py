"""What makes the classes of settings that stand in a network's JSON file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from SegAdversarialLib.arguments import InOneSentence

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _Called(InOneSentence, ModelMetaclass):
    """What is given wrongly is said in one sentence."""


class StrictSettings(BaseModel, metaclass=_Called):
    """Settings that hold nothing unknown and do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")
