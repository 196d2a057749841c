"""Likelihoods are those of a plain forward pass of the model, whatever else the request changes."""

from typing import Any

import pytest
import torch

from codeparrot.generation.adjust import Adjust
from codeparrot.generation.engine import Engine
from codeparrot.generation.requests import Completion, Request
from codeparrot.generation.sampling import GREEDY, Nucleus
from tests.conftest import python_sources


def completed(model: Any, tokenizer: Any, request: Request, cache_tokens: int) -> Completion:
    with Engine(model, tokenizer, cache_tokens=cache_tokens) as engine:
        completion = engine.submit(request)
        list(engine.run())
    return completion


def plain(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].log_softmax(-1)


def check(found: list[Any], ids: list[int], expected: torch.Tensor, num_likely: int) -> None:
    assert [each.token for each in found] == ids
    for each, row in zip(found, expected, strict=True):
        assert each.logprob == pytest.approx(row[each.token].item(), abs=1e-5)
        best = row.topk(num_likely)
        assert [token for token, _ in each.likely] == best.indices.tolist()
        assert [value for _, value in each.likely] == pytest.approx(best.values.tolist(), abs=1e-5)


@pytest.mark.parametrize("family", ["long_gpt2", "long_llama"])
@pytest.mark.parametrize("cache_tokens", [0, 4096])
@pytest.mark.parametrize("length", [1, 128, 300])
def test_of_prompt_and_new_tokens_they_are_those_of_transformers(family, cache_tokens, length, filling, request) -> None:
    model, ids = request.getfixturevalue(family), filling(python_sources(1)[0])["input_ids"][:length]
    asked = Request(ids, Nucleus(0.8, 0.9, (1,)), 12, num_likely=3, of_prompt=True, ends=frozenset())
    found = completed(model, filling, asked, cache_tokens)
    expected = plain(model, [*ids, *found.ids])
    assert found.prompt_likelihoods[0] is None and len(found.prompt_likelihoods) == len(ids)
    check(found.prompt_likelihoods[1:], ids[1:], expected[: length - 1], 3)
    check(found.likelihoods, found.ids, expected[length - 1 : -1], 3)


@pytest.mark.parametrize("num_likely", [0, 2, 1000])
def test_they_are_the_models_own_whatever_bias_temperature_and_healing_change(long_gpt2, filling, num_likely) -> None:
    asked = Request("x = nump", Nucleus(0.5, 0.9, (1,)), 8, num_likely=num_likely, adjust=Adjust(bias={7: 30.0}, top_k=3))
    found = completed(long_gpt2, filling, asked, 4096)
    assert found.healed and found.ids
    expected = plain(long_gpt2, [*found.prompt, *found.ids])[len(found.prompt) - 1 : -1]
    check(found.likelihoods, found.ids, expected, min(num_likely, 518))


def test_the_end_token_has_one_too(long_gpt2, filling) -> None:
    first = completed(long_gpt2, filling, Request("def f(", GREEDY, 6, heal=False, ends=frozenset()), 0).ids
    asked = Request("def f(", GREEDY, 6, heal=False, ends=frozenset({first[3]}), num_likely=1)
    found = completed(long_gpt2, filling, asked, 0)
    end = first.index(first[3])
    assert (found.ended, found.final, found.ids) == ("end", first[3], first[:end])
    assert [each.token for each in found.likelihoods] == first[: end + 1]


def test_a_prompt_that_is_only_scored_draws_nothing(long_gpt2, filling) -> None:
    found = completed(
        long_gpt2, filling, Request("def f(x):", max_new_tokens=0, num_likely=0, of_prompt=True, heal=False), 4096
    )
    assert (found.ids, found.likelihoods, found.ended) == ([], [], "length")
    assert len(found.prompt_likelihoods) == len(found.prompt)


def test_who_does_not_ask_gets_none_and_the_same_tokens(long_gpt2, filling) -> None:
    asked = Request("def f(x):", Nucleus(0.8, 0.9, (1,)), 20)
    without = completed(long_gpt2, filling, asked, 4096)
    wanted = Request("def f(x):", Nucleus(0.8, 0.9, (1,)), 20, num_likely=5)
    assert without.likelihoods == without.prompt_likelihoods == []
    assert completed(long_gpt2, filling, wanted, 4096).ids == without.ids


def test_a_model_that_runs_one_by_one_gives_them_too(filling) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    shape: Any = {"vocab_size": 518, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.3}
    model = MambaForCausalLM(MambaConfig(**shape, bos_token_id=0, eos_token_id=0)).eval()
    ids = filling("def f(x):\n    return x")["input_ids"]
    found = completed(model, filling, Request(ids, GREEDY, 6, num_likely=2, of_prompt=True, ends=frozenset()), 4096)
    expected = plain(model, [*ids, *found.ids])
    check(found.prompt_likelihoods[1:], ids[1:], expected[: len(ids) - 1], 2)
    assert [each.token for each in found.likelihoods] == found.ids and found.cached == 0
