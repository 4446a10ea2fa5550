"""One cell of a study turned into its outcome; what a worker runs, and all that it needs to have is this package."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib import __version__
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.records import Cell, Outcome
from SegAdversarialLib.volumes.files import file_name

if TYPE_CHECKING:
    from SegAdversarialLib.cohorts.entry import Entry
    from SegAdversarialLib.structures.output_head import OutputHead
    from SegAdversarialLib.studies.memory import Memory
    from SegAdversarialLib.volumes.case import Case

_ONE_AT_A_TIME = threading.Lock()
"""A worker with several threads gives them all to one cell: networks and torch's settings belong to the process."""

_CLOCKS_APART = 2.0
"""Seconds by which two machines may differ about a file's time; some file systems keep no more."""


def run_cell(
    cell: Cell,
    folder: str | Path,
    *,
    products: Mapping[str, str] | None = None,
    volumes: bool = False,
    threads: int | None = None,
) -> Outcome:
    """Do what a cell says.

    Args:
        cell: the cell.
        folder: the study's folder, where products and volumes go.
        products: by the key of another cell the file that it made, relative to the folder.
        volumes: write the attack's volumes, to `volumes_folder`.
        threads: of torch; None: as they are.

    Raises:
        InputError: something that the study names is wrong: trying again changes nothing.
    """
    with _ONE_AT_A_TIME, _limited(threads), _overheard() as notes:
        started = time.perf_counter()
        check_files(cell)
        complete = with_products(cell, Path(folder), products or {})
        outcome = _KINDS[cell.kind](complete, Path(folder), volumes_folder(cell) if volumes else "", product_of(cell))
        seconds = time.perf_counter() - started
        return replace(outcome, notes=(*outcome.notes, *notes), seconds=seconds, versions=_versions())


def introduce() -> dict[str, str]:
    """What a worker says of itself before it gets a cell: the versions that have to be those of the client."""
    return {"SegAdversarialLib": __version__, "distributed": version("distributed")}


def volumes_folder(cell: Cell) -> str:
    """Where the volumes of an attack lie if they are kept, relative to the study's folder."""
    parts = (cell.network, cell.attack, f"{cell.case}-{cell.key[:8]}")
    return "/".join(("volumes", *map(file_name, parts)))


def product_of(cell: Cell) -> str:
    """The file that a cell makes for others, relative to the study's folder; empty where it makes none.

    The folder is the cell's own, so that a training with other settings never meets this one's checkpoint.
    """
    name = {"train": "model.json", "generator": "generator.safetensors"}.get(cell.kind)
    if name is None:
        return ""
    folder = "/".join(file_name(part) for part in cell.work["folder"].split("/"))
    return f"{folder}-{cell.key[:8]}/{name}"


def with_products(cell: Cell, folder: Path, products: Mapping[str, str]) -> Cell:
    """The cell with the files of other cells in the place of their keys.

    Raises:
        InputError: such a file is not there.
    """

    def filled(data: Any) -> Any:
        if isinstance(data, Mapping):
            if set(data) == {"product"}:
                return _product(data["product"], folder, products)
            return {key: filled(value) for key, value in data.items()}
        return [filled(x) for x in data] if isinstance(data, list | tuple) else data

    def network(data: Any) -> Any:
        if "members" in data:
            return {**data, "members": [network(x) for x in data["members"]]}
        return {"path": filled(data)} if set(data) == {"product"} else data

    networks = {key: network(cell.work[key]) for key in ("model", "surrogate") if cell.work.get(key)}
    rest = {key: filled(value) for key, value in cell.work.items() if key not in networks}
    return replace(cell, settings=filled(cell.settings), work=rest | networks)


