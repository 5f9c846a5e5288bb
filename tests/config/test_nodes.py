"""Reading YAML strictly: which words are numbers, what is refused, and where."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from rfcn.config.nodes import MAX_DEPTH, MAX_NODES, Origin, node_from_plain, parse_yaml
from rfcn.errors import ConfigError


def read(text: str) -> object:
    node = parse_yaml(text, "a.yaml")
    return None if node is None else node.plain()


# C4
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 0.001),
        ("5e-4", 0.0005),
        ("1e+3", 1000.0),
        ("1.e-3", 0.001),
        (".5", 0.5),
        ("-2E3", -2000.0),
        ("1.5", 1.5),
        ("-.inf", -math.inf),
        ("!!float 3", 3.0),
    ],
)
def test_c4_floats(text: str, number: float) -> None:
    value = read(f"lr: {text}")["lr"]  # type: ignore[index]
    assert type(value) is float
    assert value == number


def test_nan_is_read_so_that_the_schema_can_refuse_it() -> None:
    assert math.isnan(read("a: .nan")["a"])  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("-3", -3), ("30_000", 30000), ("010", 10)]
)
def test_integers(text: str, number: int) -> None:
    value = read(f"a: {text}")["a"]  # type: ignore[index]
    assert type(value) is int
    assert value == number


# C16
@pytest.mark.parametrize(
    "word", ["no", "yes", "on", "off", "1:30", "2020-01-01", "0x1F", "1e", "e5", "_1"]
)
def test_c16_words_that_older_yaml_turns_into_something_else(word: str) -> None:
    assert read(f"a: {word}") == {"a": word}


def test_the_other_scalars() -> None:
    assert read("{a: true, b: False, c: null, d: ~, e: , f: '5e-4', g: \"true\"}") == {
        "a": True,
        "b": False,
        "c": None,
        "d": None,
        "e": None,
        "f": "5e-4",
        "g": "true",
    }


def test_lists_become_tuples_and_aliases_are_written_out() -> None:
    assert read("a: &x [1, [2]]\nb: *x") == {"a": (1, (2,)), "b": (1, (2,))}


def test_origins_are_lines_of_the_keys() -> None:
    node = parse_yaml("a:\n  b:\n    - 1\n    - 2\n", "a.yaml")
    assert node is not None
    a = node.value["a"]  # type: ignore[index, call-overload]
    assert [str(a.origin), str(a.value["b"].origin)] == ["a.yaml:1", "a.yaml:2"]
    assert [str(item.origin) for item in a.value["b"].value] == ["a.yaml:3", "a.yaml:4"]


def test_an_empty_document_is_nothing() -> None:
    assert parse_yaml("# only a comment\n", "a.yaml") is None


# C5
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", ["a.yaml:5", "'c'", "twice", "a.yaml:3"]),
        ("lr: 1\nlr: 2\n", ["a.yaml:2", "'lr'", "twice", "a.yaml:1"]),
    ],
)
def test_c5_a_key_written_twice_gives_both_lines(text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "a.yaml")
    assert all(part in str(caught.value) for part in parts)


# C7
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: 1\n\tb: 2\n", ["a.yaml:2:1", "`b: 2`", "tabs"]),
        ("a: [1, 2\nb: 3\n", ["a.yaml:2", "`b: 3`"]),
        ("a: 'open\n", ["a.yaml:1:4", "`a: 'open`"]),
        ("a: 1\n---\nb: 2\n", ["a.yaml:2", "another document"]),
    ],
)
def test_c7_syntax_errors_give_line_column_and_the_line(text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "a.yaml")
    assert all(part in str(caught.value) for part in parts)


def test_control_characters_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml: the character U\+0000 at position 4"):
        parse_yaml("a: x\0", "a.yaml")


# C10
@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {0}']",
        "!!python/name:os.system",
        "!!python/object/new:os.system ['touch {0}']",
        "!!binary aGk=",
        "!mine 5",
        "!!set {{a, b}}",
    ],
)
def test_c10_tags_are_refused_and_nothing_runs(value: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    with pytest.raises(ConfigError, match=r"a\.yaml:1: the YAML tag \S+ is not allowed"):
        parse_yaml("a: " + value.format(sentinel), "a.yaml")
    assert not sentinel.exists()


@pytest.mark.parametrize("text", ["!!int x", "!!bool maybe", "9" * 5000])
def test_scalars_that_do_not_fit_their_tag(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml:1: cannot read"):
        parse_yaml(f"a: {text}", "a.yaml")


def test_keys_are_words() -> None:
    assert read("1: a\ntrue: b") == {"1": "a", "true": "b"}
    with pytest.raises(ConfigError, match="a key must be a word"):
        parse_yaml("? [a, b]\n: 1", "a.yaml")


# C11
@pytest.mark.parametrize(
    "text",
    [
        "[" * 1000 + "]" * 1000,
        "\n".join(" " * depth + "a:" for depth in range(1000)),
        "a: &a [*a]",
    ],
    ids=["flow", "block", "recursive alias"],
)
def test_c11_too_deep(text: str) -> None:
    with pytest.raises(ConfigError, match=f"more than {MAX_DEPTH} levels deep"):
        parse_yaml(text, "a.yaml")


BOMB = "\n".join(
    ["a0: &a0 [" + ", ".join("x" * 9) + "]"]
    + [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, 10)]
)


UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
from rfcn.config.loader import load_config
from rfcn.errors import ConfigError
resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20, 400 * 2**20))
for name in sys.argv[1:]:
    try:
        load_config(Path(name))
    except ConfigError as error:
        print(error)
"""


# C11
def test_c11_hostile_files_in_little_memory(tmp_path: Path) -> None:
    """The limit holds for the memory of all of Python; a list for every alias alone would be 4e9
    values, and the sparse file alone is 100 MB."""
    files = {name: tmp_path / f"{name}.yaml" for name in ("bomb", "deep", "many", "huge")}
    files["bomb"].write_text(BOMB)
    files["deep"].write_text("[" * 1000 + "]" * 1000)
    files["many"].write_text("a: [" + "1," * 120_000 + "]")
    with files["huge"].open("wb") as sparse:
        sparse.truncate(100 * 2**20)
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, *map(str, files.values())],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        check=True,
    )
    bomb, deep, many, huge = done.stdout.splitlines()
    assert f"{files['bomb']}:" in bomb
    assert f"more than {MAX_NODES} values, aliases written out" in bomb
    assert f"{files['deep']}:1: nested more than {MAX_DEPTH} levels deep" in deep
    assert f"{files['many']}:1: more than {MAX_NODES} values" in many
    assert f"{files['huge']}: too large for a config: more than" in huge


def test_plain_data_keeps_its_shape_and_gets_an_origin() -> None:
    plain = {"a": [1, {"b": None}], "c": "x"}
    node = node_from_plain(plain, Origin("here"))
    assert node.plain() == {"a": (1, {"b": None}), "c": "x"}
    assert str(node.value["c"].origin) == "here"  # type: ignore[index, call-overload]


def test_plain_data_may_be_as_deep_as_a_file() -> None:
    deep: object = 1
    for _ in range(MAX_DEPTH + 2):
        deep = {"a": deep}
    with pytest.raises(ConfigError, match=f"here: nested more than {MAX_DEPTH} levels deep"):
        node_from_plain(deep, Origin("here"))


@pytest.mark.parametrize("wrong", [{1: "a"}, {"a": {2}}, {"a": b"x"}])
def test_plain_data_that_no_file_can_hold(wrong: dict[object, object]) -> None:
    with pytest.raises(ConfigError, match="here"):
        node_from_plain(wrong, Origin("here"))
