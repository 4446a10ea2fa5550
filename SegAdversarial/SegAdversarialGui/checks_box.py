"""The folded box of the Run section with the few settings of Audit and Certify."""

from __future__ import annotations

from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from SegAdversarialGui import defense_catalog, widgets
from SegAdversarialGui.fields import fieldsOf
from SegAdversarialGui.settings_form import SettingsForm
from SegAdversarialGui.state import State


class ChecksBox:
    """Shows the settings of audits and certificates, from their schemas, and what is wrong with them.

    Attributes:
        widget: the folded box.
        audit, certify: the forms.
    """

    def __init__(self) -> None:
        self._state: State | None = None
        self.widget = ctk.ctkCollapsibleGroupBox()
        self.widget.title = _("Audit and Certify")
        self.widget.objectName = "checksBox"
        self.widget.toolTip = _("How thoroughly a network is audited, and what is certified")
        self.widget.collapsed = True
        column = qt.QVBoxLayout(self.widget)
        self.audit = SettingsForm("auditSettings", "audit", lambda choose: [], self._auditEdited)
        self.certify = SettingsForm("certifySettings", "certify", lambda choose: [], self._certifyEdited)
        for form in (self.audit, self.certify):
            column.addWidget(form.widget)
        self.reload()

    def setState(self, state: State | None) -> None:
        """Show the choices of a parameter node; None: of no node."""
        self._state = state
        self.refresh()

    def reload(self) -> None:
        """Ask anew what can be set, as after an installation."""
        try:
            self.audit.show("audit", fieldsOf(defense_catalog.auditSchema()))
            self.certify.show("certify", fieldsOf(defense_catalog.certifySchema()))
        except ImportError:
            self.widget.setVisible(False)
            return
        widgets.align([*self.audit.labels, *self.certify.labels])
        self.widget.setVisible(True)

    def refresh(self) -> None:
        """Show the state."""
        self.widget.setEnabled(self._state is not None)
        if self._state is not None:
            self.audit.setValues(self._state.settings.auditSettings)
            self.certify.setValues(self._state.settings.certifySettings)

    def auditProblem(self) -> str:
        """What is wrong with the settings of an audit, in one sentence, or nothing."""
        return _(defense_catalog.auditProblem(self._state.settings.auditSettings)) if self._state is not None else ""

    def certifyProblem(self) -> str:
        """What is wrong with the settings of a certificate, in one sentence, or nothing."""
        return _(defense_catalog.certifyProblem(self._state.settings.certifySettings)) if self._state is not None else ""

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return [self.widget, *self.audit.tabOrder(), *self.certify.tabOrder()]

    def _auditEdited(self) -> None:
        if self._state is not None:
            self._state.change(auditSettings=self.audit.values(self._state.settings.auditSettings))

    def _certifyEdited(self) -> None:
        if self._state is not None:
            self._state.change(certifySettings=self.certify.values(self._state.settings.certifySettings))
