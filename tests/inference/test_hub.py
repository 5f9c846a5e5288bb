"""The Hugging Face hub, played by a folder: there is no network in tests."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from rfcn.errors import MachineError, WeightsError
from rfcn.inference.detector import Detector
from rfcn.inference.hub import fetch_weights, is_hub_id, send_folder


class FakeHub:
    """What of huggingface_hub is used, over a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[dict[str, Any]] = []

    def snapshot_download(
        self, repo_id: str, *, revision: str | None, allow_patterns: list[str]
    ) -> str:
        self.asked.append({"revision": revision, "allow_patterns": allow_patterns})
        if not (self.root / repo_id).is_dir():
            raise OSError("404 Client Error.\n\nRepository Not Found for url: ...")
        return str(self.root / repo_id)

    def HfApi(self) -> "FakeHub":  # noqa: N802 - its name
        return self

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
        if repo_id.startswith("stranger/"):
            raise RuntimeError("403 Forbidden")
        self.asked.append({"private": private, "exist_ok": exist_ok})
        return f"https://hub.test/{repo_id}"

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.asked.append({"message": commit_message})
        shutil.copytree(folder_path, self.root / repo_id)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def test_there_and_back(tiny: Detector, photo, hub: FakeHub) -> None:
    assert tiny.push_to_hub("ann/foxes") == "https://hub.test/ann/foxes"
    assert hub.asked == [{"private": True, "exist_ok": True}, {"message": "Weights of foxes"}]
    assert {path.name for path in (hub.root / "ann" / "foxes").iterdir()} == {
        *("model.safetensors", "config.json", "README.md")
    }
    assert "# foxes\n" in (hub.root / "ann" / "foxes" / "README.md").read_text()
    back = Detector.from_pretrained("ann/foxes", revision="v2")
    assert hub.asked[-1]["revision"] == "v2"
    assert "model.safetensors" in hub.asked[-1]["allow_patterns"]
    assert back.predict(photo).boxes.equal(tiny.predict(photo).boxes)


def test_a_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_id("ann/foxes")
    for other in (
        *("runs/absent", "runs", "foxes", "/ann/foxes", "ann/foxes/x", "../ann", "ann/"),
        Path("ann/foxes"),
    ):
        assert not is_hub_id(other)
    (tmp_path / "ann" / "foxes").mkdir(parents=True)
    assert not is_hub_id("ann/foxes")
    assert fetch_weights("ann/foxes") == Path("ann/foxes")


def test_what_the_hub_does_not_have(hub: FakeHub) -> None:
    with pytest.raises(WeightsError, match=r"ann/none at v1: .* \(404 Client Error\)\. Check"):
        fetch_weights("ann/none", revision="v1")
    with pytest.raises(MachineError, match=r"stranger/x: .* did not take .*\(403 Forbidden\)"):
        send_folder(lambda folder: None, "stranger/x", private=True, message="")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tiny: Detector) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (Detector.from_pretrained, tiny.push_to_hub):
        with pytest.raises(MachineError, match=r"ann/foxes: .*pip install 'rfcn\[hub\]'"):
            call("ann/foxes")
