"""Tiny models with a tokenizer of `codeparrot tokenizer train`, as folders; and llama.cpp, as a server in this process."""

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCABULARY, CONTEXT = 1000, 256
_GPT2: dict[str, Any] = {"vocab_size": VOCABULARY, "n_positions": CONTEXT, "n_embd": 64, "n_layer": 2, "n_head": 4}
_LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    # Rows that no token has, an inner width of its own, rows that are no multiple of 32 numbers.
    "gpt2 untied": ("gpt2", {"tie_word_embeddings": False, "vocab_size": 1024, "n_embd": 72, "n_inner": 100}),
    "llama": ("llama", {"num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    "llama tied": ("llama", {"num_key_value_heads": 1, "head_dim": 32, "tie_word_embeddings": True, "vocab_size": 1030}),
    "llama linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}}),
    "llama 3": ("llama", {"num_key_value_heads": 2, "rope_parameters": _LLAMA_3}),
}


def make_model(name: str, tokenizer: Path, folder: Path) -> Path:
    """Write a model with random weights, large enough for its logits to differ, and a tokenizer into a folder."""
    family, changed = MODELS[name]
    torch.manual_seed(len(name))
    settings = {"initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 0}
    if family == "gpt2":
        model: Any = GPT2LMHeadModel(GPT2Config(**(_GPT2 | settings | changed)))
    else:
        model = LlamaForCausalLM(LlamaConfig(**(_LLAMA | settings | changed)))
    for parameter in model.parameters():
        if parameter.dim() == 1:  # biases and norms, which are 0 and 1 at first
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    shutil.copytree(tokenizer, folder, dirs_exist_ok=True)
    return folder


class LlamaCpp:
    """Asks llama.cpp's server."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, route: str, **body: Any) -> dict[str, Any]:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self._address + route, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def ids(self, text: str, special: bool = False) -> list[int]:
        return self("/tokenize", content=text, parse_special=special)["tokens"]

    def log_probabilities(self, ids: list[int]) -> torch.Tensor:
        """Return those of the next token, [vocabulary]."""
        # It says nothing of a token that is part of a character. Biases come after the probabilities.
        whole = [[self.ids("a")[0], 1000.0]]
        settings = {"n_predict": 1, "temperature": 0, "n_probs": 4096, "logit_bias": whole, "cache_prompt": False}
        (drawn,) = self("/completion", prompt=ids, **settings)["completion_probabilities"]
        found = {each["id"]: each["logprob"] for each in drawn["top_logprobs"]}
        return torch.tensor([found[index] for index in range(len(found))])

    def greedy(self, ids: list[int], count: int) -> dict[str, Any]:
        """Return an answer with its `content` and `tokens`."""
        return self("/completion", prompt=ids, n_predict=count, temperature=0, return_tokens=True, cache_prompt=False)


@contextmanager
def llama_cpp(file: Path) -> Iterator[LlamaCpp]:
    """Serve a GGUF file by llama.cpp, on one thread, with a cache of float32 and attention that does not round to float16."""
    import importlib

    xllamacpp: Any = importlib.import_module("xllamacpp")  # a library without types
    settings = xllamacpp.CommonParams()
    settings.model.path, settings.port = str(file), 0
    settings.n_ctx, settings.n_parallel, settings.warmup = CONTEXT, 1, False
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.verbosity = -1
    server = xllamacpp.Server(settings)
    try:
        yield LlamaCpp(server.listening_address)
    finally:
        del server  # it ends its threads
