"""Networks trained with nnU-Net v2 (Isensee et al. 2021), TotalSegmentator's among them, as that tool leaves them on disk.

RESULTS/Dataset501_Name/Trainer__Plans__configuration/fold_0/checkpoint_final.pth: any of these places is taken, where there is
but one network below it. A checkpoint holds plans and labels as well, so that it opens alone. Folds are chosen by their names
joined, as in CONFIGURATION/fold_0+fold_2; unless chosen, all are taken, as nnU-Net does. A checkpoint beside plans.json and
dataset.json, without the folder of its fold, is taken for the only one. What nnUNetv2_export_model_to_zip packs is read in its
archive: RESULTS may be one.
"""

from __future__ import annotations

import re
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.described import Described
from SegAdversarialLib.formats.places import Place
from SegAdversarialLib.formats.plain_pickle import plain_data
from SegAdversarialLib.formats.recognition import Content
from SegAdversarialLib.formats.unopened import NotOpened, described_as
from SegAdversarialLib.volumes.archives import begins_as_zip, check_directory
from SegAdversarialLib.volumes.json_data import object_in

_MARKS = (b"network_weights", b"trainer_name")
"""What every checkpoint of nnU-Net has, and together nobody else's."""

_FOLD = re.compile(r"fold_(\d+|all)")
_CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")
"""The files of a fold, best first: nnU-Net asks the final one."""

_LARGEST_PLANS = 1 << 26


@dataclass(frozen=True)
class Trained:
    """What nnU-Net's files say of a network.

    Attributes:
        place: the path that was given.
        plans: plans.json.
        dataset: dataset.json.
        checkpoints: the folds' files.
        configuration: "2d", "3d_fullres", ...
        trainer: the class that trained it.
        mirrored: axes of the network's input along which it is shown each window flipped, too.
        beside: plans.json and dataset.json where they are files.
        empty: the folders of folds that hold no checkpoint.
    """

    place: Path
    plans: dict[str, Any]
    dataset: dict[str, Any]
    checkpoints: tuple[Place, ...]
    configuration: str
    trainer: str
    mirrored: tuple[int, ...]
    beside: tuple[Place, ...] = ()
    empty: tuple[str, ...] = ()

    @property
    def folds(self) -> tuple[str, ...]:
        """What the folds are called: "0", "1", "all"; of a checkpoint elsewhere, its file's name."""
        named = [_FOLD.fullmatch(x.parent.name) for x in self.checkpoints]
        return tuple(found[1] if found else x.name for found, x in zip(named, self.checkpoints))


def describe(path: Path) -> Described | None:
    """What nnU-Net's files say of a network; None: they are none.

    Raises:
        InputError: something of it is missing, damaged, or not known here; or there are several networks.
    """
    found = _at(path)
    if found is None:
        return None
    from SegAdversarialLib.formats.nnunet_network import Architecture, load
    from SegAdversarialLib.formats.nnunet_plans import Plans

    folds = " and ".join(x for x in (", ".join(found.folds[:-1]), found.folds[-1]) if x)
    word = "folds " if len(found.folds) > 1 else "fold " if _FOLD.fullmatch(found.checkpoints[0].parent.name) else ""
    what = f"a network trained with nnU-Net ({found.configuration}, {word}{folds})"
    with described_as(path, what):
        plans = Plans.of(found.plans, found.dataset, found.configuration, found.mirrored, found.place)
        architecture = Architecture.of(plans.planned, found.trainer, len(plans.channels), len(plans.classes), found.place)
        settings, warnings = plans.settings(), [*plans.warnings, *architecture.warnings, *_unfinished(found)]
    if _is_of_totalsegmentator(found):
        settings["preprocessing"]["orientation"], settings["mirror"] = "RAS", ""
        warnings.append(
            "TotalSegmentator resamples images and the label map by itself, before and after nnU-Net; here nnU-Net's own "
            "resampling does both, so that surfaces may differ by part of a voxel."
        )
    settings["description"] = f"{found.plans.get('dataset_name', 'unknown data')}, {found.configuration}, {found.trainer}"
    archive = found.checkpoints[0].archive
    return Described(
        content=Content("foreign", what if archive is None else f"{what} in a zip archive"),
        settings=settings,
        data=found.checkpoints[0].file,
        files=tuple(dict.fromkeys(x.file for x in (*found.checkpoints, *found.beside))),
        load=lambda _, device: load(architecture, found.checkpoints),
        warnings=tuple(warnings),
        weights=tuple(dict.fromkeys(x.file for x in found.checkpoints)),
        architecture=lambda: architecture.settings(len(found.checkpoints)),
        within="" if archive is None else ", ".join(str(x.path.relative_to(archive)) for x in found.checkpoints),
        name=_name(path, found),
    )


