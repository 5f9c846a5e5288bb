"""Builds the compiled operators, where it can. Everything else is in pyproject.toml.

The install never fails for want of torch, a compiler or CUDA: the operators then run as plain
PyTorch. The last line printed says what was built, or why not. Environment:

    RFCN_REQUIRE_OPS=1     a failed build is an error
    CXX, NVCC              the compilers (default: c++ or g++, nvcc on the PATH)
    TORCH_CUDA_ARCH_LIST   e.g. "8.0;9.0" (default: this machine's GPU, else a wide list)
"""

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from setuptools import Extension, find_namespace_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
COMMON = ["-O3", "-std=c++20", "-fPIC", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
NO_FUSED_ADD = "-ffp-contract=off"  # a bin edge must round alike on every processor
ARCHITECTURES = ["7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"]


class BuildError(Exception):
    """Why an extension is left out, in a few words."""


def run(command: Sequence[str]) -> str:
    """The output of a command; `BuildError` with its first error line if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run ({error.strerror})") from error
    if done.returncode != 0:
        print(done.stdout + done.stderr)
        faults = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        raise BuildError(f"{command[0]} failed: {faults[0] if faults else done.returncode}")
    return done.stdout


def host_compiler() -> list[str]:
    """The C++ compiler as a command line."""
    if "CXX" in os.environ:
        return shlex.split(os.environ["CXX"])
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise BuildError("no C++ compiler was found")


def torch_paths() -> tuple[list[str], Path]:
    """Include flags and the library folder of the torch that is installed."""
    try:
        import torch
    except Exception as error:
        raise BuildError(f"torch cannot be imported ({error})") from error
    folder = Path(torch.__file__).parent
    return [f"-I{folder / 'include'}"], folder / "lib"


def fingerprint(command: Sequence[str], reads: Path) -> str:
    """One line for a compilation: its command, this torch, and the files of ours that it reads."""
    names = reads.read_text().replace("\\\n", " ").split()[1:]
    own = [Path(name) for name in names if Path(name).exists()]
    own = [path for path in own if path.resolve().is_relative_to(ROOT / "csrc")]
    parts = [" ".join(command), version("torch"), *(path.read_text() for path in own)]
    return hashlib.sha256("\0".join([*parts, *map(str, own)]).encode()).hexdigest()


def nvcc() -> str:
    """The CUDA compiler, where this torch can use what it makes."""
    import torch

    if torch.version.cuda is None:
        raise BuildError("this torch has no CUDA")
    found = os.environ.get("NVCC") or shutil.which("nvcc")
    if not found:
        raise BuildError("nvcc was not found")
    return found


def cuda_targets(compiler: str) -> list[str]:
    """-gencode flags: machine code for each architecture, and PTX of the last for later ones."""
    import torch

    wanted = re.split(r"[;\s]+", os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip())
    wanted = [one.removesuffix("+PTX") for one in wanted if one]
    if not wanted and torch.cuda.is_available():
        wanted = ["{}.{}".format(*torch.cuda.get_device_capability())]
    known = run([compiler, "--list-gpu-arch"]).split()
    numbers = [one.replace(".", "") for one in wanted or ARCHITECTURES]
    numbers = [one for one in numbers if f"compute_{one.rstrip('a')}" in known]
    if not numbers:
        raise BuildError(f"nvcc knows none of the architectures {wanted or ARCHITECTURES}")
    flags = [f"-gencode=arch=compute_{one},code=sm_{one}" for one in numbers]
    return [*flags, f"-gencode=arch=compute_{numbers[-1]},code=compute_{numbers[-1]}"]


class BuildOps(build_ext):
    """Compiles csrc/ against the LibTorch stable ABI: no Python headers, no Python symbols."""

    def get_ext_filename(self, fullname: str) -> str:
        """`rfcn/_cpu.so`: one file serves every Python."""
        return str(Path(*fullname.split("."))) + ".so"

    def build_extensions(self) -> None:
        """Builds each library on its own, so that CUDA's absence does not cost the CPU's."""
        said = []
        for extension in self.extensions:
            try:
                self.build_extension(extension)
                said.append(f"{extension.name} built")
            except BuildError as reason:
                if os.environ.get("RFCN_REQUIRE_OPS") == "1" and extension.name == "rfcn._cpu":
                    raise SystemExit(f"RFCN_REQUIRE_OPS=1, but {reason}") from reason
                said.append(f"{extension.name} not built: {reason}")
        print(f"rfcn operators: {'; '.join(said)}")

    def build_extension(self, extension: Extension) -> None:
        """One shared library from its sources."""
        includes, libraries = torch_paths()
        target = Path(self.get_ext_fullpath(extension.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        on_cuda = extension.name.endswith("_cuda")
        compile_one, link = self.cuda_commands() if on_cuda else self.host_commands()
        command = [*compile_one, *includes]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda one: self.compile(command, one), extension.sources))
        names = ["-ltorch_cuda"] if on_cuda else []
        names = [*names, "-ltorch_cpu", "-lc10"]
        unfinished = target.with_suffix(".part")  # a build that is killed leaves no half library
        run([*link, "-shared", *objects, "-o", str(unfinished), f"-L{libraries}", *names])
        unfinished.replace(target)

    def compile(self, command: list[str], source: str) -> str:
        """The object of one source, made anew only if the command or a file read has changed."""
        made = ROOT / "build" / "ops" / f"{Path(source).name}.o"
        reads, print_of = made.with_suffix(".d"), made.with_suffix(".print")
        if made.exists() and print_of.read_text() == fingerprint(command, reads):
            return str(made)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.unlink(missing_ok=True)
        unfinished = made.with_suffix(".part")
        run([*command, "-MMD", "-MF", str(reads), "-c", source, "-o", str(unfinished)])
        print_of.write_text(fingerprint(command, reads))
        unfinished.replace(made)
        return str(made)

    def host_commands(self) -> tuple[list[str], list[str]]:
        """How to compile one C++ file, and how to link."""
        compiler = host_compiler()
        return [*compiler, *COMMON, NO_FUSED_ADD, "-fvisibility=hidden"], compiler

    def cuda_commands(self) -> tuple[list[str], list[str]]:
        """How to compile one CUDA file, and how to link; nvcc brings its own runtime."""
        compiler = nvcc()
        flags = [one if one != "-fPIC" else "-Xcompiler=-fPIC" for one in COMMON]
        flags += [
            "-DUSE_CUDA",
            "-fmad=false",
            f"-Xcompiler={NO_FUSED_ADD}",
            "--expt-extended-lambda",
        ]
        return [compiler, *flags, *cuda_targets(compiler)], [compiler]


class AnyPythonWheel(bdist_wheel):
    """The libraries hold no Python symbols: one wheel a platform, not one a Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """py3-none-<platform>."""
        return ("py3", "none", super().get_tag()[2])


def extensions() -> list[Extension]:
    """The libraries to try. `optional`: a missing one is no error when setuptools copies them."""
    if platform.system() == "Windows":
        print("rfcn operators: not built (Windows is not supported yet)")
        return []

    def sources(*patterns: str) -> list[str]:
        found = (path for pattern in patterns for path in ROOT.glob(pattern))
        return sorted(str(path.relative_to(ROOT)) for path in found)

    depends = sources("csrc/*.h", "csrc/*/*.h", "csrc/*/*.cuh")
    return [
        Extension(name, sources(*patterns), depends=depends, optional=True)
        for name, patterns in {
            "rfcn._cpu": ("csrc/*.cpp", "csrc/cpu/*.cpp"),
            "rfcn._cuda": ("csrc/cuda/*.cu",),
        }.items()
    ]


def packages() -> list[str]:
    """The library, and configs/ as the package `rfcn.configs`."""
    shipped = sorted({path.parent for path in (ROOT / "configs").rglob("*.yaml")})
    folders = {parent for path in shipped for parent in (path, *path.parents)}
    inside = [path.relative_to(ROOT) for path in folders if path.is_relative_to(ROOT / "configs")]
    return [
        *find_namespace_packages(str(ROOT), include=["rfcn", "rfcn.*"]),
        *sorted(".".join(("rfcn", *path.parts)) for path in inside),
    ]


setup(
    packages=packages(),
    package_dir={"rfcn.configs": "configs"},
    package_data={"": ["*.yaml", "*.html", "py.typed"]},
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildOps, "bdist_wheel": AnyPythonWheel},
)
