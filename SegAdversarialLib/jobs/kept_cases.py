"""The cases of a training, kept in its folder: what a job that will outlive their files can be run again from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.jobs.opening import open_case
from SegAdversarialLib.jobs.results import JOB_FILE
from SegAdversarialLib.jobs.results_folder import ResultsFolder, write_job
from SegAdversarialLib.jobs.sources import CaseSource
from SegAdversarialLib.jobs.train_job import TrainJob
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.files import whole_change

KEPT_CASES = "cases"
"""The folder in a training's folder in which they lie, each in a numbered folder of its own."""

_ENDING = ".nrrd"
"""Of their files: it holds a grid in double precision."""


class KeptCases:
    """Where a training's cases are kept, if its job asks for it and they do not lie there already.

    Args:
        job: the training.
        place: its folder, as it is before the job.

    Raises:
        InputError: something else lies there, or some of the cases.
    """

    def __init__(self, job: TrainJob, place: ResultsFolder) -> None:
        self._job, self._folder = job, place.path / KEPT_CASES
        files = [path for source in (*job.cases, *job.validation) for path in source.files]
        self._wanted = job.keep_cases and not (files and all(map(self._lies_here, files)))
        if not self._wanted:
            return
        if self._folder.exists() and not place.keeps_cases:
            raise InputError(f"{self._folder} is not from this software and would be overwritten; give another folder.")
        for path in filter(self._lies_here, files):
            raise InputError(f"The input {path} lies where results would be written; give another output folder.")

    def write_job(self, head: OutputHead) -> None:
        """Write the job, and the cases that it names with their references in the labels of `head`; whole or not at all.

        Raises:
            InputError: they cannot be read or written.
        """
        folder = self._folder.parent
        if not self._wanted:
            write_job(folder, self._job)
            return
        with whole_change(folder, [self._folder, folder / JOB_FILE]) as temporary:
            known: dict[str, CaseSource] = {}
            parts = {
                part: tuple(self._written(sources, head, temporary, known))
                for part, sources in (("cases", self._job.cases), ("validation", self._job.validation))
            }
            write_job(temporary, self._job.model_copy(update=parts))

    def _written(
        self, sources: tuple[CaseSource, ...], head: OutputHead, temporary: Path, known: dict[str, CaseSource]
    ) -> Iterator[CaseSource]:
        """Where each of the cases will lie; those that are not known yet are written. A phantom is made anew each time."""
        for source in sources:
            key = source.anywhere().model_dump_json()
            if source.phantom is None and key not in known:
                case, name = open_case(source, head), f"{len(known) + 1:04d}"
                files = {
                    channel: str(self._folder / name / path.name)
                    for channel, path in case.write(temporary / KEPT_CASES / name, _ENDING).items()
                }
                channels = {channel: files[channel] for channel in case.channels}
                label = None if case.label is None else files["label"]
                known[key] = CaseSource(channels=channels, label=label, name=case.name)
            yield known.get(key, source)

    def _lies_here(self, path: Path) -> bool:
        return self._folder.resolve() in path.resolve().parents