def _name(path: Path, found: Trained) -> str:
    """Data set and configuration, and which folds or which checkpoint where the path chooses some; "": its plans say none."""
    if not (dataset := found.plans.get("dataset_name")):
        return ""
    words, first = [str(dataset), found.configuration], found.checkpoints[0]
    checkpoint = path.name == first.name
    if _FOLD.fullmatch(path.parent.name if checkpoint else path.name.partition("+")[0]):
        words.append(f"fold {'+'.join(found.folds)}")
    if checkpoint and _best_of(first.parent) not in (None, first):
        words.append(path.stem)
    return " ".join(words)


def _at(path: Path) -> Trained | None:
    """What lies at a path: a checkpoint, one or several folds of a configuration, or a folder or an archive above it."""
    place = Place.of(path)
    if place.is_file():
        beside = path.name in ("plans.json", "dataset.json")
        return _of_folder(place.parent, path) if beside else _of_checkpoint(place) or _of_archive(place)
    if place.is_folder():
        _check_version(place)
        return _of_fold(place) or _of_folder(place, path) or _of_results(place)
    names = path.name.split("+")
    if len(names) > 1 and all(map(_FOLD.fullmatch, names)) and place.parent.is_folder():
        missing = next((name for name in names if not (place.parent / name).is_folder()), None)
        if missing is not None:
            known = ", ".join(x.name for x in _folds_in(place.parent))
            raise InputError(f"{path.parent} has no {missing}; it has {known or 'no folds'}.")
        return _of_folder(place.parent, path, [place.parent / name for name in names])
    if place.archive is not None and (networks := list(_networks_below(Place(place.archive, place.archive)))):
        listed = _few([x.inside for x in networks])
        raise InputError(f"The archive {place.archive} holds no {place.inside}; its networks of nnU-Net are {listed}.")
    return None


def _of_archive(place: Place) -> Trained | None:
    """The one network in a zip archive as nnU-Net exports it; None: there is none."""
    path = place.path
    if place.archive is not None or not begins_as_zip(path):
        return None
    try:
        check_directory(path, path)
        with zipfile.ZipFile(path) as archive:
            if not any(x.rpartition("/")[2] == "plans.json" for x in archive.namelist()):
                return None
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return None
    within = Place(path, path)
    return _of_folder(within, path) or _of_results(within)


def _of_checkpoint(place: Place) -> Trained | None:
    said = _header(place)
    # one that says nothing of its plans is a file of weights, unless they lie beside it
    known = said is not None and (said.get("init_args") or (_configuration_of(place) / "plans.json").is_file())
    return _trained(place.path, (place,), said) if said is not None and known else None


def _of_fold(folder: Place) -> Trained | None:
    if not (_FOLD.fullmatch(folder.name) and _best_of(folder) is not None):
        return None
    return _of_folder(folder.parent, folder.path, [folder])


