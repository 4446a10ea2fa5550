"""Where a study lies: its file, and the folder in which it works."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.reading import yaml_text
from SegAdversarialLib.studies.study import Study
from SegAdversarialLib.volumes.files import whole_file

_PAPERS = "papers:"

_STORE, _STUDY, _REPORT = "study.sqlite", "study.yaml", "report.html"


@dataclass(frozen=True)
class StudyFolder:
    """A study's folder, and the file that describes the study.

    Attributes:
        path: the folder, with an absolute path; it need not be there yet.
        file: the YAML file; of a paper's study that was never begun: None.
        paper: the paper whose study it is, by its name; empty where it is anybody's own.
    """

    path: Path
    file: Path | None
    paper: str = ""

    @classmethod
    def of(cls, file: str | Path, folder: str | Path | None = None) -> StudyFolder:
        """Where a study lies.

        Args:
            file: its YAML file, the folder in which it works, or "papers:NAME" for a paper's study.
            folder: where it works; None: beside its file, in a folder of the same name.

        Raises:
            InputError: there is no such file, or no study in the folder.
        """
        text = str(file)
        if text.startswith(_PAPERS) and not os.path.exists(text):
            name = text.removeprefix(_PAPERS)
            path = Path(folder if folder is not None else name).absolute()
            return cls(path, path / _STUDY if (path / _STUDY).is_file() else None, name)
        given = Path(file).absolute()
        if given.is_dir():
            if not (given / _STUDY).is_file():
                raise InputError(f"The folder {given} holds no study ({_STUDY}); give a study file, or a study's folder.")
            return cls(Path(folder).absolute() if folder is not None else given, given / _STUDY)
        if folder is not None:
            return cls(Path(folder).absolute(), given)
        if given.name == _STUDY and (given.parent / _STORE).exists():
            return cls(given.parent, given)
        beside = given.with_suffix("")
        return cls(beside if beside != given else given.with_name(f"{given.name}-study"), given)

    @property
    def store(self) -> Path:
        """The file with the results."""
        return self.path / _STORE

    @property
    def study_file(self) -> Path:
        """The study as it was run last."""
        return self.path / _STUDY

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / _REPORT

    def study(self, scale: str | None = None, cohort: str | None = None) -> Study:
        """What is asked: what the file says, or for a paper's study that was never begun, or whose scale is said, the paper.

        Args:
            scale: of a paper's study: "ci", "phantom" or "paper"; None: "paper" for a cohort, else "phantom".
            cohort: of a paper's study: another cohort than the phantom.

        Raises:
            InputError: something in it is wrong: which file, line and key.
        """
        if not self.paper:
            if scale is not None or cohort is not None:
                raise InputError("Scale and cohort belong to papers' studies (papers:NAME); of others the file says them.")
            assert self.file is not None
            return Study.read(self.file)
        if self.file is not None and scale is None and cohort is None:
            return Study.read(self.file)
        return Study.of(_of_paper(self.paper, scale, cohort), Path.cwd())

    def write(self, study: Study) -> None:
        """Keep the study as it is run, with absolute paths, in the folder.

        Raises:
            InputError: the folder cannot be written to, or the disk is full.
        """
        text = yaml_text(study.dump())
        with whole_file(self.study_file) as path:
            path.write_text(f"# The study as it was run; its paths are absolute.\n{text}", encoding="utf-8")


def _of_paper(name: str, scale: str | None, cohort: str | None) -> dict[str, Any]:
    from SegAdversarialLib.studies import papers

    return papers.study(name, cast("papers.Scale", scale or ("phantom" if cohort is None else "paper")), cohort)
