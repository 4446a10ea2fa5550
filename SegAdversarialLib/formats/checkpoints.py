"""Which tensors of a checkpoint are a network's weights: training programs nest them, and put words before their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError

if TYPE_CHECKING:
    import torch

_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch's wrappers (data parallel, compiled, sharded, checkpointed) put into names, wherever a module is wrapped."""

_DEEPEST = 3

_COUNTERS = ("n_averaged", "steps")
"""What torch's AveragedModel and MMEngine's count, beside the weights that they average."""

_AVERAGES = (
    ("state_dict", "state_dict_ema"),  # timm
    ("model", "model_ema"),  # ConvNeXt, DeiT and their descendants
    ("current_model_state", "state_dict"),  # Lightning's WeightAveraging and EMAWeightAveraging
    ("ema_state_dict", "state_dict"),  # MMEngine's EMAHook, which exchanges the two when it saves
)
"""The entries of checkpoints that hold the weights in training and their average, in this order."""


@dataclass(frozen=True)
class Weights:
    """A set of tensors whose names fit a network.

    Attributes:
        where: the checkpoint's entry that holds them, and what stands before their names, as one path; "": neither.
        tensors: by the network's own names.
        said: what was taken off the names and what was left out, for people; "": nothing.
    """

    where: str
    tensors: dict[str, torch.Tensor]
    said: str


def weights_for(
    checkpoint: Any, expected: Mapping[str, torch.Tensor], where: str | None, source: str, network: str
) -> Weights:
    """The weights in a checkpoint that fit a network.

    Args:
        checkpoint: what the file holds: tensors by name, or dictionaries that hold such, up to three deep.
        expected: the network's own tensors by name.
        where: `Weights.where` of the one that is meant; None: there is only one.
        source: what the checkpoint is called in messages.
        network: what the network is called in messages.

    Raises:
        InputError: none fits, or several do, it is not said which is meant, and no program is known that leaves them so.
    """
    import torch

    sets = list(sets_of_tensors(checkpoint, torch.Tensor))
    if not sets:
        raise InputError(
            f"{source} holds no weights by name (a state_dict); save them so, torch.save(network.state_dict(), FILE), or "
            "best as safetensors."
        )
    fitting = [x for place, tensors in sets for x in _fitting(place, tensors, expected)]
    for x in fitting:
        _check_numbers(x, expected, source)
    if where is not None:
        chosen = [x for x in fitting if x.where == where.rstrip(".")]
        if not chosen:
            known = ", ".join(f'"{x.where}"' if x.where else "the file itself" for x in fitting)
            raise InputError(f'{source} has no fitting weights in "{where}"; they lie in {known or "no place of it"}.')
        return chosen[0]
    if len(fitting) > 1 and not all(_same(fitting[0].tensors, x.tensors) for x in fitting[1:]):
        if (averaged := _averaged(fitting)) is not None:
            return averaged
        places = ", ".join(f'"{x.where}"' for x in fitting)
        raise InputError(
            f"{source} holds {len(fitting)} sets of weights that fit this {network} ({places}); say which is meant "
            f'(--weights-within "{fitting[0].where}", or weights_within in its settings).'
        )
    if not fitting:
        raise InputError(
            f"The weights in {source} do not belong to this {network}: {_difference(sets, expected)}; check the network's "
            "name and its arguments."
        )
    return fitting[0]


def _check_numbers(found: Weights, expected: Mapping[str, torch.Tensor], source: str) -> None:
    """Refuse tensors whose numbers are not those of the network: without any, or stored in another way than one by one.

    Raises:
        InputError: one is so.
    """
    import torch

    for name, tensor in found.tensors.items():
        real = expected[name].is_floating_point()
        if tensor.is_meta:
            kind, right = "no numbers, but a shape alone (device meta)", "save the network after its weights were loaded"
        elif tensor.layout != torch.strided:
            kind, right = "a sparse tensor", "save it with to_dense()"
        elif tensor.is_quantized:
            kind, right = "quantised numbers", "save the network that was not quantised yet"
        elif real and not tensor.is_floating_point():
            kind = f"numbers of the type {str(tensor.dtype).removeprefix('torch.')}"
            right = "its weights must be real numbers, so save those before they were quantised or packed"
        else:
            continue
        raise InputError(f"{source} holds {kind} as {name}; {right}.")


