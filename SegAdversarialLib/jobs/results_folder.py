"""A folder of results and the jobs that write into it: what a later job adds, takes the place of, or is refused.

Two rules hold at any moment, also after an error, Ctrl-C or a full disk: the results of two cases, references or networks
never stand in one folder, and its table lists exactly the attacks whose folders are there.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.trust import without_trust
from SegAdversarialLib.jobs.results import (
    CLEAN_FILES,
    JOB_FILE,
    PERTURBATION_FILE,
    PICTURES,
    TABLE_FILE,
    read_record,
)
from SegAdversarialLib.jobs.specification import AnyJob
from SegAdversarialLib.volumes.files import RESULT_MARKER, check_replaceable, check_writable, whole_change
from SegAdversarialLib.volumes.interrupted import recover
from SegAdversarialLib.volumes.json_data import write_json

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

_OTHER = {
    "images": "of another case",
    "reference": "measured against another reference",
    "network": "of another network, or of the same with other settings",
    "regions": "measured with other regions",
}
"""What is said where a fingerprint differs."""

_ANOTHER = "give another output folder"
_OVERWRITE = "or overwrite (--overwrite), which takes away all that earlier jobs left there"


class ResultsFolder:
    """The output folder of a job that is about to run.

    Nothing of it changes before the job has something whole to write (`change`).

    Attributes:
        earlier: the records (result.json) of the results that lie there and stay, by the names of their folders, in the
            order of the table; none where the job overwrites.
    """

    def __init__(self, job: AnyJob, own: Sequence[str] = ()) -> None:
        """Look at what lies there.

        Args:
            job: the job.
            own: names of further files that the job writes into the folder.

        Raises:
            InputError: the folder holds files of the names of ours from elsewhere; or, unless it is to be overwritten,
                results that are damaged or of a job of another kind.
        """
        self.path, self._job = Path(job.output), job
        recover(self.path)
        self._overwrite = bool(getattr(job, "overwrite", False))
        self._ways_out = f"{_ANOTHER}, {_OVERWRITE}" if hasattr(job, "overwrite") else _ANOTHER
        self._files = [self.path / name for name in (TABLE_FILE, *CLEAN_FILES, *own)]
        self._job_before = _json_of(self.path / JOB_FILE)
        if self._job_before is None:
            for path in self._files:
                if path.exists():
                    raise InputError(f"{path} is not from this software and would be overwritten; give another folder.")
        self._found = self._records()
        self.earlier = {} if self._overwrite else self._found
        kind = (self._job_before or {}).get("kind", job.kind)
        if kind != job.kind and not self._overwrite:
            raise InputError(
                f"The folder {self.path} holds the results of another kind of job ({kind}, not {job.kind}); {self._ways_out}."
            )

    def check_inputs(self, names: Sequence[str], inputs: Sequence[Path]) -> None:
        """Find out whether results with these names can be written, and nothing that the job reads would be lost.

        Raises:
            InputError: the folder cannot be written to, a folder of such a name is not ours, or an input lies in the way.
        """
        check_writable(self.path, make=False)  # a job that is refused leaves nothing
        targets = [self.path / name for name in names]
        for target in targets:
            check_replaceable(target)
        going = [x.resolve() for x in (*targets, *self._files, *(self._whole if self._overwrite else ()))]
        for path in inputs:
            place = path.resolve()
            if any(gone in (place, *place.parents) for gone in going):
                raise InputError(f"The input {path} lies where results would be written; give another output folder.")

    def check_same(self, fingerprints: Mapping[str, str], case_name: str) -> None:
        """Refuse to mix results of another case, reference, network or choice of regions with those of this job.

        Args:
            fingerprints: those of this job's results.
            case_name: what this job calls its case.

        Raises:
            InputError: the results that lie there are such.
        """
        for name, record in self.earlier.items():
            known = record.get("fingerprints") or {}
            if not set(_OTHER) <= set(known):
                raise InputError(
                    f"The result {self.path / name} does not tell what it was made of (result.save, or another version, made "
                    f"it); {self._ways_out}."
                )
            for key, words in _OTHER.items():
                if known[key] != fingerprints[key]:
                    other = record.get("case", "")
                    names = f" ({other}, not {case_name})" if key == "images" and other != case_name else ""
                    raise InputError(f"The folder {self.path} holds results {words}{names}; {self._ways_out}.")

    def check_same_inputs(self) -> None:
        """The same for jobs whose results do not tell what they were made of: by the files that the earlier job names.

        Raises:
            InputError: the earlier job was on other cases or another network.
        """
        if self._overwrite or self._job_before is None:
            return
        now = json.loads(self._job.anywhere().model_dump_json())
        for field, words in (("case", "of another case"), ("cases", "of other cases"), ("model", "of another network")):
            if _inputs(self._job_before.get(field)) != _inputs(now.get(field)):
                raise InputError(f"The folder {self.path} holds the results of a job {words}; {self._ways_out}.")

    def announcement(self, names: Sequence[str]) -> str:
        """What the job will do to the results that lie there, in words; empty where there are none.

        Args:
            names: the folders of this job's results.
        """
        if self._overwrite:
            found = ", ".join(self._found) or "those of an earlier job"
            going = self._found or self._job_before is not None
            return f"The earlier results in {self.path} go when the first new one is whole: {found}." if going else ""
        replaced, kept = [x for x in self.earlier if x in names], [x for x in self.earlier if x not in names]
        sentences = []
        if replaced:
            sentences.append(f"Earlier results in {self.path} are replaced: {', '.join(replaced)}.")
        if kept:
            sentences.append(f"Earlier results in {self.path} stay: {', '.join(kept)}.")
        return " ".join(sentences)

    @contextmanager
    def change(self, names: Sequence[str] = (), *, everything: bool = False) -> Iterator[Path]:
        """Give a temporary folder; what lies in it comes into the folder, whole or not at all, when the block ends well.

        The job's first change takes all earlier results away if it overwrites.

        Args:
            names: the results in it; pictures of earlier results with these names go.
            everything: it takes the place of all that lies there of an earlier job.
        """
        going = self._whole if everything or self._overwrite else [self._picture(name) for name in names]
        with whole_change(self.path, going) as temporary:
            yield temporary
            if any((temporary / name).exists() for name in CLEAN_FILES):  # also that of an earlier job in another format
                going += [self.path / name for name in CLEAN_FILES]
        self._overwrite = False
        if (self.path / PICTURES).is_dir() and not any((self.path / PICTURES).iterdir()):
            (self.path / PICTURES).rmdir()

    @property
    def keeps_cases(self) -> bool:
        """Whether the earlier job kept its cases there."""
        return bool((self._job_before or {}).get("keep_cases"))

    @property
    def overwrites(self) -> bool:
        """Whether the next change takes earlier results away as a whole."""
        return self._overwrite and (bool(self._found) or self._job_before is not None)

    @property
    def _whole(self) -> list[Path]:
        """All that lies there of earlier jobs."""
        if self._job_before is None and not self._found:
            return []
        scene = Path(str(self._job_before.get("scene") or "")) if self._job_before else Path()
        inside = [scene] if scene.suffix and scene.parent == self.path.absolute() else []
        learned = [self.path / PERTURBATION_FILE] if (self._job_before or {}).get("kind") == "learn-universal" else []
        results = [x for name in self._found for x in (self.path / name, self._picture(name))]
        files = [x for x in (self.path / JOB_FILE, *self._files) if x.exists()]
        return [*results, *files, *learned, *(self.path / x.name for x in inside)]

    def _picture(self, name: str) -> Path:
        return self.path / PICTURES / f"{name}.png"

    def _records(self) -> dict[str, dict[str, Any]]:
        """The records of the results that lie there, in the order of the table."""
        found: dict[str, dict[str, Any]] = {}
        for place in sorted(x.parent for x in self.path.glob(f"*/{RESULT_MARKER}") if not x.parent.name.startswith(".")):
            try:
                found[place.name] = read_record(place)
            except InputError:
                if not self._overwrite:
                    raise
                found[place.name] = {}
        return {name: found[name] for name in dict.fromkeys([*_listed(self.path / TABLE_FILE), *found]) if name in found}


def write_job(
    folder: Path, job: AnyJob, model: SegmentationModel | None = None, attacks: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Write the job that does again what lies in a folder, with absolute paths; it never says by itself to overwrite, nor to
    trust a program.

    Args:
        model: its network: what was measured of how that is asked is said, so that it is asked so again.
        attacks: those of the folder, where it holds more than the job's own.
    """
    data = without_trust(job.anywhere().model_dump(mode="json"))
    if model is not None:
        changes = data["model"]["changes"]
        if model.settled_acceleration != model.acceleration:
            changes["acceleration"] = model.settled_acceleration.model_dump(mode="json")
        if (at_once := model.describe()["window_batch"]) != model.windows.batch:
            changes["window_batch"] = at_once
    if "overwrite" in data:
        data["overwrite"] = False
    if attacks is not None:
        data |= {"attacks": [dict(x) for x in attacks], "each_channel": False}
    write_json(folder / JOB_FILE, data)


def _inputs(source: Any) -> Any:
    """What a specification of a case or a network reads, without what it is called, where it runs and how quickly."""
    if isinstance(source, list):
        return [_inputs(x) for x in source]
    if not isinstance(source, dict):
        return source
    kept = {k: x for k, x in source.items() if k not in ("name", "trust", "device")}
    if isinstance(changes := kept.get("changes"), dict):  # these may have been measured
        kept["changes"] = {k: x for k, x in changes.items() if k not in ("acceleration", "window_batch")}
    return kept


def _json_of(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; an empty one where it holds something else, None where there is no file."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _listed(table: Path) -> list[str]:
    """The names of the attacks in a table, in its order; none where it cannot be read."""
    try:
        with table.open(newline="", encoding="utf-8") as file:
            return [row.get("attack") or "" for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error):
        return []
