"""What transformers passes over when it reads a GGUF file, and what would make another model of it.

Of a GPT-2: how many positions it has (it takes 1,024), and how wide its layers are inside. Of a Llama: the factors of its
rotary frequencies. Of any: the ids of special tokens in the model's configuration. Of a tokenizer: that digits stand alone,
and that some rows of the embeddings have no token.
Cost: one pass over the head of the file, some 0.1 s for 50,000 tokens.
"""

from typing import Any

from codeparrot.errors import CodeparrotError

_DIGITS_ALONE = {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone"}
"""Names of llama.cpp for GPT-2's splitting where, before it, each digit is a word."""
_UNUSED = 5
"""GGUF's type of a token that is only a row of the embeddings."""
_ROPE_FACTORS = "rope_freqs.weight"


def config_of(folder: str, gguf_file: str) -> Any:
    """Return the transformers config of a GGUF file."""
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, gguf_file=gguf_file)
    facts, _ = _head(folder, gguf_file)
    if config.model_type == "gpt2":
        config.n_positions = facts["gpt2.context_length"]
        config.n_inner = facts.get("gpt2.feed_forward_length")
    for name in ("bos", "eos"):
        setattr(config, f"{name}_token_id", facts.get(f"tokenizer.ggml.{name}_token_id"))
    return config


def check_trainable(folder: str, gguf_file: str) -> None:
    """Refuse a file whose rotary frequencies are scaled by factors of its own: no config.json can say that.

    Raises:
        CodeparrotError: it is such a file.
    """
    if _ROPE_FACTORS in _head(folder, gguf_file)[1]:
        raise CodeparrotError(
            f"model.from: {gguf_file} scales its rotary frequencies ({_ROPE_FACTORS}), which a checkpoint cannot hold; name "
            "the model in safetensors from which it was made"
        )


def mend_rope(model: Any, folder: str, gguf_file: str) -> None:
    """Divide the rotary frequencies of a Llama by the factors in its file, if it has any."""
    if _ROPE_FACTORS not in _head(folder, gguf_file)[1] or model.config.model_type != "llama":
        return
    import torch
    from gguf import GGUFReader

    tensor = next(tensor for tensor in GGUFReader(f"{folder}/{gguf_file}").tensors if tensor.name == _ROPE_FACTORS)
    factors = torch.tensor(tensor.data, dtype=torch.float32)
    rotary = model.model.rotary_emb
    rotary.inv_freq = rotary.inv_freq / factors.to(rotary.inv_freq.device)
    rotary.original_inv_freq = rotary.inv_freq


def mend_tokenizer(tokenizer: Any, folder: str, gguf_file: str) -> Any:
    """Let each digit be a word where the file says so, and take out tokens that are none; return the tokenizer."""
    from tokenizers import models, pre_tokenizers

    facts, _ = _head(folder, gguf_file)
    backend = tokenizer.backend_tokenizer
    if facts.get("tokenizer.ggml.pre") in _DIGITS_ALONE:
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer])
    unused = {index for index, kind in enumerate(facts.get("tokenizer.ggml.token_type", ())) if kind == _UNUSED}
    if unused and isinstance(backend.model, models.BPE):
        import json

        model = json.loads(backend.to_str())["model"]
        vocab = {name: index for name, index in model["vocab"].items() if index not in unused}
        kept = {name: model[name] for name in ("unk_token", "fuse_unk", "byte_fallback", "ignore_merges")}
        backend.model = models.BPE(vocab=vocab, merges=[tuple(pair) for pair in model["merges"]], **kept)
    return tokenizer


def _head(folder: str, gguf_file: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what a file says of itself, long lists of texts left out, and the names of its tensors."""
    from transformers.integrations.gguf.reader import read_gguf_metadata

    return read_gguf_metadata(f"{folder}/{gguf_file}")
