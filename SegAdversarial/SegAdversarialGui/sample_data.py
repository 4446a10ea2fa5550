"""Offers the synthetic subject in Slicer's module Sample Data."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

CATEGORY = "SegAdversarial"
THUMBNAIL = Path(__file__).resolve().parents[1] / "Resources" / "Icons" / "SyntheticBrainTumour.png"


def register(makeSample: Callable[[], Any], load: Callable[[str], Any] = importlib.import_module) -> bool:
    """Add the synthetic subject to Sample Data; where it is there already (the module was reloaded), it takes its place.

    Args:
        makeSample: puts the subject into the scene and returns its nodes; nothing is downloaded.
        load: imports a module by its name.

    Returns:
        Whether Slicer has the module Sample Data.
    """
    try:
        sampleData = load("SampleData")
    except ImportError:
        return False
    unregister()
    sampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=_("Synthetic brain tumour"),
        # empty, not absent: Sample Data wants as many of each
        uris=[],
        fileNames=[],
        nodeNames=[],
        thumbnailFileName=str(THUMBNAIL),
        customDownloader=lambda _source: makeSample(),
    )
    return True


def unregister() -> None:
    """Take our samples out of Sample Data."""
    getattr(slicer.modules, "sampleDataSources", {}).pop(CATEGORY, None)
