"""What is shipped: the source archive, the wheel, and an install without a compiler."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from rfcn.datasets.shapes import make_shapes

ROOT = Path(__file__).parents[1]
PARTS = (
    "rfcn",
    "csrc",
    "configs",
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "LICENSE",
    "README.md",
)
# Who runs the tests may demand compiled operators; a build without a compiler must not hear of it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "RFCN_REQUIRE_OPS"}
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
POOL = (
    "import sys, torch, rfcn; from rfcn.ops import library; "
    "from rfcn.ops.psroi_pool import psroi_pool; "
    "out = psroi_pool(torch.ones(1, 4, 3, 3), torch.tensor([[0., 0, 0, 2, 2]]), 2, 1.0); "
    "print(rfcn.__file__, out.sum().item(), library.LIBRARY.reasons['cpu'])"
)


def copy_of_the_tree(folder):
    """The tracked parts that a build needs, without what earlier builds left."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(source, folder / part, ignore=ignored)
        elif source.exists():
            shutil.copy(source, folder / part)
    return folder


def build(tree, out, kind, **environment):
    """Runs the build backend of the copy; returns the archive and what was said."""
    code = f"import setuptools.build_meta as b; print('made', b.build_{kind}({str(out)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "NVCC": "/nowhere/nvcc", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out / done.stdout.splitlines()[-1].removeprefix("made "), done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a clean copy, with the CPU operators where there is a compiler."""
    folder = tmp_path_factory.mktemp("wheel")
    return build(copy_of_the_tree(folder / "tree"), folder, "wheel")


@pytest.fixture(scope="module")
def plain_wheel(tmp_path_factory):
    """The wheel of a copy whose compiler is broken."""
    folder = tmp_path_factory.mktemp("plain")
    return build(copy_of_the_tree(folder / "tree"), folder, "wheel", CXX="false")


