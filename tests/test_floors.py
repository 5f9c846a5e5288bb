"""The house rules that a machine can check: who may import whom, and how long things may be."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = (
    ("errors",),
    ("structures", "boxes", "config", "download", "filekind"),
    ("ops",),
    ("models", "datasets", "evaluation", "visualization"),
    ("engine",),
    ("parts",),
    ("build",),
    ("inference", "assessment", "review", "stages", "inspection", "importers"),
    ("running",),
    ("experiment",),
    ("reproduction",),
    ("cli",),
)
"""A module imports from floors above it in this list (below it in the house), never from beside."""
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}

MOST_FILE_LINES = 400
MOST_BODY_LINES = 50
MOST_ARGUMENTS = 8

WITHOUT_A_TEST_FILE = {
    "rfcn/errors.py": "exception classes without behaviour",
}
"""Modules that no test file mirrors, and why."""

MODULES = sorted((ROOT / "rfcn").rglob("*.py"))
SCRIPTS = sorted(file for name in ("tools", "benchmarks") for file in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EVERYTHING = (*MODULES, *SCRIPTS, *TESTS)


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@cache
def syntax(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=name_of(file))


def exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def is_package(module: str) -> bool:
    return ROOT.joinpath(*module.split(".")).is_dir()


def imported(tree: ast.AST) -> Iterator[str]:
    """Our modules that a syntax tree imports, lazily too; the package where a name is its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            assert node.level == 0, f"line {node.lineno}: a relative import"
            below = [f"{source}.{alias.name}" for alias in node.names]
            names = [name if is_package(source) and exists(name) else source for name in below]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "rfcn")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def part_of(module: str) -> str:
    return [*module.split("."), ""][1]


def refuse(offenders: Iterable[str]) -> None:
    """Fail with one line for each offender."""
    found = sorted(offenders)
    assert not found, "\n".join(["", *found])


def test_the_reader_of_imports_sees_every_form() -> None:
    source = """
import os, rfcn.boxes
from rfcn.ops.nms import nms as own
from rfcn.models import rpn, RPN
def lazy():
    from rfcn import build
"""
    assert list(imported(ast.parse(source))) == [
        "rfcn.boxes",
        "rfcn.ops.nms",
        "rfcn.models.rpn",
        "rfcn.models",
        "rfcn.build",
    ]


# ------------------------------------------------------------------------------------------ floors


def test_every_part_has_its_floor() -> None:
    parts = {file.relative_to(ROOT / "rfcn").parts[0].removesuffix(".py") for file in MODULES}
    assert parts - {"__init__"} == set(FLOOR_OF)


def test_imports_go_down() -> None:
    wrong = []
    for file in MODULES:
        own = file.relative_to(ROOT / "rfcn").parts[0].removesuffix(".py")
        wrong += [
            f"{name_of(file)} imports {module}"
            for module in imported(syntax(file))
            if part_of(module) != own
            and FLOOR_OF.get(part_of(module), len(FLOORS)) >= FLOOR_OF.get(own, len(FLOORS))
        ]
    refuse(wrong)


def test_names_come_from_their_module_not_through_a_package() -> None:
    wrong = [
        f"{name_of(file)} imports from the package {module}"
        for file in EVERYTHING
        for module in imported(syntax(file))
        if is_package(module) and (module != "rfcn" or file in MODULES)
    ]
    refuse(wrong)


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {}
    for file in MODULES:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        graph[module.removesuffix(".__init__")] = set(imported(syntax(file)))
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("rfcn.config.loader, rfcn.config.published", ("torch", "torchvision", "numpy")),
        ("rfcn.ops.psroi_pool, rfcn.ops.nms, rfcn.ops.library", ("torchvision", "cv2")),
        ("rfcn.cli.main", ("torch", "pydantic", "yaml", "rich")),
    ],
    ids=["config", "ops", "shell"],
)
def test_light_parts_import_nothing_heavy(modules: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {modules}; print(*(m for m in {absent!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


# ----------------------------------------------------------------------------------------- budgets


def test_files_are_short() -> None:
    lengths = {name_of(file): len(file.read_text().splitlines()) for file in EVERYTHING}
    refuse(f"{name}: {n} lines" for name, n in lengths.items() if n > MOST_FILE_LINES)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement to the last, the docstring excluded."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_are_short() -> None:
    lengths = {
        f"{name_of(file)}: {function.name}": body_lines(function)
        for file in EVERYTHING
        for function in functions(syntax(file))
    }
    refuse(f"{name}: {n} lines" for name, n in lengths.items() if n > MOST_BODY_LINES)


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many arguments a caller can give."""
    taken = function.args
    names = {arg.arg for arg in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)}
    return len(names - {"self", "cls"})


def test_functions_take_few_arguments() -> None:
    counts = {
        f"{name_of(file)}: {function.name}": arguments(function)
        for file in (*MODULES, *SCRIPTS)
        for function in functions(syntax(file))
    }
    refuse(f"{name}: {n} arguments" for name, n in counts.items() if n > MOST_ARGUMENTS)


def test_modules_and_their_public_names_have_docstrings() -> None:
    missing = []
    for file in (*MODULES, *SCRIPTS):
        tree = syntax(file)
        public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        missing += [] if ast.get_docstring(tree) or not tree.body else [name_of(file)]
        missing += [
            f"{name_of(file)}: {node.name}"
            for node in public
            if not node.name.startswith("_") and not ast.get_docstring(node)
        ]
    refuse(missing)


def test_no_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "misc", "common"}
    refuse(name_of(file) for file in MODULES if file.stem in drawers)


def test_no_part_asks_whether_it_is_training() -> None:
    """A layer hands `self.training` on to its norm; a branch on it is another object's work."""
    modes = [
        f"{name_of(file)}:{node.lineno}"
        for file in MODULES
        for branch in ast.walk(syntax(file))
        if isinstance(branch, ast.If | ast.IfExp)
        for node in ast.walk(branch.test)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "self.training"
    ]
    refuse(modes)


# ----------------------------------------------------------------------------------------- mirror


def mirror(file: Path) -> Path:
    """The test file of a module."""
    inside = file.relative_to(ROOT / "rfcn")
    return ROOT / "tests" / inside.parent / f"test_{inside.name}"


def test_every_module_has_the_test_file_that_mirrors_it() -> None:
    modules = [file for file in MODULES if file.name != "__init__.py"]
    lonely = {name_of(file) for file in modules if not mirror(file).is_file()}
    refuse(lonely ^ set(WITHOUT_A_TEST_FILE))
