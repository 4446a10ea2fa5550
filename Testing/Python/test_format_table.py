"""The table of formats in docs/networks.md: each of its cells is held by a test that exists."""

from __future__ import annotations

import ast
from functools import cache

import pytest
from conftest import ROOT

COLUMNS = ("opens", "same answer as the original", "attacked, exact gradient", "2D", "3D", "needs trust")

FORMS = "test_format_gradients::test_answer_and_gradient_are_the_networks_own"
BUNDLE = "test_bundle_parity::test_the_same_answer"
BUNDLE_GRADIENT = "test_bundle_parity::test_the_gradient_goes_through_all_of_it"
COMMAND = "test_foreign_attacks::test_through_the_command_line"
PARITY = "test_nnunet_parity::test_we_say_what_nnunet_says"
NNUNET_GRADIENT = "test_nnunet_parity::test_the_gradient_goes_through_all_of_it"
ARCHIVE = "test_nnunet_archives::test_answer_and_gradient_are_those_of_the_folder"
EXPORTED = "test_exported::test_answers_and_gradients_are_those_of_the_network_it_was_made_of"
AVERAGES = "test_checkpoints::test_the_average_is_taken_where_the_program_is_known"
TOTAL = "test_nnunet_plans::test_totalsegmentators_are_turned_and_not_mirrored"

HELD: dict[str, dict[str, tuple[str, ...]]] = {
    "TorchScript": {
        "opens": ("test_recognition::test_programs_are_known_by_any_name", "test_settings_within"),
        "same answer as the original": (FORMS, "test_formats::test_torchscript_needs_trust"),
        "attacked, exact gradient": (FORMS, "test_cli::test_attack_writes_everything"),
        "2D": (FORMS,),
        "3D": (FORMS,),
        "needs trust": ("test_formats::test_torchscript_needs_trust", "test_trust"),
    },
    "`.pt2` (torch.export)": {
        "opens": (EXPORTED, "test_exported::test_settings_beside_it_and_a_folder"),
        "same answer as the original": (EXPORTED,),
        "attacked, exact gradient": (EXPORTED,),
        "2D": (EXPORTED,),
        "3D": (EXPORTED,),
        "needs trust": ("test_exported::test_nothing_is_loaded_without_trust",),
    },
    "architecture + safetensors": {
        "opens": ("test_formats::test_monai_networks",),
        "same answer as the original": (FORMS, "test_formats::test_monai_networks"),
        "attacked, exact gradient": (FORMS,),
        "2D": (FORMS,),
        "3D": (FORMS,),
        "needs trust": ("test_recognition::test_weights_need_an_architecture_and_no_trust",),
    },
    "architecture + checkpoint (torch, Lightning, timm, MONAI ...)": {
        "opens": (
            "test_checkpoints::test_a_checkpoint_of_lightning",
            AVERAGES,
            "test_checkpoints::test_what_wrappers_and_monai_write",
        ),
        "same answer as the original": (FORMS, "test_checkpoints::test_names_that_wrappers_made_longer"),
        "attacked, exact gradient": (FORMS,),
        "2D": (FORMS,),
        "3D": (FORMS,),
        "needs trust": ("test_formats::test_nothing_in_a_checkpoint_runs",),
    },
    "our own (`segadversarial export`, `train`)": {
        "opens": ("test_export::test_the_command",),
        "same answer as the original": ("test_export::test_other_tools_networks", FORMS),
        "attacked, exact gradient": (FORMS,),
        "2D": (FORMS, "test_export::test_other_tools_networks"),
        "3D": (FORMS, "test_export::test_other_tools_networks"),
        "needs trust": ("test_export::test_other_tools_networks", "test_export::test_a_hostile_description_is_refused"),
    },
    "nnU-Net v2, one fold or several": {
        "opens": (
            "test_nnunet_files::test_all_folds_are_taken_unless_some_are_chosen",
            "test_nnunet_parity::test_what_their_files_say",
        ),
        "same answer as the original": (PARITY,),
        "attacked, exact gradient": (NNUNET_GRADIENT, COMMAND, "test_gui_foreign::test_through_the_panel"),
        "2D": (PARITY, NNUNET_GRADIENT, COMMAND),
        "3D": (PARITY, NNUNET_GRADIENT, COMMAND),
        "needs trust": (
            "test_nnunet_files::test_nothing_in_a_checkpoint_runs",
            "test_nnunet_parity::test_what_their_files_say",
        ),
    },
    "nnU-Net v2, exported (`nnUNetv2_export_model_to_zip`)": {
        "opens": ("test_nnunet_archives",),
        "same answer as the original": (ARCHIVE, PARITY),
        "attacked, exact gradient": (ARCHIVE, NNUNET_GRADIENT),
        "2D": (ARCHIVE,),
        "3D": (ARCHIVE,),
        "needs trust": (ARCHIVE, "test_hostile_files::test_the_library"),
    },
    "TotalSegmentator": {
        "opens": (TOTAL,),
        "same answer as the original": (TOTAL,),
        "attacked, exact gradient": (NNUNET_GRADIENT,),
        "2D": (TOTAL,),
        "3D": (TOTAL,),
        "needs trust": ("test_nnunet_files::test_nothing_in_a_checkpoint_runs",),
    },
    "MONAI bundle (folder, zip)": {
        "opens": (BUNDLE, "test_bundle_parity::test_from_a_zip_archive_and_from_an_exported_program"),
        "same answer as the original": (BUNDLE,),
        "attacked, exact gradient": (BUNDLE_GRADIENT, COMMAND, "test_gui_foreign::test_through_the_panel"),
        "2D": (BUNDLE, BUNDLE_GRADIENT),
        "3D": (BUNDLE, BUNDLE_GRADIENT),
        "needs trust": ("test_bundle_parity::test_from_a_zip_archive_and_from_an_exported_program", "test_bundle_config"),
    },
    "MONAI bundle as TorchScript (`ckpt_export`)": {
        "opens": ("test_bundle_parity::test_a_program_brings_its_bundles_settings_along",),
        "same answer as the original": ("test_bundle_parity::test_from_a_zip_archive_and_from_an_exported_program",),
        "attacked, exact gradient": ("test_format_gradients::test_of_a_bundle_that_was_exported_as_a_program",),
        "2D": (FORMS,),
        "3D": ("test_format_gradients::test_of_a_bundle_that_was_exported_as_a_program",),
        "needs trust": ("test_bundle_parity::test_a_program_brings_its_bundles_settings_along",),
    },
    "MONAI Auto3DSeg's SegResNet": {
        "opens": (BUNDLE, "test_auto3dseg"),
        "same answer as the original": (BUNDLE,),
        "attacked, exact gradient": (BUNDLE_GRADIENT, COMMAND),
        "2D": ("test_auto3dseg::test_what_cannot_be_said",),
        "3D": (BUNDLE, BUNDLE_GRADIENT),
        "needs trust": ("test_auto3dseg::test_nothing_pickled_runs",),
    },
    "ensemble": {
        "opens": ("test_ensemble::test_opened_from_a_file_it_is_the_mean_of_its_members",),
        "same answer as the original": ("test_ensemble::test_opened_from_a_file_it_is_the_mean_of_its_members", FORMS),
        "attacked, exact gradient": ("test_ensemble::test_the_gradient_is_that_of_the_mean_probability", FORMS),
        "2D": (FORMS,),
        "3D": (FORMS,),
        "needs trust": ("test_ensemble::test_a_program_among_the_members_asks_for_trust",),
    },
    "any `torch.nn.Module`, in Python": {
        "opens": ("test_from_monai",),
        "same answer as the original": ("test_from_monai::test_networks_as_they_come_out_of_a_training",),
        "attacked, exact gradient": (
            "test_format_gradients::test_of_a_network_in_python",
            "test_gradient::test_gradient_is_autograds",
        ),
        "2D": ("test_format_gradients::test_of_a_network_in_python",),
        "3D": ("test_format_gradients::test_of_a_network_in_python",),
        "needs trust": ("test_from_monai",),
    },
    "ONNX, Keras, TensorFlow, nnU-Net v1, whole pickled networks": {
        "opens": ("test_info::test_what_does_not_open_here", "test_recognition::test_what_is_no_network_for_us_is_named"),
    },
}
"""The tests that hold each cell, by row and column; a file's name alone means all of its tests."""


