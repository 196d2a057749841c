"""`codeparrot export`: what the file says, what is refused, and that nothing is lost or half written."""

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, Qwen2Config

from codeparrot.cli import main
from codeparrot.stream.sentinels import SENTINELS
from tests.export.models import CONTEXT, VOCABULARY
from tests.publishing.runs import make_run

SMALL: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def export(*words: Any) -> int:
    return main(["export", *map(str, words)])


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the only line of error."""
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error:" in line)
    return line


def fields(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}


def types(file: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}


def model_folder(config: Any, tokenizer: Path, folder: Path) -> Path:
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    shutil.copytree(tokenizer, folder, dirs_exist_ok=True)
    return folder


def test_a_file_says_what_llama_cpp_needs(file_of, trained_tokenizer) -> None:
    found = fields(file_of("gpt2"))
    assert found["general.architecture"] == "gpt2" and found["gpt2.context_length"] == CONTEXT
    tokenizer = AutoTokenizer.from_pretrained(trained_tokenizer)
    assert found["tokenizer.ggml.model"] == "gpt2" and found["tokenizer.ggml.pre"] == "gpt-2"
    assert found["tokenizer.ggml.tokens"] == tokenizer.convert_ids_to_tokens(range(VOCABULARY))
    assert found["tokenizer.ggml.bos_token_id"] == found["tokenizer.ggml.eos_token_id"] == 0
    assert not found["tokenizer.ggml.add_bos_token"] and not found["tokenizer.ggml.add_eos_token"]
    roles = ("fim_pre", "fim_mid", "fim_suf", "fim_pad", "fim_sep", "fim_rep")
    named = [found["tokenizer.ggml.tokens"][found[f"tokenizer.ggml.{role}_token_id"]] for role in roles]
    assert named == list(SENTINELS)
    kinds = found["tokenizer.ggml.token_type"]
    assert [index for index, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL] == list(range(7))


def test_rows_without_a_token_are_unused_tokens(file_of) -> None:
    found = fields(file_of("gpt2 untied"))
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert len(tokens) == len(set(tokens)) == len(kinds) == 1024
    assert set(kinds[VOCABULARY:]) == {gguf.TokenType.UNUSED} and gguf.TokenType.UNUSED not in kinds[:VOCABULARY]


def test_only_matrices_are_stored_in_fewer_bits(file_of) -> None:
    found = types(file_of("gpt2", "q8_0"))
    assert found["token_embd.weight"] == found["blk.1.ffn_up.weight"] == "Q8_0"
    assert found["position_embd.weight"] == found["blk.1.ffn_up.bias"] == found["output_norm.weight"] == "F32"
    assert set(types(file_of("gpt2", "f32")).values()) == {"F32"}
    assert set(types(file_of("gpt2", "f16")).values()) == {"F32", "F16"}


def test_rows_that_fit_no_blocks_of_32_are_f16_and_said(model_of, tmp_path, capsys) -> None:
    file = tmp_path / "a.gguf"
    assert export("--checkpoint", model_of("gpt2 untied"), "--output", file, "--type", "q8_0", "--json") == 0
    facts, found = json.loads(capsys.readouterr().out), types(file)
    assert found["token_embd.weight"] == "F16" and "Q8_0" not in found.values()
    assert facts["larger"] == sum(kind == "F16" for kind in found.values()) == 10
    assert facts["tensors"] == len(found)


def test_embeddings_that_are_the_output_too_are_stored_once(file_of) -> None:
    assert "output.weight" not in types(file_of("gpt2")) and "output.weight" in types(file_of("gpt2 untied"))


def test_a_file_names_its_run_its_data_and_its_licence(trained_tokenizer, tmp_path, capsys) -> None:
    run = make_run(tmp_path / "fast", trained_tokenizer, (8,), train=["hub:me/code@v1", "data/corpus"])
    (checkpoint,) = (run / "checkpoints").glob("step_*")
    GPT2LMHeadModel(GPT2Config(**SMALL)).save_pretrained(checkpoint / "model")
    capsys.readouterr()
    assert export("--checkpoint", run, "--output", tmp_path / "a.gguf", "--license", "Apache-2.0", "--json") == 0
    facts, found = json.loads(capsys.readouterr().out), fields(tmp_path / "a.gguf")
    assert found["general.name"] == facts["name"] == "fast" and found["general.license"] == "Apache-2.0"
    assert found["general.url"] == facts["url"] == "https://huggingface.co/me/model"
    assert found["general.dataset.count"] == 1 and facts["datasets"] == ["me/code"]
    assert found["general.dataset.0.repo_url"] == "https://huggingface.co/datasets/me/code"
    assert "Step 8 of a run of 24" in found["general.description"]


def test_what_is_not_known_is_left_out(file_of) -> None:
    found = fields(file_of("gpt2"))
    assert found["general.name"] == "gpt2"
    assert {"general.license", "general.url", "general.dataset.count", "general.description"}.isdisjoint(found)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            Qwen2Config(**SMALL, num_key_value_heads=2, intermediate_size=16),
            "a qwen2 cannot be exported as GGUF: only gpt2 and llama",
        ),
        (GPT2Config(**SMALL, activation_function="relu"), "model.activation_function relu"),
        (GPT2Config(**SMALL, scale_attn_by_inverse_layer_idx=True), "model.scale_attn_by_inverse_layer_idx True"),
        (GPT2Config(**SMALL, scale_attn_weights=False), "model.scale_attn_weights False"),
        (LlamaConfig(**SMALL, intermediate_size=16, attention_bias=True), "model.attention_bias True"),
        (LlamaConfig(**SMALL, intermediate_size=16, mlp_bias=True), "model.mlp_bias True"),
        (LlamaConfig(**SMALL, intermediate_size=16, hidden_act="gelu"), "model.hidden_act gelu"),
        (
            LlamaConfig(**SMALL, intermediate_size=16, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}),
            "model.rope_parameters of type yarn",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_llama_cpp_would_compute_otherwise_is_refused_by_name(config, said, trained_tokenizer, tmp_path, capsys) -> None:
    folder = model_folder(config, trained_tokenizer, tmp_path / "model")
    assert export("--checkpoint", folder, "--output", tmp_path / "a.gguf") == 1
    assert said in error(capsys) and not (tmp_path / "a.gguf").exists()


def test_a_gguf_file_is_replaced_and_said(file_of, model_of, tmp_path, capsys) -> None:
    file = tmp_path / "a.gguf"
    shutil.copy(file_of("llama"), file)
    assert export("--checkpoint", model_of("gpt2"), "--output", file) == 0
    assert "it replaced a GGUF file" in capsys.readouterr().out and fields(file)["general.architecture"] == "gpt2"


@pytest.mark.parametrize("name", ["notes.txt", "notes.gguf", "folder.gguf"])
def test_nothing_else_is_replaced(name, model_of, tmp_path, capsys) -> None:
    place = tmp_path / name
    if name.startswith("folder"):
        place.mkdir()
    else:
        place.write_text("mine")
    assert export("--checkpoint", model_of("gpt2"), "--output", place) == 1
    assert str(place) in error(capsys)
    assert place.is_dir() or place.read_text() == "mine"


def test_a_gguf_file_is_no_checkpoint_to_export(file_of, tmp_path, capsys) -> None:
    assert export("--checkpoint", file_of("gpt2"), "--output", tmp_path / "a.gguf") == 1
    assert "is a GGUF file already" in error(capsys)


@pytest.mark.parametrize(
    ("value", "type", "said"),
    [
        (float("nan"), "f32", "not finite"),
        (float("inf"), "q8_0", "not finite"),
        (1e5, "f16", "too large for f16: use --type f32"),
        (1e7, "q8_0", "too large for q8_0"),
    ],
)
def test_a_number_that_does_not_fit_ends_the_export_and_the_old_file_stays(
    value, type, said, model_of, file_of, tmp_path, capsys
) -> None:
    folder, file = tmp_path / "model", tmp_path / "a.gguf"
    shutil.copytree(model_of("gpt2"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["transformer.h.1.mlp.c_fc.weight"][3, 3] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(file_of("llama"), file)
    before = file.read_bytes()
    assert export("--checkpoint", folder, "--output", file, "--type", type) == 1
    line = error(capsys)
    assert said in line and "blk.1.ffn_up.weight" in line
    assert file.read_bytes() == before and [each.name for each in tmp_path.iterdir() if each.is_file()] == ["a.gguf"]


def test_a_large_number_is_exact_in_f32(model_of, tmp_path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_of("gpt2"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["transformer.h.1.mlp.c_fc.weight"][3, 5] = 1e7
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert export("--checkpoint", folder, "--output", tmp_path / "a.gguf", "--type", "f32") == 0
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    ours = weights["transformer.h.1.mlp.c_fc.weight"].T
    assert torch.equal(torch.tensor(tensors["blk.1.ffn_up.weight"]), ours)


def test_the_same_checkpoint_gives_the_same_bytes(model_of, tmp_path) -> None:
    for name in ("a", "b"):
        assert export("--checkpoint", model_of("llama 3"), "--output", tmp_path / f"{name}.gguf", "--type", "q8_0") == 0
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
