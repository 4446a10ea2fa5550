"""The panel's section for the attack: which method, and its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from SegAdversarialGui import catalog, trust, widgets
from SegAdversarialGui.catalog import AttackEntry, NetworkEntry
from SegAdversarialGui.editors import Choice, Editor
from SegAdversarialGui.fields import fieldsOf
from SegAdversarialGui.settings_form import SettingsForm, setTabOrder
from SegAdversarialGui.source_network import SourceNetwork
from SegAdversarialGui.state import State

REGION = "region"
"""The setting that is not chosen here: where to attack belongs to the images."""

_NOT_EDITED = (REGION, "trust")
"""Nor is trust in a file a setting: the user is asked about the file."""


class AttackSection:
    """Method, settings and what is wrong with them.

    The editors are made from the attack's schema, so that an attack that the library gains appears by itself. Only what
    differs from the defaults is kept in the state, for each attack by itself.

    Args:
        entries: gives the attacks; raises ImportError while packages that the library needs are missing.
        source: looks after the network that an attack is made on, where that is not the attacked one.
    """

    def __init__(self, entries: Callable[[], list[AttackEntry]], source: SourceNetwork | None = None) -> None:
        self._entries, self._state, self._network = entries, None, None
        self._source = source or SourceNetwork(catalog.network, trust.askTrust)
        self._attacks: dict[str, AttackEntry] = {}
        self._shown = ""
        self._settings = SettingsForm("attackSettings", "setting", self._choices, self._edited)
        self.widget, self._form = widgets.section(_("Attack"), "attackSection")
        self._makeTop()
        self._form.addRow(self._settings.widget)
        self._makeBottom()
        self.reload()

    @property
    def editors(self) -> dict[str, Editor]:
        """The editors of the method's settings, by name."""
        return self._settings.editors

    @property
    def _more(self) -> Any:
        return self._settings.more

    def setScene(self, scene: Any) -> None:
        """Nothing here shows nodes."""

    def setState(self, state: State | None) -> None:
        """Show the choices of a parameter node; None: of no node."""
        self._state = state
        self.refresh()

    def setNetwork(self, entry: NetworkEntry | None) -> None:
        """Offer a network's channels and classes; None: no network is known."""
        self._network = entry
        self._settings.refreshChoices()
        self.refresh()

    def reload(self) -> None:
        """Ask anew which attacks there are, as after an installation."""
        try:
            self._attacks = {x.name: x for x in self._entries()}
        except ImportError:
            self._attacks = {}
        self._shown = ""
        self._settings.forget()
        items = [(_(x.title), x.name) for x in self._attacks.values()]
        widgets.fillCombo(self.methodSelector, items, None)
        self.refresh()

    def refresh(self) -> None:
        """Show the state."""
        known = bool(self._attacks)
        widgets.say(self.missingNote, "" if known else _("Attacks are listed once the needed packages are installed."))
        widgets.shown(self.methodSelector, self._form, known)
        self._settings.widget.setVisible(known)
        self.restoreButton.setVisible(known)
        enabled = self._state is not None
        for widget in (self.methodSelector, self._settings.widget):
            widget.setEnabled(enabled)
        if self._state is not None and known:
            self._showAttack(self._state.settings.attack)
        widgets.say(self.problemNote, self.problem() if known else "")
        self._showRestore()

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return [self.widget, self.methodSelector, *self._settings.tabOrder(), self.restoreButton]

    def settings(self) -> dict[str, Any]:
        """The attack's configuration for a job: its name and what differs from the defaults; without the region. Trust in a
        file is in it if the user has said so in this session."""
        name = self._state.settings.attack if self._state is not None else ""
        settings = {"attack": name, **self._changed()}
        path, trusted = self._chosenBy("network"), self._chosenBy("trust")
        return {**settings, **self._source.granted(settings.get(path), path, trusted)} if trusted else settings

    def ensureTrust(self) -> bool:
        """Whether nothing speaks against opening the file of the network that the attack is made on, if there is one; the
        user is asked if need be."""
        return self._source.ensureTrust(self._changed().get(self._chosenBy("network")))

    def problem(self) -> str:
        """Why this attack cannot run, in one sentence, or nothing."""
        if self._state is None:
            return ""
        if not self._attacks:
            return _("Attacks are listed once the needed packages are installed.")
        name = self._state.settings.attack
        if name not in self._attacks:
            return _('There is no attack "{name}" in this version; choose another method.').format(name=name)
        changed = self._changed()
        problem = _(catalog.attackProblem(name, changed))
        return problem or self._source.problem(changed.get(self._chosenBy("network")), self._network)

    def needsReference(self) -> bool:
        """Whether the attack works against the reference segmentation."""
        known = self._state is not None and self._state.settings.attack in self._attacks
        return known and catalog.needsReference(self._state.settings.attack, self._changed())

    def _makeTop(self) -> None:
        self.missingNote = widgets.note("attackMissingNote")
        self._form.addRow(self.missingNote)
        self.methodSelector = widgets.combo()
        self.methodSelector.connect("currentIndexChanged(int)", self._methodChosen)
        tip = _("How the images are changed so that the network errs")
        self._methodLabel = widgets.row(self._form, _("Method"), self.methodSelector, "attackMethodSelector", tip)
        self.methodNote = widgets.note("attackMethodNote")
        self._form.addRow(self.methodNote)
        self.citationNote = widgets.note("attackCitationNote", italic=True)
        self.citationNote.toolTip = _("Where the method comes from")
        self._form.addRow(self.citationNote)

    def _makeBottom(self) -> None:
        self.problemNote = widgets.note("attackProblemNote", problem=True)
        self._form.addRow(self.problemNote)
        self.restoreButton = widgets.button(
            _("Restore defaults"), "restoreDefaultsButton", _("Forget all changes to the settings of this attack")
        )
        self.restoreButton.connect("clicked(bool)", self._restore)
        self._form.addRow(self.restoreButton)

    def _showAttack(self, name: str) -> None:
        """Show an attack and its settings; the editors stay as they are while the attack is the same."""
        entry = self._attacks.get(name)
        index = list(self._attacks).index(name) if entry is not None else -1
        with widgets.blocked(self.methodSelector):
            if self.methodSelector.currentIndex != index:
                self.methodSelector.setCurrentIndex(index)
        if name != self._shown:
            self._shown = name
            widgets.say(self.methodNote, _(entry.oneLine) if entry is not None else "")
            widgets.say(self.citationNote, _(entry.citation) if entry is not None else "")
            self._makeEditors(entry)
        self._settings.setValues(self._state.attackSettings(name) if self._state is not None else {})

    def _makeEditors(self, entry: AttackEntry | None) -> None:
        fields = [x for x in fieldsOf(entry.schema) if x.choose not in _NOT_EDITED] if entry is not None else []
        self._settings.show(self._shown, fields)
        widgets.align([self._methodLabel, *self._settings.labels])
        setTabOrder(self.tabOrder())

    def _choices(self, choose: str) -> list[Choice]:
        """What the network, or the software, offers for a field."""
        if choose == "network":
            return [Choice(x, x) for x in catalog.builtinNetworks()]
        if choose == "generator":
            return [Choice(x, x) for x in catalog.builtinGenerators()]
        if choose == "attack":
            return [Choice(x.name, _(x.title)) for x in self._attacks.values() if x.transferable]
        if choose == "random-attack":
            return [Choice(x.name, _(x.title)) for x in self._attacks.values() if x.drawable]
        if choose == "bounded-attack":
            return [Choice(x.name, _(x.title)) for x in self._attacks.values() if x.bounded]
        if self._network is None:
            return []
        labels = {name: str(label) for label, name in self._network.classes}
        if choose == "channels":
            return [Choice(x, x) for x in self._network.channels]
        if choose == "classes":
            return [Choice(x, x, (labels[x],)) for x in self._network.structures]
        if choose == "class":
            return [Choice(value, name, (name.lower(),)) for value, name in self._network.targets]
        return []

    def _chosenBy(self, choose: str) -> str:
        """The setting of the chosen attack whose values come from there, or nothing."""
        entry = self._attacks.get(self._state.settings.attack) if self._state is not None else None
        return next((x.name for x in fieldsOf(entry.schema) if x.choose == choose), "") if entry is not None else ""

    def _changed(self) -> dict[str, Any]:
        """What the state says of the attack, the region aside."""
        if self._state is None:
            return {}
        stored = self._state.attackSettings(self._state.settings.attack)
        return {name: value for name, value in stored.items() if name != REGION}

    def _edited(self) -> None:
        if self._state is None:
            return
        self._state.changeAttack(self._shown, self._settings.values(self._changed()))

    def _restore(self, _checked: bool = False) -> None:
        if self._state is not None:
            self._state.changeAttack(self._state.settings.attack, {})

    def _methodChosen(self, index: int) -> None:
        if self._state is not None and index >= 0:
            self._state.change(attack=list(self._attacks)[index])

    def _showRestore(self) -> None:
        changed = self._state is not None and bool(self._changed())
        self.restoreButton.setEnabled(changed)
        self.restoreButton.toolTip = (
            _("Forget all changes to the settings of this attack") if changed else _("All settings have their defaults")
        )
