"""A prompt goes on as text wherever it ends: new tokens spell what was taken back, and the completion begins behind it."""

import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.errors import CodeparrotError
from codeparrot.generation.complete import generate_completions
from codeparrot.generation.engine import Engine
from codeparrot.generation.healing import Vocabulary, take_back, vocabulary_of
from codeparrot.generation.prompts import resolved
from codeparrot.generation.requests import Completion, Request
from codeparrot.generation.sampling import Nucleus
from tests.conftest import python_sources

END: Any = {"bos_token_id": 0, "eos_token_id": 0}
SOURCE = "import numpy as np\n\n\ndef mean(values):\n    return values.sum() / len(x)\n\n\ndef café(x):\n    return 'é€𝒳'\n"
CONTEXT = 192


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def gpt2() -> Any:
    """Has random weights, and more rows than the tokenizer has tokens."""
    torch.manual_seed(0)
    shape: Any = {"vocab_size": 576, "n_positions": CONTEXT, "n_embd": 48, "n_layer": 2, "n_head": 3}
    return GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, **END)).eval()


@pytest.fixture(scope="module")
def trained(tokenizer: Any) -> Any:
    """A GPT-2 that has learned SOURCE by heart."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=512, n_positions=CONTEXT, n_embd=48, n_layer=1, n_head=2, **END)).eval()
    ids = tokenizer(SOURCE)["input_ids"]
    ids = torch.tensor([[0, *ids, 0], [*ids, 0, 0]])  # after the end of another document, and first in the window
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def completed(model: Any, tokenizer: Any, requests: list[Request], batch_size: int = 64) -> list[Completion]:
    with Engine(model, tokenizer, batch_size) as engine:
        found = [engine.submit(request) for request in requests]
        list(engine.run())
    return found


def written(vocabulary: Vocabulary, ids: list[int]) -> bytes:
    return b"".join(vocabulary.bytes_of.get(index, b"") for index in ids)


# --- what the model writes


@pytest.mark.parametrize(
    "where", ["def mean(values):\n", "def mean(values):\n ", "import nump", "import numpy as n", "def m", "de"]
)
def test_a_text_known_by_heart_goes_on_wherever_it_is_cut(where: str, trained, tokenizer) -> None:
    prompt = SOURCE[: SOURCE.index(where) + len(where)]
    options: Any = {"temperature": 0, "stop": (), "max_new_tokens": 100}
    (text,) = generate_completions(trained, tokenizer, prompt, **options)
    assert prompt + text == SOURCE.rstrip()


@pytest.mark.slow
def test_a_text_known_by_heart_goes_on_from_every_byte(trained, tokenizer) -> None:
    data = SOURCE.rstrip().encode()
    prompts = [data[:length] for length in range(len(data))]
    found = completed(trained, tokenizer, [Request(prompt, max_new_tokens=120) for prompt in prompts])
    ids = tokenizer(SOURCE)["input_ids"]
    known = 0
    for prompt, completion in zip(prompts, found, strict=True):
        own = completion.prompt if completion.prompt != [0] else []
        if own == ids[: len(own)]:  # else the end of the prompt is no beginning of a token, and the text has other tokens there
            known += 1
            assert prompt.decode(errors="ignore") + completion.text == SOURCE.rstrip()
    assert known > 0.95 * len(prompts)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_the_new_tokens_never_contradict_the_prompt(data, gpt2, tokenizer) -> None:
    texts = [*python_sources(3), SOURCE, "é€𝒳 漢字 \n\t  x\r\n" * 3]
    source = data.draw(st.sampled_from(texts)).encode()[:3000]
    start = data.draw(st.integers(0, len(source)))
    whole = source[start : start + data.draw(st.integers(0, 60))].decode(errors="ignore").encode()
    prompt = whole[: data.draw(st.integers(0, len(whole)))]
    if data.draw(st.booleans()):
        prompt = prompt.decode(errors="ignore").encode()
    sampler = Nucleus(data.draw(st.sampled_from([0.0, 1.0, 5.0])), 1.0, (data.draw(st.integers(0, 99)),))
    (found,) = completed(gpt2, tokenizer, [Request(prompt, sampler, 24)])
    vocabulary = vocabulary_of(tokenizer)
    assert vocabulary is not None
    everything = written(vocabulary, [*found.prompt, *found.ids])
    assert everything.startswith(prompt)
    shown = prompt.decode(errors="ignore")
    assert (shown + found.text).rstrip() == everything.decode(errors="replace").rstrip()
    assert "".join(found) == found.text


def functions(first: int, count: int) -> list[tuple[str, str]]:
    """Return signatures and bodies of functions, no two alike."""
    names, types = ("read", "set", "find", "call", "sum"), ("self", "value", "name", "x", "data")
    kinds = [(name, one, two) for name in names for one in types for two in types if one != two]
    return [
        (f"def {name}_{one}({one}, {two}):", f"\n    return {one}.{name}({two})\n\n\n")
        for name, one, two in random.Random(0).sample(kinds, first + count)[first:]
    ]


@pytest.fixture(scope="module")
def coder(tokenizer: Any) -> Any:
    """A GPT-2 that has seen 60 functions, each behind the import of numpy."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=512, n_positions=64, n_embd=48, n_layer=2, n_head=2, **END)).eval()
    texts = [f"import numpy as np\n\n\n{signature}{body}" for signature, body in functions(0, 60)]
    # Every other one first in the window, like a prompt.
    ids = [([0] * (row % 2) + tokenizer(text)["input_ids"] + [0] * 64)[:64] for row, text in enumerate(texts)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(120):
        batch = torch.tensor([ids[(16 * step + row) % 60] for row in range(16)])
        model(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.mark.slow
def test_the_line_behind_a_new_line_is_indented_as_without_it_and_nump_becomes_numpy(coder, tokenizer) -> None:
    prompts = [f"import numpy as np\n\n\n{signature}" for signature, _ in functions(60, 40)]

    def indented(end: str, indentation: str, **options: Any) -> int:
        found = completed(coder, tokenizer, [Request(prompt + end, max_new_tokens=12, **options) for prompt in prompts])
        return sum(each.text.startswith(f"{indentation}return ") for each in found)

    without = indented("", "\n    ", heal=False)
    assert without > 30
    assert indented("\n", "    ") >= 0.99 * without
    assert indented("\n  ", "  ") >= 0.99 * without
    assert indented("\n", "    ", heal=False) < 0.5 * without, "the fault that healing is for"
    for cut in ("import nump", "import nu", "import n", "impo"):
        (found,) = completed(coder, tokenizer, [Request(cut, max_new_tokens=10)])
        assert (cut + found.text).startswith("import numpy as np")


def test_stop_texts_and_the_text_shown_are_behind_the_prompt(trained, tokenizer) -> None:
    prompt = SOURCE[: SOURCE.index("\n    return values")] + "\n"
    with Engine(trained, tokenizer) as engine:
        found = engine.submit(Request(prompt, max_new_tokens=60, stop=("\n",)))
        pieces = list(found)
    assert found.healed and found.ended == "stop", "the new line of the prompt was written again, and ended nothing"
    assert "".join(pieces) == found.text == "    return values.sum() / len(x)"


# --- what is taken back, and what is allowed


def test_the_tokens_of_a_clean_boundary_stay_and_the_completion_is_that_without_healing(gpt2, tokenizer) -> None:
    source = python_sources(1)[0]
    cuts = [source[:length] for length in range(1, 400, 3)]
    clean = [text for text in cuts if take_back(tokenizer(text)["input_ids"], text, b"", tokenizer)[1] == b""]
    assert len(clean) > 5
    sampler = Nucleus(0.8, 0.95, ("x",))
    healed = completed(gpt2, tokenizer, [Request(text, sampler, 12) for text in clean])
    exact = completed(gpt2, tokenizer, [Request(text, sampler, 12, heal=False) for text in clean])
    assert [(each.prompt, each.ids, each.text) for each in healed] == [(each.prompt, each.ids, each.text) for each in exact]
    assert not any(each.healed for each in healed)


def spelled(text: bytes, tokens: set[bytes]) -> bool:
    """Say whether tokens can spell a text, the last one perhaps going on behind it: by definition, token by token."""
    if not text or any(token.startswith(text) for token in tokens):
        return True
    return any(text.startswith(token) and spelled(text[len(token) :], tokens) for token in tokens)


@given(
    st.sets(st.binary(min_size=1, max_size=4).map(lambda data: bytes(97 + byte % 3 for byte in data)), min_size=1, max_size=12),
    st.text("abc", min_size=1, max_size=6),
)
def test_allowed_are_the_tokens_from_which_the_text_can_be_spelled(tokens: set[bytes], text: str) -> None:
    names = sorted(tokens, key=lambda token: token[::-1])
    allowed = Vocabulary(dict(enumerate(names))).allowed(text.encode())
    wanted = {
        index
        for index, token in enumerate(names)
        if token.startswith(text.encode()) or (text.encode().startswith(token) and spelled(text.encode()[len(token) :], tokens))
    }
    assert set(allowed.tolist()) == wanted and len(allowed) == len(wanted)


@given(st.text("ab\n e", max_size=12))
def test_what_is_taken_back_begins_where_the_first_longer_token_may(tokenizer, text: str) -> None:
    ids, vocabulary = tokenizer(text)["input_ids"], vocabulary_of(tokenizer)
    assert vocabulary is not None
    parts = [written(vocabulary, ids[index:]) for index in range(len(ids))]
    tokens = vocabulary.bytes_of.values()
    longer = [any(token.startswith(part) and token != part for token in tokens) for part in parts]
    kept, begin = take_back(ids, text, b"", tokenizer)
    assert kept == (longer.index(True) if any(longer) else len(ids)) and begin == b"".join(parts[kept : kept + 1])


def test_a_token_that_the_tokenizer_would_not_put_there_is_not_allowed() -> None:
    names = [b" i", b"ndex", b" index", b" ", b"in", b" indexes"]
    assert Vocabulary(dict(enumerate(names))).allowed(b" index").tolist() == [0, 2, 5]
    merged = {(0, 1)}
    assert Vocabulary(dict(enumerate(names)), lambda *pair: pair not in merged).allowed(b" index").tolist() == [2, 5]
    alone = Vocabulary({0: b"a", 1: b"b"}, lambda *pair: False)
    assert alone.allowed(b"ab").tolist() == [0], "an unusual way is better than none"


def test_special_tokens_are_neither_taken_back_nor_allowed(tokenizer) -> None:
    end = tokenizer.eos_token
    prompt = resolved(Request(f"x{end[:-3]}"), tokenizer, None)
    vocabulary = vocabulary_of(tokenizer)
    assert vocabulary is not None and 0 not in vocabulary.bytes_of and prompt.begin
    assert 0 not in vocabulary.allowed(end[:-3].encode()) and 0 not in list(prompt.prompt)
    assert take_back([*tokenizer("x =")["input_ids"], 0], "x =", b"", tokenizer) == (3, b"")


def test_a_prompt_that_is_taken_back_as_a_whole_starts_a_document(tokenizer) -> None:
    found = resolved(Request("de"), tokenizer, None)
    assert found.prompt == [0] and found.begin == b"de"


@pytest.mark.parametrize("context", [8, 13, 24])
@pytest.mark.parametrize("num_new", [1, 5, 100])
def test_the_context_is_never_exceeded(context: int, num_new: int, tokenizer) -> None:
    for length in range(60):
        for prompt in ("        " * 8, "é€𝒳" * 20, SOURCE):
            given = prompt.encode()[:length]
            found = resolved(Request(given, max_new_tokens=num_new), tokenizer, context)
            assert len(found.prompt) > 0 and len(found.prompt) + found.max_new_tokens <= context
            assert resolved(found, tokenizer, context) == found


def test_bytes_that_are_no_text_are_refused(gpt2, tokenizer) -> None:
    with pytest.raises(CodeparrotError, match="not UTF-8: byte 1 is 0xff"):
        resolved(Request(b"x\xff\xfe"), tokenizer, None)
    with pytest.raises(CodeparrotError, match="ends inside a character"):
        resolved(Request("é".encode()[:1], heal=False), tokenizer, None)


# --- other tokenizers


def made(model: dict[str, Any], folder: Path, **parts: Any) -> Any:
    content = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None}
    content |= {"pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model, **parts}
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


SPACE = "\u2581"


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Any:
    """A tokenizer like Llama's: it puts a space before the text, spells it as U+2581, and unknown characters as bytes."""
    names = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"defx ()nump", SPACE]
    merges = [("d", "e"), ("de", "f"), (SPACE, "def"), ("n", "u"), ("m", "p"), ("nu", "mp"), (SPACE, "nump"), (SPACE, SPACE)]
    names += ["".join(pair) for pair in merges]
    model = {"type": "BPE", "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    model |= {"vocab": {name: index for index, name in enumerate(dict.fromkeys(names))}, "merges": merges}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    back = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    steps = [back, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    return made(
        model,
        tmp_path_factory.mktemp("llama"),
        normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, replace]},
        decoder={"type": "Sequence", "decoders": steps},
    )