def cells(line: str) -> list[str]:
    return [x.strip() for x in line.strip().strip("|").split("|")]


def table() -> dict[str, list[str]]:
    """The rows of the one table whose first column is called format, by their names."""
    lines = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8").splitlines()
    (start,) = [n for n, line in enumerate(lines) if line.startswith("| format |")]
    assert tuple(cells(lines[start])) == ("format", *COLUMNS)
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(cells(line))
    return {first: rest for first, *rest in rows}


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / "Testing" / "Python" / f"{file}.py").read_text(encoding="utf-8"))
    return {x.name for x in tree.body if isinstance(x, ast.FunctionDef) and x.name.startswith("test_")}


def test_every_row_of_the_table_is_known_here_and_the_other_way_round() -> None:
    assert list(table()) == list(HELD)


@pytest.mark.parametrize("row", HELD)
def test_every_cell_is_held_by_tests_that_exist(row: str) -> None:
    found = dict(zip(COLUMNS, table()[row], strict=True))
    assert {column for column, cell in found.items() if cell} == set(HELD[row])
    for column, names in HELD[row].items():
        assert names, column
        for name in names:
            file, _, function = name.partition("::")
            assert function in functions_of(file) if function else functions_of(file), name
    for column, cell in found.items():
        assert cell.partition(" ")[0].rstrip(",:") in ("", "yes", "no", "nearly", "if"), (column, cell)
