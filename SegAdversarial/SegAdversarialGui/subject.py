"""What is segmented, attacked, audited or learned from: nodes of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Region:
    """Where an attack may work.

    Attributes:
        kind: "" (everywhere), "foreground", "reference" or "node".
        node: the segmentation, label map or ROI, for "node".
        segment: the segment's ID, where the node is a segmentation.
    """

    kind: str = ""
    node: Any = None
    segment: str = ""


@dataclass
class Subject:
    """What is segmented or attacked: nodes of one scene.

    Attributes:
        scene: the scene they live in.
        channels: the volume node of each channel.
        reference: the reference segmentation or label map, or None.
        segments: what the user says that segments of the reference are: the name of a class by a segment's ID, name or
            label value.
    """

    scene: Any
    channels: dict[str, Any]
    reference: Any = None
    segments: Mapping[Any, str] = field(default_factory=dict)

    @property
    def nodes(self) -> list[Any]:
        """All nodes that are needed."""
        return [*self.channels.values(), *([self.reference] if self.reference is not None else [])]