def _of_folder(folder: Place, place: Path, chosen: list[Place] | None = None) -> Trained | None:
    """The network of a configuration's folder; None: it is none.

    Args:
        folder: it.
        place: the path that was given.
        chosen: its folds; None: all, but the one of all cases only where there are no others.
    """
    beside = tuple(x for x in (folder / "plans.json", folder / "dataset.json") if x.is_file())
    found = _folds_in(folder)
    folds = chosen or [x for x in found if x.name != "fold_all"] or found
    checkpoints = tuple(x for x in map(_best_of, folds or ([folder] if beside else [])) if x is not None)
    empty = tuple(x.name for x in folds if _best_of(x) is None)
    if chosen and checkpoints and empty:
        raise InputError(
            f"{folder.path} has no checkpoint in {empty[0]}; put {_CHECKPOINTS[0]} there, or leave that fold out."
        )
    plans = _json(folder / "plans.json") if folder / "plans.json" in beside else {}
    if not checkpoints:
        if {"configurations", "plans_name"} <= set(plans) and (len(beside) == 2 or found):
            raise NotOpened(
                f"{folder.path} is a network trained with nnU-Net whose weights are missing; a folder fold_0 with "
                "checkpoint_final.pth in it would be right.",
                place,
                f"a network trained with nnU-Net, without its weights (plans for {_few(list(plans['configurations']))})",
                ["its weights, fold_0/checkpoint_final.pth"],
                f"segadversarial info {place}, once fold_0 with checkpoint_final.pth in it is there",
            )
        return None
    said = _header(checkpoints[0])
    if said is None:
        if not beside:
            return None
        raise InputError(f"{checkpoints[0].path} is no checkpoint of nnU-Net, or it is damaged; download or copy it again.")
    trained = _trained(place, checkpoints, said)
    if folder / "plans.json" in beside:
        trained = replace(trained, plans=plans)
    if folder / "dataset.json" in beside:
        trained = replace(trained, dataset=_json(folder / "dataset.json"))
    return replace(trained, beside=beside, empty=empty)


def _of_results(folder: Place) -> Trained | None:
    """The one network in the folders below a data set's, or below that of all results; None: there are none.

    Raises:
        InputError: there are several.
    """
    named = re.compile(r"Dataset\d{3}_|nnunet$|results$" if folder.archive is None else "")
    below = [x for x in folder.folders() if x.name.count("__") == 2 or named.match(x.name)]
    networks = [x for y in below for x in _networks_below(y)]
    if not networks:
        return None
    if len(networks) == 1:
        return _of_folder(networks[0], folder.path)
    shown = ", ".join(x.path.relative_to(folder.path).as_posix() for x in networks[:6])
    more = f" and {len(networks) - 6} more" if len(networks) > 6 else ""
    kind = "folder" if folder.path != folder.archive else "archive"
    way_out = "give the folder of one" if folder.archive is None else f"give one of them, such as {networks[0].path}"
    message = f"The {kind} {folder.path} holds {len(networks)} networks of nnU-Net ({shown}{more}); {way_out}."
    what = f"a{' zip' if kind == 'archive' else ''} {kind} of {len(networks)} networks of nnU-Net ({shown}{more})"
    raise NotOpened(message, folder.path, what, ["which of them"], _lines(networks))


def _lines(networks: list[Place]) -> str:
    """The lines that describe them, joined by or."""
    return " or ".join(f"segadversarial info {shlex.quote(str(x.path))}" for x in networks[:6])


def _networks_below(folder: Place, depth: int = 0) -> Iterator[Place]:
    """The configurations' folders in a folder of results, or in a data set's."""
    if any(_best_of(x) for x in _folds_in(folder)):
        yield folder
    elif depth < 3:
        for inner in folder.folders():
            yield from _networks_below(inner, depth + 1)


def _check_version(place: Place) -> None:
    """Refuse a folder of nnU-Net's first version.

    Raises:
        InputError: it is one.
    """
    folder = place.path
    if (place / "plans.pkl").is_file() and any(folder.glob("fold_*/model_*.model")):
        raise NotOpened(
            f"{folder} is a network trained with version 1 of nnU-Net, whose plans are a Python pickle; networks of version 2 "
            "open (plans.json).",
            folder,
            "a network trained with version 1 of nnU-Net, whose plans are a Python pickle",
            way_out="train it again with version 2, or wrap it in Python (SegmentationModel.from_network)",
            never=True,
        )


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _folds_in(folder: Place) -> list[Place]:
    """Its folds, by their numbers."""
    found = [(match[1], x) for x in folder.folders() if (match := _FOLD.fullmatch(x.name))]
    return [x for _, x in sorted(found, key=lambda pair: int(pair[0]) if pair[0] != "all" else -1)]


