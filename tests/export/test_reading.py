"""An exported file comes back through `load_model` as the model and the tokenizer that it was made of."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import pre_tokenizers

from codeparrot.cli import main
from codeparrot.generation.healing import vocabulary_of
from codeparrot.loading import load_model, load_tokenizer
from codeparrot.stream.encode import probe_texts
from codeparrot.stream.sentinels import sentinels_of
from tests.export.models import CONTEXT, MODELS


def logits(folder: Path) -> torch.Tensor:
    model, _ = load_model(str(folder), "cpu")
    with torch.no_grad():
        return model(input_ids=torch.arange(300, 300 + CONTEXT)[None]).logits


@pytest.mark.parametrize("name", MODELS)
def test_a_file_gives_the_logits_of_its_model(name, model_of, file_of) -> None:
    """Settings that transformers passes over would change all of them: positions, inner width, rotary factors."""
    torch.testing.assert_close(logits(file_of(name)), logits(model_of(name)), rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama tied"])
def test_a_file_gives_the_settings_of_its_model(name, model_of, file_of) -> None:
    ours, theirs = (load_model(str(place(name)), "cpu")[0].config for place in (model_of, file_of))
    for setting in ("max_position_embeddings", "vocab_size", "eos_token_id", "bos_token_id", "tie_word_embeddings"):
        assert getattr(theirs, setting) == getattr(ours, setting), setting


@pytest.mark.parametrize("name", ["gpt2", "gpt2 untied"])
def test_a_file_gives_the_tokenizer_of_its_model(name, model_of, file_of) -> None:
    (_, ours), (_, theirs) = (load_model(str(place(name)), "cpu") for place in (model_of, file_of))
    assert theirs.get_vocab() == ours.get_vocab(), "rows without a token are none"
    assert sentinels_of(theirs) == sentinels_of(ours)
    assert (theirs.bos_token_id, theirs.eos_token_id) == (ours.bos_token_id, ours.eos_token_id)
    for text in probe_texts(ours.backend_tokenizer.to_str()):
        assert theirs(text, split_special_tokens=True)["input_ids"] == ours(text, split_special_tokens=True)["input_ids"]
    told, known = vocabulary_of(theirs), vocabulary_of(ours)
    assert told is not None and known is not None and told.bytes_of == known.bytes_of


def test_digits_that_stand_alone_do_so_in_a_file_too(model_of, tmp_path) -> None:
    folder = tmp_path / "digits"
    shutil.copytree(model_of("gpt2"), folder)
    tokenizer = load_tokenizer(str(folder))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8"
    )
    assert main(["export", "--checkpoint", str(folder), "--output", str(tmp_path / "a.gguf")]) == 0
    (_, ours), (_, theirs) = load_model(str(folder), "cpu"), load_model(str(tmp_path / "a.gguf"), "cpu")
    text = "x = 1234 + 10000"
    ids = ours(text)["input_ids"]
    assert theirs(text)["input_ids"] == ids != load_tokenizer(str(model_of("gpt2")))(text)["input_ids"]


def test_complete_fills_in_the_middle_with_a_file_as_with_its_model(model_of, file_of, capsys) -> None:
    words = ["--prompt", "def f(x):\n    ret", "--suffix", "\n\n\ndef g(x):\n    pass\n", "--max_new_tokens", "12", "--json"]
    texts = []
    for place in (model_of("gpt2 untied"), file_of("gpt2 untied")):
        capsys.readouterr()
        assert main(["complete", "--checkpoint", str(place), "--temperature", "0", *words]) == 0
        texts.append(json.loads(capsys.readouterr().out)["completions"])
    assert texts[0] == texts[1] and texts[0][0]


def test_a_file_is_evaluated_as_its_model(model_of, file_of, texts, tmp_path, capsys) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps({"content": texts[0][:4000]}) + "\n", encoding="utf-8")
    losses = []
    for place in (model_of("llama 3"), file_of("llama 3")):
        capsys.readouterr()
        data = ["--data", str(tmp_path / "data.jsonl"), "--json"]
        assert main(["eval", "perplexity", "--checkpoint", str(place), *data]) == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
