"""What the user has chosen: kept in a parameter node, so that it is saved and loaded with the scene."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any
from urllib.parse import quote

CHANNEL_ROLE = "Channel."
REFERENCE_ROLE = "Reference"
REGION_ROLE = "Region"
SETTINGS = "Settings"

REGIONS = ("", "foreground", "reference", "node")
VIEWS = ("", "original", "adversarial", "difference", "compare")
CASES = ("folder", "loaded", "synthetic")
"""Where training cases come from."""

_TRUST = "trust"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """All choices that are not nodes.

    Whether a network file is trusted is not among them: a scene from a stranger must not say so. Where it stands in the
    settings of an attack it is left out, however deep.

    Attributes:
        network: a built-in network's name, a file, or a folder.
        networkSettings: the JSON file that describes it; empty: the one beside it.
        device: "auto", "cpu", "cuda:0", ...
        attack: the attack's name.
        attackSettings: for each attack's name what was changed from its defaults.
        region: where to attack: "" (everywhere), "foreground", "reference" or "node" (the region node).
        regionSegment: the segment's ID, where the region node is a segmentation.
        view: what the slice views show of a result: "" (left alone), "original", "adversarial", "difference" or "compare".
        opacity: of the perturbation over the original, from 0 to 1.
        run: the identifier of the result that is shown.
        segments: what the user says that segments of the reference are: the name of a class for each segment's ID.
        trainFrom: where training cases come from: "folder", "loaded" (the images) or "synthetic".
        trainCases: the folder, or what else names a cohort.
        trainSubjects, trainSize: how many synthetic subjects, and how many voxels they have a side.
        recipe: the name of the recipe of the training.
        recipeSettings: for each recipe's name what was changed from its defaults.
        architecture: the network that is trained.
        trainingSettings, auditSettings, certifySettings: what was changed from the defaults.
        trainFolder: where the trained network goes.
        studyFile: the study file, or the folder of a study.
    """

    network: str = "builtin:brain-tumour-phantom"
    networkSettings: str = ""
    device: str = "auto"
    attack: str = "fgsm"
    attackSettings: dict[str, dict[str, Any]] = field(default_factory=dict)
    region: str = ""
    regionSegment: str = ""
    view: str = ""
    opacity: float = 0.7
    run: str = ""
    segments: dict[str, str] = field(default_factory=dict)
    trainFrom: str = "folder"
    trainCases: str = ""
    trainSubjects: int = 8
    trainSize: int = 48
    recipe: str = "standard"
    recipeSettings: dict[str, dict[str, Any]] = field(default_factory=dict)
    architecture: str = "unet"
    trainingSettings: dict[str, Any] = field(default_factory=dict)
    trainFolder: str = ""
    auditSettings: dict[str, Any] = field(default_factory=dict)
    certifySettings: dict[str, Any] = field(default_factory=dict)
    studyFile: str = ""

    def __post_init__(self) -> None:
        """Refuse what no panel would have written.

        Raises:
            ValueError: a value is of the wrong kind or out of its range.
        """
        for known in fields(self):
            default = known.default if isinstance(known.default, (str, int, float)) else {}
            value = getattr(self, known.name)
            number = isinstance(default, float) and isinstance(value, int)
            if isinstance(value, bool) or not (isinstance(value, type(default)) or number):
                raise ValueError(f"{known.name} must be {type(default).__name__}, not {type(value).__name__}")
        if self.region not in REGIONS or self.view not in VIEWS or not 0 <= self.opacity <= 1:
            raise ValueError(f"region {self.region!r}, view {self.view!r} or opacity {self.opacity!r} is unknown")
        if self.trainFrom not in CASES or self.trainSubjects < 1 or self.trainSize < 1:
            raise ValueError(f"training cases {self.trainFrom!r}, {self.trainSubjects}, {self.trainSize} are unknown")
        for name in ("attackSettings", "recipeSettings"):
            if not all(isinstance(x, dict) for x in getattr(self, name).values()):
                raise ValueError(f"{name} must hold a dictionary for each attack or recipe")
        if not all(isinstance(x, str) for x in self.segments.values()):
            raise ValueError("segments must hold the name of a class for each segment")
        for name in ("attackSettings", "recipeSettings", "trainingSettings", "auditSettings", "certifySettings"):
            object.__setattr__(self, name, withoutTrust(getattr(self, name)))

    @classmethod
    def fromText(cls, text: str) -> Settings:
        """Settings from JSON. What cannot be read is replaced by the defaults, with a warning: a scene must always open."""
        try:
            data = json.loads(text) if text else {}
            known = {x.name for x in fields(cls)}
            return cls(**{key: value for key, value in data.items() if key in known})
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("The settings stored in the scene are damaged (%s); the defaults take their place.", error)
            return cls()

    def toText(self) -> str:
        """The settings as JSON."""
        return json.dumps(asdict(self), sort_keys=True)


class State:
    """A parameter node, read and written by name. Every change is one Modified event of the node, if it is a change."""

    def __init__(self, node: Any) -> None:
        self.node = node

    @property
    def untouched(self) -> bool:
        """Whether nobody has chosen anything yet."""
        roles: list[str] = []
        self.node.GetNodeReferenceRoles(roles)
        return self.settings == Settings() and not any(self.node.GetNodeReferenceID(x) for x in roles)

    @property
    def settings(self) -> Settings:
        """All choices that are not nodes."""
        return Settings.fromText(self.node.GetParameter(SETTINGS) or "")

    def change(self, **changes: Any) -> None:
        """Replace some settings."""
        text = replace(self.settings, **changes).toText()
        if text != self.node.GetParameter(SETTINGS):
            self.node.SetParameter(SETTINGS, text)

    def attackSettings(self, attack: str) -> dict[str, Any]:
        """What was changed from an attack's defaults."""
        return dict(self.settings.attackSettings.get(attack, {}))

    def changeAttack(self, attack: str, changed: dict[str, Any]) -> None:
        """Replace all that was changed from an attack's defaults."""
        others = {name: values for name, values in self.settings.attackSettings.items() if name != attack}
        self.change(attackSettings={**others, attack: changed} if changed else others)

    def recipeSettings(self, recipe: str) -> dict[str, Any]:
        """What was changed from a recipe's defaults."""
        return dict(self.settings.recipeSettings.get(recipe, {}))

    def changeRecipe(self, recipe: str, changed: dict[str, Any]) -> None:
        """Replace all that was changed from a recipe's defaults."""
        others = {name: values for name, values in self.settings.recipeSettings.items() if name != recipe}
        self.change(recipeSettings={**others, recipe: changed} if changed else others)

    def channelNode(self, channel: str) -> Any:
        """The volume that was chosen for a channel, or None."""
        return self.node.GetNodeReference(channelRole(channel))

    def setChannelNode(self, channel: str, node: Any) -> None:
        """Choose a channel's volume; None: no volume."""
        self._refer(channelRole(channel), node)

    @property
    def reference(self) -> Any:
        """The reference segmentation or label map, or None."""
        return self.node.GetNodeReference(REFERENCE_ROLE)

    @reference.setter
    def reference(self, node: Any) -> None:
        if node is not self.reference:
            self.change(segments={})
        self._refer(REFERENCE_ROLE, node)

    @property
    def region(self) -> Any:
        """The segmentation, label map or ROI that is the region where the settings say "node", or None."""
        return self.node.GetNodeReference(REGION_ROLE)

    @region.setter
    def region(self, node: Any) -> None:
        self._refer(REGION_ROLE, node)

    def _refer(self, role: str, node: Any) -> None:
        wanted = node.GetID() if node is not None else None
        if wanted != self.node.GetNodeReferenceID(role):
            self.node.SetNodeReferenceID(role, wanted)


def withoutTrust(value: Any) -> Any:
    """JSON data without any word on trust, at any depth and also in texts that are JSON themselves."""
    if isinstance(value, dict):
        return {key: withoutTrust(x) for key, x in value.items() if key != _TRUST}
    if isinstance(value, list):
        return [withoutTrust(x) for x in value]
    if not isinstance(value, str) or value.strip()[:1] not in ("{", "[", '"'):
        return value
    try:
        found = json.loads(value)
        cleaned = withoutTrust(found)
        return value if cleaned == found else json.dumps(cleaned)
    except ValueError:
        return value
    except RecursionError:
        # too deep to be looked through, and too deep for any settings
        return ""


def channelRole(channel: str) -> str:
    """The node reference's role for a channel: MRML writes roles into scene files as they are, so that `&`, `"`, `<`, `:` or
    `;` in a network's channel name would make the file unreadable."""
    return CHANNEL_ROLE + quote(channel, safe=" ")
