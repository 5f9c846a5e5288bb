import io
import json
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rfcn.engine.weights import check_classes, load_into, load_weights, save_weights
from rfcn.errors import NumericalError, WeightsError

METADATA = {
    "classes": ["aéroplane", "dog"],
    "config": {"model": {"roi_head": {"type": "rfcn", "k": 7}}},
    "metrics": {"mAP@0.5": 0.5, "n/a": None},
}


@pytest.fixture
def folder(tmp_path):
    save_weights(tmp_path / "best", nn.Linear(30, 20).state_dict(), METADATA)
    return tmp_path / "best"


def test_what_goes_in_comes_out_of_the_folder_and_of_the_file(tmp_path):
    state = nn.BatchNorm2d(3).state_dict()  # float tensors and an int64 scalar
    file = save_weights(tmp_path, state, METADATA)
    for path in (tmp_path, file):
        loaded, metadata = load_weights(path)
        assert metadata == {"format": 2, **METADATA}
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[name], state[name]) for name in state)
        assert all(loaded[name].dtype == state[name].dtype for name in state)
    readable = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert len(readable.pop("sha256")) == 64
    assert readable == metadata
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]


def test_the_file_is_complete_without_its_neighbour(folder):
    (folder / "config.json").unlink()
    assert load_weights(folder)[1]["classes"] == METADATA["classes"]


def test_shared_transposed_and_half_tensors(tmp_path):
    base = torch.arange(6.0).reshape(2, 3)
    state = {"a": base, "same": base, "turned": base.T, "half": base.half(), "scalar": base[0, 1]}
    save_weights(tmp_path, state, METADATA)
    loaded, _ = load_weights(tmp_path)
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert loaded["half"].dtype == torch.float16


def test_not_finite_weights_are_not_written_and_keep_the_old(folder):
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(NumericalError, match="bias"):
        save_weights(folder, {"bias": torch.tensor([float("nan")])}, METADATA)
    assert (folder / "model.safetensors").read_bytes() == before


def pickle_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "missing"),
        (b"", "an empty file"),
        (b"hello", "a text file"),
        (b"<!doctype html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (pickle_file(), "a PyTorch file, not safetensors"),
        (b"\x80\x04K\x01.", "a pickle, not safetensors"),
    ],
)
def test_w1_the_kind_of_a_wrong_file_is_named(tmp_path, content, words):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        load_weights(path)


def test_w1_a_folder_without_weights_says_where_they_are(tmp_path):
    with pytest.raises(WeightsError, match=r"folder without model\.safetensors.*RUN/weights/best"):
        load_weights(tmp_path)


@pytest.mark.parametrize("length", [20, 200, -4])
def test_w2_a_cut_file(folder, length):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        load_weights(folder)


def test_w3_one_flipped_bit_is_found(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"is damaged: .* sha256"):
        load_weights(folder)


def test_weights_without_a_digest_are_read(tmp_path):
    facts = {"rfcn": json.dumps({"format": 2, **METADATA})}
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors", metadata=facts)
    assert load_weights(tmp_path)[0]["a"] == 1


@pytest.mark.parametrize("facts", [None, {}, {"rfcn": "{"}, {"rfcn": "[]"}, {"rfcn": "{}"}])
def test_w5_safetensors_of_another_program(tmp_path, facts):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", metadata=facts)
    with pytest.raises(WeightsError, match="another program"):
        load_weights(tmp_path)


def test_w9_not_finite_weights_are_named(tmp_path):
    facts = {"rfcn": json.dumps({"format": 2, **METADATA})}
    state = {"head.bias": torch.tensor([float("inf")])}
    save_file(state, tmp_path / "model.safetensors", metadata=facts)
    with pytest.raises(WeightsError, match=r"head\.bias"):
        load_weights(tmp_path)


@pytest.mark.parametrize("version", [3, "1"])
def test_w11_a_newer_format_names_both_versions(tmp_path, version):
    facts = {"rfcn": json.dumps({**METADATA, "format": version})}
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", metadata=facts)
    with pytest.raises(WeightsError, match=rf"format {version}.*up to 2"):
        load_weights(tmp_path)


def test_weights_whose_rows_lie_in_the_earlier_order_are_refused(tmp_path):
    facts = {"rfcn": json.dumps({**METADATA, "format": 1})}
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", metadata=facts)
    with pytest.raises(WeightsError, match=r"format 1, in which the rows.*reads 2.*CHANGELOG"):
        load_weights(tmp_path)


def test_classes_that_are_no_list_are_refused(tmp_path):
    facts = {"rfcn": json.dumps({"format": 2, "classes": "dog"})}
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", metadata=facts)
    with pytest.raises(WeightsError, match="no list of names"):
        load_weights(tmp_path)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_w8_weights_go_in_with_or_without_the_prefix_of_a_wrapper(prefix):
    source, model = nn.Linear(3, 2), nn.Linear(3, 2)
    load_into(model, {prefix + name: value for name, value in source.state_dict().items()})
    assert torch.equal(model.weight, source.weight)


def test_w8_weights_of_a_moving_average_alone_go_in():
    source, model = torch.optim.swa_utils.AveragedModel(nn.Linear(3, 2)), nn.Linear(3, 2)
    load_into(model, source.state_dict())
    assert torch.equal(model.weight, source.module.weight)


def test_w8_a_part_named_like_a_wrapper_stays(tmp_path):
    model = nn.ModuleDict({"module": nn.Linear(1, 1), "other": nn.Linear(1, 1)})
    load_into(model, {name: torch.ones_like(one) for name, one in model.state_dict().items()})
    assert model["module"].weight == 1


def test_w10_half_precision_weights_go_into_a_model_of_single():
    source, model = nn.Linear(3, 2).half(), nn.Linear(3, 2)
    load_into(model, source.state_dict())
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, source.weight.float())


def test_w7_the_first_five_differences_are_shown_and_nothing_is_loaded():
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: torch.zeros(3) for name in before if name != "0.weight"}
    state["extra"] = torch.zeros(1)
    with pytest.raises(WeightsError) as caught:
        load_into(model, state)
    message = str(caught.value)
    assert "9 of 9 tensors differ, the first 5" in message
    assert "0.weight: model (2, 2), file without" in message
    assert "0.bias: model (2,), file (3,)" in message
    assert message.count("file (3,)") == 4
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def test_w8_an_extra_tensor_is_named():
    model = nn.Linear(1, 1)
    with pytest.raises(WeightsError, match=r"extra: model without, file \(1,\)"):
        load_into(model, model.state_dict() | {"extra": torch.zeros(1)})


def test_equal_class_lists_pass():
    check_classes(("cat", "dog"), ["cat", "dog"])


def test_w6_class_lists_are_shown_side_by_side():
    with pytest.raises(WeightsError) as caught:
        check_classes(["cat", "dog", "elephant"], ["cat", "horse"])
    rows = [line.split() for line in str(caught.value).splitlines()[2:5]]
    assert rows[0] == ["1", "cat", "cat"]
    assert rows[1][:3] == ["2", "dog", "horse"]
    assert rows[2][:3] == ["3", "elephant", "-"]
    assert rows[1][-1] == rows[2][-1] == "differs"


def test_w6_the_message_says_what_takes_over_what_is_known():
    with pytest.raises(WeightsError, match=r"train\.start_from"):
        check_classes(["cat"], ["dog"])


def test_w6_another_order_is_another_list():
    with pytest.raises(WeightsError, match="another order"):
        check_classes(["cat", "dog"], ["dog", "cat"])
