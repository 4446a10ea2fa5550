"""Which cases of a study's cohorts can be used, and the state of the files that they come from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from SegAdversarialLib.cohorts.cohort import Cohort
from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback
from SegAdversarialLib.studies.reading import Misplaced, Place
from SegAdversarialLib.studies.sources import CohortSource
from SegAdversarialLib.volumes.files import split_choice


class Usable(NamedTuple):
    """The cases of a cohort that can be used, and why the others cannot, by their names."""

    cohort: Cohort
    skipped: dict[str, str]


class Cases:
    """Finds cohorts, each once.

    Args:
        progress: gets the finished fraction and the case's name.
        cancel: asked between cases; True stops with `Cancelled`.
    """

    def __init__(self, progress: ProgressCallback | None = None, cancel: CancelCheck | None = None) -> None:
        self._progress, self._cancel = progress, cancel
        self._found: dict[str, Usable] = {}
        self._names: dict[str, str] = {}

    @property
    def skipped(self) -> dict[str, dict[str, str]]:
        """The cases that are left out, by the cohort's name."""
        return {self._names[key]: found.skipped for key, found in self._found.items() if found.skipped}

    def usable(self, source: CohortSource, place: Place) -> Usable:
        """The cases of a cohort with references that can be read, as far as names and headers tell.

        Raises:
            Misplaced: there is no such cohort, it has no references, or no case of it can be used.
        """
        key = source.model_dump_json()
        if key not in self._found:
            try:
                self._found[key] = self._look(source)
            except InputError as error:
                raise Misplaced(place, str(error)) from None
            self._names[key] = source.cohort
        return self._found[key]

    def _look(self, source: CohortSource) -> Usable:
        cohort = source.find()
        if not cohort.labelled:
            raise InputError(
                f"no case of {source.cohort} ({len(cohort)} in all) has a reference, against which a study measures; add "
                "label maps, or choose another cohort."
            )
        skipped = cohort.check(progress=self._progress, cancel=self._cancel).wrong
        usable = cohort.without(skipped)
        if not len(usable):
            some = "; ".join(f"{name} ({why})" for name, why in list(skipped.items())[:3])
            raise InputError(f"no case of {source.cohort} ({len(cohort)} in all) can be used: {some}.")
        return Usable(usable, skipped)


class FileStates:
    """Size and time of files, by which a resumed study knows that they are still those that it was begun with."""

    def __init__(self) -> None:
        self._known: dict[Path, list[Any]] = {}

    def of_paths(self, paths: Iterable[Path | str]) -> list[list[Any]]:
        """[path, bytes, nanoseconds] of each.

        Raises:
            InputError: a file is not there.
        """
        return [self._state(Path(path)) for path in paths]

    def of_entry(self, entry: Entry) -> list[list[Any]]:
        """The same of a case's files."""
        paths = [*entry.channels.values(), *([entry.label] if entry.label else [])]
        return self.of_paths(split_choice(x)[0] for x in paths)

    def _state(self, path: Path) -> list[Any]:
        if path not in self._known:
            try:
                state = path.stat()
            except OSError as error:
                raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path.") from None
            self._known[path] = [str(path), state.st_size, state.st_mtime_ns]
        return self._known[path]


def same_images(entry: Entry) -> tuple[Any, ...]:
    """What is equal of two entries if and only if their images are the same."""
    phantom = None if entry.phantom is None else (entry.phantom.seed, entry.phantom.shape)
    return (phantom, *sorted(entry.channels.values()))
