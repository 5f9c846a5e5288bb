import pytest
import torch
from torch import nn

from rfcn.engine import compilation
from rfcn.engine.compilation import compile_modules
from rfcn.errors import MachineError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forget_graphs():
    yield
    torch.compiler.reset()


def test_modules_are_compiled_in_place(monkeypatch):
    graphs = []

    def watched(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compilation, "BACKEND", watched)
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    names, x = list(layer.state_dict()), torch.randn(2, 3, 7, 8)
    wanted = layer(x)
    compile_modules([layer], CPU)
    probes = len(graphs)
    assert probes == 1
    torch.testing.assert_close(layer(x), wanted)
    for side in (9, 12, 20):
        layer(torch.randn(3, 3, side, side + 1))
    assert len(graphs) == probes + 1, "one graph for maps of any size"
    assert list(layer.state_dict()) == names


def test_gradients_are_compiled_too(monkeypatch):
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    layer, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 7, 8)
    (wanted,) = torch.autograd.grad(layer(x).square().sum(), [layer.weight])
    compile_modules([layer], CPU)
    (found,) = torch.autograd.grad(layer(x).square().sum(), [layer.weight])
    torch.testing.assert_close(found, wanted)


def test_a_machine_without_a_compiler_is_told_so(monkeypatch):
    def broken(graph, inputs):
        raise OSError("InvalidCxxCompiler: no C++ compiler found\nand more")

    monkeypatch.setattr(compilation, "BACKEND", broken)
    words = r"cannot compile for cpu.*no C\+\+ compiler found.*leave runtime\.compile false"
    with pytest.raises(MachineError, match=words) as caught:
        compile_modules([nn.Linear(2, 2)], CPU)
    assert "\n" not in str(caught.value)
