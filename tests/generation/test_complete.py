"""Completions end where a block ends, stream the text they return, respect the context, and restore model and random state."""

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.generation import complete as complete_module
from codeparrot.generation.complete import complete, generate_completions
from codeparrot.generation.requests import Completion, Request
from codeparrot.generation.texts import Decoder, cut, settled
from codeparrot.languages.stops import stops_of
from codeparrot.loading import find_model, load_model

BLOCK_END = stops_of("python")
CONTEXT = 160
SIZES: Any = {"vocab_size": 512, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
FIRST = '\n    """Sum: café 𝒳 €."""\n    return a + b'
SECOND = "\n    return a * b"
SOURCE = f"def add(a, b):{FIRST}\n\n\ndef mul(a, b):{SECOND}\n\n\n@wraps\nclass A:\n    pass\n"


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> GPT2LMHeadModel:
    """A GPT-2 that has learned SOURCE by heart."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**SIZES, n_positions=CONTEXT, n_embd=48))
    ids = tokenizer(SOURCE)["input_ids"]
    ids = torch.tensor([[0, *ids, 0], [*ids, 0, 0]])  # after the end of another document, and first in the window
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.eval()
    for _ in range(120):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.fixture
def run(model: GPT2LMHeadModel, tokenizer: Any, tmp_path: Path) -> Path:
    """A run whose newest complete checkpoint is at step 1000; the one at step 2000 is incomplete."""
    for step in ("step_00000900", "step_00001000", "step_00002000"):
        folder = tmp_path / "run" / "checkpoints" / step
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        if step != "step_00002000":
            (folder / "manifest.json").write_text("{}")
    return tmp_path / "run"


def go_on(model: Any, tokenizer: Any, prompt: str, **options: Any) -> str:
    options = {"temperature": 0, **options}
    (text,) = generate_completions(model, tokenizer, prompt, **options)
    return text


def seen_by(model: Any) -> list[list[int]]:
    """Return a list that collects the model's inputs."""
    given: list[list[int]] = []
    model.register_forward_pre_hook(lambda _, args, kwargs: given.append(kwargs["input_ids"][0].tolist()), with_kwargs=True)
    return given


# --- where a completion ends


@given(st.text("ab\n#dfe", max_size=30), st.lists(st.text("ab\n#", min_size=1, max_size=4), max_size=3))
def test_a_completion_ends_before_the_first_stop_text_and_its_white_space(text, stop):
    result = cut(text, stop)
    assert text.startswith(result) and not any(word in result for word in stop) and result == result.rstrip()
    left = text[len(result) :]
    assert not left.strip() or any(left.lstrip().startswith(word.lstrip()) or word in left for word in stop)


@given(st.lists(st.sampled_from(["\n", "\nd", "e", "f", "if", "\npri", "nt", "@", "#", " ", "x", "\ufffd"]), max_size=12))
def test_what_is_shown_is_always_the_beginning_of_what_is_returned(pieces):
    grown, shown = "", ""
    for piece in pieces:
        grown += piece
        now = settled(grown, BLOCK_END)
        assert now.startswith(shown)
        shown = now
        if any(word in grown for word in BLOCK_END):
            break
    assert cut(grown, BLOCK_END).startswith(shown)


@settings(deadline=None)
@given(
    words=st.lists(st.sampled_from([*BLOCK_END, "\n", "x", " = ", "é", "pri", "def f", "    return", "\n\n"]), max_size=12),
    by_character=st.booleans(),
)
def test_generation_stops_with_the_token_that_completes_a_stop_text(tokenizer, words, by_character):
    prompt, written = tokenizer("\ndef f():")["input_ids"], "".join(words)
    ids = [index for part in (written if by_character else [written]) for index in tokenizer(part)["input_ids"]]
    text = Decoder(tokenizer, prompt)
    request = Request(prompt, max_new_tokens=len(ids) + 1, stop=BLOCK_END)
    grown = Completion(request, tokenizer, frozenset({0}), lambda: None)
    for length, token in enumerate(ids, 1):
        grown.add(token, lambda token: text([token]))
        assert (grown.ended == "stop") == any(word in text(ids[:length]) for word in BLOCK_END)
        if grown.ended:
            break


def test_a_function_is_completed_up_to_the_next_block(model, tokenizer):
    assert go_on(model, tokenizer, "def add(a, b):") == FIRST


def test_stop_texts_in_the_prompt_do_not_count(model, tokenizer):
    prompt = SOURCE[: SOURCE.index(SECOND)]
    assert "\ndef" in prompt and go_on(model, tokenizer, prompt) == SECOND


def test_without_stop_texts_the_document_is_written_to_its_end(model, tokenizer):
    assert go_on(model, tokenizer, "def add(a, b):", stop=(), max_new_tokens=140) == SOURCE[len("def add(a, b):") :].rstrip()


def test_an_empty_prompt_starts_a_document(model, tokenizer):
    assert go_on(model, tokenizer, "") == "def add(a, b):" + FIRST


# --- streaming


@pytest.mark.parametrize("stop", [BLOCK_END, ()])
def test_the_pieces_shown_make_up_the_completion_and_no_character_is_torn(model, tokenizer, stop):
    pieces: list[str] = []
    text = go_on(model, tokenizer, "def add(a, b):", stop=stop, max_new_tokens=140, show=pieces.append)
    assert len(pieces) > 5 and "".join(pieces) == text and "𝒳" in text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_terminal_gets_each_character_once(run, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["complete", "--checkpoint", str(run), "--prompt", "def add(a, b):", "--temperature", "0"]) == 0
    assert capsys.readouterr().out == FIRST + "\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_completion_that_is_cut_short_does_not_end_inside_a_character(run, model, tokenizer, capsys, monkeypatch, terminal):
    texts = [go_on(model, tokenizer, "def add(a, b):", max_new_tokens=size) for size in range(20)[1:]]
    size = next(size for size, text in enumerate(texts, 1) if text.endswith("\ufffd"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    asked = ["--prompt", "def add(a, b):", "--temperature", "0", "--max_new_tokens", str(size)]
    assert main(["complete", "--checkpoint", str(run), *asked]) == 0
    assert capsys.readouterr().out == texts[size - 1].rstrip("\ufffd") + "\n"


def test_an_interrupted_stream_ends_its_line(run, capsys, monkeypatch):
    shown: list[str] = []

    def show(text: str) -> None:
        sys.stdout.write(text)
        shown.append(text)
        if len(shown) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(complete_module, "_show", show)
    assert main(["complete", "--checkpoint", str(run), "--prompt", "def add(a, b):"]) == 130
    out, err = capsys.readouterr()
    assert out.endswith("\n") and shown[-1] == "\n" and err.splitlines()[1:] == ["codeparrot: interrupted"]


def test_the_seed_decides_the_samples(model, tokenizer):
    def draw(**options: Any) -> list[str]:
        return generate_completions(model, tokenizer, "def", temperature=4.0, top_p=1.0, max_new_tokens=8, stop=(), **options)

    four = draw(num_completions=4, seed=1)
    assert len(set(four)) == 4 and draw(num_completions=4, seed=1) == four != draw(num_completions=4, seed=2)
    assert draw(seed=None) != draw(seed=None)


def test_greedy_completions_are_all_the_same(model, tokenizer):
    assert generate_completions(model, tokenizer, "def add(a, b):", temperature=0, num_completions=3) == [FIRST] * 3


def test_training_goes_on_as_if_nothing_had_been_generated(model, tokenizer):
    model.train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    assert go_on(model, tokenizer, "def add(a, b):", temperature=1e-4, seed=5) == FIRST, "without dropout"
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ZeroDivisionError):
        go_on(model, tokenizer, "def", show=lambda text: 1 / 0)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    model.eval()


# --- prompt and context


def test_a_prompt_is_text_whatever_it_spells(model, tokenizer):
    given = seen_by(model)
    go_on(model, tokenizer, "<|endoftext|>x", max_new_tokens=1, heal=False)
    assert 0 not in given[0] and tokenizer.decode(given[0]) == "<|endoftext|>x"
    go_on(model, tokenizer, "", max_new_tokens=1)
    assert given[1] == [0]


def test_a_long_prompt_keeps_its_end_and_says_so(model, tokenizer, caplog):
    prompt = "x = 1\n" * 200 + "def add(a, b):"
    ids = tokenizer(prompt)["input_ids"]
    given = seen_by(model)
    with caplog.at_level(logging.WARNING):
        go_on(model, tokenizer, prompt, max_new_tokens=2, stop=())
    assert given[0] == ids[-(CONTEXT - 2) :]
    assert f"the last 158 of its {len(ids)} tokens" in caplog.text


@pytest.mark.parametrize("num_prompt", [1, 11, 12, 13, 23, 24, 99])
def test_the_context_is_never_exceeded_and_half_of_it_is_the_prompts(tokenizer, num_prompt):
    small = GPT2LMHeadModel(GPT2Config(**SIZES, n_positions=24, n_embd=8))
    small.lm_head.register_forward_hook(lambda *given: given[2].index_fill(-1, torch.tensor([0]), -torch.inf))  # no end
    given = seen_by(small)
    assert len(tokenizer("x" * num_prompt)["input_ids"]) == num_prompt
    go_on(small, tokenizer, "x" * num_prompt, max_new_tokens=10_000, stop=(), heal=False)
    assert len(given[0]) == min(num_prompt, 12)
    assert len(given[0]) + len(given) == 24, "each step after the prompt gives one token to the next"


# --- the command


def test_a_run_means_its_newest_complete_checkpoint(run):
    newest = str(run / "checkpoints" / "step_00001000" / "model")
    assert find_model(str(run)) == find_model(str(run / "checkpoints" / "step_00001000")) == find_model(newest) == newest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rum", 'no folder ".*rum"; did you mean ".*run"'),
        ("run/checkpoints/step_00002000", r"incomplete \(no manifest.json\): name its run"),
        ("run/checkpoints", "no run, checkpoint or model"),
        ("fresh", "no complete checkpoint yet"),
    ],
)
def test_what_is_no_checkpoint_is_named(run, tmp_path, name, message):
    (tmp_path / "fresh" / "checkpoints" / "step_00000001" / "model").mkdir(parents=True)
    with pytest.raises(CodeparrotError, match=message):
        find_model(str(tmp_path / name))


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def other_model(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"n_layer": 2}))


def pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def own_code(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}))
    (folder / "mine.py").write_text("raise SystemExit('code of the checkpoint was run')")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_weights, "no model can be loaded"),
        (other_model, r"lacks transformer\.h\.1"),
        (pickled_weights, "no model can be loaded.*safetensors"),
        (no_tokenizer, "the tokenizer in .* is missing"),
        (own_code, "no model can be loaded"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(run, damage, message):
    folder = run / "checkpoints" / "step_00000900" / "model"
    damage(folder)
    with pytest.raises(CodeparrotError, match=message) as error:
        load_model(str(folder), "cpu")
    assert "\n" not in str(error.value)


def test_the_prompt_comes_from_the_option_a_file_or_a_pipe(run, tmp_path, monkeypatch, capsys):
    path = tmp_path / "prompt.py"
    path.write_text("# add\n", encoding="utf-8")
    assert complete(str(run), file=str(path)).data["prompt"] == "# add\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"def mul")))
    assert complete(str(run)).data["prompt"] == "def mul"
    for prompt in ("# add two numbers", "", "null", "- x"):
        assert main(["complete", "--checkpoint", str(run), "--prompt", prompt, "--max_new_tokens", "1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["prompt"] == prompt, "whatever YAML would make of it"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"num_completions": 0}, "--num_completions 0"),
        ({"num_completions": 10**11}, "--num_completions 100000000000 is out of range"),
        ({"temperature": -0.1}, "--temperature -0.1"),
        ({"temperature": float("nan")}, "--temperature nan"),
        ({"temperature": 1e-40}, "--temperature 1e-40"),
        ({"top_p": 0.0}, "--top_p 0.0"),
        ({"top_p": 1.1}, "--top_p 1.1"),
        ({"max_new_tokens": 0}, "--max_new_tokens 0"),
        ({"device": "abacus"}, '--device "abacus" is no device'),
        ({"device": "cuda:99"}, "is not on this machine"),
    ],
)
def test_options_out_of_range_are_named(run, option, message):
    with pytest.raises(CodeparrotError, match=message):
        complete(str(run), prompt="x", **option)


def test_several_completions_are_told_apart(run, capfd):
    arguments = ["--checkpoint", str(run), "--prompt", "def add(a, b):", "--num_completions", "2", "--temperature", "0"]
    assert main(["complete", *arguments]) == 0
    out, err = capfd.readouterr()
    assert out == f"# completion 1 of 2\n{FIRST}\n\n# completion 2 of 2\n{FIRST}\n"
    assert [line.partition(" /")[0] for line in err.splitlines()] == ["loading the model"]
