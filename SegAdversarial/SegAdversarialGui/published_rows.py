"""The rows of the panel about a published network: what it is, under which licence, and its download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAdversarialGui import widgets
from SegAdversarialGui.published import PublishedNetwork
from SegAdversarialGui.wrapping import breakable
from SegAdversarialLib.errors import InputError

_STEPS = 1000


class PublishedRows:
    """Shows a published network and downloads it.

    Args:
        form: the layout that gets the rows.
        published: `published.publishedNetworks`: all of them; raises ImportError where packages are missing.
        fetcher: a `published.Fetcher`; None: nothing can be downloaded.
        onFetched: called when a download has ended, or was removed.

    Attributes:
        networks: all published networks, as they were when `look` was called.
    """

    def __init__(
        self,
        form: Any,
        published: Callable[[], list[PublishedNetwork]],
        fetcher: Any,
        onFetched: Callable[[], None],
    ) -> None:
        self._published, self._fetcher, self._onFetched = published, fetcher, onFetched
        self._chosen: PublishedNetwork | None = None
        self.networks: list[PublishedNetwork] = []
        self.note = widgets.note("publishedNote")
        form.addRow(self.note)
        self.downloadButton = widgets.button(_("Download"), "downloadNetworkButton", "")
        self.cancelButton = widgets.button(
            _("Cancel download"), "cancelDownloadButton", _("Stop the download; what has come is kept for the next one")
        )
        self.downloadButton.connect("clicked(bool)", lambda _checked=False: self._start())
        self.cancelButton.connect("clicked(bool)", lambda _checked=False: self._fetcher.cancel())
        self.removeButton = widgets.button(
            _("Remove the download..."), "removeNetworkButton", _("Takes the network from the disk, after a question")
        )
        self.removeButton.connect("clicked(bool)", lambda _checked=False: self._remove())
        buttons = qt.QHBoxLayout()
        for button in (self.downloadButton, self.removeButton, self.cancelButton):
            buttons.addWidget(button)
        form.addRow(buttons)
        self.bar = qt.QProgressBar()
        self.bar.objectName = "downloadBar"
        self.bar.toolTip = _("How much of the network has come")
        self.bar.setRange(0, _STEPS)
        form.addRow(self.bar)
        self.message = widgets.note("downloadNote")
        form.addRow(self.message)
        self.problem = widgets.note("downloadProblemNote", problem=True)
        form.addRow(self.problem)
        for label in (self.message, self.problem):
            widgets.say(label, "")
        self.show("")

    def look(self) -> None:
        """Find out which networks are published; none where packages are missing."""
        try:
            self.networks = self._published()
        except ImportError:
            self.networks = []

    def network(self, name: str) -> PublishedNetwork | None:
        """The published network of a name; None: it is none."""
        return next((x for x in self.networks if x.name == name), None)

    def show(self, name: str) -> None:
        """Show the published network of a name, if it is one."""
        before, self._chosen = self._chosen, self.network(name)
        if self._chosen != before:
            widgets.say(self.problem, "")
            if not self._busy:
                widgets.say(self.message, "")
        widgets.say(self.note, breakable(_inWords(self._chosen)) if self._chosen is not None else "")
        missing = self._chosen is not None and not self._chosen.there
        busy = self._busy
        self.downloadButton.setVisible(missing and self._fetcher is not None)
        if missing:
            self.downloadButton.text = _("Download ({size} MB)").format(size=self._chosen.megabytes)
        self.removeButton.setVisible(self._chosen is not None and self._chosen.there)
        self.downloadButton.setEnabled(not busy)
        self.downloadButton.toolTip = widgets.tip(
            _("Another download is going on; wait for it or cancel it.")
            if busy
            else _("Fetches the network from its makers' server, checks it, and keeps it for all scenes")
        )
        for widget in (self.cancelButton, self.bar):
            widget.setVisible(busy)

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return [self.downloadButton, self.removeButton, self.cancelButton]

    def cleanup(self) -> None:
        """Stop what is being downloaded."""
        if self._fetcher is not None:
            self._fetcher.stop()

    @property
    def _busy(self) -> bool:
        return self._fetcher is not None and bool(self._fetcher.name)

    def _start(self) -> None:
        if self._chosen is None or self._busy:
            return
        self.bar.setValue(0)
        self._said("")
        widgets.say(self.message, _("{name}: starting").format(name=self._chosen.name))
        self._fetcher.start(self._chosen.name, self._hear)
        self._refresh()

    def _remove(self) -> None:
        network = self._chosen
        if network is None:
            return
        question = _("Remove {name} from this computer? It can be downloaded again.\n\n{file}")
        if not slicer.util.confirmOkCancelDisplay(
            question.format(name=network.name, file=network.file), windowTitle=_("SegAdversarial")
        ):
            return
        from SegAdversarialLib.formats.fetching.store import remove

        try:
            remove([network.name])
        except InputError as error:
            self._said(_(str(error)))
        self._onFetched()

    def _hear(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "progress":
            self.bar.setValue(round(_STEPS * float(event["fraction"])))
            widgets.say(self.message, breakable(event["message"]))
        elif kind == "error":
            self._said(_(event["message"]))
        if not self._busy:
            stopped = _("The download was stopped; what has come is kept, and the next one goes on from it.")
            widgets.say(self.message, stopped if kind == "cancelled" else "")
            self._refresh()
            self._onFetched()

    def _refresh(self) -> None:
        self.show(self._chosen.name if self._chosen is not None else "")

    def _said(self, problem: str) -> None:
        widgets.say(self.problem, breakable(problem))


def title(network: PublishedNetwork) -> str:
    """What a published network is called in a list."""
    if network.there:
        return _("{task} (MONAI)").format(task=_(network.task))
    return _("{task} (MONAI, {size} MB to download)").format(task=_(network.task), size=network.megabytes)


def _inWords(network: PublishedNetwork) -> str:
    # its whole task, too: the list above shows as much of it as there is room for
    lines = [
        _("{task}.").format(task=_(network.task)),
        _("{name} {version}, of MONAI's model zoo.").format(name=network.name, version=network.version),
        _("Licence: {licence}.").format(licence=network.licence),
        _("Trained on {data}.").format(data=_(network.data)),
    ]
    if not network.there:
        takes = _("Takes the channel {channels}.") if len(network.channels) == 1 else _("Takes the channels {channels}.")
        lines.insert(2, takes.format(channels=", ".join(network.channels)))
    return "\n".join(lines)
