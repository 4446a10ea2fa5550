"""Several networks that are attacked, defended and measured as one: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.agreement import Member, channel_order, check_agreement, class_order
from SegAdversarialLib.model.segmentation_model import SegmentationModel


@checked(members="opened networks that agree in channels, classes, head, preprocessing and windows")
def ensemble(members: Sequence[SegmentationModel], *, name: str = "ensemble") -> SegmentationModel:
    """Several networks as one, whose probabilities are the mean of theirs (Cheng & Ji 2020, Section V).

    Each member is examined by itself, so that one may give probabilities and another logits; channels and classes may come
    in another order. The members' networks are shared, not copied, and move to the first one's device; the switches for
    running faster are the first one's.

    Args:
        members: at least two.
        name: what results call it.

    Raises:
        InputError: two members differ in what they take or mean, or one of them cannot be examined.
    """
    from SegAdversarialLib.model.averaging import Ensemble, Place

    said = [_member(x) for x in members]
    check_agreement(said)
    first, described = members[0], [x.describe() for x in members]
    places = []
    for model, member in zip(members, said):
        if model.treated is None:
            raise InputError(
                f"The member {model.name} takes no image of the sizes at which it was tried; say its window, or size multiple."
            )
        orders = channel_order(member, first.channels), class_order(member, first.head)
        places.append(Place(model.treated, *orders, model.network_dtype))
    batches = [x["window_batch"] for x in described if x["window_batch"] is not None]
    whole = SegmentationModel.from_network(
        Ensemble([x.network for x in members], places, first.head.kind),
        channels=first.channels,
        classes=dict(zip(first.head.labels, first.head.names)),
        regions=dict(zip(first.head.labels, first.head.regions)),
        head=first.head.kind,
        threshold=first.head.threshold,
        preprocessing=first.preprocessing,
        painting=first.head.painting,
        **first.windows.settings(),
        window_batch=min(batches, default=None),
        outputs="logits",
        in_place=False,
        allow_random=any(x["allow_random"] for x in described),
        device=str(first.device),
        name=name,
        acceleration=first.acceleration,
    )
    whole.members = tuple(described)
    return whole


def _member(model: SegmentationModel) -> Member:
    return Member(
        name=model.name,
        channels=model.channels,
        head=model.head,
        preprocessing=model.preprocessing,
        **model.windows.settings(),
    )
