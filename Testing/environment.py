"""The virtual environment that the two commands of the README work in. Needs nothing but Python with venv."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from processes import run_with_steps, step_of_pip

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv"
CONSTRAINTS = ROOT / "Testing" / "constraints.txt"


def _has_pip(python: Path) -> bool:
    """Whether an environment is there as a whole; one that was interrupted while it was made lacks pip."""
    return python.exists() and subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode == 0


def python_with(extras: str) -> Path:
    """The environment's Python, after the package and its extras are installed; made and filled when that is needed."""
    if sys.version_info < (3, 11):
        sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    python = FOLDER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = FOLDER / f"installed-{extras.replace(',', '-')}"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        print(f"Using the environment in {FOLDER}.", flush=True)
        return python
    if not _has_pip(python):
        print(f"Making a virtual environment in {FOLDER} ...", flush=True)
        venv.create(FOLDER, with_pip=True, clear=FOLDER.exists())
    print(f"Installing SegAdversarial with [{extras}] and what it needs (some minutes, about 2 GB) ...", flush=True)
    install = [str(python), "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check"]
    # torch first and by itself: its exact version is what keeps pip from looking for another build
    parts = [("PyTorch", ["torch"]), ("everything else", ["--editable", f"{ROOT}[{extras}]"])]
    if "test" in extras.split(","):  # what it depends on (torchvision by way of timm) is for other networks, and large
        parts.append(("nnU-Net's networks", ["--no-deps", "dynamic_network_architectures"]))
    for name, what in parts:
        status = run_with_steps([*install, "--constraint", str(CONSTRAINTS), *what], step_of_pip, f"looking for {name}")
        if status:
            sys.exit("The installation failed; pip's message above says why. Run this command again once that is mended.")
    stamp.write_text(wanted)
    return python
