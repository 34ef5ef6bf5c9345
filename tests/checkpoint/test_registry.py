"""Names of models: what they mean, and what is said when they mean nothing."""

import re
from pathlib import Path

import pytest
from huggingface_hub import constants
from tests.tiny import write_tiny_model

from lichen.checkpoint import registry
from lichen.errors import InputError, ResourceError


@pytest.fixture(autouse=True)
def _empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_known_models_are_sound() -> None:
    models = registry.known_models()
    assert models[0].name == "qwen2.5-coder-0.5b"
    for model in models:
        assert re.fullmatch(r"[0-9a-f]{64}", model.packaged.sha256)
        assert all(re.fullmatch(r"[a-z0-9-]+==[\d.]+", r) for r in model.packaged.requirements)
        assert len(set(model.packaged.requirements)) == len(model.packaged.requirements)
        assert model.hub_id.count("/") == 1
        assert model.licence == "Apache-2.0"
        assert 4 < 8 * model.packaged.size_bytes / model.parameters < 9


def test_a_path_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_model(tmp_path / "org" / "model")
    assert registry.resolve(str(folder), cache=tmp_path) == folder
    assert registry.fetch(str(folder), cache=tmp_path) == folder
    monkeypatch.chdir(tmp_path)
    assert registry.resolve("org/model", cache=tmp_path) == Path("org/model")


def test_fetched_models_lie_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LICHEN_CACHE", raising=False)
    assert registry.default_cache() == Path.home() / ".cache" / "lichen"
    monkeypatch.setenv("LICHEN_CACHE", str(tmp_path))
    assert registry.default_cache() == tmp_path


@pytest.mark.parametrize("model", ["qwen2.5-coder-0.5b", "org/model"])
def test_what_is_not_fetched_names_the_command(tmp_path: Path, model: str) -> None:
    with pytest.raises(InputError, match=f"lichen models fetch {model}$"):
        registry.resolve(model, cache=tmp_path)


@pytest.mark.parametrize(
    "model",
    ["", "nonsense", "a/b/c", "./nowhere", "no/where.gguf", "a b/c", "x" * 5000],
    ids=range(7),
)
def test_what_means_nothing(tmp_path: Path, model: str) -> None:
    with pytest.raises(InputError, match="is no folder"):
        registry.resolve(model, cache=tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        registry.fetch(model, cache=tmp_path)


def test_a_slip_of_the_pen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Did you mean qwen2\.5-coder-0\.5b\?"):
        registry.resolve("qwen2.5-coder-0.5", cache=tmp_path)


def test_a_packaged_model_counts_only_when_whole(tmp_path: Path) -> None:
    model = registry.known_models()[-1]
    path = tmp_path / f"{model.name}.gguf"
    path.write_bytes(b"half")
    with pytest.raises(InputError, match="models fetch"):
        registry.resolve(model.name, cache=tmp_path)
    with path.open("r+b") as file:
        file.truncate(model.packaged.size_bytes)
    assert registry.resolve(model.name, cache=tmp_path) == path
    assert registry.fetch(model.name, cache=tmp_path) == path


def test_without_a_hub_the_short_name_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"lichen models fetch smollm2-135m$"):
        registry.fetch("HuggingFaceTB/SmolLM2-135M-Instruct", cache=tmp_path)


def test_without_a_hub_packages_step_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Path] = []

    def fetch(file: object, target: Path, *, progress: object) -> Path:
        fetched.append(target)
        return target

    monkeypatch.setattr(registry.packages, "fetch", fetch)
    said: list[str] = []
    path = registry.fetch("smollm2-135m", cache=tmp_path, notice=said.append)
    assert fetched == [path] == [tmp_path / "smollm2-135m.gguf"]
    assert "no hub could be reached" in said[0]
    assert "Python packages" in said[0]
    assert len(said) == 2


def test_a_model_that_is_here_says_where_it_came_from(tmp_path: Path) -> None:
    model = registry.known_models()[-1]
    with (tmp_path / f"{model.name}.gguf").open("wb") as file:
        file.truncate(model.packaged.size_bytes)
    said: list[str] = []
    registry.fetch(model.name, cache=tmp_path, notice=said.append)
    assert said == ["smollm2-135m is already here: Q4_1 GGUF, out of Python packages."]


def test_a_path_that_is_not_there_is_not_taken_for_a_model_of_the_hub(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^out/int8: there is no such folder; if it is"):
        registry.resolve("out/int8", cache=tmp_path)
