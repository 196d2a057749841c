"""FLOPs of a token, by both counts."""

import pytest

from codeparrot.model.families import model_config, num_parameters
from codeparrot.model.flops import causal_flops_per_token, flops_per_token
from tests.model.test_families import LLAMA, MIXTRAL


def test_flops_of_gpt2_count_the_tied_head_and_not_the_positions():
    config = model_config({"family": "gpt2", "vocab_size": 32768})
    matrices_and_the_rest = num_parameters(config) - 1024 * 768
    assert flops_per_token(config, 512) == 6 * matrices_and_the_rest + 12 * 12 * 768 * 512


@pytest.mark.parametrize(
    ("layers", "width", "heads", "palm", "llm_c"), [(12, 768, 12, 774.6, 722.7), (48, 1600, 25, 10_111.7, 9_649.6)]
)
def test_flops_of_the_recipes_as_palm_and_as_llm_c_count_them(layers, width, heads, palm, llm_c) -> None:
    sizes = {"vocab_size": 32768, "n_positions": 1024, "n_layer": layers, "n_embd": width, "n_head": heads}
    config = model_config({"family": "gpt2", **sizes})
    assert round(flops_per_token(config, 1024) / 1e6, 1) == palm
    assert round(causal_flops_per_token(config, 1024) / 1e6, 1) == llm_c


def test_flops_of_llama_do_not_count_the_lookup_of_an_untied_embedding():
    config = model_config(LLAMA)
    assert flops_per_token(config, 16) == 6 * (num_parameters(config) - 97 * 32) + 12 * 2 * 32 * 16
    tied = model_config({**LLAMA, "tie_word_embeddings": True})
    assert flops_per_token(tied, 16) == flops_per_token(config, 16)


def test_flops_of_experts_count_those_that_a_token_passes_through():
    two, four = (model_config({**MIXTRAL, "num_experts_per_tok": chosen}) for chosen in (2, 4))
    experts = 2 * 4 * 3 * 32 * 48  # layers, experts, matrices, width, inner width
    assert num_parameters(two) == num_parameters(four)
    assert flops_per_token(four, 16) - flops_per_token(two, 16) == 6 * experts // 2


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_of_an_encoder_decoder_each_part_is_passed_by_what_it_reads_or_writes(family) -> None:
    width, inner, vocabulary = 32, 48, 96
    if family == "t5":
        sizes = {"d_model": width, "d_kv": 16, "d_ff": inner, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 2}
        bias = norm = 0
    else:
        sizes = {"d_model": width, "encoder_ffn_dim": inner, "decoder_ffn_dim": inner, "max_position_embeddings": 64}
        sizes |= {"encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        bias, norm = 1, 1
    config = model_config({"family": family, "vocab_size": vocabulary, **sizes}, "encoder-decoder")
    read, written, length = 40, 12, 50
    attention = 4 * width * (width + bias)
    forward = 2 * width * inner + bias * (width + inner)
    each_norm = width * (1 + norm)
    # T5 has a norm behind its last layer, BART one behind its embeddings.
    encoder = 2 * (attention + forward + 2 * each_norm) + each_norm
    keys_and_values = 3 * 2 * width * (width + bias)
    decoder = 3 * (2 * attention + forward + 3 * each_norm) + each_norm - keys_and_values + vocabulary * width
    pairs = 2 * read**2 + 3 * (written**2 + written * read)
    expected = 6 * ((encoder + keys_and_values) * read + decoder * written) + 12 * width * pairs
    assert flops_per_token(config, length, lengths=(read, written)) == round(expected / length)
    assert causal_flops_per_token(config, length, lengths=(read, written)) == round(expected / length)
