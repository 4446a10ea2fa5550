"""Installing packages into Slicer: what is asked, what pip is told, what is said when it goes wrong. Nothing is downloaded."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import tomllib
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

SLICERS = {"numpy": "2.0.2", "SimpleITK": "2.5.5", "vtk": "9.5.2", "scipy": "1.13.1", "pillow": "9.5.0", "pydicom": "2.4.4"}
OURS = ["filelock>=3.12", "lightning-fabric>=2.3", "monai>=1.4", "nibabel>=5", "picklescan>=0.0.30", "pydantic>=2.7"]
OURS += ["safetensors>=0.4", "scikit-image>=0.22", "tqdm>=4.60"]


@pytest.fixture
def gui(slicerHost: Any) -> Any:
    """The module under test."""
    import SegAdversarialGui.installer as installer

    return installer


class Slicer:
    """A Slicer without torch in which packages can be installed.

    Attributes:
        versions: what is installed, by the distributions' names.
        unnamed: modules that are there without a version.
        log: what was done, in order.
        fails: what pip raises.
        brings: what pip changes beside what was asked for.
        answer: to the question.
    """

    def __init__(self, gui: Any, *, packaging: bool = True, torch_extension: bool = True) -> None:
        self.gui = gui
        self.versions: dict[str, str] = dict(SLICERS)
        self.unnamed: set[str] = set()
        self.log: list[tuple[str, Any]] = []
        self.constraints: list[str] = []
        self.questions: list[str] = []
        self.errors: list[tuple[str, str]] = []
        self.fails: Exception | None = None
        self.brings: dict[str, str] = {}
        self.answer = True
        self.torch: str | None = "2.8.0+cu126"
        self.gpu = False
        self.intel_mac = False
        self.modules: dict[str, Any] = {}
        if packaging:
            self.modules["slicer.packaging"] = types.SimpleNamespace(pip_ensure=self.pip_ensure)
        if torch_extension:
            logic = types.SimpleNamespace(installTorch=self.install_torch)
            self.modules["PyTorchUtils"] = types.SimpleNamespace(PyTorchUtilsLogic=lambda: logic)
        util = types.SimpleNamespace(
            pip_install=self.pip_install, errorDisplay=self.show_error, WaitCursor=contextlib.nullcontext
        )
        self.installer = gui.Installer(util, self.ask, self.load, self.environment())

    def environment(self) -> Any:
        """What the installer sees of it."""
        from SegAdversarialGui.environment import Environment

        environment = Environment()
        modules = {"lightning-fabric": "lightning_fabric", "scikit-image": "skimage", "pillow": "PIL"}
        environment.version = self.versions.get
        environment.holds = lambda name: name in {modules.get(x, x) for x in self.versions} | self.unnamed
        environment.hasNvidiaGpu = lambda: self.gpu
        environment.isIntelMac = lambda: self.intel_mac
        return environment

    def load(self, name: str) -> Any:
        if name not in self.modules:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return self.modules[name]

    def ask(self, text: str) -> bool:
        self.questions.append(text)
        return self.answer

    def show_error(self, text: str, windowTitle: str = "", detailedText: str = "") -> None:
        self.errors.append((text, detailedText))

    def install_torch(self, askConfirmation: bool, torchVersionRequirement: str) -> Any:
        assert askConfirmation is False
        self.log.append(("torch", torchVersionRequirement))
        address = os.environ["PIP_CONSTRAINT"]
        assert address.startswith("file://") and " " not in address
        self.constraints.append(Path(address.removeprefix("file://")).read_text())
        if self.fails:
            raise self.fails
        if self.torch:
            self.versions["torch"] = self.torch
        return self.torch

    def pip_ensure(self, requirements: list[str], constraints: Path, prompt_install: bool, requester: str) -> None:
        assert prompt_install is False and requester == "SegAdversarial"
        self.log.append(("ensure", requirements))
        self._put(requirements, constraints)

    def pip_install(self, requirements: list[str]) -> None:
        self.log.append(("pip", requirements))
        self._put([x for x in requirements if ">=" in x], Path(requirements[requirements.index("--constraint") + 1]))

    def _put(self, requirements: list[str], constraints: Path) -> None:
        self.constraints.append(constraints.read_text())
        if self.fails:
            raise self.fails
        for requirement in requirements:
            name, minimum = requirement.split(">=")
            self.versions[name] = minimum
        self.versions.update(self.brings)


@pytest.fixture
def slicer_with_torch_extension(gui: Any) -> Slicer:
    return Slicer(gui)


def test_the_list_agrees_with_the_project_file(gui: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {x.requirement for x in (gui.TORCH, *gui.OTHERS)}
    rest = set(project["dependencies"]) - named
    assert named <= set(project["dependencies"])
    assert {x.partition(">=")[0] for x in rest} == {"numpy", "SimpleITK"} <= set(gui.PROTECTED)


def test_everything_is_found_here_without_importing_it(gui: Any) -> None:
    assert gui.Installer().missing() == [] and gui.Installer().ready()
    code = (
        f"import sys, types; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'SegAdversarial')!r}]\n"
        "i18n = types.SimpleNamespace(tr=str)\n"
        "sys.modules.update({'slicer': types.SimpleNamespace(i18n=i18n, util=None), 'slicer.i18n': i18n})\n"
        "from SegAdversarialGui.installer import Installer\n"
        "assert Installer().missing() == []; Installer().gpuAdvice(); Installer().offlineHelp()\n"
        "print(*{'torch', 'monai', 'numpy', 'pydantic', 'scipy', 'skimage', 'nibabel'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_old_packages_count_as_missing_and_unknown_versions_as_there(gui: Any) -> None:
    slicer = Slicer(gui)
    slicer.versions |= {"torch": "2.10.1+cpu", "monai": "1.3.9", "pydantic": "2.7", "tqdm": "4.100.0"}
    slicer.unnamed = {"safetensors"}
    wanted = ["filelock", "lightning-fabric", "monai", "nibabel", "picklescan", "scikit-image"]
    assert [x.name for x in slicer.installer.missing()] == wanted


def test_nothing_is_asked_where_nothing_is_missing(gui: Any) -> None:
    slicer = Slicer(gui, packaging=False, torch_extension=False)
    slicer.versions |= {"torch": "2.8.0", **{x.split(">=")[0]: "99" for x in OURS}}
    assert slicer.installer.install() and slicer.installer.ready()
    assert not slicer.questions and not slicer.log


def test_the_question_names_packages_and_sizes(slicer_with_torch_extension: Slicer) -> None:
    slicer = slicer_with_torch_extension
    slicer.answer = False
    assert not slicer.installer.install()
    (question,) = slicer.questions
    assert all(x in question for x in [*OURS, "torch>=2.4", "200 MB", "2.5 GB", "37 MB", "numpy, SimpleITK and VTK"])
    assert "scipy" not in question  # Slicer has it
    assert not slicer.log and not slicer.errors and slicer.versions == SLICERS
    assert not slicer.installer.ready()


def test_torch_comes_from_its_extension_and_the_rest_from_slicers_packaging(slicer_with_torch_extension: Slicer) -> None:
    slicer = slicer_with_torch_extension
    assert not slicer.installer.ready()
    assert slicer.installer.install() and slicer.installer.ready() and not slicer.errors
    assert slicer.log == [("torch", ">=2.4"), ("ensure", OURS)]
    own = "numpy==2.0.2\nSimpleITK==2.5.5\nvtk==9.5.2\n"
    assert slicer.constraints == [own, own + "torch==2.8.0+cu126\n"]
    assert "PIP_CONSTRAINT" not in os.environ


def test_before_slicer_5_12_pip_install_gets_the_constraints(gui: Any) -> None:
    slicer = Slicer(gui, packaging=False)
    slicer.modules["slicer.packaging"] = types.SimpleNamespace()  # as in development versions: without pip_ensure
    assert slicer.installer.install()
    kind, arguments = slicer.log[1]
    assert kind == "pip" and arguments[:-1] == [*OURS, "--constraint"]
    assert not Path(arguments[-1]).exists()  # the file was a temporary one


def test_a_package_of_slicers_without_a_version_may_not_be_installed_at_all(gui: Any) -> None:
    slicer = Slicer(gui)
    del slicer.versions["SimpleITK"]
    slicer.unnamed = {"SimpleITK"}
    assert slicer.installer.constraints() == "numpy==2.0.2\nSimpleITK<0\nvtk==9.5.2\n"


def test_without_the_torch_extension_one_message_says_how_to_get_it(gui: Any) -> None:
    slicer = Slicer(gui, torch_extension=False)
    assert not slicer.installer.install()
    assert not slicer.questions and not slicer.log
    ((text, details),) = slicer.errors
    assert "Extensions Manager" in text and "PyTorch" in text and "pip download" in details


def test_nothing_else_is_installed_where_torch_was_not(slicer_with_torch_extension: Slicer) -> None:
    slicer = slicer_with_torch_extension
    slicer.torch = None
    assert not slicer.installer.install()
    assert [x[0] for x in slicer.log] == ["torch"] and len(slicer.errors) == 1
    assert "PyTorch was not installed" in slicer.errors[0][0]


@pytest.mark.parametrize("packaging", [True, False])
def test_a_failure_of_pip_is_one_message_with_the_way_out(gui: Any, packaging: bool) -> None:
    slicer = Slicer(gui, packaging=packaging)
    slicer.versions["torch"] = "2.8.0"
    slicer.fails = subprocess.CalledProcessError(1, "pip install")
    assert not slicer.installer.install()
    ((text, details),) = slicer.errors
    assert "monai>=1.4" in text and "could not be installed" in text and "conflict" in text
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for part in ("pip download", f"--python-version {version}", "--platform", '"torch>=2.4"', '"numpy==2.0.2"', ".install(r"):
        assert part in details


def test_a_failure_of_the_torch_extension_leaves_the_environment_as_it_was(slicer_with_torch_extension: Slicer) -> None:
    slicer = slicer_with_torch_extension
    slicer.fails = OSError("no such host")
    assert not slicer.installer.install()
    assert "torch>=2.4 could not be installed (no such host)" in slicer.errors[0][0]
    assert [x[0] for x in slicer.log] == ["torch"] and "PIP_CONSTRAINT" not in os.environ


def test_constraints_that_the_user_has_set_stay_in_force(gui: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_CONSTRAINT", "/mine.txt")
    with gui._everyPipObeys(tmp_path / "ours.txt"):
        assert os.environ["PIP_CONSTRAINT"] == f"/mine.txt {(tmp_path / 'ours.txt').as_uri()}"
    assert os.environ["PIP_CONSTRAINT"] == "/mine.txt"


def test_a_replaced_package_of_slicers_is_reported(slicer_with_torch_extension: Slicer) -> None:
    slicer = slicer_with_torch_extension
    slicer.brings = {"numpy": "2.5.0"}
    slicer.installer.install()
    ((text, _details),) = slicer.errors
    assert "numpy 2.0.2 by 2.5.0" in text and 'pip_install("numpy==2.0.2")' in text


def test_what_is_still_missing_afterwards_is_named(slicer_with_torch_extension: Slicer) -> None:
    slicer = slicer_with_torch_extension
    slicer.versions["torch"] = "2.8.0"
    slicer.modules["slicer.packaging"] = types.SimpleNamespace(pip_ensure=lambda *_, **__: None)
    assert not slicer.installer.install()
    assert "nibabel>=5" in slicer.errors[0][0] and "restart Slicer" in slicer.errors[0][0]


def test_from_a_folder_nothing_is_fetched(gui: Any, tmp_path: Path) -> None:
    (tmp_path / "monai-1.5-py3-none-any.whl").touch()
    slicer = Slicer(gui, torch_extension=False)
    assert slicer.installer.install(tmp_path)
    assert str(tmp_path) in slicer.questions[0] and "torch>=2.4" in slicer.questions[0]
    assert [x[0] for x in slicer.log] == ["pip", "pip"]
    for _kind, arguments in slicer.log:
        assert arguments[-3:] == ["--no-index", "--find-links", str(tmp_path)]
    assert slicer.log[0][1][0] == "torch>=2.4" and slicer.log[1][1][: len(OURS)] == OURS


def test_an_empty_folder_is_refused(gui: Any, tmp_path: Path) -> None:
    slicer = Slicer(gui)
    assert not slicer.installer.install(tmp_path)
    assert not slicer.questions and str(tmp_path) in slicer.errors[0][0]


def test_a_mac_for_which_there_is_no_torch(gui: Any) -> None:
    slicer = Slicer(gui)
    slicer.intel_mac = True
    assert not slicer.installer.install()
    assert not slicer.questions and "Intel" in slicer.errors[0][0]


def test_only_the_main_thread_may_install(slicer_with_torch_extension: Slicer) -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            slicer_with_torch_extension.installer.install()
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(raised) == 1 and not slicer_with_torch_extension.questions


def wheel(folder: Path, name: str, version: str, *needs: str) -> None:
    """An empty package that needs others."""
    info = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {x}\n" for x in needs)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


def pip(*arguments: str) -> str:
    """pip's answer to `install` with nothing installed."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-index", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("this Python has no pip")
    return done.stdout + done.stderr


