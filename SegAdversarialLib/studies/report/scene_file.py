"""The tables of a report as a Slicer scene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from SegAdversarialLib import __version__
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies import robustness_tables
from SegAdversarialLib.studies.report import audits, claims, contents
from SegAdversarialLib.studies.report.gathering import StoreLike, gather
from SegAdversarialLib.studies.report.material import Material
from SegAdversarialLib.studies.tables import Table
from SegAdversarialLib.volumes.files import check_writable

if TYPE_CHECKING:
    from SegAdversarialLib.studies.study import Study

_ENDING = ".mrb"


def write_scene(study: Study, store: StoreLike, path: str | Path) -> Path:
    """Write the tables of a study's report as a scene file that Slicer opens, whole or not at all.

    Raises:
        InputError: the name does not end in .mrb, the study has no tables yet, Slicer's libraries are missing, or the file
            cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != _ENDING:
        raise InputError(f"The scene file must end in {_ENDING}; it is {path}.")
    check_writable(path.parent, make=False)
    material = gather(study, store)
    from SegAdversarialLib import scene

    # a scene of its own: nothing else in this process must appear in the file
    application = scene.new_application()
    tables = all_tables(material, store)
    notes = {one.title: list(one.notes) for one in tables if one.notes}
    record = {"study": material.name, "tables": [one.title for one in tables], "notes": notes, "made with": __version__}
    rows = [(one.title, one.records) for one in tables]
    scene.add_study(rows, application.scene, title=material.name, record=record)
    return scene.write_scene(path, application.scene)


def all_tables(material: Material, store: StoreLike) -> list[Table]:
    """The tables of a report, those beside the paper and those of the audits among them."""
    found = [*claims.tables(*claims.judged(material, store)), *(x.table for x in contents.tables(material))]
    found += [audits.at_a_glance(material.checks), robustness_tables.checks(material.checks)]
    return [x for x in (*found, robustness_tables.audited(material.audited)) if x.rows]