def _averaged(fitting: Sequence[Weights]) -> Weights | None:
    """Of the weights in training and their average, as a known program leaves them beside each other, the average, which such
    programs ask, too; None: the file is of no such program."""
    for trained, averaged in _AVERAGES:
        known = {x.where.partition(".")[0]: x for x in fitting}
        if len(fitting) == 2 and set(known) == {trained, averaged}:
            found = known[averaged]
            both = f'of the weights in training ("{known[trained].where}") and their average ("{found.where}")'
            said = f"{both} the average is taken (weights_within in the settings takes the other); {found.said}"
            said = said.removesuffix("; ")
            return replace(found, said=said)
    return None


def check_shapes(found: Weights, expected: Mapping[str, torch.Tensor], whose: str, way_out: str) -> None:
    """Refuse weights whose names fit a network, and whose shapes do not.

    Args:
        found: the weights.
        expected: the network's own tensors by name.
        whose: what is wrong, as the beginning of a sentence: "The weights in FILE do not belong to ...".
        way_out: how it goes on, without its full stop.

    Raises:
        InputError: a tensor has another shape.
    """
    for name, tensor in found.tensors.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)}, in the network {tuple(expected[name].shape)}"
            raise InputError(f"{whose}: {name} has the shape {shapes}{way_out}.")


def sets_of_tensors(found: Any, kind: type, place: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """The dictionaries in a checkpoint that hold tensors, of this kind of class, by name, and where they are."""
    if not isinstance(found, Mapping) or depth > _DEEPEST:
        return
    tensors = {key: x for key, x in found.items() if isinstance(key, str) and isinstance(x, kind)}
    if tensors:
        yield place, tensors
    for key, value in found.items():
        if isinstance(key, str):
            yield from sets_of_tensors(value, kind, f"{place}.{key}".lstrip("."), depth + 1)


def _fitting(place: str, tensors: Mapping[str, Any], expected: Mapping[str, torch.Tensor]) -> Iterator[Weights]:
    """The ways in which the names of a set of tensors fit: as they are, without wrappers, without what stands before all."""
    counters = [x for x in tensors if x in _COUNTERS and x not in expected]
    named, wrappers = _unwrapped({name: x for name, x in tensors.items() if name not in counters}, expected)
    longest = max(expected, key=len, default="")
    prefixes = [name.removesuffix(longest) for name in named if name.endswith("." + longest)]
    inside = {prefix: [name for name in named if name.startswith(prefix)] for prefix in prefixes}
    copies = [prefix for prefix in prefixes if {x.removeprefix(prefix) for x in inside[prefix]} == set(expected)]
    inside[""] = [name for name in named if not any(name.startswith(prefix) for prefix in copies)]
    for prefix in [*([""] if set(inside[""]) == set(expected) else []), *copies]:
        others = [*(name for name in named if name not in inside[prefix]), *counters]
        taken = [*([f'"{prefix}"'] if prefix else []), *wrappers]
        said = f"the names of its weights fit without {' and '.join(taken)}" if taken else ""
        if others:
            said += f"{'; ' if said else ''}{len(others)} other tensor(s) are left out ({_few(others)})"
        yield Weights(f"{place}.{prefix}".strip("."), {x.removeprefix(prefix): named[x] for x in inside[prefix]}, said)


def _unwrapped(tensors: Mapping[str, Any], expected: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The tensors without the words of torch's wrappers in their names, and these words; untouched where names would clash."""
    if any(_WRAPPERS.search(name) for name in expected):
        return tensors, []
    words = dict.fromkeys(f'"{word}"' for name in tensors for word in _WRAPPERS.findall(name))
    named = {_WRAPPERS.sub("", name): x for name, x in tensors.items()}
    return (named, list(words)) if len(named) == len(tensors) else (tensors, [])


def _same(some: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> bool:
    return all(x.shape == others[name].shape and bool((x == others[name]).all()) for name, x in some.items())


def _difference(sets: list[tuple[str, dict[str, Any]]], expected: Mapping[str, Any]) -> str:
    """How the names in a file and those of the network differ, told by the largest set in it."""
    tensors = max((x for _, x in sets), key=len)
    missing = [x for x in expected if not any(name == x or name.endswith("." + x) for name in tensors)]
    unknown = [x for x in tensors if not any(x == name or x.endswith("." + name) for name in expected)]
    parts = [f"it lacks {len(missing)} of the network's {len(expected)} tensors ({_few(missing)})"] if missing else []
    parts += [f"{len(unknown)} of its {len(tensors)} are not the network's ({_few(unknown)})"] if unknown else []
    if not parts:
        parts = [f"its names do not fit ({_few(list(tensors))}; the network's: {_few(list(expected))})"]
    return "; ".join(parts)


def _few(names: list[str]) -> str:
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")
