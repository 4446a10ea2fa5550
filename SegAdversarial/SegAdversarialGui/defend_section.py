"""The panel's Defend section: how a network is trained so that it holds, on which cases, and where it goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAdversarialGui import catalog, defense_catalog, trust, widgets
from SegAdversarialGui.defense_catalog import Architecture, RecipeEntry
from SegAdversarialGui.defense_tasks import Training
from SegAdversarialGui.editors import Choice
from SegAdversarialGui.fields import fieldsOf
from SegAdversarialGui.settings_form import SettingsForm, setTabOrder
from SegAdversarialGui.source_network import SourceNetwork
from SegAdversarialGui.state import State
from SegAdversarialGui.training_cases import TrainingCases

NETWORK_FILE = "model.json"
"""What a training leaves in its folder once there is a network."""

_TRUST = "trust"
"""The setting that has no editor: the user is asked about the file."""


class DefendSection:
    """Recipe, cases, network and folder of a training.

    The editors are made from the schemas of recipe and training. Only what differs from the defaults is kept in the state.

    Args:
        onTrain: called when the user presses Train.
        onUse: called with the folder of a trained network that is to be used.
    """

    def __init__(self, onTrain: Callable[[], None], onUse: Callable[[str], None]) -> None:
        self._state: State | None = None
        self._recipes: dict[str, RecipeEntry] = {}
        self._architectures: dict[str, Architecture] = {}
        self._attacks: list[Choice] = []
        self._problems: list[str] = []
        self._source = SourceNetwork(catalog.network, lambda network: trust.askTrust(network))
        self._shown = ""
        self.widget, self._form = widgets.section(_("Defend"), "defendSection", collapsed=True)
        self.widget.toolTip = _("Train a network so that it withstands attacks")
        self.missingNote = widgets.note("defendMissingNote")
        self._form.addRow(self.missingNote)
        self.content = qt.QWidget()
        self.content.objectName = "defendContent"
        self._form.addRow(self.content)
        inner = widgets.formOf(self.content)
        inner.setContentsMargins(0, 0, 0, 0)
        self.cases = TrainingCases(inner)
        self._makeRecipe(inner)
        self._makeNetwork(inner)
        self._makeButtons(inner, onTrain, onUse)
        self.reload()

    def setScene(self, scene: Any) -> None:
        """Nothing here shows nodes."""

    def setState(self, state: State | None) -> None:
        """Show the choices of a parameter node; None: of no node."""
        self._state = state
        self.cases.setState(state)
        self.refresh()

    def reload(self) -> None:
        """Ask anew what there is, as after an installation."""
        try:
            self._recipes = {x.name: x for x in defense_catalog.recipes()}
            self._architectures = {x.name: x for x in defense_catalog.architectures()}
            self._attacks = [Choice(x.name, _(x.title)) for x in catalog.attacks() if x.transferable]
            self.trainingForm.show("training", fieldsOf(defense_catalog.trainingSchema()))
        except ImportError:
            self._recipes = {}
        self._shown = ""
        self.recipeForm.forget()
        self.refresh()

    def refresh(self) -> None:
        """Show the state."""
        known = bool(self._recipes)
        widgets.say(self.missingNote, "" if known else _("Recipes are listed once the needed packages are installed."))
        self.content.setVisible(known)
        self.content.setEnabled(self._state is not None)
        if self._state is None or not known:
            return
        settings = self._state.settings
        self.cases.refresh()
        recipes = [(_(x.title), x.name) for x in self._recipes.values()]
        widgets.fillCombo(self.recipeSelector, recipes, settings.recipe)
        networks = [(_(x.title), x.name) for x in self._architectures.values()]
        widgets.fillCombo(self.architectureSelector, networks, settings.architecture)
        self._showRecipe(settings.recipe)
        self.trainingForm.setValues(settings.trainingSettings)
        if self.folderLine.currentPath != settings.trainFolder:
            with widgets.blocked(self.folderLine.comboBox()):
                self.folderLine.currentPath = settings.trainFolder

    def setProblems(self, problems: list[str], busy: bool) -> None:
        """Let the buttons work, or say what is missing: one sentence for each thing."""
        running = [_("Something is running; wait for it or cancel it.")] if busy else []
        missing = [*running, *([] if busy else problems)]
        self.trainButton.setEnabled(not missing)
        ready = _("Train the network; a training that the folder holds is gone on with")
        self.trainButton.toolTip = widgets.tip("\n".join(missing) if missing else ready)
        there = self.trainedFolder()
        self.useButton.setEnabled(bool(there) and not busy)
        self.useButton.toolTip = widgets.tip(
            _("Choose the trained network in the section Network")
            if there
            else _("There is a network in the folder once the first epoch is done")
        )

    def trainedFolder(self) -> str:
        """The chosen folder, if it holds a trained network; else nothing."""
        folder = self._state.settings.trainFolder.strip() if self._state is not None else ""
        return folder if folder and os.path.isfile(os.path.join(folder, NETWORK_FILE)) else ""

    def problems(self) -> list[str]:
        """What is missing for a training, one sentence each; the images aside."""
        if self._state is None:
            return []
        if not self._recipes:
            return [_("Recipes are listed once the needed packages are installed.")]
        settings, found = self._state.settings, self.cases.problems()
        if settings.recipe not in self._recipes:
            found.append(_('There is no recipe "{name}" in this version; choose another.').format(name=settings.recipe))
        else:
            found.append(_(defense_catalog.recipeProblem(settings.recipe, self._state.recipeSettings(settings.recipe))))
        if settings.architecture not in self._architectures:
            text = _('There is no network "{name}" to train in this version; choose another.')
            found.append(text.format(name=settings.architecture))
        found.append(_(defense_catalog.trainingProblem(settings.trainingSettings)))
        if not settings.trainFolder.strip():
            found.append(_("Choose the folder for the trained network."))
        elif os.path.exists(settings.trainFolder) and not os.path.isdir(settings.trainFolder):
            found.append(_("{path} is a file; choose a folder for the trained network.").format(path=settings.trainFolder))
        found = [x for x in found if x]
        widgets.say(self.problemNote, "\n".join(found))
        return found

    def learnsFromImages(self) -> bool:
        """Whether the network learns from the volumes chosen above."""
        return self._state is not None and self._state.settings.trainFrom == "loaded"

    def training(self) -> Training:
        """The chosen training."""
        assert self._state is not None
        settings = self._state.settings
        return Training(
            recipe=self._recipe(),
            network=self._architectures[settings.architecture].network,
            settings=settings.trainingSettings,
            folder=os.path.abspath(settings.trainFolder.strip()),
            cohort=self.cases.cohort(),
            device=settings.device,
        )

    def ensureTrust(self) -> bool:
        """Whether nothing speaks against opening the file of the network that the recipe asks, if there is one; the user is
        asked if need be."""
        return self._source.ensureTrust(self._recipe().get(self._chosenBy("network")))

    def _recipe(self) -> dict[str, Any]:
        """The recipe's settings with its name, as a job takes them; trust in a file is in it if the user has said so."""
        assert self._state is not None
        name = self._state.settings.recipe
        found = {"recipe": name, **self._state.recipeSettings(name)}
        path, trusted = self._chosenBy("network"), self._chosenBy(_TRUST)
        return {**found, **self._source.granted(found.get(path), path, trusted)} if path and trusted else found

    def _chosenBy(self, choose: str) -> str:
        """The setting of the chosen recipe whose values come from there, or nothing."""
        entry = self._recipes.get(self._state.settings.recipe) if self._state is not None else None
        return next((x.name for x in fieldsOf(entry.schema) if x.choose == choose), "") if entry is not None else ""

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return [
            self.widget, *self.cases.tabOrder(), self.recipeSelector, *self.recipeForm.tabOrder(), self.architectureSelector,
            *self.trainingForm.tabOrder(), self.folderLine.comboBox(), self.trainButton, self.useButton,
        ]  # fmt: skip

    def _makeRecipe(self, form: Any) -> None:
        self.recipeSelector = widgets.combo()
        self.recipeSelector.connect("currentIndexChanged(int)", self._recipeChosen)
        tip = _("How the network is trained, and what should make it withstand attacks")
        self._recipeLabel = widgets.row(form, _("Recipe"), self.recipeSelector, "recipeSelector", tip)
        self.recipeNote = widgets.note("recipeNote")
        form.addRow(self.recipeNote)
        self.sourceNote = widgets.note("recipeSourceNote", italic=True)
        self.sourceNote.toolTip = _("Where the recipe comes from")
        form.addRow(self.sourceNote)
        self.recipeForm = SettingsForm("recipeSettings", "recipe", self._choices, self._recipeEdited)
        form.addRow(self.recipeForm.widget)

    def _makeNetwork(self, form: Any) -> None:
        self.architectureSelector = widgets.combo()
        self.architectureSelector.connect("currentIndexChanged(int)", self._architectureChosen)
        tip = _("What is trained; the command line trains every network of MONAI")
        widgets.row(form, _("Architecture"), self.architectureSelector, "architectureSelector", tip)
        self.trainingForm = SettingsForm("trainingSettings", "training", lambda choose: [], self._trainingEdited)
        form.addRow(self.trainingForm.widget)
        self.folderLine = widgets.folderLine()
        tip = _(
            "Where the network goes, with a checkpoint of each epoch, and with a copy of the loaded images if it learns from "
            "them; a training that lies there is gone on with"
        )
        widgets.row(form, _("Save in"), self.folderLine, "trainFolderLine", tip)
        self.folderLine.comboBox().connect("editTextChanged(QString)", self._folderEdited)

    def _makeButtons(self, form: Any, onTrain: Callable[[], None], onUse: Callable[[str], None]) -> None:
        self.problemNote = widgets.note("defendProblemNote", problem=True)
        form.addRow(self.problemNote)
        self.trainButton = widgets.button(_("Train"), "trainButton", "")
        self.trainButton.connect("clicked(bool)", lambda _checked=False: onTrain())
        self.useButton = widgets.button(_("Use as network"), "useTrainedButton", "")
        self.useButton.connect("clicked(bool)", lambda _checked=False: onUse(self.trainedFolder()))
        row = qt.QHBoxLayout()
        row.addWidget(self.trainButton)
        row.addWidget(self.useButton)
        form.addRow(row)

    def _showRecipe(self, name: str) -> None:
        """Show a recipe and its settings; the editors stay as they are while the recipe is the same."""
        entry = self._recipes.get(name)
        if name != self._shown:
            self._shown = name
            widgets.say(self.recipeNote, _(entry.oneLine) if entry is not None else "")
            widgets.say(self.sourceNote, _(entry.source) if entry is not None else "")
            self.recipeForm.show(name, [x for x in fieldsOf(entry.schema) if x.choose != _TRUST] if entry is not None else [])
            widgets.align([self._recipeLabel, *self.recipeForm.labels])
            setTabOrder(self.tabOrder())
        self.recipeForm.setValues(self._state.recipeSettings(name) if self._state is not None else {})

    def _choices(self, choose: str) -> list[Choice]:
        """What the software offers for a field of a recipe."""
        if choose == "network":
            return [Choice(x, x) for x in catalog.builtinNetworks()]
        if choose == "generator":
            return [Choice(x, x) for x in catalog.builtinGenerators()]
        return self._attacks if choose == "attack" else []

    def _recipeChosen(self, index: int) -> None:
        if self._state is not None and index >= 0:
            self._state.change(recipe=self.recipeSelector.itemData(index))

    def _architectureChosen(self, index: int) -> None:
        if self._state is not None and index >= 0:
            self._state.change(architecture=self.architectureSelector.itemData(index))

    def _recipeEdited(self) -> None:
        if self._state is not None:
            self._state.changeRecipe(self._shown, self.recipeForm.values(self._state.recipeSettings(self._shown)))

    def _trainingEdited(self) -> None:
        if self._state is not None:
            self._state.change(trainingSettings=self.trainingForm.values(self._state.settings.trainingSettings))

    def _folderEdited(self, path: str) -> None:
        if self._state is not None:
            self._state.change(trainFolder=path)