def _best_of(fold: Place) -> Place | None:
    return next((fold / x for x in _CHECKPOINTS if (fold / x).is_file()), None)


def _unfinished(found: Trained) -> Iterator[str]:
    """What is to be said where nnU-Net itself would not find the weights that it asks for."""
    for name in found.empty:
        yield f"{name} holds no {_CHECKPOINTS[0]}, and is left out."
    for x in found.checkpoints:
        if x.name != _CHECKPOINTS[0] and _best_of(x.parent) == x:
            yield f"{x.parent.name} has no {_CHECKPOINTS[0]}, as its training has not ended; {x.name} is taken."


def _header(checkpoint: Place) -> dict[str, Any] | None:
    """What a checkpoint says beside its weights; None: it is none of nnU-Net's."""
    content = checkpoint.pickle()
    if content is None or not all(mark in content for mark in _MARKS):
        return None
    said = plain_data(content, str(checkpoint.path))
    return said if isinstance(said, dict) else None


def _trained(place: Path, checkpoints: tuple[Place, ...], said: dict[str, Any]) -> Trained:
    """The network of some checkpoints, from what the first says of itself."""
    given = said.get("init_args")
    given = given if isinstance(given, dict) else {}
    beside: tuple[Place, ...] = ()
    plans, dataset, configuration = (given.get(x) for x in ("plans", "dataset_json", "configuration"))
    if not (isinstance(plans, dict) and isinstance(dataset, dict) and isinstance(configuration, str)):
        plans, dataset, configuration, beside = _said_beside(checkpoints[0])
    mirrored = said.get("inference_allowed_mirroring_axes")
    axes = tuple(x for x in mirrored if isinstance(x, int)) if isinstance(mirrored, (tuple, list)) else ()
    return Trained(place, plans, dataset, checkpoints, configuration, str(said.get("trainer_name")), axes, beside)


def _configuration_of(checkpoint: Place) -> Place:
    """The folder of the configuration that a checkpoint belongs to: above that of its fold, or its own."""
    parent = checkpoint.absolute().parent
    return parent.parent if _FOLD.fullmatch(parent.name) else parent


def _said_beside(checkpoint: Place) -> tuple[dict[str, Any], dict[str, Any], str, tuple[Place, ...]]:
    """Plans, data set and configuration of a checkpoint that does not say them (init_args), from the files beside it.

    Raises:
        NotOpened: these do not say them either.
    """
    folder = _configuration_of(checkpoint)
    files = (folder / "plans.json", folder / "dataset.json")
    lacking = [x.name for x in files if not x.is_file()]
    if not lacking:
        plans, dataset = map(_json, files)
        known = plans.get("configurations")
        names = list(known) if isinstance(known, dict) else []
        named = folder.name.rpartition("__")[2]
        if named in names or len(names) == 1:
            return plans, dataset, named if named in names else names[0], files
        lacking = [f"the configuration ({' or '.join(names) or 'none is in plans.json'})"]
    way_out = "put it into a folder Trainer__Plans__CONFIGURATION/fold_0, with plans.json and dataset.json above that"
    raise NotOpened(
        f"{checkpoint.path} is a checkpoint of nnU-Net that does not say its plans, data set and configuration (init_args), "
        f"and {' and '.join(lacking)} cannot be told from {folder.path}; {way_out}.",
        checkpoint.path,
        "a checkpoint of nnU-Net that does not say its own plans (init_args)",
        lacking,
        way_out,
    )


def _json(place: Place) -> dict[str, Any]:
    return object_in(place.content(_LARGEST_PLANS), place.path, "file", "; download or copy it again")


def _is_of_totalsegmentator(found: Trained) -> bool:
    """Whether it is one of TotalSegmentator's: by its data set's name, or because it lies where that keeps its own."""
    named = "totalsegmentator" in str(found.plans.get("dataset_name", "")).lower()
    return named or any(x.name == ".totalsegmentator" for x in found.checkpoints[0].path.absolute().parents)
