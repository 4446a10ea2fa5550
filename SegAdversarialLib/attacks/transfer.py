"""Attacks made on one network and measured on another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import WithJsonSchema, field_serializer, field_validator, model_validator

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.attacks.additive import EPSILON_UNIT, AdditiveAttack
from SegAdversarialLib.attacks.attack import Attack
from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.nested import inner_attack
from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.formats.source import ModelSource

_COMMON = frozenset(AdditiveAttack.model_fields)
"""What all of these attacks have: said to the transfer, and handed on to the attack that it makes."""


@dataclass(frozen=True)
class OpenedSource:
    """A source network that stands open already, and the path that it has in configurations."""

    path: str
    network: SegmentationModel = field(repr=False, compare=False)


class Transfer(AdditiveAttack):
    """Transfer: the attack is made on another network, whose gradients are at hand, and measured on this one.

    What a stranger could do who has no access to the attacked network but can train or obtain a similar one; and, where a
    defence hides its gradients, a check that needs none of them. Called as every attack, on the network that is to be
    measured: `Transfer(method="pgd", source="similar.ts")(model, case)`. The trace, the snapshots and the counts are those of
    the attack on the source network; what the image does to `model` is `evaluate`'s to say.

    Whether the source network's file is trusted is said to each attack anew: no stored configuration holds it.
    """

    name: ClassVar[str] = "transfer"
    title: ClassVar[str] = "Transfer"
    groups: ClassVar[tuple[Group, ...]] = ("black-box",)
    citation: ClassVar[str] = "Papernot et al. 2016, arXiv:1605.07277"
    needs: ClassVar[str] = "source"

    source: Annotated[Any, WithJsonSchema({"type": "string"})] = parameter(
        None,
        "Network that the attack is made on: a file, a folder, or the name of a built-in network.",
        choose="network",
        label="Source network",
    )
    method: Annotated[Any, WithJsonSchema({"type": "string"})] = parameter(
        "pgd",
        'Attack to make on it: its name, or its settings as JSON, such as {"attack": "pgd", "steps": 40}.',
        choose="attack",
        label="Attack",
    )
    epsilon: float = parameter(0.02, "Largest change of a voxel.", EPSILON_UNIT, ge=0)
    trust: bool | tuple[str, ...] = parameter(
        False,
        "Whether the source network's file is trusted, or the SHA-256 of what is: programs (TorchScript) open only then.",
        choose="trust",
        advanced=True,
        exclude=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _method_is_an_attack(cls, data: Any) -> Any:
        """Turn the method, however it was given, into an attack that has no common settings of its own."""
        if not isinstance(data, dict):
            return data
        method, common = inner_attack(data, "pgd", _COMMON, "the transfer")
        if isinstance(method, Transfer):
            raise ValueError("a transfer cannot be transferred; name the attack that it makes")
        if not method.asks_network:
            raise ValueError(f"{method.title} asks no network, so there is nothing to transfer; choose another")
        if not isinstance(method, AdditiveAttack):
            raise ValueError(f"{method.title} does not keep to an epsilon, as a transfer does; choose another")
        return {**data, **common, "method": method}

    @field_validator("source", mode="after")
    @classmethod
    def _source_is_network_or_file(cls, source: Any) -> Any:
        if source is None or isinstance(source, (SegmentationModel, OpenedSource)):
            return source
        if isinstance(source, str) or hasattr(source, "__fspath__"):
            return str(source).strip() or None
        raise ValueError("source must be a network file, the name of a built-in network, or an opened network")

    @field_serializer("source")
    def _source_as_data(self, source: Any) -> Any:
        if isinstance(source, OpenedSource):
            return source.path
        return {"network": source.name} if isinstance(source, SegmentationModel) else source

    @field_serializer("method")
    def _method_as_data(self, method: Attack) -> dict[str, Any]:
        return {key: value for key, value in method.describe().items() if key not in _COMMON}

    @property
    def attack(self) -> AdditiveAttack:
        """The attack that is made, with the transfer's channels, region, epsilon and the like."""
        made: AdditiveAttack = self.method.model_copy(update={key: getattr(self, key) for key in _COMMON})
        return made

    @property
    def is_random(self) -> bool:
        """Whether the attack that is made is."""
        return self.attack.is_random

    @property
    def cost(self) -> Cost:
        """What the attack asks of the source network."""
        cost: Cost = self.method.cost
        return cost

    @property
    def helps(self) -> bool:
        """Whether the attack that is made does."""
        return bool(self.method.helps)

    @property
    def needs_reference(self) -> bool:
        """Whether the attack that is made works against the reference."""
        return bool(self.method.needs_reference)

    @property
    def bounded_norm(self) -> Literal["linf", "l2"]:
        """The norm that the attack that is made bounds."""
        norm: Literal["linf", "l2"] = self.method.bounded_norm
        return norm

    @property
    def budget(self) -> float:
        """The budget of the attack that is made."""
        return self.attack.budget

    @checked
    def __call__(
        self,
        model: SegmentationModel | None,
        case: Case,
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
    ) -> AttackResult:
        """Attack a case through the source network; see `Attack`. `model` is the network that the result is meant for.

        Raises:
            InputError: the configuration does not fit the case or one of the networks, or the source cannot be opened.
            Cancelled: `cancel` said so.
        """
        if model is None:
            raise InputError(f"{self.title} needs a network to measure the attack on; give one.")
        case = case.in_terms_of(model.head)
        self.check(model, case)
        source = self.source_model(model)
        found = self._on_shared_channels(model, case)(source, _for_source(case, source), progress=progress, cancel=cancel)
        # the source network may number its classes otherwise
        adversarial = case.with_image(found.adversarial.image)
        return replace(found, original=case, adversarial=adversarial, attack=self, model=model.name, network=model)

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether the attack that is made fits the source network and the case."""
        super().check(model, case)
        source = self.source_model(model)
        self._on_shared_channels(model, case).check(source, _for_source(case, source))

    def check_early(self, case: Case, name: str = "", channels: Sequence[str] | None = None) -> None:
        """Whether the attack that is made fits the case; what the source network takes is known when it is open."""
        self.attack.check_early(case)

    def attacked_channels(self, model: SegmentationModel | None, case: Case) -> list[int]:
        """The positions of the case's channels that are attacked: of those that were chosen, or that both networks take.

        Raises:
            InputError: the case, or one of the networks, lacks a channel that was chosen, or they share none.
        """
        source = self.source_model(model)
        positions = self.attack.attacked_channels(source, case)
        taken = super().attacked_channels(model, case)
        shared = [n for n in positions if n in taken]
        if not shared:
            raise InputError(
                f"The source network {source.name} takes {', '.join(source.channels)}, of which the attacked network takes "
                "none; choose a source network that shares a channel with it."
            )
        return shared

    def source_model(self, target: SegmentationModel | None = None) -> SegmentationModel:
        """The network that the attack is made on, opened where it was given as a file, on the target's device.

        Raises:
            InputError: none was given, or it cannot be opened.
        """
        if self.source is None:
            raise InputError(f"{self.title} needs the network that the attack is made on; give its file (source=FILE).")
        if isinstance(self.source, SegmentationModel):
            return self.source
        if isinstance(self.source, OpenedSource):
            return self.source.network
        # Not at the top: opening files is another room's work, beside attacks and not below it. The rooms above that know
        # both may open the network themselves.
        from SegAdversarialLib.formats import open_model

        device = "auto" if target is None else str(target.device)
        key = (self.source, self.trust, device)
        if key not in self._opened:
            self._opened[key] = open_model(self.source, trust=self.trust, device=device)
        return self._opened[key]

    @classmethod
    def can_make(cls, kind: type[Attack]) -> bool:
        """Whether a kind of attack can be made on a source network: it asks one, keeps to an epsilon, and is no transfer."""
        return kind.asks_network and issubclass(kind, AdditiveAttack) and not issubclass(kind, cls)

    def with_source(self, network: SegmentationModel) -> Transfer:
        """The same attack with its source's file opened by the caller, who may keep networks open; described as before."""
        return self.model_copy(update={"source": OpenedSource(str(self.source), network)})

    def summary(self) -> str:
        """One line for names of nodes and rows: "Transfer, epsilon 0.02, all channels, PGD on similar"."""
        path = self.source.path if isinstance(self.source, OpenedSource) else self.source
        name = path.name if isinstance(path, SegmentationModel) else PurePath(path or "no network").stem
        return f"{super().summary()}, {self.method.title} on {name}"

    def _search(self, run: AttackRun) -> torch.Tensor:
        """The image alone, for attacks that are made of others."""
        import torch

        source = self.source_model(run.model)
        found = self._on_shared_channels(run.model, run.case)(source, _for_source(run.case, source))
        return torch.from_numpy(found.adversarial.image).to(run.original)

    def _on_shared_channels(self, model: SegmentationModel | None, case: Case) -> AdditiveAttack:
        """The attack that is made, without channels that the target would not see."""
        names = tuple(case.channels[n] for n in self.attacked_channels(model, case))
        return self.attack.model_copy(update={"channels": names})

    @cached_property
    def _opened(self) -> dict[tuple[str, bool | tuple[str, ...], str], SegmentationModel]:
        """Opened once for each device, and shared with copies, as a job makes them for single channels."""
        return {}


def with_opened_source(attack: Attack, device: str, open_model: Callable[[ModelSource], SegmentationModel]) -> Attack:
    """A transfer with its source network opened as other networks are, so that it may stay open; other attacks as they are.

    Args:
        attack: any attack.
        device: where the source network is to run.
        open_model: opens it.
    """
    if not isinstance(attack, Transfer) or not isinstance(attack.source, str):
        return attack
    from SegAdversarialLib.formats.source import ModelSource

    return attack.with_source(open_model(ModelSource(path=attack.source, trust=attack.trust, device=device)))


def _for_source(case: Case, source: SegmentationModel) -> Case:
    """A case whose reference is in the attacked network's classes, in those of the source network.

    Raises:
        InputError: it is not known which class of the one is which of the other.
    """
    try:
        return case.in_terms_of(source.head)
    except InputError as error:
        named = ", ".join(dict.fromkeys((case.label_names or {}).values()))
        raise InputError(
            f"It is not known which classes of the source network {source.name} ({source.head.describe()}) are those of the "
            f"reference ({named}); give them the same names, in the JSON file beside the source network."
        ) from error
