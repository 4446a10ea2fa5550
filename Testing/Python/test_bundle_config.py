"""A bundle's configuration is data: names are looked up, harmless expressions are worked out, and nothing is ever run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SegAdversarialLib import InputError
from SegAdversarialLib.formats.bundle_config import Component, Config, parsed


def worth(value: Any, **others: Any) -> Any:
    """What an entry with this value is."""
    return Config({"asked": value, **others}, "inference.json").get("asked")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("plain", "plain"),
        ("@other", [1, {"deep": [2, 3]}]),
        ("@other::1::deep::0", 2),
        ("@other#1#deep#1", 3),
        ("user@place", "user@place"),
        ("$@root + '/models/' + @name", "./models/model.pt"),
        ("$f'{@root}/{@name}'", "./model.pt"),
        ("$os.path.join(@root, 'models', @name)", "./models/model.pt"),
        ("$[1.5, 1.5, 1.5] if @high else [3, 3, 3]", [3, 3, 3]),
        ("$'model.pt' if not @high and 2 > 1 else None", "model.pt"),
        ("$len(@names) + @count", 3),
        ("$@names['b'] * 2 + 7 // 2 - 6 / 3 % 4", 3),
        ("$list(range(3)) + [*[1]][:0]", None),
        ("$(-@count, +1.5, not True)", (-1, 1.5, False)),
        ("$@other[1]['deep'][-1]", 3),
        ("$@other[0:1]", [1]),
        ("$'a' in @names and 'c' not in @names", True),
        ("$@high or @count", 1),
        ("$max(1, 2) if min([3, 4]) == 3 else abs(-1)", 2),
        ("$int('7') + float(1) + round(2.4)", 10),
        ("$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')", "cpu"),
        ("$monai.utils.CommonKeys.IMAGE", "image"),
        ("$torch.float32", "float32"),
        ("%names", {"a": 0, "b": 1}),
        ("$None", None),
        (["@count", {"x": "$@count * 2"}], [1, {"x": 2}]),
    ],
)
def test_what_is_worked_out(written: Any, expected: Any) -> None:
    others = {
        "other": [1, {"deep": [2, 3]}],
        "root": "@bundle_root",
        "bundle_root": "/somewhere/else",
        "name": "model.pt",
        "high": False,
        "names": {"a": 0, "b": 1},
        "count": 1,
    }
    if "[*" in str(written):
        with pytest.raises(InputError, match="asked is the expression"):
            worth(written, **others)
    else:
        assert worth(written, **others) == expected


CANARY = "canary"


@pytest.mark.parametrize(
    "written",
    [
        "__import__('pathlib').Path('canary').touch()",
        "open('canary', 'w')",
        "exec(\"open('canary', 'w')\")",
        "eval(\"open('canary', 'w')\")",
        "[open('canary', 'w') for x in [1]]",
        "(lambda: open('canary', 'w'))()",
        "().__class__.__base__.__subclasses__()",
        "@name.format(open)",
        "@name.__class__",
        "'{0.__class__}'.format(1)",
        "f'{@name!r:>{10**9}}'",
        "os.system('touch canary')",
        "torch.load('x')",
        "torch.hub.load('a', 'b')",
        "getattr(torch, 'load')('x')",
        "setattr(torch.backends.cudnn, 'benchmark', True)",
        "list(map(open, ['canary']))",
        "max(1, key=open)",
        "(x := 1)",
        "{**@other}",
        "@other.append(1)",
        "import os",
        "1; 2",
        "yield 1",
        "await x",
        "",
        "9 ** 9 ** 9",
        "'a' * 10 ** 9",
        "[0] * 100000",
        "range(10 ** 9)",
        "'%1000000000d' % 1",
        "10000000000 * 10000000000",
        "1 << 99",
        "@count / 0",
        "@names['missing']",
        "'@count'",
        "(" * 5000,
        "[" * 500 + "]" * 500,
        "-" * 900 + "1",
        "1+" * 900 + "1",
        "x" * 10_000,
    ],
)
def test_what_is_refused(written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence that names the entry; nothing happens, and it takes no time."""
    monkeypatch.chdir(tmp_path)
    others = {"name": "x", "other": [1], "count": 1, "names": {}}
    if written in ("-" * 900 + "1", "1+" * 900 + "1"):  # Python may or may not read what is nested so deeply
        with contextlib.suppress(InputError):
            worth(f"${written}", **others)
    else:
        with pytest.raises(InputError, match="bundle's asked is the expression|nested too deeply") as refused:
            worth(f"${written}", **others)
        assert str(refused.value).count("\n") == 0 and len(str(refused.value)) < 400
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text("@$%:#abx0_. +-*()[]'", max_size=12)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.sampled_from(["a", "b", "_target_", "_disabled_"]), inner, max_size=3),
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_there(written: Any) -> None:
    """An answer or a sentence, never anything else."""
    try:
        worth(written, a="$@b", b=["@asked", 1])
    except InputError as error:
        assert str(error)


