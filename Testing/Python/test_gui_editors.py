"""Editors made from a field's schema: they give back what they are given, and there is one for every schema."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
plain = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | plain,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(plain, x, max_size=3),
    max_leaves=6,
)


def fieldOf(**schema: Any) -> Any:
    from SegAdversarialGui.fields import Field

    return Field("field", {"description": "A field.", **schema})


def roundTrip(editor: Any, value: Any) -> None:
    """Set a value, as the state does after JSON; the editor must give the very same back."""
    stored = json.loads(json.dumps(value))
    editor.setValue(stored)
    assert json.dumps(editor.value()) == json.dumps(stored)


@many
@given(data=st.data())
def test_editors_give_back_what_they_are_given(slicerHost: Any, data: st.DataObject) -> None:
    from SegAdversarialGui.editor_factory import makeEditor

    low, high = sorted(data.draw(st.tuples(*[st.floats(-1e6, 1e6)] * 2)))
    number = makeEditor(fieldOf(type="number", minimum=low, maximum=high, default=low))
    value = data.draw(st.floats(low, high))
    roundTrip(number, value)
    assert math.isclose(number.widget.value, value, abs_tol=10.0**-number.widget.decimals)
    whole = makeEditor(fieldOf(type="integer", default=0))
    roundTrip(whole, data.draw(st.integers(-(2**31) + 1, 2**31 - 1)))
    assert whole.widget.value == whole.value()
    roundTrip(whole, data.draw(st.integers(-(2**80), 2**80)))
    large = makeEditor(fieldOf(type="integer", minimum=0, maximum=2**63 - 1, default=0))
    roundTrip(large, data.draw(st.integers(0, 2**63 - 1)))
    assert int(large.widget.text) == large.value()
    optional = makeEditor(fieldOf(anyOf=[{"type": "number"}, {"const": "auto", "type": "string"}], default=1.0))
    roundTrip(optional, data.draw(st.floats(-1e6, 1e6) | st.just("auto")))
    listed = st.none() | st.lists(st.sampled_from(["T1", "T2", "PD"]), unique=True)
    several = makeEditor(fieldOf(anyOf=[{"type": "array"}, {"type": "null"}], choose="channels", default=None))
    several.setChoices([])
    roundTrip(several, data.draw(listed))


@many
@given(value=anything)
def test_every_editor_keeps_even_what_it_cannot_show(slicerHost: Any, value: Any) -> None:
    from SegAdversarialGui.editor_factory import makeEditor

    for schema in (
        {"type": "number", "default": 1.0},
        {"type": "integer", "default": 1},
        {"type": "boolean", "default": False},
        {"enum": ["a", "b"], "type": "string", "default": "a"},
        {"type": "string", "default": ""},
        {"type": "array", "items": {"type": "number"}, "default": []},
        {"anyOf": [{"type": "array"}, {"type": "null"}], "choose": "classes", "default": None},
        {"choose": "class", "default": 1},
        {"type": "string", "choose": "network", "default": None},
        {"type": "string", "choose": "attack", "default": "pgd"},
        {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
        {},
    ):
        roundTrip(makeEditor(fieldOf(**schema)), value)
        roundTrip(makeEditor(fieldOf(**schema)), 10**400)


@many
@given(value=anything)
def test_a_line_of_json_can_be_typed_again(slicerHost: Any, value: Any) -> None:
    from SegAdversarialGui.editor_factory import makeEditor

    editor = makeEditor(fieldOf())
    editor.setValue(value)
    typed = editor.widget.text
    editor.widget.text = ""
    editor.widget.text = typed
    assert json.dumps(editor.value(), sort_keys=True) == json.dumps(value, sort_keys=True)


bound = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
kinds = st.sampled_from(["number", "integer", "boolean", "string", "array", "object", "null", "something new"])
leaf = st.fixed_dictionaries(
    {},
    optional={
        "type": kinds,
        "enum": st.lists(anything, max_size=3),
        "const": anything,
        "$ref": st.sampled_from(["#/$defs/x", "#/$defs/missing"]),
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), bound),
    },
)
hints = {
    "default": anything,
    "examples": st.lists(anything, max_size=2),
    "unit": plain,
    "choose": st.sampled_from(["channels", "classes", "class", "network", "attack", "planets"]),
    "description": plain,
    "anyOf": st.lists(leaf, max_size=3),
}


@many
@given(kind=leaf, said=st.fixed_dictionaries({}, optional=hints))
def test_no_schema_is_without_an_editor(slicerHost: Any, kind: dict[str, Any], said: dict[str, Any]) -> None:
    from SegAdversarialGui.editor_factory import makeEditor
    from SegAdversarialGui.fields import fieldsOf

    for field in fieldsOf({"properties": {"x": {**kind, **said}}, "$defs": {"x": kind}}):
        assert makeEditor(field).widget is not None and field.toolTip and field.label


def test_lists_are_words_and_nothing_has_a_name(slicerHost: Any) -> None:
    from SegAdversarialGui.editor_factory import makeEditor

    words = makeEditor(fieldOf(type="array", default=["bias", "noise"]))
    assert words.widget.text == "bias, noise" and words.widget.cursorPosition == 0 and words.value() == ["bias", "noise"]
    words.widget.text = "noise, affine"
    assert words.value() == ["noise", "affine"]
    tricky = ["a, b", "1", "true"]
    words.setValue(tricky)
    assert json.loads(words.widget.text) == words.value() == tricky
    either = {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None}
    assert makeEditor(fieldOf(**either)).check.text == "automatic"
    assert makeEditor(fieldOf(**either, texts={"none": "never"})).check.text == "never"
    assert makeEditor(fieldOf(type="number", default=4, unit="mm")).widget.decimals == 2
    assert makeEditor(fieldOf(type="number", default=0.05)).widget.decimals == 4
