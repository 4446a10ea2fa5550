"""Published networks in the panel: chosen, downloaded in a process of their own, cancelled, gone on with, and used."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
from fetching_helpers import HALF, NAME, Server, bundle, content_fixture, entry_of, says, sends, serving  # noqa: F401
from gui_helpers import putAway, waitUntil

from SegAdversarialLib.formats.fetching import catalogue, store

BUILTIN = "builtin:brain-tumour-phantom"
TO_DOWNLOAD, THERE = "Toys (MONAI, 1 MB to download)", "Toys (MONAI)"
WORKER = """
import json, sys
from SegAdversarialLib.formats.fetching import catalogue, getting
from SegAdversarialLib.formats.fetching.transfer import Patience
said = json.loads(sys.argv[1])
catalogue._BY_NAME[said["name"]] = catalogue.Entry(**said)
Patience.__init__.__defaults__ = (0.5, 1, 2, 0.0)
from SegAdversarialLib.jobs.worker import serve
serve()
"""


class Stage:
    """A Network section, alone in a narrow window, whose downloads come from a server of the test's."""

    def __init__(self, host: Any, server: Server, content: bytes) -> None:
        import qt
        import slicer
        from SegAdversarialGui import catalog
        from SegAdversarialGui.network_section import NetworkSection
        from SegAdversarialGui.published import Fetcher, publishedNetworks
        from SegAdversarialGui.state import State
        from SegAdversarialGui.worker import Worker

        self.host, self.scene = host, slicer.mrmlScene
        command = [sys.executable, "-c", WORKER, json.dumps(asdict(entry_of(content, server.url)))]
        self.fetcher = Fetcher(lambda: Worker(lambda: command))
        self.section = NetworkSection(
            *(catalog.network, catalog.builtinNetworks, lambda _: False, lambda: None),
            published=publishedNetworks,
            fetcher=self.fetcher,
        )
        node = self.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        node.AddObserver("ModifiedEvent", lambda *_: self.section.refresh())
        self.state = State(node)
        self.section.setState(self.state)
        self.window = qt.QWidget()
        layout = qt.QVBoxLayout(self.window)
        layout.addWidget(self.section.widget)
        layout.addStretch(1)
        self.window.show()

    def find(self, name: str) -> Any:
        import qt

        (found,) = self.section.widget.findChildren(qt.QWidget, name)
        return found

    def shown(self, name: str) -> bool:
        return bool(self.find(name).isVisibleTo(self.window))

    def text(self, name: str) -> str:
        return str(self.find(name).text).replace("\u200b", "")

    def sources(self) -> list[str]:
        combo = self.find("networkSourceCombo")
        return [combo.itemText(n) for n in range(combo.count)]

    def choose(self, source: str) -> None:
        self.find("networkSourceCombo").setCurrentIndex(self.sources().index(source))

    def download(self) -> None:
        """Press the button, and wait until it has ended."""
        self.find("downloadNetworkButton").click()
        waitUntil(self.host, lambda: not self.fetcher.name, "the download ended")


