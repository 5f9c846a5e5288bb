"""What the tests of the export share: a module in ONNX Runtime."""

import pytest
import torch

from rfcn.ops.onnx import to_onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'rfcn[export]'")


def session(module, args, shapes):
    """ONNX Runtime on the exported module; the operators used are asserted to be ONNX's own."""
    program = torch.export.export(module.eval(), args, dynamic_shapes=shapes)
    model = to_onnx(program, verbose=False).model_proto
    assert {one.domain for one in model.opset_import} == {""}
    assert not model.functions
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), quiet)


def run(session, *args):
    names = [one.name for one in session.get_inputs()]
    feed = {name: one.numpy() for name, one in zip(names, args, strict=True)}
    return torch.from_numpy(session.run(None, feed)[0])
