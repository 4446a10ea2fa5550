"""What is installed into Slicer: no file is lost, none is named that is not there, and the networks are found afterwards."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

MODULE, LIBRARY, RESOURCES = ROOT / "SegAdversarial", ROOT / "SegAdversarialLib", ROOT / "Resources"
REPOSITORY = "https://github.com/SegAdversarial/SlicerSegAdversarial"
RAW = "https://raw.githubusercontent.com/SegAdversarial/SlicerSegAdversarial/main/"

# Slicer's schema of an entry of the Extensions Index, version 1.0.2: the type of each property, and which are needed
SCHEMA = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
PROPERTIES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
NEEDED = {"$schema", "category", "scm_url"}

# what a build needs of Slicer: the macros do what Slicer's do with the same arguments, and nothing else
SLICER_CONFIG = """
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake")
"""
USE_SLICER = """
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
enable_testing()
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT MY_NAME)
    message(FATAL_ERROR "wrong arguments: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  get_filename_component(subdir ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  set(destination ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    if(MY_WITH_SUBDIR)
      configure_file(${CMAKE_CURRENT_SOURCE_DIR}/${file} ${destination}/${subdir}/${file} COPYONLY)
    else()
      configure_file(${CMAKE_CURRENT_SOURCE_DIR}/${file} ${destination}/${file} COPYONLY)
    endif()
  endforeach()
  if(MY_WITH_SUBDIR)
    install(DIRECTORY ${destination}/${subdir} DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR})
  else()
    install(DIRECTORY ${destination}/ DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR})
  endif()
endmacro()
macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  get_filename_component(name ${MY_SCRIPT} NAME_WE)
  add_test(NAME py_${MY_TESTNAME_PREFIX}${name} COMMAND ${CMAKE_COMMAND} -E true)
