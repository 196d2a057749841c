"""Any kind of model completes: if sequences cannot lie side by side, one by one, as transformers completes them."""

import logging
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoConfig,
    MambaConfig,
    MistralConfig,
    OpenAIGPTConfig,
    Qwen3NextConfig,
    RwkvConfig,
)

from codeparrot.generation.engine import Engine
from codeparrot.generation.one_by_one import OneByOne
from codeparrot.generation.requests import Request
from codeparrot.generation.sampling import Nucleus

END: Any = {"bos_token_id": 0, "eos_token_id": 0}
SHAPE: Any = {"vocab_size": 512, "hidden_size": 32, "num_attention_heads": 2, **END}
DEEP: Any = {**SHAPE, "num_hidden_layers": 2, "intermediate_size": 32, "num_key_value_heads": 1}
LOCAL: Any = {**SHAPE, "num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 16}
SLIDING: Any = {**DEEP, "sliding_window": 16, "head_dim": 16}
HYBRID: Any = {
    **DEEP,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "layer_types": ["linear_attention", "full_attention"],
}
NEW = 24
PROMPTS = ("x", "def f(x):\n    return x + 1\n", "x = 1\n" * 8)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        pytest.param(MambaConfig(**DEEP, state_size=4), "they take no", id="mamba"),
        pytest.param(RwkvConfig(**DEEP), "they take no", id="rwkv"),
        pytest.param(MistralConfig(**SLIDING), "attend to 16 tokens", id="mistral"),
        pytest.param(GPTNeoConfig(**LOCAL), "attend to 16 tokens", id="gpt_neo"),
        pytest.param(FalconConfig(**SHAPE, num_hidden_layers=1, alibi=True), "ALiBi", id="falcon"),
        pytest.param(BloomConfig(**SHAPE, n_layer=2, n_head=2), "they take no position_ids", id="bloom"),
        pytest.param(Gemma2Config(**SLIDING, query_pre_attn_scalar=16), "soft-capped", id="gemma2"),
        pytest.param(OpenAIGPTConfig(vocab_size=512, n_embd=32, n_layer=2, n_head=2), "they take no", id="openai-gpt"),
        pytest.param(Qwen3NextConfig(**HYBRID), "not all their layers are attention", id="qwen3_next"),
    ],
)
def test_any_model_completes_as_in_transformers_and_the_log_says_how(config: Any, reason: str, tokenizer, caplog) -> None:
    torch.manual_seed(0)
    config.initializer_range = 0.3
    model = AutoModelForCausalLM.from_config(config).eval()
    with Engine(model, tokenizer) as engine, caplog.at_level(logging.WARNING, "codeparrot"):
        found = [engine.submit(Request(prompt, max_new_tokens=NEW, heal=False)) for prompt in PROMPTS]
        list(engine.run())
    for prompt, completion in zip(PROMPTS, found, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW, pad_token_id=0, eos_token_id=0
        )
        ended = out[0, ids.shape[1] :].tolist()
        assert completion.ids == (ended[: ended.index(0)] if 0 in ended else ended)
    assert caplog.text.count("complete one by one") == 1 and reason in caplog.text


def test_sequences_within_the_window_lie_in_slots_and_longer_ones_wait_for_them(tokenizer, monkeypatch) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GPTNeoConfig(**{**LOCAL, "window_size": 64}, initializer_range=0.3)).eval()
    singles: list[int] = []
    forward = OneByOne.forward
    monkeypatch.setattr(OneByOne, "forward", lambda self, newest: singles.append(len(newest)) or forward(self, newest))

    def complete(asked: list[Request]) -> list[list[int]]:
        with Engine(model, tokenizer) as engine:
            found = [engine.submit(request) for request in asked]
            list(engine.run())
        return [each.ids for each in found]

    short = [Request("x", Nucleus(0.8, name=(number,)), 20) for number in range(4)]
    alone = complete(short)
    assert not singles
    long = Request("x", Nucleus(0.8, name=("long",)), 80)
    mixed = complete([*short[:2], long, *short[2:]])
    assert singles and max(singles) == 1 and [*mixed[:2], *mixed[3:]] == alone and mixed[2] == complete([long])[0]


def test_a_gpt2_is_not_run_one_by_one(tokenizer, monkeypatch) -> None:
    monkeypatch.setattr(OneByOne, "read", lambda *_: pytest.fail("one by one"))
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=512, n_embd=16, n_layer=1, n_head=1, **END))
    with Engine(model, tokenizer) as engine:
        engine.submit(Request("x", max_new_tokens=4))
        assert len(list(engine.run())) == 1