def installed(wheel, folder):
    """A fresh environment with the wheel in it, and this one's packages but not its rfcn."""
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    packages = next((folder / "env" / "lib").glob("python*/site-packages"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "-q",
            "--no-deps",
            "--no-index",
            "--target",
            str(packages),
            str(wheel),
        ],
        check=True,
    )
    # A plain path entry: the .pth files inside it, an editable rfcn among them, are not read.
    (packages / "parent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python, packages


def say(python, code, folder):
    """The output of a few lines run outside the source tree."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(python), "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )


def test_source_archive_holds_what_a_build_needs(tmp_path):
    archive, _ = build(copy_of_the_tree(tmp_path / "tree"), tmp_path, "sdist")
    with tarfile.open(archive) as tar:
        names = {"/".join(name.split("/")[1:]) for name in tar.getnames()}
    for folder in ("csrc", "configs"):
        wanted = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.*")}
        assert wanted <= names
    assert {"setup.py", "pyproject.toml", "LICENSE", "rfcn/ops/psroi_pool.py"} <= names
    assert "rfcn/evaluation/page.html.j2" in names
    assert not any(name.endswith((".so", ".pyc")) for name in names)


def test_wheel_holds_the_configs_and_no_tests(wheel):
    with zipfile.ZipFile(wheel[0]) as archive:
        names = set(archive.namelist())
    shipped = {f"rfcn/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert shipped <= names
    pages = {"rfcn/evaluation/page.html.j2", "rfcn/inspection/page.html.j2"}
    assert {"rfcn/py.typed", *pages} <= names
    assert not any(name.startswith(("tests/", "csrc/")) for name in names)
    assert ("rfcn/_cpu.so" in names) == (COMPILER is not None)
    assert "-py3-none-" in wheel[0].name


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_wheel_runs_outside_the_tree_with_compiled_operators(wheel, tmp_path):
    python, packages = installed(wheel[0], tmp_path)
    done = say(python, POOL, tmp_path)
    assert done.stdout.split() == [
        str(packages / "rfcn" / "__init__.py"),
        "4.0",
        "loaded",
        "_cpu.so",
    ]
    assert not [line for line in done.stderr.splitlines() if "plain PyTorch" in line]
    code = (
        "from importlib.metadata import entry_points, version; import rfcn; "
        "assert version('rfcn') == rfcn.__version__; "
        "print(entry_points(group='console_scripts')['rfcn'].value)"
    )
    assert say(python, code, tmp_path).stdout.strip() == "rfcn.cli.main:main"


COMMAND = "import sys; from rfcn.cli.main import main; sys.exit(main({}))"
SMALL = [
    *("model.backbone.width=8", "model.proposer.channels=8", "model.roi_head.reduction=8"),
    *("data.train_short_sides=[64]", "data.test_short_side=64", "data.workers=0"),
    *("train.iterations=2", "train.lr_steps=[]", "train.warmup_iterations=1"),
    *("train.batch_size=1", "train.schedule_batch_size=1", "runtime.device=cpu"),
    *("runtime.tensorboard=false", "runtime.pictures=0", "eval.floor=0", "data.val=train"),
]


def test_command_line_of_the_wheel(wheel, tmp_path):
    python, _ = installed(wheel[0], tmp_path)
    done = say(python, COMMAND.format(["--help"]), tmp_path)
    assert "usage: rfcn" in done.stdout
    assert "train" in done.stdout


def test_the_wheel_trains_from_a_shipped_config(wheel, tmp_path):
    python, _ = installed(wheel[0], tmp_path)
    make_shapes(tmp_path / "data" / "shapes", train=2, val=1)
    words = ["train", "-c", "demo.yaml", "-o", "run", "--set", *SMALL]
    done = say(python, COMMAND.format(words), tmp_path)
    assert "step 2/2" in done.stdout
    assert (tmp_path / "run" / "weights" / "last" / "model.safetensors").is_file()


def test_without_a_compiler_the_install_works_and_says_so_once(plain_wheel, tmp_path):
    archive, said = plain_wheel
    lines = [line for line in said.splitlines() if line.startswith("rfcn operators:")]
    assert len(lines) == 1
    assert "rfcn._cpu not built: false failed" in lines[0]
    python, packages = installed(archive, tmp_path)
    assert not list((packages / "rfcn").glob("*.so"))
    done = say(python, POOL, tmp_path)
    assert done.stdout.split()[1:] == ["4.0", "not", "built"]
    assert done.stderr.count("run as plain PyTorch") == 1


def test_a_failed_build_is_fatal_where_it_is_asked_to_be(tmp_path):
    tree = copy_of_the_tree(tmp_path / "tree")
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext"],
        cwd=tree,
        capture_output=True,
        text=True,
        env={**os.environ, "CXX": "false", "RFCN_REQUIRE_OPS": "1", "NVCC": "/nowhere/nvcc"},
    )
    assert done.returncode != 0
    assert "RFCN_REQUIRE_OPS=1, but false failed" in done.stderr


STUB = """#!/bin/sh
while [ "$1" != -o ]; do [ "$1" = -MF ] && echo "made: none" > "$2"; shift; done
printf half > "$2"
case "$2" in *%s*) kill -9 $PPID;; esac
printf whole > "$2"
"""


def test_a_killed_build_leaves_no_half_file(tmp_path):  # O25: nor a lock, for there is none
    tree = copy_of_the_tree(tmp_path / "tree")

    def build_killed_at(stage):
        compiler = tmp_path / f"c++-killed-at-{stage}"
        compiler.write_text(STUB % stage)
        compiler.chmod(0o755)
        environment = {**ENVIRONMENT, "CXX": str(compiler), "NVCC": "/nowhere/nvcc"}
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        return subprocess.run(command, cwd=tree, env=environment, capture_output=True).returncode

    for stage in ("nms.cpp", "_cpu"):  # compiling, linking
        assert build_killed_at(stage) == -signal.SIGKILL
        assert {path.read_text() for path in tree.rglob("*.o")} <= {"whole"}
        assert not list(tree.rglob("*.so"))
    assert build_killed_at("nothing") == 0
    assert [path.read_text() for path in tree.glob("rfcn/*.so")] == ["whole"]


def test_importing_the_package_costs_nothing():
    code = "import sys, rfcn; print(rfcn.__version__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == "False"


NEW_IN_NUMPY_2 = {
    *("acos", "acosh", "asin", "asinh", "astype", "atan", "atan2", "atanh", "bitwise_count"),
    *("bitwise_invert", "bitwise_left_shift", "bitwise_right_shift", "bool", "concat"),
    *("cumulative_prod", "cumulative_sum", "isdtype", "long", "matrix_transpose", "matvec"),
    *("permute_dims", "pow", "strings", "trapezoid", "ulong", "unique_all", "unique_counts"),
    *("unique_inverse", "unique_values", "unstack", "vecdot", "vecmat"),
}
"""Names of the main namespace that NumPy 1.26 does not have (release notes of 2.0 to 2.2)."""


def test_numpy_1_and_2_are_both_allowed_and_nothing_is_used_that_one_lacks():  # S6
    """What NumPy 2 removed, ruff's rule NPY201 refuses; what only it has, this does."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (bound,) = (one for one in settings["project"]["dependencies"] if one.startswith("numpy"))
    assert bound == "numpy>=1.26", "no upper bound"
    assert "NPY201" in settings["tool"]["ruff"]["lint"]["select"]
    used = {
        f"{file.name}: np.{node.attr}"
        for folder in ("rfcn", "tools")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np", "numpy")
    }
    assert len(used) > 100
    assert {one for one in used if one.rpartition(".")[2] in NEW_IN_NUMPY_2} == set()


def test_operators_and_config_do_not_need_torchvision():  # S1
    code = (
        "import sys; sys.modules['torchvision'] = None; import rfcn.config.schema;"
        "assert 'torch' not in sys.modules; import rfcn.ops.psroi_pool, rfcn.ops.nms"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