@pytest.mark.parametrize("prompt", ["de", "x nu", "x  ", "x é", "x €", b"x \xe2\x82", b"x \xc3", "nump", ""])
def test_a_tokenizer_with_spaces_as_characters_is_healed(prompt: str | bytes, llama) -> None:
    torch.manual_seed(1)
    shape: Any = {"vocab_size": len(llama), "n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 1}
    model = GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, bos_token_id=1, eos_token_id=1)).eval()
    data = prompt.encode() if isinstance(prompt, str) else prompt
    vocabulary = vocabulary_of(llama)
    assert vocabulary is not None
    for number in range(8):
        (found,) = completed(model, llama, [Request(prompt, Nucleus(2.0, 1.0, (number,)), 8)])
        everything = written(vocabulary, [*found.prompt, *found.ids])
        assert everything.startswith(b" " + data) or not data
        if found.healed:
            shown = " " + data.decode(errors="ignore")
            assert (shown + found.text).rstrip() == everything.decode(errors="replace").rstrip()
    assert resolved(Request("x nu"), llama, None).begin == b" nu"


def test_a_tokenizer_of_characters_is_not_healed_and_that_is_said_once(tmp_path, caplog) -> None:
    vocab = {name: index for index, name in enumerate(["<unk>", "</s>", "a", "b", "ab"])}
    plain = made({"type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": [("a", "b")]}, tmp_path)
    with caplog.at_level(logging.WARNING):
        found = [resolved(Request(text), plain, None) for text in ("aba", "a")]
    assert [each.prompt for each in found] == [[4, 2], [2]] and not any(each.begin for each in found)
    assert [line for line in caplog.messages if "healed" in line] == [
        "prompts that end inside a token are not healed with this tokenizer: its tokens do not stand for bytes"
    ]


def test_a_tokenizer_that_changes_the_text_is_not_healed_there(tokenizer_json: str, tmp_path, caplog) -> None:
    content = json.loads(tokenizer_json)
    lower = made(content.pop("model"), tmp_path, **content | {"normalizer": {"type": "Lowercase"}})
    with caplog.at_level(logging.WARNING):
        assert not resolved(Request("DE"), lower, None).begin and not resolved(Request("X SEL"), lower, None).begin
    assert caplog.text.count("it changes the text") == 1
    assert resolved(Request("de"), lower, None).begin == b"de"
