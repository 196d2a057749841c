"""The score covers the whole validation set, whatever the batch size, the lanes' short windows and the number of processes."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BloomConfig, BloomForCausalLM

from codeparrot.cli import main
from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.eval.sliding import SlidingWindows
from codeparrot.eval.tasks.perplexity import bytes_per_token, evaluate, perplexity
from codeparrot.loading import load_tokenizer
from codeparrot.model.families import build_model, model_config
from codeparrot.stream import load_validation_set, make_encoder
from codeparrot.stream.labels import languages_to_measure
from tests.conftest import python_sources

SIZES = {"family": "gpt2", "vocab_size": 512, "n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return build_model(model_config(SIZES), seed=1)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return load_tokenizer(str(tokenizer_folder))


@pytest.fixture(scope="module")
def stream(corpus) -> StreamConfig:
    return StreamConfig(valid=str(corpus), seq_length=64, lanes=4)


@pytest.fixture(scope="module")
def valid(stream, tokenizer_json):
    return load_validation_set(stream, make_encoder(tokenizer_json, 0))


def score(model, valid, tokenizer, batch_size=16, **options):
    token_bytes = bytes_per_token(tokenizer, 512)
    found = evaluate(model, valid, batch_size=batch_size, token_bytes=token_bytes, device=CPU, **options)
    assert found is not None
    return found


def test_an_evaluation_that_is_broken_off_has_no_score_and_leaves_the_model_training(model, valid, tokenizer) -> None:
    model.train()
    batches: list[int] = []
    options = {"progress": lambda: batches.append(1), "broken_off": lambda: len(batches) == 2}
    token_bytes = bytes_per_token(tokenizer, 512)
    assert evaluate(model, valid, batch_size=1, token_bytes=token_bytes, device=CPU, **options) is None
    assert len(batches) == 2 and model.training


@pytest.mark.slow
def test_the_loss_is_the_mean_over_every_predicted_token_short_windows_included(model, valid, tokenizer) -> None:
    model.eval()
    nats, tokens = 0.0, 0
    with torch.no_grad():
        for window in valid.windows:
            ids = torch.from_numpy(window.astype(np.int64))
            logits = model.model(ids[None]).logits[0]
            nats += float(cross_entropy(logits[:-1].double(), ids[1:], reduction="sum"))
            tokens += len(ids) - 1
    model.train()
    measured = score(model, valid, tokenizer)
    assert any(len(window) < 64 for window in valid.windows)
    assert measured.tokens == tokens
    assert measured.loss == pytest.approx(nats / tokens, rel=1e-5)
    assert measured.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_score_does_not_depend_on_the_batch_size(model, valid, tokenizer, batch_size) -> None:
    part = valid.sample(50)
    assert score(model, part, tokenizer, batch_size).loss == pytest.approx(score(model, part, tokenizer, 16).loss, rel=1e-6)


@pytest.mark.slow
def test_processes_with_uneven_shares_run_as_many_batches_and_get_the_score_of_one(
    model, valid, stream, tokenizer, tokenizer_json
) -> None:
    shares = [load_validation_set(stream, make_encoder(tokenizer_json, 0), rank=rank, world_size=4) for rank in range(4)]
    counts = [share.num_batches(8) for share in shares]
    assert len(set(counts)) > 1
    sums, calls = [], []
    for share in shares:
        batches = []
        score(
            *(model, share, tokenizer, 8),
            add_up=lambda own: sums.append(own.clone()) or own,
            most=lambda count: max(counts),
            progress=lambda batches=batches: batches.append(1),
        )
        calls.append(len(batches))
    assert set(calls) == {max(counts)}
    together = torch.stack(sums).sum(0)
    assert float(together[0] / together[1]) == pytest.approx(score(model, valid, tokenizer).loss, rel=1e-6)
    assert int(together[1]) == score(model, valid, tokenizer).tokens


def test_bits_per_byte_count_the_bytes_of_the_text(tokenizer, tokenizer_json) -> None:
    text = "def f():\n    return 'é漢字' * 3\n"
    ids, _ = make_encoder(tokenizer_json, 0).encode([text])
    counts = bytes_per_token(tokenizer, 600)
    assert int(counts[torch.from_numpy(ids.astype(np.int64))].sum()) == len(text.encode())
    assert counts[0] == 0 and counts[512:].sum() == 0


def test_evaluation_leaves_the_model_in_training(model, valid, tokenizer) -> None:
    part = valid.sample(3)
    assert model.training
    score(model, part, tokenizer)
    assert model.training


def test_the_command_measures_a_checkpoint(tmp_path, model, tokenizer, corpus, valid) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "step_00000007"
    model.model.save_pretrained(checkpoint / "model")
    tokenizer.save_pretrained(checkpoint / "model")
    (checkpoint / "manifest.json").write_text('{"step": 7, "tokens": 5}')
    # A run is named: the result says which of its models was read.
    result = perplexity(str(tmp_path / "run"), [str(corpus)], batch_size=32)
    assert (result.data["checkpoint"], result.data["model"]) == (str(tmp_path / "run"), str(checkpoint / "model"))
    assert result.data["loss"] == pytest.approx(score(model, valid, tokenizer).loss, rel=1e-2)
    assert result.data["tokens"] > 10_000 and "perplexity" in result.text
    with pytest.raises(CodeparrotError, match="/nowhere"):
        perplexity("/nowhere/x", [str(corpus)])


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> str:
    """Documents of three languages, as far as their column says."""
    file = tmp_path_factory.mktemp("several") / "valid.jsonl"
    names = ["Python", "Rust", None]
    rows = [{"content": text[:400], "language": names[index % 3]} for index, text in enumerate(python_sources(30))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def test_the_languages_weighted_by_their_tokens_are_the_whole(model, tokenizer, tokenizer_json, several) -> None:
    settings, encoder = StreamConfig(valid=several, seq_length=64, lanes=4), make_encoder(tokenizer_json, 0)
    alone = score(model, load_validation_set(settings, encoder), tokenizer)
    valid = load_validation_set(settings, encoder, by_language=True)
    valid = valid.named(names := languages_to_measure([valid.tokens_by_language]))
    for batch_size in (1, 7, 64):
        found = score(model, valid, tokenizer, batch_size, languages=names)
        parts = found.languages or {}
        assert set(parts) == {"python", "rust", "unknown"} and alone.languages is None
        assert {name: each["tokens"] for name, each in parts.items()} == valid.tokens_by_language
        assert sum(each["tokens"] for each in parts.values()) == found.tokens == alone.tokens
        whole = sum(each["loss"] * each["tokens"] for each in parts.values()) / found.tokens
        assert whole == pytest.approx(found.loss, abs=1e-9) and found.loss == pytest.approx(alone.loss, abs=1e-6)
        assert found.bits_per_byte == pytest.approx(alone.bits_per_byte, rel=1e-6)


def test_the_loss_of_a_language_is_that_of_its_tokens(model, tokenizer, tokenizer_json, several) -> None:
    settings = StreamConfig(valid=several, seq_length=64, lanes=1)
    valid = load_validation_set(settings, make_encoder(tokenizer_json, 0), by_language=True).named(
        ["python", "rust", "unknown"]
    )
    sums = {place: [0.0, 0] for place in range(3)}
    model.eval()
    with torch.no_grad():
        for window, languages in zip(valid.windows, valid.languages, strict=True):
            ids = torch.from_numpy(window.astype(np.int64))
            losses = cross_entropy(model.model(ids[None]).logits[0, :-1].double(), ids[1:], reduction="none")
            for loss, place in zip(losses.tolist(), languages[1:].tolist(), strict=True):
                sums[place][0] += loss
                sums[place][1] += 1
    model.train()
    found = score(model, valid, tokenizer, languages=valid.names).languages or {}
    for place, name in enumerate(valid.names):
        assert found[name]["loss"] == pytest.approx(sums[place][0] / sums[place][1], rel=1e-5)
        assert found[name]["tokens"] == sums[place][1]


def test_the_command_says_the_loss_of_each_language(tmp_path, model, tokenizer, several) -> None:
    model.model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    for stride in (0, 32):
        result = perplexity(str(tmp_path / "model"), [several], stride=stride)
        parts = result.data["languages"]
        assert sum(each["tokens"] for each in parts.values()) == result.data["tokens"]
        whole = sum(each["loss"] * each["tokens"] for each in parts.values()) / result.data["tokens"]
        assert whole == pytest.approx(result.data["loss"], abs=1e-6)
        assert len(result.text.splitlines()) == 4 and "rust " in result.text


def test_a_sliding_window_predicts_each_token_once_with_its_past(model, tokenizer) -> None:
    tokens = np.random.default_rng(0).integers(1, 512, 300).astype(np.uint32)
    model.eval()
    for length, stride in ((64, 16), (64, 63), (64, 40)):
        wanted, ids = 0.0, torch.from_numpy(tokens.astype(np.int64))
        with torch.no_grad():
            for place in range(1, len(tokens)):
                # The first window that contains the token.
                begin = max(0, -(-(place + 1 - length) // stride)) * stride
                logits = model.model(ids[None, begin:place]).logits[0, -1]
                wanted += float(cross_entropy(logits.double(), ids[place]))
        found = score(model, SlidingWindows(tokens, length, stride), tokenizer, 5)
        assert found.tokens == 299 and found.loss == pytest.approx(wanted / 299, rel=1e-5)
    model.train()


def test_windows_of_a_checkpoint_may_overlap_and_any_split_is_measured(tmp_path, model, tokenizer) -> None:
    model.model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    place = str(tmp_path / "model")
    for name, count in (("train", 4), ("valid", 2)):
        texts = (json.dumps({"content": text[:1000]}) + "\n" for text in python_sources(count))
        (tmp_path / f"{name}-00000-of-00001.jsonl").write_text("".join(texts))
    data = [str(tmp_path)]
    side_by_side = perplexity(place, data).data["tokens"]
    # In windows side by side the first tokens are not predicted.
    windows = -(-side_by_side // 63)
    assert perplexity(place, data, stride=32).data["tokens"] == side_by_side + windows - 1
    assert perplexity(place, data, split="train").data["tokens"] > 1.5 * side_by_side
    with pytest.raises(CodeparrotError, match="--stride 64 is out of range: 1 to 63"):
        perplexity(place, data, stride=64)


@pytest.mark.parametrize(
    ("files", "split", "message"),
    [
        (
            ["train-0.jsonl"],
            "valid",
            r"--data: .* holds no valid files, only train \(train-0\.jsonl\); .*, or give --split train$",
        ),
        (["train-0.jsonl", "valid-0.jsonl"], "test", "holds no test files, only train .*, valid .*, or give --split train$"),
        (["a.jsonl"], "sometimes", '"sometimes" is no split: train, valid, test, or give --split train$'),
    ],
)
def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path, model, tokenizer, files, split, message) -> None:
    model.model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    for file in files:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / file).write_text('{"content": "a = 1"}\n', encoding="utf-8")
    with pytest.raises(CodeparrotError, match=message):
        perplexity(str(tmp_path / "model"), [str(tmp_path / "data")], split=split)


def checkpoint(place, model, tokenizer) -> str:
    model.model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


def test_windows_longer_than_the_context_and_batches_without_windows_are_refused(tmp_path, model, tokenizer, corpus) -> None:
    place = checkpoint(tmp_path / "model", model, tokenizer)
    cases: Any = (
        ({"seq_length": 128}, "--seq_length 128 is longer than the context of this gpt2: at most 64"),
        ({"seq_length": 1}, "--seq_length 1 is out of range: at least 2"),
        ({"seq_length": -3}, "--seq_length -3 is out of range"),
        ({"batch_size": 0}, "--batch_size 0 is out of range: at least 1"),
    )
    for options, message in cases:
        with pytest.raises(CodeparrotError, match=message):
            perplexity(place, [str(corpus)], **options)


def test_a_family_without_a_longest_context_is_measured_in_windows_of_the_length_that_is_given(tmp_path, tokenizer) -> None:
    bloom = BloomForCausalLM(BloomConfig(vocab_size=512, hidden_size=32, n_layer=1, n_head=2))
    bloom.save_pretrained(tmp_path / "bloom")
    tokenizer.save_pretrained(tmp_path / "bloom")
    (tmp_path / "a.jsonl").write_text(json.dumps({"content": python_sources(1)[0][:500]}) + "\n", encoding="utf-8")
    data = [str(tmp_path / "a.jsonl")]
    with pytest.raises(CodeparrotError, match=r"bloom has no longest context .*: give --seq_length"):
        perplexity(str(tmp_path / "bloom"), data)
    found = perplexity(str(tmp_path / "bloom"), data, seq_length=32).data
    assert 5 < found["loss"] < 8 and found["seq_length"] == 32
    # A batch is no longer than the data: what would be padding costs nothing.
    assert perplexity(str(tmp_path / "bloom"), data, seq_length=32, batch_size=10**12).data["loss"] == pytest.approx(
        found["loss"]
    )


@pytest.mark.parametrize("content", ["", '{"content": ""}\n'])
def test_data_without_a_token_to_predict_are_an_error_and_no_score(tmp_path, model, tokenizer, content) -> None:
    place = checkpoint(tmp_path / "model", model, tokenizer)
    (tmp_path / "a.jsonl").write_text(content, encoding="utf-8")
    for stride in (0, 32):
        with pytest.raises(CodeparrotError, match=r"a\.jsonl: no tokens to predict in the valid split"):
            perplexity(place, [str(tmp_path / "a.jsonl")], stride=stride)


def test_a_diverged_model_has_null_for_its_loss_in_json(tmp_path, tokenizer, capsys) -> None:
    broken: Any = build_model(model_config(SIZES), seed=1)
    with torch.no_grad():
        broken.model.transformer.wpe.weight[10:].fill_(math.nan)
    place = checkpoint(tmp_path / "model", broken, tokenizer)
    (tmp_path / "a.jsonl").write_text('{"content": "def f(x):\\n    return x + 1 - len(x)"}\n', encoding="utf-8")
    assert main(["eval", "perplexity", "--checkpoint", place, "--data", str(tmp_path / "a.jsonl"), "--json"]) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert (found["loss"], found["perplexity"], found["bits_per_byte"]) == (None, None, None) and found["tokens"] > 5


def test_a_model_that_computes_nothing_finite_is_named(tmp_path, tokenizer, corpus) -> None:
    broken: Any = build_model(model_config(SIZES), seed=1)
    with torch.no_grad():
        broken.model.transformer.ln_f.weight.fill_(math.nan)
    with pytest.raises(CodeparrotError, match="computes numbers that are not finite; name an earlier checkpoint"):
        perplexity(checkpoint(tmp_path / "model", broken, tokenizer), [str(corpus)])
