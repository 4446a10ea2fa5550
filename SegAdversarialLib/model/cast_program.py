"""A program (TorchScript) in half precision: weights cast once, norms folded into convolutions, PReLU in a quick way."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import Any

import torch

from SegAdversarialLib.errors import detail_of
from SegAdversarialLib.model.frozen_prelu import OPERATOR

_log = logging.getLogger(__name__)

_SINGLE = {"aten::batch_norm": (1, 2, 3, 4), OPERATOR: (1,)}
"""What takes numbers in single precision beside an input in half, and as which of its inputs."""


def cast_program(network: torch.jit.ScriptModule, low: torch.dtype) -> torch.nn.Module:
    """A copy of a program in evaluation mode that takes images of a half type; it has the weights of now, as constants.

    A program that cannot be frozen, such as one that writes into its own attributes, keeps its shape; its weights are cast.
    """
    plain = copy.deepcopy(network)
    try:
        frozen: torch.jit.ScriptModule = torch.jit.freeze(
            plain
        )  # which folds batch norms in single precision, before the cast
        _rewrite(frozen.graph, low)
    except Exception as error:  # a stranger's program may hold anything
        _log.debug("A program is not frozen: %s", detail_of(error))
        frozen = copy.deepcopy(network)
    return frozen.to(low)


def _rewrite(graph: Any, low: torch.dtype) -> None:
    for node in list(_nodes_of(graph)):
        if node.kind() == "aten::prelu" and _is_constant(list(node.inputs())[1].node()):
            quick = graph.create(OPERATOR, list(node.inputs()), 1)
            quick.insertBefore(node)
            node.output().replaceAllUsesWith(quick.output())
            node.destroy()
    for node in filter(_is_constant, list(_nodes_of(graph))):
        value = node.t("value")
        uses = node.output().uses()
        if not value.is_floating_point() or not value.ndim or all(x.offset in _SINGLE.get(x.user.kind(), ()) for x in uses):
            continue
        value = value.to(low)
        if value.ndim in (4, 5):
            value = value.contiguous(memory_format=torch.channels_last_3d if value.ndim == 5 else torch.channels_last)
        node.t_("value", value)
        node.output().inferTypeFrom(value)
    torch._C._jit_pass_erase_shape_information(graph)  # those of single precision


def _nodes_of(block: Any) -> Iterator[Any]:
    """A block's nodes, and those of the blocks in them."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes_of(inner)


def _is_constant(node: Any) -> bool:
    """Whether a node is a tensor that stays as it is."""
    return bool(node.kind() == "prim::Constant" and node.hasAttribute("value") and node.kindOf("value") == "t")
