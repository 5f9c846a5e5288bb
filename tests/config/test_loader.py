"""Config files to a checked config. Rows C1 to C17 of the table of faults bear their ids."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rfcn.config.loader import (
    MAX_BASES,
    config_from_mapping,
    dump_config,
    find_config,
    load_config,
    override_config,
)
from rfcn.config.nodes import MAX_BYTES
from rfcn.config.schema import Config, Data, ResNetBackbone, Sampled, TinyBackbone
from rfcn.errors import ConfigError


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def fault(folder: Path, text: str, *overrides: str) -> str:
    """The error of a config file named a.yaml."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, "a.yaml", text), overrides)
    assert "\n\n" not in str(caught.value), "an error is one paragraph"
    return str(caught.value)


# ------------------------------------------------------------------------------------- what works


def test_nothing_written_means_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "a.yaml", "{}")) == Config()
    assert config_from_mapping({}) == Config()


def test_values_lists_and_c4_numbers(tmp_path: Path) -> None:
    text = "train: {lr: 5e-4, lr_steps: [10, 20_000]}\ndata:\n  classes: [no, two words]\n"
    config = load_config(write(tmp_path, "a.yaml", text))
    assert config.train.lr == 0.0005
    assert config.train.lr_steps == (10, 20000)
    assert config.data.classes == ("no", "two words")


def test_bases_merge_in_order_and_the_file_wins(tmp_path: Path) -> None:
    write(tmp_path, "one.yaml", "train: {lr: 1.0, momentum: 0.1, weight_decay: 0.1}")
    write(tmp_path, "sub/two.yaml", "base: ../one.yaml\ntrain: {momentum: 0.2}")
    write(tmp_path, "three.yaml", "train: {lr: 3.0}")
    file = write(tmp_path, "a.yaml", "base: [sub/two.yaml, three.yaml]\ntrain: {weight_decay: 0.4}")
    train = load_config(file).train
    assert (train.lr, train.momentum, train.weight_decay) == (3.0, 0.2, 0.4)


def test_two_bases_may_share_a_base(tmp_path: Path) -> None:
    write(tmp_path, "root.yaml", "train: {lr: 1.0}")
    write(tmp_path, "b.yaml", "base: root.yaml")
    write(tmp_path, "c.yaml", "base: root.yaml")
    assert load_config(write(tmp_path, "a.yaml", "base: [b.yaml, c.yaml]")).train.lr == 1.0


def test_a_part_of_another_type_replaces_the_one_below(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "model: {backbone: {depth: 50, frozen_stages: 4}}")
    file = write(tmp_path, "a.yaml", "base: base.yaml\nmodel: {backbone: {type: tiny, width: 8}}")
    assert load_config(file).model.backbone == TinyBackbone(type="tiny", width=8)
    back = load_config(file, ["model.backbone.type=resnet"]).model.backbone
    assert back == ResNetBackbone(), "and back again, to that type's defaults"


def test_a_setting_of_a_part_merges(tmp_path: Path) -> None:
    file = write(tmp_path, "a.yaml", "model: {backbone: {frozen_stages: 4}}")
    backbone = load_config(file, ["model.backbone.depth=50"]).model.backbone
    assert backbone == ResNetBackbone(depth=50, frozen_stages=4)


@pytest.mark.parametrize("order", [1, -1])
def test_overrides_of_a_part_in_any_order(order: int) -> None:
    words = ["model.roi_loss.type=sampled", "model.roi_loss.rois=64"][::order]
    config = config_from_mapping({}, words)
    assert config.model.roi_loss == Sampled(type="sampled", rois=64)


def test_overriding_a_config() -> None:
    config = config_from_mapping({"model": {"backbone": {"type": "tiny", "width": 8}}})
    again = override_config(config, ["model.backbone.width=16", "data.train_short_sides=[64, 96]"])
    assert again.model.backbone == TinyBackbone(type="tiny", width=16)
    assert again.data.train_short_sides == (64, 96)
    assert override_config(config, []) == config


# ----------------------------------------------------------------------------------------- dumping


NAMES = st.text(st.characters(codec="utf-8"), min_size=1).filter(
    lambda name: name.strip() and name.lower() != "background"
)


@settings(deadline=None, max_examples=30)
@example(classes=["a\x85b"], lr=1.0, root="\u2028")
@given(
    classes=st.lists(NAMES, min_size=1, unique=True), lr=st.floats(1e-300, 1e300), root=st.text()
)
def test_reading_a_dump_gives_the_same_config(
    tmp_path_factory: pytest.TempPathFactory, classes: list[str], lr: float, root: str
) -> None:
    root = root.encode("utf-8", "replace").decode()
    config = config_from_mapping({"data": {"classes": classes, "root": root}, "train": {"lr": lr}})
    file = tmp_path_factory.mktemp("dump") / "a.yaml"
    file.write_text(dump_config(config), encoding="utf-8", newline="")
    assert load_config(file) == config


