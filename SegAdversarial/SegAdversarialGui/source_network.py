"""The network that an attack is made on, where that is another one than the attacked: what is wrong with it, and its trust."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from SegAdversarialGui import trust
from SegAdversarialGui.catalog import NetworkEntry
from SegAdversarialLib.errors import InputError


class SourceNetwork:
    """Looks after the network file that a setting of an attack names.

    Args:
        describe: `catalog.network`: what the network at (path, settings file) is.
        askTrust: `trust.askTrust`: asks the user about a `trust.NetworkFile`.
    """

    def __init__(self, describe: Callable[[str, str], NetworkEntry], askTrust: Callable[[Any], Any]) -> None:
        self._describe, self._askTrust = describe, askTrust
        self._known: tuple[str, trust.Stamp] | None = None
        self._entry: NetworkEntry | None = None
        self._problem = ""

    def problem(self, path: Any, target: NetworkEntry | None) -> str:
        """Why this network cannot be the source of an attack on the target, in one sentence, or nothing."""
        entry = self._look(path)
        if entry is None or target is None:
            return self._problem
        taken = {x.lower() for x in target.channels}
        missing = [x for x in entry.channels if x.lower() not in taken]
        if not missing:
            return ""
        return _("The source network {name} takes {channels}, which the attacked network does not; choose another.").format(
            name=entry.name, channels=", ".join(missing)
        )

    def ensureTrust(self, path: Any) -> bool:
        """Whether nothing speaks against opening the network: it is no program, or the user trusts it, who is asked unless
        that is known. A No is not remembered. What cannot be described is left to the worker to refuse."""
        entry, path = self._look(path), _plain(path)
        if entry is None or not entry.needsTrust:
            return True
        return trust.ensure(trust.NetworkFile.of(entry, path), self._askTrust)

    def granted(self, path: Any, pathField: str, trustField: str) -> Mapping[str, Any]:
        """What a job is told of a network that is a program and that the user trusts as it is now; else nothing."""
        entry, path = self._look(path), _plain(path)
        if entry is None or not entry.needsTrust or not trust.isTrusted(entry.programs):
            return {}
        # the worker may be at home in another folder: it must open the file that the user was asked about
        return {pathField: os.path.abspath(path), trustField: trust.granted(entry.programs)}

    def _look(self, path: Any) -> NetworkEntry | None:
        """What the network is. It is described anew only when it is another one or its files have changed."""
        path = _plain(path)
        if not path:
            self._known, self._entry, self._problem = None, None, ""
            return None
        now = (path, trust.stampOfNetwork(path))
        if now != self._known:
            self._known, self._entry, self._problem = now, None, ""
            try:
                self._entry = self._describe(path, "")
            except InputError as error:
                self._problem = _("Source network: {problem}").format(problem=_(str(error)))
            except ImportError:
                self._known = None
        return self._entry


def _plain(path: Any) -> str:
    """The path as the attack will read it: without spaces around it."""
    return path.strip() if isinstance(path, str) else ""