def test_nobody_asks_for_what_is_not_needed() -> None:
    config = Config(
        {"imports": ["$import os"], "handlers": ["$open('x')"], "asked": {"_target_": "UNet", "bad": "$open('x')"}}, "x"
    )
    part = config.get("asked")
    assert isinstance(part, Component) and part.target == "UNet" and part.get("good", 1) == 1
    with pytest.raises(InputError, match="asked::bad is the expression"):
        part.get("bad")


def test_components() -> None:
    """They stay what they are: moved to a device, put into lists, left out where they are disabled."""
    parts = {"net": {"_target_": "UNet", "n": "@count"}, "count": 4, "more": [{"_target_": "A"}], "off": "$1 < 2"}
    assert worth("$@net.to(@device)", **parts).get("n") == 4
    assert [x.target for x in worth("$@more + [@net]", **parts)] == ["A", "UNet"]
    listed = [{"_target_": "A", "_disabled_": "@off"}, {"_target_": "B", "_disabled_": "false"}, {"_target_": "C"}]
    assert [x.target for x in worth(listed, **parts)] == ["B", "C"]
    assert worth({"_target_": "A", "_requires_": "x", "k": 1}).arguments() == {"k": 1}


def test_names_that_count_from_where_they_stand() -> None:
    assert worth({"a": 1, "b": "@::a", "c": {"d": "@::::a", "e": "$@::::a + 1"}}) == {"a": 1, "b": 1, "c": {"d": 1, "e": 2}}


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"b": "@asked"}, "asked refers to itself"),
        ({"b": "@missing"}, "an entry missing, which it does not have"),
        ({"b": "%other.json::x"}, "a part of another file"),
        ({"b": {"_target_": ["no", "name"]}}, "no name of a class"),
    ],
)
def test_wrong_references(others: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        worth("@b", **others)


def test_no_bomb_of_references() -> None:
    """Ten entries that name the one before ten times each are ten billion together."""
    laughs = {f"a{n}": [f"%a{n - 1}"] * 10 if n else "x" for n in range(11)}
    with pytest.raises(InputError, match="too many entries"):
        worth("@a10", **laughs)


def test_files() -> None:
    yaml = "net:\n  _target_: UNet\nasked: '@net'\n"
    found = parsed(yaml, "inference.yaml")
    assert found is not None and found.get("asked").target == "UNet"
    assert parsed("[1, 2]", "x.json") is None
    for text in ("{", "a: [", "!!python/object/apply:os.system ['touch canary']", "a: &x [*x]\nb: {? *x : 1}"):
        with pytest.raises(InputError, match="no readable"):
            parsed(text, "inference.yaml")


def test_what_holds_itself() -> None:
    found = parsed("a: &x [*x]\nb: {_target_: T, c: *x}", "inference.yaml")
    assert found is not None
    for ask in (lambda: found.get("a"), lambda: found.get("b").get("c")):
        with pytest.raises(InputError, match="nested too deeply|too many entries"):
            ask()


def test_yaml_without_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(InputError, match=r"pip install PyYAML"):
        parsed("a: 1", "inference.yaml")
    assert parsed('{"a": 1}', "inference.json") is not None
