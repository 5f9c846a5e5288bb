"""Every backend of every operator, and RoIs that sit on every border there is."""

import os

import pytest
import torch

from rfcn.ops import library

COMPILED = library.LIBRARY


def pytest_generate_tests(metafunc):
    """The contract's questions, once for each variant and each case that a subclass names."""
    contract = metafunc.cls
    if "backend" in metafunc.fixturenames:
        # Only the contract has one place, `call`, that can bring its tensors to a GPU and back.
        on_gpu_too = torch.cuda.is_available() and hasattr(contract, "call")
        backends = ["compiled", "torch", "cuda"] if on_gpu_too else ["compiled", "torch"]
        metafunc.parametrize("backend", backends, indirect=True)
    if "variant" in metafunc.fixturenames:
        metafunc.parametrize("variant", contract.variants.values(), ids=contract.variants.keys())
    if "any_variant" in metafunc.fixturenames:
        first = next(iter(contract.variants.values()))
        metafunc.parametrize("any_variant", [first], ids=["any"])
    if "case" in metafunc.fixturenames and hasattr(contract, "cases"):
        names = [
            "-".join(map(str, [*v.arguments.values(), *sizes])) for v, *sizes in contract.cases
        ]
        metafunc.parametrize("case", contract.cases, ids=names)


def need_compiled():
    """Skips where the operators are not compiled; fails where RFCN_REQUIRE_OPS demands them."""
    if not library.declared("psroi_pool"):
        end = pytest.fail if os.environ.get("RFCN_REQUIRE_OPS") == "1" else pytest.skip
        end(f"operators not compiled: {COMPILED.reasons['cpu']}")


@pytest.fixture
def backend(request, monkeypatch):
    """Runs the test with the compiled operators, with plain PyTorch and, the contract, on a GPU."""
    if request.param == "torch":
        monkeypatch.setattr(library, "LIBRARY", library.load("torch", library.Path(".")))
        return "torch"
    need_compiled()
    if request.param == "cuda":
        monkeypatch.setattr(request.instance, "call", on_gpu(request.instance.call))
    return request.param


def on_gpu(call):
    """The contract's `call`, there and back: values and gradients stay on the CPU for the test."""

    def there_and_back(features, rois, variant):
        there = [one.cuda() if one.device.type == "cpu" else one for one in (features, rois)]
        return call(*there, variant).cpu()

    return there_and_back


@pytest.fixture
def compiled():
    """The test is about the compiled operators."""
    need_compiled()


@pytest.fixture(scope="session")
def make_rois():
    """make_rois(count, pictures, height, width, seed): RoIs inside, crossing, touching, outside."""

    def make(count, pictures, height, width, seed=0, dtype=torch.float32):
        g = torch.Generator().manual_seed(seed)
        size = torch.tensor([width, height, width, height], dtype=dtype)
        corners = (torch.rand(count, 4, generator=g, dtype=dtype) * 1.6 - 0.3) * size
        kinds = torch.randint(0, 8, (count,), generator=g)
        ordered = torch.cat(
            [
                torch.minimum(corners[:, :2], corners[:, 2:]),
                torch.maximum(corners[:, :2], corners[:, 2:]),
            ],
            dim=1,
        )
        corners = torch.where((kinds < 6)[:, None], ordered, corners)  # 6, 7: may be inverted
        halves = corners.floor() + 0.5
        corners = torch.where((kinds == 1)[:, None], halves, corners)
        corners = torch.where(
            (kinds == 2)[:, None], corners.clamp(min=0).minimum(size - 1), corners
        )
        point = corners[:, :2].repeat(1, 2)
        corners = torch.where((kinds == 3)[:, None], point, corners)
        corners = torch.where((kinds == 4)[:, None], corners + 3 * size, corners)
        index = torch.randint(0, pictures, (count, 1), generator=g).to(dtype)
        return torch.cat([index, corners], dim=1)

    return make
