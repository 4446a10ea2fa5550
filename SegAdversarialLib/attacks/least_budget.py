"""The least budget at which a network breaks: how little must change until the segmentation is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import WithJsonSchema, field_serializer, model_validator

from SegAdversarialLib.attacks.attack import Attack, Found
from SegAdversarialLib.attacks.bounded import bounds_of, least_share, unit_of, with_share
from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.gradient import GradientAttack
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.nested import AsItsMethod, inner_attack
from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.attacks.threshold import AT_BUDGET, MEAN, SHRUNK, Threshold
from SegAdversarialLib.attacks.transforming import TransformingAttack
from SegAdversarialLib.attacks.untargeted import AgainstReference, NothingToAttack, StopsAtDrop
from SegAdversarialLib.attacks.worst_case import WorstCase
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.budget_search import Attempt, Bisection
    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

_COMMON = frozenset(AgainstReference.model_fields)
"""What this attack and the one that it repeats both have: said here, and handed on."""

LIKELY = 0.45
"""The share of its gradients that a search takes whose first attack succeeds, as measured on phantoms (0.17 to 0.85)."""

LIKELY_ANSWERS = 0.5
"""The same of its answers (0.3 to 0.8)."""

GROWING = (0.25, 0.5, 1.0, 0.125, 0.25, 0.5, 1.0)
"""The shares of the budget that smooth changes are tried with until one does: they have many local optima, and the long steps
of a large budget miss what short ones find. A larger one goes on from the one before, a smaller one begins anew."""

GRADIENTS = 15
"""Of `worst-case` with each budget, unless more are asked for: it goes on where the one before has ended."""


class LeastBudget(AsItsMethod, AgainstReference):
    """Least budget: the smallest budget of another attack with which the mean Dice falls by a given share.

    The attack (`method`) is first made with its own budget, the largest that is allowed; one along gradients goes on once more
    from where it ended. One of smooth changes is tried with small budgets that grow to the largest, each from the one before,
    twice. If none of that does, the answer is "not within" the budget. Then budgets are halved and bisected, each
    attack beginning where the one before ended if it can, until the bracket is narrow enough or `probes` attacks have been
    made. The result is the adversarial image at the bracket's upper end. That is an upper bound of what the network tolerates:
    a stronger attack may need less. Where several settings bound the attack, all of them shrink in proportion.
    """

    name: ClassVar[str] = "least-budget"
    title: ClassVar[str] = "Least budget"
    groups: ClassVar[tuple[Group, ...]] = ("gradient",)
    citation: ClassVar[str] = "this project; a drop of 30 % is Chen et al.'s (2019) success"

    method: Annotated[Any, WithJsonSchema({"type": "string"})] = parameter(
        "worst-case",
        'Attack whose budget is made small: its name, or its settings as JSON, such as {"attack": "bias-field", "max_bias": '
        "0.5}; its own budget is the largest that is allowed.",
        choose="bounded-attack",
        label="Attack",
    )
    drop: float = parameter(
        0.3,
        "Share of its clean value by which the mean Dice has to fall (Chen et al. 2019 call 0.3 a success).",
        "share of the clean Dice",
        gt=0,
        le=1,
    )
    each_structure: bool = parameter(
        False,
        "Search again for each structure by itself, each as long as for the mean; else each structure has what the search for "
        "the mean has shown of it. The image is that of the mean.",
        label="Each structure",
    )
    probes: int = parameter(
        8, "How many attacks are made at most, for the mean and for each structure.", "attacks", advanced=True, ge=1, le=100
    )
    precision: float = parameter(
        0.05,
        "How wide the bracket may be in the end, as a share of its upper end.",
        "share of the budget",
        advanced=True,
        gt=0,
        lt=1,
    )

    @model_validator(mode="before")
    @classmethod
    def _method_is_bounded(cls, data: Any) -> Any:
        """Turn the method, however it was given, into an attack that has no common settings of its own."""
        if not isinstance(data, dict):
            return data
        method, common = inner_attack(data, "worst-case", _COMMON, "the least budget")
        if getattr(method, "stop_at_drop", None) is not None:
            raise ValueError(f"the least budget stops {method.title} by itself; give drop in place of stop_at_drop")
        if isinstance(method, WorstCase) and "gradient_budget" not in method.model_fields_set:
            method = method.model_copy(update={"gradient_budget": max(GRADIENTS, method.restarts)})
        if not cls.can_bound(type(method)) or method.helps:
            raise ValueError(f"{method.title} has no budget that could break a segmentation; choose another attack")
        usual = {key: getattr(method, key) for key in _COMMON if hasattr(method, key)}  # such as a bias field's clip
        return {**usual, **data, **common, "method": method}

    @field_serializer("method")
    def _method_as_data(self, method: Attack) -> dict[str, Any]:
        return {key: value for key, value in method.describe().items() if key not in _COMMON}

    @classmethod
    def can_bound(cls, kind: type[Attack]) -> bool:
        """Whether a kind of attack has a budget that can be made small."""
        return bool(kind.bounds) or ("method" in kind.model_fields and not issubclass(kind, cls))

    @property
    def attack(self) -> Attack:
        """The attack with the largest budget, and with what is said here."""
        known = type(self.method).model_fields
        return self.aimed(None, {key: getattr(self, key) for key in _COMMON if key in known})

    def aimed(self, structure: str | None, changes: dict[str, Any] | None = None) -> Attack:
        """The attack that stops once the Dice of a structure, or the mean (None), has fallen."""
        made: Attack = self.method.model_copy(update=dict(changes or {})) if changes is not None else self.attack
        if structure is not None and "classes" in type(made).model_fields:
            made = made.model_copy(update={"classes": (structure,)})
        return made.model_copy(update={"stop_at_drop": self.drop}) if isinstance(made, StopsAtDrop) else made

    @property
    def is_random(self) -> bool:
        """Whether the attack is."""
        return self.attack.is_random

    @property
    def cost(self) -> Cost:
        """All attacks to their end, and an answer to each; attacks that succeed take less. Single structures come on top, and
        how many there are is the network's to say."""
        from SegAdversarialLib.attacks.engine.budget_search import SHRINKS

        smaller = SHRINKS if self._can_shrink else 0
        # a smooth change that was made smaller is asked about twice, and one to begin with beside the first draws
        looks = 2 + 2 * smaller if self._is_smooth else 1 + smaller
        return (self.attack.cost + Cost(answers=looks)).times(self.probes) + Cost(answers=1)

    @property
    def least_cost(self) -> Cost:
        """One attack that goes on to its end and does not succeed; and an answer before it and after it."""
        cost: Cost = self.attack.cost + Cost(answers=2)
        return cost

    @property
    def likely_cost(self) -> Cost:
        """Where the first attack succeeds, about half of all: attacks that succeed end early, and some are not needed."""
        if self.probes == 1:
            return self.cost
        return replace(self.cost.part(LIKELY), answers=self.cost.part(LIKELY_ANSWERS).answers)

    def attacked_channels(self, model: SegmentationModel | None, case: Case) -> list[int]:
        """The positions of the case's channels that are attacked: those of the attack."""
        return list(self.attack.attacked_channels(model, case))

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether the attack fits, and is allowed anything."""
        super().check(model, case)
        self.attack.check(model, case)
        if not bounds_of(self.method):
            raise NothingToAttack(f"{self.method.title} is allowed nothing: give it the largest budget that may be used.")

    def check_early(self, case: Case, name: str = "", channels: Sequence[str] | None = None) -> None:
        """That of the attack."""
        self.attack.check_early(case, name, channels)

    def summary(self) -> str:
        """One line for names of nodes and rows: "Least budget for a drop of 30 %: PGD, epsilon 0.05, all channels"."""
        return self._said_of(self.attack)

    def summary_at(self, share: float) -> str:
        """The same with a share of the largest budget, such as that of the image that was found."""
        return self._said_of(with_share(self.attack, share, digits=3) if share < 1 else self.attack)

    def _said_of(self, attack: Attack) -> str:
        return f"{self.title} for a drop of {100 * self.drop:g} %: {attack.summary()}"

    @property
    def _is_smooth(self) -> bool:
        return isinstance(self.method, TransformingAttack)

    @property
    def _can_shrink(self) -> bool:
        return isinstance(self.method, GradientAttack) or self._is_smooth

    @property
    def _shares(self) -> tuple[float, ...]:
        """With which shares of the budget it is tried until one does; however few, the whole of it is among them."""
        if not self._is_smooth:
            return (1.0, 1.0) if self._can_shrink else (1.0,)
        return GROWING[max(0, GROWING.index(1.0) + 1 - self.probes) :]

    def _search(self, run: AttackRun) -> Found:
        return _Search(self, run).found()


class _Search:
    """The search on one case: for the mean, and then for each structure."""

    def __init__(self, attack: LeastBudget, run: AttackRun) -> None:
        from SegAdversarialLib.attacks.engine.looking import Look

        self._tried: list[tuple[float, dict[int, float]]] = []
        self._attack, self._run = attack, run
        self._counted = attack._counted(run)
        self._look = Look(run, attack.against, self._counted)
        self._clean = self._look(Found(run.original))
        self._bounds = bounds_of(attack.method)
        self._setting, self._largest = next(iter(self._bounds.items()))
        self._number, self._row = 0, 0

    def found(self) -> Found:
        """The image for the mean, and all thresholds."""
        from SegAdversarialLib.attacks.engine.budget_search import Attempt

        attack, run = self._attack, self._run
        if self._clean.mean(self._counted) == 0:
            raise NothingToAttack(
                f"{attack.title} cannot say when Dice falls: that of the unchanged {run.case.name or 'case'} is 0 already; "
                "check the network's preprocessing and the reference, or attack the network's own prediction "
                "(--set against=prediction)."
            )
        self._write(0, Attempt(0.0, Found(run.original), self._clean))
        search = self._searched(None, self._counted)
        kept = search.upper or search.lowest
        run.kept_restart, run.kept_iteration = 0, self._iterations[id(kept)]
        thresholds = [self._threshold(MEAN, self._counted, search)]
        if len(self._counted) > 1:
            thresholds += self._apart(kept) if attack.each_structure else self._on_the_way()
        return replace(kept.found, state=None, thresholds=tuple(thresholds))

    def _apart(self, first: Attempt) -> list[Threshold]:
        """The thresholds of single structures; of those that the network does not find there is none."""
        found = []
        for n in (n for n in self._counted if self._clean.dice[n]):
            self._number += 1
            name = self._run.head.names[n]
            found.append(self._threshold(name, [n], self._searched(name, [n], first)))
        return found

    def _on_the_way(self) -> list[Threshold]:
        """What the images that were tried for the mean have shown of each structure; it costs nothing."""
        from SegAdversarialLib.attacks.engine.budget_search import ROUNDING

        found = []
        for n in (n for n in self._counted if self._clean.dice[n]):
            enough = (1 - self._attack.drop) * self._clean.dice[n] + ROUNDING
            fell = [(share, dice[n]) for share, dice in self._tried if dice[n] <= enough]
            upper, after = min(fell, default=(None, min(dice[n] for _, dice in self._tried)))
            failed = [share for share, dice in self._tried if dice[n] > enough and (upper is None or share < upper)]
            found.append(self._told(self._run.head.names[n], [n], max(failed, default=0.0), upper, after, searched=False))
        return found

    def _searched(self, structure: str | None, outputs: list[int], begin: Attempt | None = None) -> Bisection:
        from SegAdversarialLib.attacks.engine.budget_search import Bisection, BisectionPlan, Resumed, resumed, scaled

        attack, run = self._attack, self._run
        aimed = attack.aimed(structure)
        self._row, self._iterations = 0, dict[int, int]()
        self._tried = []

        def attempt(share: float, last: Attempt | None) -> Found:
            smaller = with_share(aimed, share)
            budget = smaller.budget_on(run.model, run.case)
            with run.inner(smaller.title, budget, None, asks_network=smaller.asks_network) as inner:
                if attack._can_shrink:
                    inner.begins_at = resumed(inner, last, share, has_rivals=search.upper is not None)
                found = smaller._search(inner)
                return found if isinstance(found, Found) else Found(inner.finish(found))

        def shrink(found: Found, share: float, less: float) -> Found | None:
            if not attack._can_shrink:
                return None
            smaller = with_share(aimed, less)
            if isinstance(smaller, TransformingAttack):  # without steps it is what it begins with
                smaller = smaller.model_copy(update={"steps": 0, "restarts": 1, "stop_at_drop": None})
            with run.inner(smaller.title, smaller.budget_on(run.model, run.case), None, asks_network=True) as inner:
                if not isinstance(smaller, TransformingAttack):
                    return scaled(inner, found, less / share)
                inner.begins_at = Resumed(found.state, 1.0, has_rivals=False)
                return smaller._search(inner)

        def tell(made: Attempt) -> None:
            self._tried.append((made.share, made.seen.dice))
            self._write(self._number, made)
            self._iterations[id(made)] = self._row

        plan = BisectionPlan(
            outputs=outputs,
            enough=(1 - attack.drop) * self._clean.mean(outputs),
            probes=attack.probes,
            precision=attack.precision,
            least=least_share(attack.method),
            shares=attack._shares,
            confirms=attack._is_smooth,
        )
        search = Bisection(plan, attempt, shrink, self._look, tell)
        search.run(begin)
        return search

    def _write(self, number: int, made: Attempt) -> None:
        """A row of the trace, with the budget."""
        run, seen = self._run, made.seen
        self._row += bool(made.share)
        loss = 1 - seen.mean(self._counted)
        run.record(number, self._row, loss, seen.logits, seen.image, seen.targets)
        run.trace[-1] |= {AT_BUDGET: made.share * self._largest, SHRUNK: float(made.shrunk)}

    def _threshold(self, structure: str, outputs: list[int], search: Bisection) -> Threshold:
        upper = search.upper
        kept = upper or search.lowest
        share = None if upper is None else upper.share
        found = self._told(structure, outputs, search.lower, share, kept.seen.mean(outputs), searched=True)
        return found if upper is not None else replace(found, tried=found.in_words([x.share for x in search.made]))

    def _told(
        self, structure: str, outputs: list[int], lower: float, upper: float | None, after: float, *, searched: bool
    ) -> Threshold:
        """The answer from shares of the largest budget."""
        return Threshold(
            structure=structure,
            setting=self._setting,
            unit=unit_of(self._attack.method),
            lower=lower * self._largest,
            upper=None if upper is None else upper * self._largest,
            largest=self._largest,
            drop=self._attack.drop,
            before=self._clean.mean(outputs),
            after=after,
            searched=searched,
            chosen=tuple(self._run.head.names[n] for n in self._counted) if self._attack.classes else (),
        )
