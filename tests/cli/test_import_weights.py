"""`rfcn import-weights`."""

from pathlib import Path

import torch

from rfcn.cli.main import main
from rfcn.models.resnet import ResNet


def test_it_says_what_went_where_and_how_to_go_on(tmp_path: Path, capsys) -> None:
    torch.save(ResNet(18).state_dict(), tmp_path / "a.pth")
    words = ["import-weights", str(tmp_path / "a.pth"), "-o", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "layer4.1.bn2.running_var" in said
    assert f"wrote a backbone: {tmp_path / 'out' / 'backbone.safetensors'}" in said
    assert "style: torchvision" in said
    assert (tmp_path / "out" / "import.json").is_file()


def test_faults_are_one_paragraph(fault, tmp_path: Path) -> None:
    (tmp_path / "a.caffemodel").write_bytes(b"\x0a\x06ResNet")
    message = fault("import-weights", tmp_path / "a.caffemodel", "-o", tmp_path / "o", code=4)
    assert "cannot be read as a .caffemodel (there are no layers in it)" in message
    message = fault("import-weights", tmp_path / "a.caffemodel", "--eps", "7", code=2)
    assert "--eps 7" in message
