"""Completions depend only on the model, the prompt and the sample's own random numbers, and end where they should."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from codeparrot.errors import CodeparrotError
from codeparrot.generation.engine import Engine
from codeparrot.generation.nucleus import draw
from codeparrot.generation.requests import Request
from codeparrot.generation.sampling import GREEDY, Nucleus
from codeparrot.generation.texts import Decoder, cut
from tests.conftest import python_sources

END: Any = {"bos_token_id": 0, "eos_token_id": 0}


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def gpt2() -> Any:
    torch.manual_seed(0)
    # Wide enough for attention to matter, and sharp enough that no two tokens are equally likely.
    shape: Any = {"vocab_size": 512, "n_positions": 192, "n_embd": 48, "n_layer": 2, "n_head": 3}
    return GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, **END)).eval()


@pytest.fixture(scope="module")
def llama() -> Any:
    torch.manual_seed(0)
    shape: Any = {"vocab_size": 512, "max_position_embeddings": 512, "hidden_size": 64, "intermediate_size": 100}
    heads: Any = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads, initializer_range=0.3, **END)).eval()


STOP = ("\n", "an", "(", "w")
Name = tuple[int, float, int]
"""Prompt, temperature, sample."""


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    """Prompts of very different lengths, one beyond the context."""
    source = python_sources(3)[2]
    return [source[: 7 * number**2 + 3] for number in (0, 1, 2, 3, 5, 7, 14)]


def requests_of(
    prompts: list[str], num_samples: int = 3, temperatures: tuple[float, ...] = (0.0, 0.3, 1.0), **options: Any
) -> dict[Name, Request]:
    options = {"top_p": 0.95, "seed": 0, "max_new_tokens": 24, **options}
    return {
        (number, temperature, sample): Request(
            prompt,
            Nucleus(temperature, options["top_p"], (options["seed"], number, sample, temperature)),
            options["max_new_tokens"],
            STOP,
            heal=options.get("heal", True),
        )
        for number, prompt in enumerate(prompts)
        for temperature in temperatures
        for sample in range(num_samples if temperature else 1)
    }


def completed(
    model: Any, tokenizer: Any, requests: dict[Name, Request], batch_size: int = 64, **options: Any
) -> dict[Name, tuple[str, list[int], str]]:
    with Engine(model, tokenizer, batch_size) as engine:
        names = {engine.submit(request): name for name, request in requests.items()}
        return {names[each]: (each.text, each.ids, each.ended) for each in engine.run(**options)}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_completions_are_bit_equal_for_every_batch_size_order_and_share(family, top_p, tokenizer, prompts, request) -> None:
    model, asked = request.getfixturevalue(family), requests_of(prompts, top_p=top_p, seed=7)
    reference = completed(model, tokenizer, asked)
    assert len(reference) == len(asked)
    assert len({text for text, _, _ in reference.values()}) > len(asked) / 2
    assert len({len(ids) for _, ids, _ in reference.values()}) > 2, "some leave the batch before others"
    for batch_size in (1, 2, 5, 16, 17, 33):
        assert completed(model, tokenizer, asked, batch_size) == reference
    names = list(asked)
    mixed = [names[index] for index in np.random.default_rng(0).permutation(len(names))]
    assert completed(model, tokenizer, {name: asked[name] for name in mixed}, 20) == reference
    shares = [completed(model, tokenizer, {name: asked[name] for name in mixed[rank::3]}, 9) for rank in range(3)]
    assert shares[0] | shares[1] | shares[2] == reference
    other = completed(model, tokenizer, requests_of(prompts, top_p=top_p, seed=8))
    assert all((other[name] == reference[name]) == (name[1] == 0) for name in reference if len(reference[name][1]) > 8)


def test_a_request_that_comes_while_others_run_changes_none_of_them(gpt2, tokenizer, prompts) -> None:
    asked = requests_of(prompts, 2, (0.7,))
    reference = completed(gpt2, tokenizer, asked)
    with Engine(gpt2, tokenizer) as engine:
        found: dict[Any, Any] = {}
        # Short prompts first: the batch grows for longer ones while they run, and past a multiple of rows.
        for name, request in sorted(asked.items(), key=lambda item: len(item[1].prompt)):
            found[name] = engine.submit(request)
            engine.step()
        list(engine.run())
    assert {name: (each.text, each.ids, each.ended) for name, each in found.items()} == reference


def test_a_completion_that_is_cancelled_leaves_and_the_others_stay_what_they_are(gpt2, tokenizer, prompts) -> None:
    asked = requests_of(prompts, 2, (0.7,))
    reference = completed(gpt2, tokenizer, asked)
    long = [name for name in asked if len(reference[name][1]) > 4]
    with Engine(gpt2, tokenizer, 8) as engine:
        found = {name: engine.submit(request) for name, request in asked.items()}
        engine.step()
        engine.step()
        running, waiting = next(name for name in long if found[name].ids), next(n for n in asked if not found[n].ids)
        for name in (running, waiting):
            found[name].cancel()
        ended = list(engine.run())
    assert found[running].ended == found[waiting].ended == "cancelled" and found[waiting] in ended and not found[waiting].ids
    assert reference[running][0].startswith(found[running].text)
    left = set(asked) - {running, waiting}
    assert {name: (found[name].text, found[name].ids, found[name].ended) for name in left} == {n: reference[n] for n in left}


def test_a_completion_iterated_over_runs_the_engine_and_yields_its_text(gpt2, tokenizer, prompts) -> None:
    asked = requests_of(prompts[:4], 1, (0.7,), max_new_tokens=40)
    reference = completed(gpt2, tokenizer, asked)
    with Engine(gpt2, tokenizer) as engine:
        found = {name: engine.submit(request) for name, request in asked.items()}
        for name, completion in found.items():
            pieces = list(completion)
            assert "".join(pieces) == completion.text == reference[name][0]
    assert any(len(text) > 8 for text, _, _ in reference.values())


def test_the_logits_of_a_sequence_have_the_same_bits_whatever_is_beside_it(gpt2, tokenizer, prompts, monkeypatch) -> None:
    """Stronger than comparing texts, which would hide a last bit that decides nothing today."""
    seen: dict[bytes, set[int]] = {}

    def look(logits: torch.Tensor, temperatures: Any, top_ps: Any, streams: Any) -> list[int]:
        tokens = draw(logits, temperatures, top_ps, streams)
        for row, numbers in zip(logits, streams, strict=True):
            # The state of a sequence's random numbers identifies the sequence and its position.
            seen.setdefault(repr(numbers.getstate()).encode(), set()).add(hash(row.numpy().tobytes()))
        return tokens

    monkeypatch.setattr("codeparrot.generation.nucleus.draw", look)
    asked = requests_of(prompts, 2, (0.7,), max_new_tokens=12)
    threads = torch.get_num_threads()
    try:
        for num_threads, batch_size in ((1, 64), (1, 1), (1, 4), (1, 15), (2, 64)):
            torch.set_num_threads(num_threads)
            assert len(completed(gpt2, tokenizer, asked, batch_size)) == len(asked)
    finally:
        torch.set_num_threads(threads)
    assert len(seen) > 60 and all(len(bits) == 1 for bits in seen.values())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_greedy_completions_are_those_of_transformers(family, tokenizer, prompts, request) -> None:
    model = request.getfixturevalue(family)
    found = completed(model, tokenizer, requests_of(prompts[:6], 1, (0.0,), max_new_tokens=20, heal=False), 4)
    for number, prompt in enumerate(prompts[:6]):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"][:, 20 - model.config.max_position_embeddings :]
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, pad_token_id=0)
        text = Decoder(tokenizer, ids[0].tolist())(out[0, ids.shape[1] :].tolist())
        assert found[number, 0.0, 0][0] == cut(text, STOP)


class Scripted(torch.nn.Module):
    """Writes given tokens after any prompt: real batching and stopping around a model with scripted output."""

    def __init__(self, model: Any, script: list[int], num_prompt: int) -> None:
        super().__init__()
        self.model, self.script, self.num_prompt = model, script, num_prompt
        self.config, self.generation_config = model.config, model.generation_config
        self.device, self.dtype, self.num_forwards = model.device, model.dtype, 0
        self.set_attn_implementation = model.set_attn_implementation

    def forward(
        self,
        input_ids: Any,
        position_ids: Any,
        attention_mask: Any = None,
        past_key_values: Any = None,
        use_cache: bool = True,
        logits_to_keep: int = 0,
    ) -> Any:
        output = self.model(
            **{"input_ids": input_ids, "position_ids": position_ids, "attention_mask": attention_mask},
            **{"past_key_values": past_key_values, "use_cache": use_cache, "logits_to_keep": logits_to_keep},
        )
        self.num_forwards += 1
        logits = torch.full_like(output.logits, -50.0)
        for row, place in enumerate(position_ids[:, -logits.shape[1] :]):
            for column, position in enumerate(place.tolist()):
                said = position - self.num_prompt + 1
                logits[row, column, self.script[said] if 0 <= said < len(self.script) else 1] = 50.0
        output.logits = logits
        return output


def written(gpt2, tokenizer, prompt: str, text: str, stop: tuple[str, ...], ids: list[int] | None = None, **options) -> tuple:
    num_prompt = len(tokenizer(prompt)["input_ids"])
    model = Scripted(gpt2, [*tokenizer(text)["input_ids"], *(ids or [])], num_prompt)
    with Engine(model, tokenizer) as engine:
        found = engine.submit(Request(prompt, Nucleus(0.8, 0.95), stop=stop, heal=False, **options))
        assert list(engine.run()) == [found]
    return found.text, found.ended, model.num_forwards


def test_a_completion_ends_before_the_first_stop_text_it_wrote_itself(gpt2, tokenizer) -> None:
    body = "\n    return 'é' + x  # def"
    text, ended, forwards = written(gpt2, tokenizer, "\ndef f(x):", f"{body}\n\ndef g(): pass", ("\ndef", "\nclass"))
    assert (text, ended) == (body, "stop")
    assert forwards < len(tokenizer(f"{body}\n\ndef g(): pass")["input_ids"]), "it left as soon as it had stopped"


def test_a_stop_text_that_begins_in_the_prompt_is_not_one(gpt2, tokenizer) -> None:
    text, _, _ = written(gpt2, tokenizer, "x = 1\n", "def f():\n    pass\ndef g", ("\ndef",))
    assert text == "def f():\n    pass"


def test_the_end_token_ends_a_completion(gpt2, tokenizer) -> None:
    assert written(gpt2, tokenizer, "x", " = 1", ("\n",), ids=[0, 5, 5])[:2] == (" = 1", "end")


def test_the_longest_length_ends_a_completion(gpt2, tokenizer) -> None:
    text, ended, forwards = written(gpt2, tokenizer, "x", " = 1 + 1 + 1 + 1 + 1 + 1", (), max_new_tokens=4)
    assert ended == "length" and forwards == 4 and len(tokenizer(text)["input_ids"]) == 4


def test_an_end_token_may_be_the_requests_own(gpt2, tokenizer) -> None:
    (other,) = tokenizer("=")["input_ids"]
    assert written(gpt2, tokenizer, "x", " 1=2", (), ends=frozenset({other}))[:2] == (" 1", "end")


def test_breaking_off_keeps_what_is_done_and_leaves_the_model_as_it_was(gpt2, tokenizer, prompts) -> None:
    asked, tokens = requests_of(prompts), iter(range(1000))
    gpt2.train()
    before = gpt2.config._attn_implementation
    part = completed(gpt2, tokenizer, asked, 4, broken_off=lambda: next(tokens) > 40)
    assert gpt2.training and gpt2.config._attn_implementation == before
    gpt2.eval()
    whole = completed(gpt2, tokenizer, asked, 4)
    assert 0 < len(part) < len(whole) and all(whole[name] == value for name, value in part.items())


def test_a_prompt_in_tokens_may_hold_special_ones(gpt2, tokenizer) -> None:
    with Engine(gpt2, tokenizer) as engine:
        spelled = engine.submit(Request("<|endoftext|>x", GREEDY, 2))
        tokens = engine.submit(Request([0, *tokenizer("x")["input_ids"]], GREEDY, 2))
        list(engine.run())
    assert 0 not in spelled.prompt and tokens.prompt[0] == 0


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("sampler", [GREEDY, Nucleus(0.8, 0.95, (0,))])
def test_a_model_whose_logits_are_not_finite_is_refused(gpt2, tokenizer, monkeypatch, broken, sampler) -> None:
    whole = gpt2.forward

    def forward(*arguments: Any, **options: Any) -> Any:
        output = whole(*arguments, **options)
        if options["input_ids"].shape[-1] == 1:  # the prompt is read well; the first token is not
            output.logits[:, :, :] = broken
        return output

    forward.__signature__ = inspect.signature(whole)  # type: ignore[attr-defined]
    monkeypatch.setattr(gpt2, "forward", forward)
    with Engine(gpt2, tokenizer) as engine:
        engine.submit(Request("def f(", sampler, 4))
        with pytest.raises(CodeparrotError, match=r"probabilities are not finite.*earlier checkpoint"):
            list(engine.run())


def test_tokens_that_a_model_never_writes_are_no_fault(gpt2, tokenizer, monkeypatch) -> None:
    whole = gpt2.forward

    def forward(*arguments: Any, **options: Any) -> Any:
        output = whole(*arguments, **options)
        output.logits[..., 100:] = float("-inf")
        return output

    forward.__signature__ = inspect.signature(whole)  # type: ignore[attr-defined]
    monkeypatch.setattr(gpt2, "forward", forward)
    with Engine(gpt2, tokenizer) as engine:
        completion = engine.submit(Request("def f(", Nucleus(1.0, 0.95, (0,)), 8))
        list(engine.run())
    assert completion.ids and max(completion.ids) < 100
