"""What the source never does, whoever asks; docs/security.md names these tests and others."""

import ast
import re
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from rfcn.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = sorted(
    [
        *(file for name in ("rfcn", "tools", "data") for file in (ROOT / name).rglob("*.py")),
        ROOT / "setup.py",
    ]
)
WORDS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile", *SHIPPED])


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    """Everything that is written in the shipped source."""
    for file in SHIPPED:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            yield file, node


def place(file: Path, node: ast.AST) -> str:
    return f"{file.relative_to(ROOT).as_posix()}:{getattr(node, 'lineno', 0)}"


def dotted(node: ast.AST) -> str:
    """`np.load` of such a name; the last parts alone of what is no plain name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@cache
def calls() -> list[tuple[Path, ast.Call, str]]:
    """Every call of the shipped source, and the dotted name it is called by."""
    return [(file, node, dotted(node.func)) for file, node in nodes() if isinstance(node, ast.Call)]


@cache
def imports() -> list[tuple[str, str]]:
    """(file, module or module.name) of every import of the shipped source."""
    found = []
    for file, node in nodes():
        name = file.relative_to(ROOT).as_posix()
        if isinstance(node, ast.Import):
            found += [(name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(name, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def option(call: ast.Call, name: str) -> object:
    """The constant given for a keyword; nothing where it is left out or computed."""
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None


# ------------------------------------------------------------------------------- no code from files


def test_torch_and_numpy_load_data_only() -> None:
    asked = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
    found = [(file, call, asked[name]) for file, call, name in calls() if name in asked]
    assert len(found) >= 3
    loose = [
        place(file, call) for file, call, (key, safe) in found if option(call, key) is not safe
    ]
    assert loose == []


def test_no_other_reader_of_objects_is_there() -> None:
    """Nor a cache made of them: nothing is ever written by pickle but by torch.save."""
    modules = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    users = {file for file, name in imports() if name.partition(".")[0] in modules}
    assert users <= {"rfcn/engine/checkpoint.py"}, "which names pickle's error, see below"
    uses = [name for _, _, name in calls() if name.partition(".")[0] in modules]
    assert uses == []
    hub = {"load_state_dict_from_url", "get_state_dict", "download_url_to_file"}
    assert [name for _, _, name in calls() if name.rpartition(".")[2] in hub] == []
    assert not [name for _, _, name in calls() if name in ("torch.hub.load", "hub.load")]


def test_no_text_is_run() -> None:
    forbidden = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.loads"}
    ran = [place(file, call) for file, call, name in calls() if name in forbidden]
    assert ran == []
    shells = [place(file, call) for file, call, _ in calls() if option(call, "shell")]
    assert shells == []


def test_yaml_and_xml_are_read_by_their_safe_readers() -> None:
    loaders = {name for _, _, name in calls() if re.fullmatch(r"yaml\.\w*load\w*", name)}
    assert loaders <= {"yaml.safe_load"}
    parsers = {name.rpartition(".")[2] for _, name in imports() if name.startswith(("xml", "lxml"))}
    assert parsers <= {"Element", "ElementTree", "ParseError", "SubElement", "indent"}, "no reader"
    assert {name for _, _, name in calls() if re.search(r"(?i)etree.*parse|fromstring", name)} <= {
        "fromstring"  # defusedxml's
    }


def test_archives_are_unpacked_by_one_hand() -> None:
    assert {file for file, name in imports() if name in ("tarfile", "zipfile")} <= {
        "rfcn/datasets/archives.py",  # which refuses members that lead out
        "rfcn/engine/checkpoint.py",  # which checks a checkpoint's checksums
        "rfcn/filekind.py",  # which looks at names
    }
    methods = [name for _, _, name in calls() if name.endswith((".extractall", ".extract"))]
    assert methods == []


# ---------------------------------------------------------------------------------------- the net

NETWORK = {
    *("aiohttp", "ftplib", "http", "httpx", "imaplib", "requests", "smtplib", "socket"),
    *("socketserver", "ssl", "urllib", "urllib3", "webbrowser", "websockets", "xmlrpc"),
}


def test_one_module_speaks_to_the_net() -> None:
    users = {
        file
        for file, name in imports()
        if name.partition(".")[0] in NETWORK and not name.startswith("urllib.parse")
    }
    assert users == {"rfcn/download.py"}


class Calls(socket.socket):
    """A socket that reaches nobody and is reached by nobody."""

    def connect(self, address: object) -> None:
        raise AssertionError(f"a connection to {address!r}")

    connect_ex = bind = connect  # type: ignore[assignment]


def test_nothing_is_sent_or_listened_for(
    trained_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", Calls)
    monkeypatch.setattr(socket, "getaddrinfo", Calls.connect)
    output = str(tmp_path / "run")
    short = ("train.iterations=2", "train.lr_steps=[]", "train.warmup_iterations=0")
    assert main(["train", "-c", str(trained_run.config), "-o", output, "--set", *short]) == 0
    words = ["-w", str(trained_run.weights), "-o", str(tmp_path / "seen")]
    assert main(["infer", *words, "-i", str(trained_run.pictures[0])]) == 0


def test_no_word_tells_anybody_to_open_a_port_to_others() -> None:
    opened = [
        file.name
        for file in WORDS
        if re.search(r"bind[_-]all|0\.0\.0\.0|--host[ =](?!localhost|127)", file.read_text("utf-8"))
    ]
    assert opened == []


# ------------------------------------------------------------------------------------------ locale


def test_text_is_read_and_written_as_utf8_whatever_the_locale_is() -> None:  # S7
    """Python lowers and sorts letters alike in every locale, Turkish too, unless it is told to
    follow the locale. (What json.dumps makes is ASCII; setup.py reads what compilers write.)"""
    assert "locale" not in {name.partition(".")[0] for _, name in imports()}
    silent = [
        place(file, call)
        for file, call, name in calls()
        if name.rpartition(".")[2] in ("open", "read_text", "write_text")
        and name not in ("os.open", "Image.open", "tarfile.open", "opener.open", "read_text")
        and not any(keyword.arg == "encoding" for keyword in call.keywords)
        and not re.search(r"'[rwax]?\+?b\+?'|json\.dumps", ast.unparse(call))
        and file.name != "setup.py"
    ]
    assert silent == []


# ------------------------------------------------------------------------------------- the promises


def test_every_promise_names_a_test_that_is_there() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 20
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"
