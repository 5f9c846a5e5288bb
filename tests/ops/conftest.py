"""Both backends of every operator, and RoIs that sit on every border there is."""

import os

import pytest
import torch

from rfcn.ops import library

COMPILED = library.LIBRARY


def pytest_generate_tests(metafunc):
    """The contract's questions, once for each variant and each case that a subclass names."""
    contract = metafunc.cls
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


@pytest.fixture(params=["compiled", "torch"])
def backend(request, monkeypatch):
    """Runs the test once with the compiled operators and once with plain PyTorch."""
    if request.param == "torch":
        monkeypatch.setattr(library, "LIBRARY", library.load("torch", library.Path(".")))
    else:
        need_compiled()
    return request.param


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
