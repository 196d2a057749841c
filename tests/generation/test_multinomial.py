"""The tokens drawn are those that transformers draws with torch's random numbers."""

from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.generation.complete import generate_completions
from codeparrot.generation.multinomial import Noise
from codeparrot.generation.texts import Decoder

END: Any = {"bos_token_id": 0, "eos_token_id": 0}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture
def gpt2() -> Any:
    torch.manual_seed(0)
    shape: Any = {"vocab_size": 512, "n_positions": 192, "n_embd": 48, "n_layer": 2, "n_head": 3}
    return GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, **END)).eval()


def test_the_noise_is_that_of_torchs_multinomial() -> None:
    weights = torch.rand(8, 5, 300, generator=torch.Generator().manual_seed(1))
    generator, noise = torch.Generator().manual_seed(3), Noise(3, 5, CPU)
    for step, each in enumerate(weights):
        wanted = torch.multinomial(each, 1, generator=generator)[:, 0].tolist()
        assert [int((each[row] / noise.of_row(row, step, 300)).argmax()) for row in range(5)] == wanted


def test_rows_that_do_not_keep_step_have_the_noise_of_their_own_steps() -> None:
    ordered, mixed = Noise(3, 2, CPU), Noise(3, 2, CPU)
    wanted = [[ordered.of_row(row, step, 50) for row in range(2)] for step in range(6)]
    for step, row in ((0, 0), (1, 0), (0, 1), (4, 1), (2, 0), (5, 0), (3, 1), (5, 1)):
        assert torch.equal(mixed.of_row(row, step, 50), wanted[step][row])


OF_THE_MODEL: Any = {
    "repetition_penalty": 1.5,
    "no_repeat_ngram_size": 2,
    "suppress_tokens": list(range(1, 400)),
    "top_k": 1,
    "min_new_tokens": 20,
    "stop_strings": ["e"],
    "bad_words_ids": [[5]],
    "num_beams": 2,
}


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_models_own_settings_change_nothing(temperature: float, gpt2, tokenizer) -> None:
    def found() -> list[str]:
        return generate_completions(gpt2, tokenizer, "def f(x):\n", temperature=temperature, max_new_tokens=30, stop=())

    plain = found()
    for name, value in OF_THE_MODEL.items():
        setattr(gpt2.generation_config, name, value)
    assert found() == plain


@pytest.mark.parametrize(("temperature", "top_p", "rows"), [(0.8, 0.9, 3), (1, 1.0, 2), (0.3, 0.5, 1), (0, 0.9, 1)], ids=str)
def test_completions_are_those_of_transformers_with_the_same_seed(
    temperature: float, top_p: float, rows: int, gpt2, tokenizer
) -> None:
    ids = tokenizer("def f(x):\n", return_tensors="pt")["input_ids"]
    options: dict[str, Any] = {"do_sample": False}
    if temperature:
        options = {"do_sample": True, "temperature": float(temperature), "top_p": top_p, "top_k": 0}
    torch.manual_seed(9)
    out = gpt2.generate(
        ids,
        **{"attention_mask": torch.ones_like(ids), "max_new_tokens": 30, "pad_token_id": 0},
        **{"num_return_sequences": rows, **options},
    )
    decode = Decoder(tokenizer, ids[0].tolist())
    wanted = [decode(row).rstrip() for row in out[:, ids.shape[1] :].tolist()]
    state = torch.get_rng_state()
    found = generate_completions(
        gpt2,
        tokenizer,
        "def f(x):\n",
        **{"num_completions": rows, "temperature": temperature, "top_p": top_p},
        **{"max_new_tokens": 30, "seed": 9, "stop": (), "heal": False},
    )
    assert found == wanted and len(set(found)) == rows
    assert torch.equal(torch.get_rng_state(), state)