endmacro()
"""


def listed(file: Path, name: str) -> list[str]:
    """The values of `set(name ...)` in a CMake file."""
    text = re.sub(r"#[^\n]*", "", file.read_text(encoding="utf-8"))
    found = re.search(rf"\bset\(\s*{name}\b([^)]*)\)", text)
    return found.group(1).split() if found else []


def text_of(name: str) -> str:
    """The quoted text of `set(name "...")` in the top-level CMake file, found as the Extensions Index finds it."""
    found = re.search(rf'set\s*\({name}\s*"([^"]+)"\)', (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert found, f'CMakeLists.txt has no set({name} "...")'
    return found.group(1)


def on_disk(folder: Path, scripts: bool) -> list[str]:
    """The files that belong into an installation: Python files, or all others."""
    skipped = {"__pycache__", "Testing"}
    files = (x for x in folder.rglob("*") if x.is_file() and not skipped & set(x.relative_to(folder).parts))
    names = (x.relative_to(folder).as_posix() for x in files if (x.suffix == ".py") == scripts and x.name != "CMakeLists.txt")
    return sorted(x for x in names if not x.startswith("."))


@pytest.mark.parametrize(
    ("folder", "name", "scripts"),
    [
        (MODULE, "MODULE_PYTHON_SCRIPTS", True),
        (MODULE, "MODULE_PYTHON_RESOURCES", False),
        (LIBRARY, "LIBRARY_PYTHON_SCRIPTS", True),
        (LIBRARY, "LIBRARY_PYTHON_RESOURCES", False),
    ],
)
def test_the_list_and_the_folder_name_the_same_files(folder: Path, name: str, scripts: bool) -> None:
    names, there = listed(folder / "CMakeLists.txt", name), on_disk(folder, scripts)
    lost, invented = sorted(set(there) - set(names)), sorted(set(names) - set(there))
    where = (folder / "CMakeLists.txt").relative_to(ROOT)
    advice = "".join(f"\n  add     {x}" for x in lost) + "".join(f"\n  remove  {x}" for x in invented)
    assert not advice, f"in {where}, {name}:{advice}"
    assert names == sorted(names) and len(names) == len(set(names)), f"in {where}, {name} is not sorted or names a file twice"


def test_every_built_in_network_is_listed() -> None:
    weights = [x for x in RESOURCES.iterdir() if x.suffix == ".safetensors"]
    there = sorted(y.name for x in weights for y in (x, x.with_suffix(".json")))
    assert listed(LIBRARY / "CMakeLists.txt", "BUILTIN_NETWORK_FILES") == there


def test_every_built_in_generator_is_listed() -> None:
    there = sorted(x.relative_to(RESOURCES).as_posix() for x in (RESOURCES / "generators").iterdir())
    assert listed(LIBRARY / "CMakeLists.txt", "BUILTIN_GENERATOR_FILES") == there


def test_the_macros_get_the_lists() -> None:
    module, library = ((x / "CMakeLists.txt").read_text(encoding="utf-8") for x in (MODULE, LIBRARY))
    for text, prefix, folder in ((module, "MODULE", MODULE), (library, "LIBRARY", LIBRARY)):
        assert f"NAME {folder.name}\n" in text
        assert f"SCRIPTS ${{{prefix}_PYTHON_SCRIPTS}}" in text
        assert not on_disk(folder, False) or f"RESOURCES ${{{prefix}_PYTHON_RESOURCES}}" in text
    assert "WITH_GENERIC_TESTS" in module and "slicer_add_python_unittest(SCRIPT SegAdversarial.py" in module
    assert "WITH_SUBDIR" in library and "WITH_GENERIC_TESTS" not in library


def test_the_extension_says_what_it_is() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.findall(r"project\s*\(\s*([^\s)]+)", text) == ["SegAdversarial"]
    assert text_of("EXTENSION_HOMEPAGE") == REPOSITORY
    assert text_of("EXTENSION_DEPENDS") == "PyTorch"
    for name in ("EXTENSION_CONTRIBUTORS", "EXTENSION_DESCRIPTION"):
        assert text_of(name) and ";" not in text_of(name)  # a semicolon would end the text in CMake
    assert {x.name for x in ROOT.iterdir()} >= {"README.md", "LICENSE.txt"}


def test_the_addresses_of_pictures_are_those_of_our_files() -> None:
    addresses = [text_of("EXTENSION_ICONURL"), *text_of("EXTENSION_SCREENSHOTURLS").split()]
    for address in addresses:
        assert address.startswith(RAW) and (ROOT / address.removeprefix(RAW)).is_file(), address
    assert addresses[0].endswith("SegAdversarial/Resources/Icons/SegAdversarial.png")


def test_the_icon_is_128_pixels_wide_and_see_through() -> None:
    data = (MODULE / "Resources" / "Icons" / "SegAdversarial.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (128, 128)
    assert data[25] == 6  # RGB and alpha


def test_the_index_entry_is_valid() -> None:
    file = RESOURCES / "SegAdversarial.json"
    data = file.read_bytes()
    entry = json.loads(data)
    assert b"\r" not in data
    assert entry.keys() >= NEEDED and entry.keys() <= PROPERTIES.keys()
    assert all(type(value) is PROPERTIES[key] for key, value in entry.items())
    assert entry["$schema"] == SCHEMA
    assert entry["tier"] == 3  # what holds for it, line by line: docs/extensions-index.md
    assert entry["category"] == text_of("EXTENSION_CATEGORY")
    assert entry["build_dependencies"] == text_of("EXTENSION_DEPENDS").split()
    assert entry["scm_url"].removesuffix(".git") == REPOSITORY
    # the index wants the extension's name without "Slicer", and the repository's name to begin with it
    assert not file.stem.startswith("Slicer") and entry["scm_url"].rsplit("/", 1)[1].startswith("Slicer")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension, configured and installed by CMake with a stand-in for Slicer's package; its folder of modules."""
    if not shutil.which("cmake"):
        pytest.skip("cmake is not installed")
    if not (shutil.which("c++") or shutil.which("cl")):
        pytest.skip("there is no C++ compiler, which CMake asks for")
    slicer, build, place = (tmp_path_factory.mktemp(x) for x in ("slicer", "build", "place"))
    (slicer / "SlicerConfig.cmake").write_text(SLICER_CONFIG)
    (slicer / "UseSlicer.cmake").write_text(USE_SLICER)
    (slicer / "Nothing.cmake").write_text("")
    commands = [
        ["cmake", "-S", str(ROOT), "-B", str(build), f"-DSlicer_DIR={slicer}", "-DBUILD_TESTING=ON"],
        ["cmake", "--install", str(build), "--prefix", str(place)],
        ["ctest", "--test-dir", str(build), "--show-only=json-v1"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert [x["name"] for x in json.loads(done.stdout)["tests"]] == ["py_SegAdversarial"]
    return place / "lib" / "Slicer-5.12" / "qt-scripted-modules"


def test_everything_lands_where_slicer_looks(installed: Path) -> None:
    expected = {*on_disk(MODULE, True), *on_disk(MODULE, False)}
    expected |= {f"SegAdversarialLib/{x}" for scripts in (True, False) for x in on_disk(LIBRARY, scripts)}
    networks = listed(LIBRARY / "CMakeLists.txt", "BUILTIN_NETWORK_FILES")
    generators = listed(LIBRARY / "CMakeLists.txt", "BUILTIN_GENERATOR_FILES")
    expected |= {f"SegAdversarialLib/Resources/{x}" for x in (*networks, *generators)}
    assert {x.relative_to(installed).as_posix() for x in installed.rglob("*") if x.is_file()} == expected


def test_the_installed_library_finds_its_networks(installed: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "from SegAdversarialLib.formats import builtin\n"
        "print(builtin.__file__, *builtin.names(), builtin.settings_file(builtin.names()[0]))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    file, name, settings = done.stdout.split()
    assert Path(file).is_relative_to(installed) and Path(settings).is_relative_to(installed)
    assert name == "builtin:brain-tumour-phantom"
