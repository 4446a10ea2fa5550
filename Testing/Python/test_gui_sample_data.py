"""The synthetic subject in Slicer's module Sample Data."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class FakeSampleData(types.ModuleType):
    """As much of Sample Data as a registration meets: it keeps sources that differ, and wants as many of each list."""

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(
            category: str, sampleName: str, uris: list[str], fileNames: list[str], nodeNames: list[str], **others: Any
        ) -> None:
            import slicer

            assert len(uris) == len(fileNames) == len(nodeNames)
            if not hasattr(slicer.modules, "sampleDataSources"):
                slicer.modules.sampleDataSources = {}
            source = types.SimpleNamespace(sampleName=sampleName, **others)
            slicer.modules.sampleDataSources.setdefault(category, []).append(source)


@pytest.fixture
def sampleData(slicerHost: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import slicer
    from SegAdversarialGui import sample_data

    monkeypatch.setattr(slicer.modules, "sampleDataSources", {"BuiltIn": ["another"]}, raising=False)
    yield sample_data


def load(name: str) -> Any:
    assert name == "SampleData"
    return FakeSampleData(name)


def test_the_subject_is_offered_once_and_made_by_the_newest_code(sampleData: Any) -> None:
    import slicer

    made: list[str] = []
    assert sampleData.register(lambda: made.append("old"), load)
    assert sampleData.register(lambda: made.append("new"), load)
    assert slicer.modules.sampleDataSources["BuiltIn"] == ["another"]
    (source,) = slicer.modules.sampleDataSources["SegAdversarial"]
    assert source.sampleName == "Synthetic brain tumour"
    assert Path(source.thumbnailFileName).read_bytes().startswith(b"\x89PNG")
    source.customDownloader(source)
    assert made == ["new"]


def test_nothing_happens_without_sample_data(sampleData: Any) -> None:
    import slicer

    assert sampleData.register(lambda: None) is False
    assert list(slicer.modules.sampleDataSources) == ["BuiltIn"]
    sampleData.unregister()
