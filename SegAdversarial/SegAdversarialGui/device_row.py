"""The row of the panel that says on what networks run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from SegAdversarialGui import widgets

_GIGABYTE = 1 << 30


class DeviceRow:
    """Chooses the device.

    Args:
        form: the layout that gets the row.
        findDevices: called when the user asks which devices there are; `setDevices` brings the answer.
    """

    def __init__(self, form: Any, findDevices: Callable[[], None]) -> None:
        self._state: Any = None
        self._devices: list[Mapping[str, Any]] = []
        self._searched = False
        self.combo = widgets.combo()
        self.findButton = widgets.button(
            _("Find devices"), "findDevicesButton", _("Looks for graphics cards on which the network can run")
        )
        self.findButton.connect("clicked(bool)", lambda _checked=False: findDevices())
        widgets.row(
            form,
            _("Device"),
            self.combo,
            "deviceCombo",
            _("Where the network runs; automatic: on the first graphics card that can be used, else on the processor"),
        )
        form.addRow("", self.findButton)
        self.adviceNote = widgets.note("deviceAdviceNote")
        form.addRow(self.adviceNote)
        widgets.say(self.adviceNote, "")
        self.combo.connect("currentIndexChanged(int)", self._onDevice)

    def setState(self, state: Any) -> None:
        """Show another parameter node; None: none."""
        self._state = state

    def setDevices(self, devices: Sequence[Mapping[str, Any]], advice: str = "") -> None:
        """Offer the devices that were found.

        Args:
            devices: each with "id" ("cpu", "cuda:0"), "name" and "memory" (bytes; 0 or None: not known).
            advice: how more of them could be used, for a note.
        """
        self._devices, self._searched = list(devices), True
        widgets.say(self.adviceNote, advice)
        self.refresh()

    def refresh(self) -> None:
        """Show the state."""
        device = self._state.settings.device if self._state is not None else "auto"
        items = [(_("Automatic"), "auto"), *((_inWords(x), x["id"]) for x in self._offered())]
        if device not in [identifier for _text, identifier in items]:
            text = _("{device} (not found)").format(device=device) if self._searched else device
            items.append((text, device))
        widgets.fillCombo(self.combo, items, device)

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return [self.combo, self.findButton]

    def _offered(self) -> list[Mapping[str, Any]]:
        """The processor is always there."""
        found = [] if any(x["id"] == "cpu" for x in self._devices) else [{"id": "cpu", "name": ""}]
        return [*found, *self._devices]

    def _onDevice(self, index: int) -> None:
        if self._state is not None and index >= 0:
            self._state.change(device=self.combo.itemData(index))


def _inWords(device: Mapping[str, Any]) -> str:
    identifier, name = device["id"], device.get("name") or ""
    memory = device.get("memory") or 0
    parts = [name] if name and name != identifier else []
    if memory:
        parts.append(_("{size} GB").format(size=f"{memory / _GIGABYTE:.0f}"))
    if identifier == "cpu":
        return _("CPU ({details})").format(details=", ".join(parts)) if parts else _("CPU")
    return f"{', '.join(parts)} ({identifier})" if parts else identifier
