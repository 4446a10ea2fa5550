"""What the library offers for defending and for judging defences, as plain data; imported when something is asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from SegAdversarialGui.catalog import schemaOf
from SegAdversarialLib.errors import InputError

_TRAINING = ("epochs", "batch_size", "patch", "patches", "optimizer", "learning_rate", "momentum", "weight_decay", "schedule")
_TRAINING += ("clip_gradient", "loss", "augmentation", "patience", "validate_every", "precision", "seed")
"""The settings of a training that a panel shows; those of clusters and caches are for the command line."""

_AUDIT, _CERTIFY = ("effort",), ("sigma", "n", "alpha")
_LABELS = {"sigma": "Noise (sigma)", "n": "Draws (n)", "alpha": "Risk (alpha)", "patch": "Patch size"}


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe, as far as a panel needs to know it.

    Attributes:
        name: what configurations call it.
        title: what people call it.
        oneLine: what it does.
        source: where it comes from.
        schema: the JSON schema of its settings.
    """

    name: str
    title: str
    oneLine: str
    source: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """A network that can be trained.

    Attributes:
        name: what the choice is called in scenes.
        title: what people call it.
        network: the architecture and its arguments, as a job takes them.
    """

    name: str
    title: str
    network: Mapping[str, Any]


def recipes() -> list[RecipeEntry]:
    """All recipes that the library has.

    Raises:
        ImportError: a package that the library needs is not installed.
    """
    from SegAdversarialLib.defenses.recipes import RECIPES

    return [RecipeEntry(x.name, x.title, x.one_line(), x.source, schemaOf(x)) for x in RECIPES.values()]


def architectures() -> list[Architecture]:
    """The networks that are offered for training; the command line knows all of MONAI's.

    Raises:
        ImportError: a package that the library needs is not installed.
    """
    from SegAdversarialLib.training.architecture import USUAL

    small = {**USUAL, "channels": [8, 16, 32], "strides": [2, 2]}
    return [
        Architecture("unet", _("U-Net (MONAI)"), {"name": "UNet", "arguments": dict(USUAL)}),
        Architecture("unet-small", _("U-Net (MONAI), small"), {"name": "UNet", "arguments": small}),
        Architecture("segresnet", _("SegResNet (MONAI)"), {"name": "SegResNet", "arguments": {"init_filters": 16}}),
        Architecture("liu-unet", _("3D U-Net of Liu et al."), {"name": "LiuUNet3D", "arguments": {}}),
        Architecture("cheng-unet", _("Cascaded U-Net of Cheng et al."), {"name": "ChengCascadedUNet", "arguments": {}}),
    ]


def trainingSchema() -> dict[str, Any]:
    """The schema of a training's settings: epochs, and what is seldom changed."""
    from SegAdversarialLib.training.settings import TrainingSettings

    return _part(schemaOf(TrainingSettings), _TRAINING, plain=("epochs",))


def auditSchema() -> dict[str, Any]:
    """The schema of an audit's few settings."""
    from SegAdversarialLib.defenses.audit import AuditSettings

    return _part(schemaOf(AuditSettings), _AUDIT)


def certifySchema() -> dict[str, Any]:
    """The schema of a certificate's few settings; the noise is one for all channels here."""
    from SegAdversarialLib.jobs import CertifyJob

    schema = _part(schemaOf(CertifyJob), _CERTIFY)
    sigma = {key: x for key, x in schema["properties"]["sigma"].items() if key != "anyOf"}
    words = _("Standard deviation of the noise, as a share of each channel's largest intensity; more means a larger radius")
    schema["properties"]["sigma"] = {**sigma, "type": "number", "exclusiveMinimum": 0, "description": words}
    return schema


def recipeProblem(name: str, settings: Mapping[str, Any]) -> str:
    """What is wrong with a recipe's settings, in one sentence, or nothing."""
    from SegAdversarialLib.defenses import recipes as known

    return _problemOf(lambda: known.make({"recipe": name, **settings}))


def trainingProblem(settings: Mapping[str, Any]) -> str:
    """What is wrong with a training's settings, in one sentence, or nothing."""
    from SegAdversarialLib.training.settings import TrainingSettings

    return _problemOf(lambda: TrainingSettings(**settings))


def auditProblem(settings: Mapping[str, Any]) -> str:
    """What is wrong with an audit's settings, in one sentence, or nothing."""
    from SegAdversarialLib.defenses.audit import AuditSettings

    return _problemOf(lambda: AuditSettings(**settings))


def certifyProblem(settings: Mapping[str, Any]) -> str:
    """What is wrong with a certificate's settings, in one sentence, or nothing."""
    from SegAdversarialLib.jobs import make_job

    data = {"kind": "certify", "case": {"phantom": {}}, "output": "results", **settings}
    return _problemOf(lambda: make_job(data, _("Certify")))


def _problemOf(make: Any) -> str:
    try:
        make()
    except InputError as error:
        return str(error)
    return ""


def _part(schema: Mapping[str, Any], names: Sequence[str], plain: Sequence[str] | None = None) -> dict[str, Any]:
    """A schema with some of its properties alone, in this order; all but the plain ones are advanced."""
    properties = {}
    for name in names:
        own = dict(schema["properties"][name])
        if name in _LABELS:
            own["label"] = _LABELS[name]
        properties[name] = own if plain is None or name in plain else {**own, "advanced": True}
    return {**schema, "properties": properties}