@pytest.fixture(name="server")
def _server(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setitem(catalogue._BY_NAME, NAME, entry_of(content))
    with serving(sends(content)) as server:
        yield server


@pytest.fixture(name="stage")
def _stage(slicerHost: Any, server: Server, content: bytes) -> Iterator[Stage]:
    made = Stage(slicerHost, server, content)
    yield made
    made.section.cleanup()
    putAway(made)


def test_all_published_networks_are_offered(stage: Stage) -> None:
    said = {f"{x.task} (MONAI, {x.megabytes} MB to download)" for x in catalogue.CATALOGUE.values()}
    assert set(stage.sources()) == {"Brain tumour phantom (built-in)", "File...", "Folder...", *said} and len(said) == 5
    hidden = ("publishedNote", "downloadNetworkButton", "cancelDownloadButton", "downloadBar", "downloadNote")
    assert not any(stage.shown(x) for x in (*hidden, "downloadProblemNote"))


def test_download_and_use(stage: Stage, content: bytes) -> None:
    stage.choose(TO_DOWNLOAD)
    assert stage.state.settings.network == NAME and stage.section.entry() is None
    assert stage.section.problem() == stage.text("networkProblemNote") == "This network is not downloaded yet."
    note = stage.text("publishedNote")
    assert note.startswith("Toys.\n")
    assert (
        f"{NAME} 1.0.0" in note
        and "Takes the channels A, B." in note
        and "Apache-2.0." in note
        and "Trained on nobody's data." in note
    )
    assert stage.shown("downloadNetworkButton") and not stage.shown("downloadBar") and not stage.shown("networkFileLine")
    stage.download()
    assert store.place_of(catalogue.entry(NAME)).read_bytes() == content
    assert stage.section.entry().channels == ("A", "B") and stage.section.problem() == ""
    assert "Finds 1 core, 2 rim" in stage.text("networkInfoNote") and "Apache-2.0." in stage.text("publishedNote")
    assert stage.find("networkSourceCombo").currentText == THERE
    assert not any(stage.shown(x) for x in ("downloadNetworkButton", "downloadBar", "downloadNote", "downloadProblemNote"))
    assert stage.section.source() == {"path": NAME, "trust": False, "device": "auto", "settings": None}
    assert not stage.section.needsTrust() and stage.section.ensureTrust()
    stage.choose("Brain tumour phantom (built-in)")
    assert stage.section.entry().name == BUILTIN and not stage.shown("publishedNote")
    stage.choose(THERE)
    store.place_of(catalogue.entry(NAME)).unlink()
    stage.section.refresh()
    assert stage.section.entry() is None and stage.shown("downloadNetworkButton") and not stage.shown("removeNetworkButton")


def test_removed_after_a_question(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    asked: list[str] = []
    answers = [False, True, True]
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: asked.append(text) or answers.pop(0))
    stage.choose(TO_DOWNLOAD)
    assert stage.text("downloadNetworkButton") == "Download (1 MB)"
    stage.download()
    stage.find("removeNetworkButton").click()
    assert stage.section.entry() is not None and str(store.place_of(catalogue.entry(NAME))) in asked[0]
    with store.locked(store.place_of(catalogue.entry(NAME))):
        stage.find("removeNetworkButton").click()
    assert "is being downloaded by another process" in stage.text("downloadProblemNote") and stage.section.entry() is not None
    stage.find("removeNetworkButton").click()
    assert stage.section.entry() is None and store.stored() == [] and stage.shown("downloadNetworkButton")


def test_cancelled_and_gone_on_with(stage: Stage, server: Server, content: bytes) -> None:
    server.answers = [sends(content, upto=HALF, stalls=True), sends(content)]
    stage.choose(TO_DOWNLOAD)
    stage.find("downloadNetworkButton").click()
    waitUntil(stage.host, lambda: "MB" in stage.text("downloadNote"), "something came")
    assert stage.shown("downloadBar") and stage.shown("cancelDownloadButton") and stage.find("downloadBar").value > 0
    assert not stage.find("downloadNetworkButton").enabled
    stage.choose("Brain tumour phantom (built-in)")  # it goes on meanwhile, and can be cancelled
    assert stage.section.problem() == "" and stage.shown("cancelDownloadButton")
    stage.find("cancelDownloadButton").click()
    waitUntil(stage.host, lambda: not stage.fetcher.name, "the download ended")
    assert "what has come is kept" in stage.text("downloadNote") and not stage.shown("cancelDownloadButton")
    (left,) = store.stored()
    assert 0 < left.size <= HALF and not left.whole
    server.answers = [sends(content)]
    stage.choose(TO_DOWNLOAD)
    assert not stage.shown("downloadNote")
    stage.download()
    assert stage.section.entry().channels == ("A", "B") and server.ranges[-1] == f"bytes={left.size}-"


def test_what_goes_wrong_is_said_and_can_be_tried_again(stage: Stage, server: Server, content: bytes) -> None:
    server.answers = [says(404)]
    stage.choose(TO_DOWNLOAD)
    stage.download()
    said = stage.text("downloadProblemNote")
    assert "has no file" in said and f"or download {server.url} elsewhere (SHA-1 " in said and "put it there: " in said
    assert stage.shown("downloadProblemNote") and stage.find("downloadNetworkButton").enabled
    assert stage.section.widget.minimumSizeHint.width() <= 380
    stage.choose("Brain tumour phantom (built-in)")
    assert not stage.shown("downloadProblemNote")
    stage.choose(TO_DOWNLOAD)
    server.answers = [sends(content)]
    stage.download()
    assert stage.section.entry() is not None and not stage.shown("downloadProblemNote")


def test_a_panel_that_goes_away_ends_its_download(stage: Stage, server: Server, content: bytes) -> None:
    server.answers = [sends(content, upto=HALF, stalls=True)]
    stage.choose(TO_DOWNLOAD)
    stage.find("downloadNetworkButton").click()
    waitUntil(stage.host, lambda: store.stored(), "something came")
    stage.section.cleanup()
    stage.section.cleanup()
    assert not stage.fetcher.name and not store.stored()[0].whole
    with pytest.raises(RuntimeError, match="is being downloaded"):
        busy = type(stage.fetcher)(lambda: SimpleNamespace(submit=lambda *_: "1", stop=lambda: None))
        busy.start(NAME, print)
        try:
            busy.start(NAME, print)
        finally:
            busy.stop()


def test_tips_and_the_keyboards_order(stage: Stage) -> None:
    for name in ("downloadNetworkButton", "removeNetworkButton", "cancelDownloadButton", "downloadBar"):
        assert stage.find(name).toolTip
    names = [x.objectName for x in stage.section.tabOrder()]
    buttons = ("downloadNetworkButton", "removeNetworkButton", "cancelDownloadButton", "deviceCombo")
    assert [x for x in names if x in buttons] == list(buttons)


def test_all_texts_can_be_translated(slicerHost: Any, server: Server, content: bytes) -> None:
    import qt
    from host import i18n

    i18n.pseudo = True
    stage = Stage(slicerHost, server, content)
    try:
        stage.state.change(network=NAME)
        parts = [x.text for kind in (qt.QLabel, qt.QPushButton) for x in stage.section.widget.findChildren(kind)]
        lines = [line for text in (*parts, *stage.sources()) for line in text.splitlines()]
        assert [x for x in lines if x and "⟦" not in x] == []
        assert all("⟦" in stage.find(x).toolTip for x in ("downloadNetworkButton", "cancelDownloadButton", "downloadBar"))
    finally:
        i18n.pseudo = False
        putAway(stage)
