"""The modules `qt` and `ctk`: classes are made when they are first asked for."""

from __future__ import annotations

from types import ModuleType

from . import api, gate


class HostModule(ModuleType):
    """A module whose classes come from the gate."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return gate.classOf(self.__name__, name)

    def __dir__(self) -> list[str]:
        return sorted(api.classNames(self.__name__))


def make(name: str) -> HostModule:
    """The module `qt` or `ctk`."""
    return HostModule(name, f"Slicer's {name}, played by PySide6.")
