"""A tokenizer as `codeparrot tokenizer train` makes it, and models with it, each made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from codeparrot.cli import main
from tests.export.models import VOCABULARY, make_model


@pytest.fixture(scope="session")
def trained_tokenizer(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "tokenizer"
    arguments = ["--corpus", str(corpus), "--vocab_size", str(VOCABULARY), "--output", str(folder)]
    assert main(["tokenizer", "train", *arguments]) == 0
    return folder


@pytest.fixture(scope="session")
def model_of(trained_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a model by its name in MODELS."""
    made: dict[str, Path] = {}

    def model(name: str) -> Path:
        if name not in made:
            made[name] = make_model(name, trained_tokenizer, tmp_path_factory.mktemp("models") / name.replace(" ", "-"))
        return made[name]

    return model


@pytest.fixture(scope="session")
def file_of(model_of: Callable[[str], Path]) -> Callable[..., Path]:
    """Return the GGUF file of a model by its name and the type of its numbers."""

    def file(name: str, type: str = "f32") -> Path:
        folder = model_of(name)
        place = folder.with_name(f"{folder.name}-{type}.gguf")
        if not place.exists():
            assert main(["export", "--checkpoint", str(folder), "--output", str(place), "--type", type]) == 0
        return place

    return file