@pytest.mark.parametrize(
    "word", ["5e-4", "1e3", "no", "null", "~", "12", "1_0", "true", "- a", "#x"]
)
def test_texts_that_look_like_something_else_are_dumped_in_quotes(
    word: str, tmp_path: Path
) -> None:
    config = config_from_mapping({"data": {"classes": [word], "root": word}})
    assert load_config(write(tmp_path, "a.yaml", dump_config(config))) == config


def test_a_dump_of_a_config_with_other_parts(tmp_path: Path) -> None:
    config = config_from_mapping(
        {"model": {"backbone": {"type": "tiny"}, "roi_loss": {"type": "sampled"}}}
    )
    assert load_config(write(tmp_path, "a.yaml", dump_config(config))) == config


# ----------------------------------------------------------------------------------------- finding


# L10
@pytest.mark.parametrize("name", ["rfcn/r101_voc.yaml", "configs/rfcn/r101_voc.yaml"])
def test_l10_shipped_configs_are_found_from_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_config(name).model.roi_loss, Sampled)


def test_a_file_on_disk_comes_before_a_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "rfcn/r101_voc.yaml", "train: {lr: 0.5}")
    assert load_config("rfcn/r101_voc.yaml").train.lr == 0.5


def test_a_base_may_be_a_shipped_config(tmp_path: Path) -> None:
    file = write(tmp_path, "a.yaml", "base: rfcn/r101_voc.yaml\ntrain: {lr: 0.5}")
    config = load_config(file)
    assert config.train.lr == 0.5
    assert isinstance(config.model.roi_loss, Sampled)


# C8
def test_c8_missing_names_the_nearest_shipped_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such config file.*'rfcn/r101_voc\.yaml'"):
        find_config("rfcn/r110_voc.yaml")
    with pytest.raises(ConfigError, match="no such config file"):
        find_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="no such config file"):
        find_config("../configs/rfcn/r101_voc.yaml/..")


# ------------------------------------------------------------------------------------- bad files


# C6
@pytest.mark.parametrize(
    ("text", "part"),
    [("", "empty"), ("# nothing\n", "empty"), ("- a\n- b\n", "mapping"), ("hello", "mapping")],
)
def test_c6_a_config_is_a_mapping(text: str, part: str, tmp_path: Path) -> None:
    message = fault(tmp_path, text)
    assert "a.yaml" in message
    assert part in message


# C7
def test_c7_syntax_error_in_a_base_names_the_base(tmp_path: Path) -> None:
    write(tmp_path, "broken.yaml", "train:\n\tlr: 1\n")
    assert "broken.yaml:2:1" in fault(tmp_path, "base: broken.yaml")


# C8
def test_c8_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)


# C8
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_c8_unreadable(tmp_path: Path) -> None:
    file = write(tmp_path, "a.yaml", "{}")
    file.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(file)


# C8
def test_c8_an_error_of_the_system_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = write(tmp_path, "a.yaml", "{}")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"a\.yaml: cannot be read: Permission denied"):
        load_config(file)