def check_files(cell: Cell) -> None:
    """Refuse a cell whose files are no longer those that it was planned with.

    Raises:
        InputError: one is missing, or has another size or time.
    """
    for path, size, time_ns in cell.work.get("files", ()):
        try:
            state = os.stat(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read here ({error.strerror}); all workers need the same files.") from None
        if state.st_size != size or abs(state.st_mtime_ns - time_ns) > _CLOCKS_APART * 1e9:
            raise InputError(f"{path} has changed since the study was planned; run the study again.")


def _attack(cell: Cell, folder: Path, volumes: str, product: str) -> Outcome:
    from SegAdversarialLib.attacks import make_attack
    from SegAdversarialLib.attacks.files import write_attack
    from SegAdversarialLib.attacks.transfer import with_opened_source
    from SegAdversarialLib.evaluation.measuring import evaluate
    from SegAdversarialLib.evaluation.structures import check_regions
    from SegAdversarialLib.studies.outcomes import channel_rows, structure_rows, threshold_rows

    memory, settings, regions = _memory(), dict(cell.settings), cell.work.get("regions")
    model = memory.network(cell.work["model"])
    attack = with_opened_source(make_attack(settings.pop("attack"), settings), "auto", memory.model)
    case = memory.case(_entry(cell.work["case"]), model.head)
    attack.check(model, case)
    check_regions(model.head, regions)
    clean = memory.clean(model, case)
    result = attack(model, case)
    found = evaluate(result, model, regions, clean, warn=False)
    if volumes:
        write_attack(folder / volumes, result, found, model, about={"cell": cell.key})
    return Outcome(
        structures=structure_rows(found),
        channels=channel_rows(found, case, result.adversarial, memory.lines(case)),
        thresholds=threshold_rows(result.thresholds),
        trace=[dict(row) for row in result.trace],
        kept=(volumes,) if volumes else (),
        notes=found.notes,
    )


def _train(cell: Cell, folder: Path, volumes: str, product: str) -> Outcome:
    from SegAdversarialLib.defenses import recipes
    from SegAdversarialLib.training.loop import train
    from SegAdversarialLib.training.task import Task

    settings, described = cell.settings, dict(cell.settings.get("described") or {})
    cases = Entries(cell.work["cohort"])
    if not len(cases):
        raise InputError(f"There are no cases to train {cell.network} on; give its cohort one at least.")
    head = Task.of(cases[0], described).head
    rows: list[dict[str, Any]] = []
    train(
        settings["network"],
        Entries(cell.work["cohort"], head),
        settings.get("settings") or {},
        recipe=recipes.make(settings.get("recipe") or {"recipe": "standard"}),
        validation=Entries(cell.work.get("validation") or (), head),
        folder=(folder / product).parent,
        name=cell.network,
        on_epoch=rows.append,
        **described,
    )
    return Outcome(trace=rows, product=product)


def _generator(cell: Cell, folder: Path, volumes: str, product: str) -> Outcome:
    from SegAdversarialLib.training.generator import train_generator

    model = _memory().network(cell.work["model"])
    rows: list[dict[str, Any]] = []
    train_generator(
        model,
        Entries(cell.work["cohort"], model.head),
        cell.settings.get("settings") or {},
        generator=cell.settings.get("generator"),
        folder=(folder / product).parent,
        on_epoch=rows.append,
    )
    return Outcome(trace=rows, product=product)


def _audit(cell: Cell, folder: Path, volumes: str, product: str) -> Outcome:
    from SegAdversarialLib.defenses.audit import audit
    from SegAdversarialLib.studies.outcomes import audited_rows

    memory, surrogate = _memory(), cell.work.get("surrogate")
    model = memory.network(cell.work["model"])
    other = None if surrogate is None else memory.network(surrogate)
    found = audit(model, Entries(cell.work["cases"], model.head), surrogate=other, **cell.settings)
    return Outcome(audited=audited_rows(found), checks=found.rows)


_KINDS = {"attack": _attack, "train": _train, "generator": _generator, "audit": _audit}


class Entries(Sequence["Case"]):
    """Cases as plain data, each read when it is asked for.

    Args:
        entries: `cohorts.entry.Entry` as JSON data.
        head: the classes of the network that they are read for.
    """

    def __init__(self, entries: Sequence[Mapping[str, Any]], head: OutputHead | None = None) -> None:
        self._entries, self._head = [_entry(x) for x in entries], head

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: Any) -> Any:
        return self._entries[number].read(self._head)


@cache
def _memory() -> Memory:
    """What this process keeps."""
    from SegAdversarialLib.studies.memory import Memory

    return Memory()


@cache
def _versions() -> dict[str, str]:
    from SegAdversarialLib.evaluation.files import versions

    return versions()


def _entry(data: Mapping[str, Any]) -> Entry:
    from SegAdversarialLib.cohorts.entry import Entry

    return Entry.model_validate(data)


def _product(key: str, folder: Path, products: Mapping[str, str]) -> str:
    path = folder / products[key] if key in products else None
    if path is None or not path.exists():
        raise InputError(
            f"{'What another cell makes' if path is None else path} is needed here and not there; the study's folder must be "
            "on a disk that all workers share, under the same path."
        )
    return str(path)


@contextmanager
def _limited(threads: int | None) -> Iterator[None]:
    """Let torch use so many threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)  # of the calling thread: each thread of a worker has to say it
    yield


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """The library's warnings, which nobody would see where a worker runs."""
    notes: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("SegAdversarialLib")
    log.addHandler(handler)
    propagated, log.propagate = log.propagate, False
    try:
        yield notes
    finally:
        log.removeHandler(handler)
        log.propagate = propagated