def test_pip_itself_obeys_the_constraints(gui: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    wheel(folder, "SimpleITK", "9.9")
    wheel(folder, "numpy", "9.9")
    wheel(folder, "wants_itk", "1.0", "SimpleITK")
    wheel(folder, "wants_numpy", "1.0", "numpy")
    wheel(folder, "wants_nothing", "1.0")
    constraints = folder / "constraints.txt"
    constraints.write_text("numpy==2.0.2\nSimpleITK<0\n")
    links = ("--find-links", str(folder))
    assert "Would install" in pip("wants_itk", "wants_numpy", *links)
    with gui._everyPipObeys(constraints):
        assert "Would install wants" in pip("wants_nothing", *links)
        for name, reason in (("wants_itk", "SimpleITK<0"), ("wants_numpy", "numpy==2.0.2")):
            said = pip(name, *links)
            assert "Would install" not in said and reason.lower() in said.lower()
    assert "Would install" not in pip("wants_itk", *links, "--constraint", str(constraints))


def test_no_packages_are_installed_while_slicer_is_tested(gui: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(gui, "slicer", types.SimpleNamespace(app=types.SimpleNamespace(testingEnabled=lambda: True)))
    util = types.SimpleNamespace(confirmOkCancelDisplay=lambda text, windowTitle: asked.append(text))
    assert gui.Installer(util)._askUser("?") is False and not asked


@pytest.mark.parametrize("new", [False, True])
def test_with_slicers_own_functions(gui: Any, slicerHost: Any, new: bool) -> None:
    from host import slicer_dialogs, slicer_module

    slicer_module.reset()
    slicer_module.packaging(new)
    slicer = Slicer(gui)
    slicer.versions["torch"] = "2.8.0"
    installer = gui.Installer(environment=slicer.environment())
    slicer_dialogs.answers.append(False)
    assert not installer.install() and not slicer_dialogs.pipCalls
    slicer_dialogs.answers.append(True)
    assert not installer.install()  # the host installs nothing
    assert [x.kind for x in slicer_dialogs.dialogs] == ["question", "question", "error"]
    assert all(x.answered and x.title == "SegAdversarial" for x in slicer_dialogs.dialogs)
    assert "pip download" in slicer_dialogs.dialogs[-1].detailedText
    (call,) = slicer_dialogs.pipCalls
    assert call.requirements[: len(OURS)] == OURS
    assert ("prompt_install" in call.options) == new == ("--constraint" not in call.requirements)
    slicer_module.reset()