# C8
def test_c8_encodings(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbftrain: {lr: 0.5}\r\n")
    assert load_config(file).train.lr == 0.5
    file.write_bytes("data:\n  root: caf\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"a\.yaml:2: not UTF-8"):
        load_config(file)


# C11
def test_c11_too_large(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    with file.open("wb") as sparse:
        sparse.truncate(100 * 2**20)
    with pytest.raises(ConfigError, match=f"more than {MAX_BYTES // 1024} KiB"):
        load_config(file)


# C9
def test_c9_missing_base(tmp_path: Path) -> None:
    message = fault(tmp_path, "\nbase: absent.yaml\n")
    assert "a.yaml:2: base: no such file" in message
    assert "absent.yaml" in message


# C9
@pytest.mark.parametrize("value", ["5", "[a.yaml, 5]", "{a: b}", ""])
def test_c9_a_base_is_a_name_or_a_list_of_names(value: str, tmp_path: Path) -> None:
    assert "base: expected a file name" in fault(tmp_path, f"base: {value}")


# C9
def test_c9_circle(tmp_path: Path) -> None:
    write(tmp_path, "b.yaml", "base: c.yaml")
    write(tmp_path, "c.yaml", "base: a.yaml")
    message = fault(tmp_path, "base: b.yaml")
    places = [message.index(name) for name in ("a.yaml -> ", "b.yaml -> ", "c.yaml -> ")]
    assert places == sorted(places), "the chain is shown"
    assert "circle" in message


# C9
def test_c9_too_deep(tmp_path: Path) -> None:
    for number in range(MAX_BASES + 1):
        write(tmp_path, f"{number}.yaml", f"base: {number + 1}.yaml")
    write(tmp_path, f"{MAX_BASES + 1}.yaml", "{}")
    assert f"more than {MAX_BASES} files deep" in fault(tmp_path, "base: 0.yaml")
    assert load_config(tmp_path / "1.yaml") == Config(), "as deep as allowed"


# ------------------------------------------------------------------------------------ bad content


# C1
def test_c1_unknown_key_gives_file_line_and_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "model:\n  rio_head: {k: 3}\n")
    message = fault(tmp_path, "base: base.yaml\ntrain:\n  batch_siez: 4\n")
    assert "base.yaml:2: model.rio_head: unknown key. Did you mean 'model.roi_head'?" in message
    assert "a.yaml:3: train.batch_siez: unknown key. Did you mean 'train.batch_size'?" in message


# C1
def test_c1_unlike_any_name_lists_the_names(tmp_path: Path) -> None:
    assert "The keys of eval are: metric, iou_thresholds" in fault(tmp_path, "eval: {xyz: 1}")


# C2
@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("momentum: 1", "train.momentum"),
        ("lr: 1", "train.lr or train.scheme.lr"),
        ("batch_size: 1", "train.batch_size"),
        ("device: cpu", "runtime.device"),
        ("backbone: {}", "model.backbone"),
        ("classes: [a]", "data.classes"),
        ("train: {workers: 1}", "data.workers"),
        ("model: {k: 3}", "model.roi_head.k"),
        ("model: {anchors: {}}", "model.proposer.anchors"),
        ("data: {seed: 1}", "runtime.seed"),
        ("model: {roi_head: {depth: 50}}", "model.backbone.depth"),
        ("nms_threshold: 0.5", "model.postprocess.nms_threshold or model.proposer.nms_threshold"),
    ],
)
def test_c2_a_key_at_the_wrong_level_names_its_place(
    written: str, place: str, tmp_path: Path
) -> None:
    message = fault(tmp_path, written)
    assert "a.yaml:1: " in message
    assert f"unknown key. Its place is {place}." in message


# C2
def test_c2_a_key_of_another_type(tmp_path: Path) -> None:
    message = fault(tmp_path, "model:\n  roi_loss:\n    rois: 64\n")
    assert "a.yaml:3: model.roi_loss.rois" in message
    assert "It belongs to model.roi_loss of type 'sampled'." in message


# C3
def test_c3_the_line_of_the_file_that_wrote_it(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "train:\n  momentum: 0.9\n  batch_size: four\n")
    message = fault(tmp_path, "base: base.yaml\ntrain: {lr: 1.0}\n")
    assert message.endswith(
        "base.yaml:3: train.batch_size: found the text 'four', expected an integer of at least 1."
    )


# C3
def test_c3_in_a_list_and_in_a_section(tmp_path: Path) -> None:
    message = fault(tmp_path, "train:\n  lr_steps:\n    - 5\n    - six\n")
    assert "a.yaml:4: train.lr_steps[1]: found the text 'six'" in message
    assert "a.yaml:1: train: found nothing (null), expected a mapping." in fault(tmp_path, "train:")


# C13
def test_c13_contradictions_name_both_keys_and_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "train:\n  lr_steps: [500]\n")
    text = "base: base.yaml\n\ntrain:\n  iterations: 400\n  warmup_iterations: 0\n"
    message = fault(tmp_path, text)
    assert "lr_steps must stay below iterations" in message
    assert "base.yaml:2)" in message
    assert "a.yaml:4)" in message


# C17
def test_c17_overrides_are_named_as_typed(tmp_path: Path) -> None:
    assert fault(tmp_path, "{}", "train.lrr=1").startswith(
        "command line: train.lrr=1: train.lrr: unknown key. Did you mean 'train.lr'?"
    )
    assert fault(tmp_path, "{}", "train.lr=fast").startswith(
        "command line: train.lr=fast: train.lr: found the text 'fast'"
    )
    assert "A list of one is written [5]." in fault(tmp_path, "{}", "train.lr_steps=5")
    assert "model.backbone.type=tiny" in fault(tmp_path, "{}", "model.backbone=tiny")


def test_a_mapping_is_named_by_its_source() -> None:
    with pytest.raises(ConfigError, match=r"^config\.json: train\.lr: found the text 'x'"):
        config_from_mapping({"train": {"lr": "x"}}, source="config.json")
    with pytest.raises(ConfigError, match=r"^mapping: "):
        config_from_mapping({5: 6})  # type: ignore[dict-item]


def test_a_config_is_frozen() -> None:
    data = config_from_mapping({}).data
    with pytest.raises(ValueError, match="frozen"):
        data.root = "elsewhere"  # type: ignore[misc]
    assert isinstance(data, Data)
