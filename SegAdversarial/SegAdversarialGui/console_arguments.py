"""What may be given to the calls of the Python console, as tasks take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from SegAdversarialGui.subject import Region


def attackSettings(attack: Any) -> dict[str, Any]:
    """An attack's configuration as a job takes it, from an attack, its name or a dictionary.

    Raises:
        InputError: it is none of them.
    """
    from SegAdversarialLib.errors import InputError

    if isinstance(attack, str):
        return {"attack": attack}
    if isinstance(attack, Mapping) and "attack" in attack:
        return dict(attack)
    if hasattr(attack, "describe"):
        described: dict[str, Any] = attack.describe()
        if isinstance(described.get("region"), Mapping):
            raise InputError(_("Give the region as a node (region=...), not as an array inside the attack."))
        if isinstance(described.get("source"), Mapping):
            raise InputError(_("Give the attack's source network as a file: the attack runs in another process."))
        if getattr(attack, "trust", False):
            # stored configurations do not hold it; an attack that was made by hand does
            described["trust"] = attack.trust
        return described
    raise InputError(
        _('{attack} is no attack; give one such as attacks.FGSM(epsilon=0.05), a name, or {{"attack": "fgsm", ...}}.').format(
            attack=repr(attack)
        )
    )


def recipeSettings(recipe: Any) -> dict[str, Any]:
    """A recipe's settings as a job takes them, from a recipe, its name or a dictionary.

    Raises:
        InputError: it is none of them.
    """
    from SegAdversarialLib.errors import InputError

    if isinstance(recipe, str):
        return {"recipe": recipe}
    if isinstance(recipe, Mapping) and "recipe" in recipe:
        return dict(recipe)
    if hasattr(recipe, "describe") and hasattr(recipe, "begin"):
        described: dict[str, Any] = recipe.describe()
        return described
    raise InputError(
        _(
            "{recipe} is no recipe; give one such as recipes.NoiseAugmentation(radius=0.01), a name, or "
            '{{"recipe": "noise-augmentation", ...}}.'
        ).format(recipe=repr(recipe))
    )


def againstPrediction(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An attack's configuration with the network's own answer in the place of the reference, where it works against one; in a
    transfer that goes for the attack that it makes.

    Raises:
        InputError: there is no such attack, or the configuration of a transfer is wrong.
    """
    from SegAdversarialLib.attacks import attack_class, make_attack

    changed = dict(settings)
    cls = attack_class(settings["attack"])
    if "against" in cls.model_fields:
        changed["against"] = "prediction"
    elif "method" in cls.model_fields:
        own = {key: value for key, value in settings.items() if key != "attack"}
        changed["method"] = againstPrediction(make_attack(cls.name, own).describe()["method"])
    return changed


def sourceOf(model: str, trust: bool, device: str) -> dict[str, Any]:
    return {"path": str(model), "trust": trust, "device": device}


def regionOf(region: Any) -> Region:
    if region is None or isinstance(region, str):
        return Region(region or "")
    if isinstance(region, Sequence):
        node, segment = region
        return Region("node", node, _segmentId(node, segment))
    return Region("node", region)


def _segmentId(node: Any, segment: str) -> str:
    """A segment's ID from its ID or its name."""
    segmentation = node.GetSegmentation()
    return segment if segmentation.GetSegment(segment) else segmentation.GetSegmentIdBySegmentName(segment) or segment
