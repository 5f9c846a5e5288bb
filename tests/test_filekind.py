import io
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save

from rfcn import filekind
from rfcn.filekind import kind_of, origin_of, read_json, remedy_for


def torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(100)}, buffer)
    return buffer.getvalue()


def zip_archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("holiday.txt", "sun")
    return buffer.getvalue()


KINDS = {
    "an empty file": b"",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "an HTML page": b"\n<!DOCTYPE html><html><body>404</body></html>",
    "a PyTorch file": torch_file(),
    "a zip archive": zip_archive(),
    "a pickle": pickle.dumps({"a": 1}),
    "a safetensors file": save({"a": torch.zeros(2)}),
    "a text file": "höhe: 3\n".encode(),
    "a file of unknown kind": bytes(range(255, 100, -1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_by_its_content(kind, tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(KINDS[kind])
    assert kind_of(path) == kind


@pytest.mark.parametrize("kind", ["a PyTorch file", "a safetensors file"])
def test_a_cut_file_keeps_its_kind(kind, tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(KINDS[kind][:100])
    assert kind_of(path) == kind


def test_text_cut_inside_a_letter_is_still_text(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 511 + "é".encode() + b"more")
    assert kind_of(path) == "a text file"


def test_folders_and_nothing(tmp_path):
    assert kind_of(tmp_path) == "a folder"
    assert kind_of(tmp_path / "x") == "missing"


def test_remedies_say_what_to_do():
    assert "git lfs pull" in remedy_for("a Git LFS pointer")
    assert remedy_for("a text file") == ""


# ------------------------------------------------------------------------------------------- JSON


def test_json_of_utf8_with_and_without_its_mark(tmp_path):
    path = tmp_path / "a.json"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + '{"é": [1]}'.encode())
        assert read_json(path) == {"é": [1]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"[" + b"1," * 20_000 + b"1]", "0.0 GB, and JSON of more than 0 is not read"),
        (b"{", "Expecting property name"),
        (b'"\xff"', "codec can't decode"),
    ],
)
def test_json_beyond_the_limits(content, reason, tmp_path, monkeypatch):
    if b"1," in content:
        monkeypatch.setattr(filekind, "MOST_JSON_BYTES", len(content) - 1)
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_json(tmp_path / "a.json")


def test_json_too_large_is_not_begun(tmp_path):
    with (tmp_path / "a.json").open("wb") as sparse:
        sparse.truncate(filekind.MOST_JSON_BYTES + 1)
    with pytest.raises(ValueError, match=r"it has 4\.0 GB"):
        read_json(tmp_path / "a.json")


class Foreign:
    """Pickles as an object of another program's class, which is not installed."""

    def __reduce__(self):
        return (print, ("it ran",))


def foreign_object() -> bytes:
    content = pickle.dumps(Foreign(), protocol=2)
    return content.replace(b"c__builtin__\nprint\n", b"cultralytics.nn.tasks\nDetectionModel\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": {}, "__author__": "Detectron2 Model Zoo"}, "Detectron2 wrote it"),
        ({"model": {"roi_heads.box_head.fc1.weight": 1}, "iteration": 9}, "Detectron2 wrote it"),
        ({"meta": {"mmdet_version": "3"}, "state_dict": {}}, "MMDetection wrote it"),
        ({"backbone.body.conv1.weight": 1}, "torchvision's detectors wrote it"),
        ({"conv1.weight": 1, "fc.weight": 1}, "a backbone to start from, for model.backbone"),
        ({"blobs": {"conv1_w": 1}}, "Detectron wrote it"),
        ({"weight": 1}, ""),
    ],
)
def test_w5_other_programs_are_known_by_their_names(content, words, tmp_path):
    path = tmp_path / "a"
    for form in ("torch", "legacy", "pickle"):
        if form == "pickle":
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
        assert words in origin_of(path), form
        assert bool(words) == bool(origin_of(path))


def test_w5_classes_of_other_programs_are_known_and_not_made(tmp_path, capsys):
    (tmp_path / "a.pt").write_bytes(foreign_object())
    assert "Ultralytics wrote it" in origin_of(tmp_path / "a.pt")
    (tmp_path / "a.caffemodel").write_bytes(b"\x0a\x06ResNet")
    assert "Caffe wrote it" in origin_of(tmp_path / "a.caffemodel")
    assert capsys.readouterr().out == ""


def test_what_is_no_pickle_or_a_cut_one_has_no_origin(tmp_path):
    whole = pickle.dumps({"a": 1})
    for content in (b"", b"text", b"PK\x03\x04 cut", whole[:-3], b"\x80\x04\xff"):
        (tmp_path / "a").write_bytes(content)
        assert origin_of(tmp_path / "a") == ""
