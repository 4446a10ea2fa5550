"""Installs into Slicer's Python what networks need and Slicer does not have, after asking."""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from SegAdversarialGui.environment import Environment
from SegAdversarialLib.errors import InputError

PROTECTED = ("numpy", "SimpleITK", "vtk", "torch")
"""Packages that may not be replaced: Slicer's own, and the PyTorch that the PyTorch extension chose for this computer."""

CUDA_MEGABYTES = 2500
"""What PyTorch for an NVIDIA GPU downloads."""

DOWNLOAD_FOLDER = "SegAdversarial-packages"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """A package that is needed.

    Attributes:
        name: as pip knows it.
        module: as it is imported.
        minimum: the lowest version that will do.
        megabytes: what it downloads, roughly, with what it needs in turn.
    """

    name: str
    module: str
    minimum: str
    megabytes: int

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f"{self.name}>={self.minimum}"


TORCH = Package("torch", "torch", "2.4", 200)
OTHERS = (
    Package("filelock", "filelock", "3.12", 1),
    Package("lightning-fabric", "lightning_fabric", "2.3", 2),
    Package("monai", "monai", "1.4", 3),
    Package("nibabel", "nibabel", "5", 4),
    Package("picklescan", "picklescan", "0.0.30", 1),
    Package("pillow", "PIL", "9", 7),
    Package("pydantic", "pydantic", "2.7", 4),
    Package("pydicom", "pydicom", "2.3", 3),
    Package("safetensors", "safetensors", "0.4", 1),
    Package("scikit-image", "skimage", "0.22", 20),
    Package("scipy", "scipy", "1.11", 40),
    Package("tqdm", "tqdm", "4.60", 1),
)


