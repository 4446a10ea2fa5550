"""Long work in steps: a window may answer between two of them, and a script goes through all of them at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

Result = TypeVar("Result")

Steps = Generator[Future[Any] | None, None, Result]
"""Yields None where anything else may happen, or what it waits for. Closed before its end, it leaves nothing behind."""


@functools.cache
def background() -> ThreadPoolExecutor:
    """The one thread for files and arrays. It never touches the scene, nodes or widgets."""
    return ThreadPoolExecutor(1, "SegAdversarial background")


def in_background(work: Callable[[], Result]) -> Steps[Result]:
    """Let the background thread work, and wait for it.

    Args:
        work: touches neither the scene nor a node in it; what it raises is raised here.
    """
    future = background().submit(work)
    try:
        while not future.done():
            yield future
    finally:
        # closed while it waits: what has not begun is not begun any more
        future.cancel()
    return future.result()


def done_within(future: Future[Any], seconds: float) -> bool:
    """Whether the background thread is ready, for which it gets at most so long.

    Slicer's main thread keeps the interpreter's lock also while it waits for events: other threads run while it waits here.
    """
    return bool(wait([future], seconds).done)


def finished(steps: Steps[Result]) -> Result:
    """Go through all steps at once, and return what they result in."""
    while True:
        try:
            waited = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        if waited is not None:
            waited.exception()