class Installer:
    """Knows what is missing, asks, and installs it.

    Args:
        util: `slicer.util`.
        ask: shows a question and returns whether the user agrees; by default `slicer.util.confirmOkCancelDisplay`, and
            no while Slicer is tested: tests must not change Slicer's Python.
        load: imports a module of Slicer or of another extension by its name.
        environment: what is there now.
    """

    def __init__(
        self,
        util: Any = None,
        ask: Callable[[str], bool] | None = None,
        load: Callable[[str], Any] = importlib.import_module,
        environment: Environment | None = None,
    ) -> None:
        self._util = util if util is not None else slicer.util
        self._ask = ask if ask is not None else self._askUser
        self._load = load
        self._environment = environment if environment is not None else Environment()
        self._ready: bool | None = None

    def missing(self) -> list[Package]:
        """What is not there or too old, looked up on the disk (some 50 ms); nothing is imported."""
        return [x for x in (TORCH, *OTHERS) if not self._environment.satisfies(x.name, x.module, x.minimum)]

    def ready(self) -> bool:
        """Whether everything is there; looked up once, and again by `install`: panels ask this all the time."""
        if self._ready is None:
            self._ready = not self.missing()
        return self._ready

    def lookAgain(self) -> None:
        """Forget what was found: the user may have installed something elsewhere meanwhile."""
        self._ready = None

    def install(self, folder: str | Path | None = None) -> bool:
        """Install what is missing, after one question. Problems are shown in one message that says what to do.

        Args:
            folder: a folder of downloaded wheels, to install from without internet (see `offlineHelp`); None: the internet.

        Returns:
            Whether everything is there now.

        Raises:
            RuntimeError: called from another thread than the main one.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Packages can be installed from the main thread only.")
        self.lookAgain()
        missing = self.missing()
        if not missing:
            return True
        try:
            self._check(missing, folder)
            if not self._ask(self._question(missing, folder)):
                return False
            self._install(missing, folder)
        except InputError as error:
            _log.exception("Packages were not installed")
            self._util.errorDisplay(str(error), windowTitle=_("SegAdversarial"), detailedText=self.offlineHelp())
        return self.ready()

    def offlineHelp(self) -> str:
        """How to install without internet: what to download on another computer, and where to put it."""
        needed = [f'"{x.requirement}"' for x in (TORCH, *OTHERS)]
        numpy = self._environment.version("numpy")
        if numpy:
            needed.append(f'"numpy=={numpy}"')
        command = ["python -m pip download --dest", DOWNLOAD_FOLDER, *self._environment.downloadOptions()]
        command += ["--extra-index-url https://download.pytorch.org/whl/cpu", *needed]
        return _(
            "To install without internet on this computer:\n\n"
            "1. On a computer with internet and any Python 3, run:\n\n{command}\n\n"
            '2. Copy the folder "{folder}" that it makes to this computer.\n\n'
            "3. In Slicer's Python console, with the folder's full path:\n\n{install}\n\n"
            "For an NVIDIA GPU replace cpu in the command's web address by the CUDA version, such as cu126."
        ).format(
            command=" ".join(command),
            folder=DOWNLOAD_FOLDER,
            install=f'from SegAdversarialGui.installer import Installer; Installer().install(r"...{os.sep}{DOWNLOAD_FOLDER}")',
        )

    def gpuAdvice(self) -> str:
        """What to do where PyTorch cannot use the NVIDIA GPU that is there; otherwise nothing."""
        if not (self._environment.hasNvidiaGpu() and self._environment.torchIsForProcessorOnly()):
            return ""
        return _(
            "This computer has an NVIDIA GPU, but the installed PyTorch {version} only uses the processor: "
            'in the module "PyTorch Utils" press Uninstall, restart Slicer, choose a computation backend whose name '
            "begins with cu, and press Install."
        ).format(version=self._environment.version("torch") or "")

    def constraints(self, names: Sequence[str] = PROTECTED) -> str:
        """The lines of a pip constraints file that keep the named packages as they are."""
        lines = []
        for name in names:
            version = self._environment.version(name)
            if version is not None:
                lines.append(f"{name}=={version}")
            elif self._environment.holds(name):
                # Slicer's own build may not tell pip its version, and pip would then put another beside it: no version will do
                lines.append(f"{name}<0")
        return "".join(f"{line}\n" for line in lines)

    def _askUser(self, text: str) -> bool:
        if slicer.app.testingEnabled():
            _log.info("Slicer is being tested: no packages are installed.")
            return False
        return bool(self._util.confirmOkCancelDisplay(text, windowTitle=_("SegAdversarial")))

    def _check(self, missing: list[Package], folder: str | Path | None) -> None:
        """Find out before the question what would be in the way."""
        if folder is not None and not any(Path(folder).glob("*.whl")):
            raise InputError(
                _("{folder} holds no packages (files that end in .whl); give the folder that pip download made.").format(
                    folder=folder
                )
            )
        if TORCH not in missing:
            return
        if self._environment.isIntelMac():
            raise InputError(
                _(
                    "PyTorch {minimum} or newer does not exist for Slicer's version for Macs with Intel processors; "
                    "use Slicer for Apple silicon, Windows or Linux."
                ).format(minimum=TORCH.minimum)
            )
        if folder is None:
            self._torchUtils()

    def _torchUtils(self) -> Any:
        """The PyTorch extension's module, which knows the PyTorch that fits this computer's graphics driver."""
        try:
            return self._load("PyTorchUtils")
        except ImportError as error:
            raise InputError(
                _(
                    "The extension PyTorch is not installed: open View > Extensions Manager, search for PyTorch, "
                    "press Install, restart Slicer, and try again."
                )
            ) from error

    def _question(self, missing: list[Package], folder: str | Path | None) -> str:
        names = "\n".join(f"- {x.requirement}" for x in missing)
        if folder is not None:
            return _(
                "These Python packages will be installed into Slicer from {folder}:\n\n{names}\n\n"
                "Slicer's own numpy, SimpleITK and VTK stay as they are. Install them now?"
            ).format(folder=folder, names=names)
        others = sum(x.megabytes for x in missing if x != TORCH)
        sizes = [_("about {size} MB").format(size=others)] if others else []
        if TORCH in missing:
            sizes.append(
                _("PyTorch about {cpu} MB, or {cuda} GB where it can use an NVIDIA GPU").format(
                    cpu=TORCH.megabytes, cuda=CUDA_MEGABYTES / 1000
                )
            )
        return _(
            "SegAdversarial needs Python packages that this Slicer does not have. They will be downloaded from the internet "
            "and installed into Slicer, which can take some minutes:\n\n{names}\n\nDownload: {sizes}.\n\n"
            "Slicer's own numpy, SimpleITK and VTK stay as they are. Install them now?"
        ).format(names=names, sizes="; ".join(sizes))

    def _install(self, missing: list[Package], folder: str | Path | None) -> None:
        kept = [x for x in PROTECTED if not (x == TORCH.name and TORCH in missing)]
        before = {name: self._environment.version(name) for name in kept}
        others = [x for x in missing if x != TORCH]
        with tempfile.TemporaryDirectory(prefix="SegAdversarial-") as temporary:
            file = Path(temporary) / "constraints.txt"
            if TORCH in missing:
                file.write_text(self.constraints(kept), encoding="utf-8")
                self._installTorch(file, folder)
                self._verifyTorch()
            if others:
                file.write_text(self.constraints(), encoding="utf-8")
                self._installOthers(others, file, folder)
        importlib.invalidate_caches()
        self._verify(before)

    def _installTorch(self, constraints: Path, folder: str | Path | None) -> None:
        if folder is not None:
            return self._pip([TORCH], constraints, folder)
        logic = self._torchUtils().PyTorchUtilsLogic()
        with _failuresNamed(TORCH.requirement), self._util.WaitCursor(), _everyPipObeys(constraints):
            logic.installTorch(askConfirmation=False, torchVersionRequirement=f">={TORCH.minimum}")

    def _verifyTorch(self) -> None:
        """Go on only with PyTorch: pip would fetch one that may not fit this computer, since MONAI asks for it."""
        importlib.invalidate_caches()
        if TORCH in self.missing():
            raise InputError(_("PyTorch was not installed; install it in the module PyTorch Utils, and try again."))

    def _installOthers(self, packages: list[Package], constraints: Path, folder: str | Path | None) -> None:
        packaging = self._packaging() if folder is None else None
        if packaging is None:
            return self._pip(packages, constraints, folder)
        requirements = [x.requirement for x in packages]
        with _failuresNamed(", ".join(requirements)):
            packaging.pip_ensure(requirements, constraints=constraints, prompt_install=False, requester="SegAdversarial")

    def _packaging(self) -> Any:
        """`slicer.packaging` of Slicer 5.12 and newer, or None."""
        try:
            packaging = self._load("slicer.packaging")
        except ImportError:
            return None
        return packaging if hasattr(packaging, "pip_ensure") else None

    def _pip(self, packages: list[Package], constraints: Path, folder: str | Path | None) -> None:
        requirements = [x.requirement for x in packages]
        source = [] if folder is None else ["--no-index", "--find-links", str(Path(folder).resolve())]
        with _failuresNamed(", ".join(requirements)), self._util.WaitCursor():
            self._util.pip_install([*requirements, "--constraint", str(constraints), *source])

    def _verify(self, before: dict[str, str | None]) -> None:
        """Look on the disk whether all is there and nothing was replaced."""
        for name, version in before.items():
            now = self._environment.version(name)
            if now != version:
                raise InputError(
                    _(
                        "The installation has replaced {name} {before} by {now}; put it back in the Python console with "
                        'slicer.util.pip_install("{name}=={before}") and restart Slicer, or reinstall Slicer.'
                    ).format(name=name, before=version or "", now=now or _("none"))
                )
        missing = self.missing()
        if missing:
            raise InputError(
                _("pip reported no error, but {names} cannot be found; restart Slicer and try again.").format(
                    names=", ".join(x.requirement for x in missing)
                )
            )


@contextmanager
def _everyPipObeys(constraints: Path) -> Iterator[None]:
    """Give the constraints to every pip that is started inside, also by other extensions."""
    before = os.environ.get("PIP_CONSTRAINT")
    # as an address: pip takes this variable apart at spaces, which a path may have
    os.environ["PIP_CONSTRAINT"] = " ".join(filter(None, (before, constraints.resolve().as_uri())))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PIP_CONSTRAINT"]
        else:
            os.environ["PIP_CONSTRAINT"] = before


@contextmanager
def _failuresNamed(names: str) -> Iterator[None]:
    """Turn whatever pip or another extension raises into one sentence."""
    try:
        yield
    except Exception as error:
        raise InputError(
            _(
                "{names} could not be installed ({error}): without internet see the details; if the Python console tells of "
                "versions in conflict, a package wants to replace Slicer's own numpy, SimpleITK or VTK: try a newer Slicer."
            ).format(names=names, error=str(error).strip()[:200].rstrip(".") or type(error).__name__)
        ) from error
