"""The FLOPs of a token, as PaLM and as llm.c count them.

Costs: the model is built on the meta device (0.2 s for 48 layers, no memory).
"""

from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from codeparrot.model.families import without_weights
from codeparrot.model.kinds import kind_of


def flops_per_token(
    config: PreTrainedConfig, seq_length: int, head_share: float = 1.0, lengths: tuple[int, int] | None = None
) -> int:
    """Return forward and backward FLOPs a token: 6 N + 12 * layers * heads * head width * seq_length (PaLM, appendix B).

    N counts the parameters that every token is multiplied with: no position embeddings (as in nanoGPT), no input embedding
    unless it is also the head, and of routed experts only the share that a token passes through. The second term is attention
    without the causal mask's saving, as is customary; recomputation by gradient checkpointing is not counted.

    In an encoder-decoder, what is read passes the encoder and the keys and values that the decoder makes of it, and what is
    written passes the rest.

    Args:
        config: of any family.
        seq_length: tokens in a window.
        head_share: share of the tokens whose logits are computed.
        lengths: tokens that an encoder-decoder reads and writes of a window.
    """
    model = without_weights(config)
    head = model.get_output_embeddings()
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    tables -= {head.weight} if head is not None else set()
    if lengths is not None and kind_of(config) == "encoder-decoder":
        return _of_an_encoder_decoder(model, config, tables, lengths, seq_length)
    share = _routed_share(config.get_text_config())
    multiplied = sum(
        parameter.numel() * (share if ".experts." in name else 1)
        for name, parameter in model.named_parameters()
        if parameter not in tables
    )
    multiplied -= _spared(head, head_share)
    return round(6 * multiplied + 12 * _attention_width(config) * seq_length)


def causal_flops_per_token(
    config: PreTrainedConfig, seq_length: int, head_share: float = 1.0, lengths: tuple[int, int] | None = None
) -> int:
    """Return forward and backward FLOPs a token as llm.c counts them: 6 N + 6 * layers * heads * head width * seq_length.

    N counts all parameters, of routed experts only the share that a token passes through. Attention is the half that a causal
    mask leaves; a model that sees both sides has the whole. llm.c knows no encoder-decoder: its count is that of
    `flops_per_token`.
    """
    if lengths is not None and kind_of(config) == "encoder-decoder":
        return flops_per_token(config, seq_length, head_share, lengths)
    share = _routed_share(config.get_text_config())
    model = without_weights(config)
    parameters = model.named_parameters()
    passed = sum(parameter.numel() * (share if ".experts." in name else 1) for name, parameter in parameters)
    passed -= _spared(model.get_output_embeddings(), head_share)
    half = 6 if kind_of(config) == "causal" else 12
    return round(6 * passed + half * _attention_width(config) * seq_length)


_BETWEEN = ("EncDecAttention", "encoder_attn")
"""Names of the decoder's attention to what the encoder has read, in T5 and in BART, and in those made after them."""
_KEYS_AND_VALUES = ("k", "v", "k_proj", "v_proj")


def _of_an_encoder_decoder(
    model: Any, config: PreTrainedConfig, tables: set[Any], lengths: tuple[int, int], seq_length: int
) -> int:
    read, written = lengths
    encoder = {*model.get_encoder().parameters()} - {model.get_output_embeddings().weight}
    passed = 0
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        of_what_is_read = any(part in _BETWEEN for part in parts) and parts[-2] in _KEYS_AND_VALUES
        if parameter not in tables:
            passed += parameter.numel() * (read if parameter in encoder or of_what_is_read else written)
    heads = getattr(config, "num_attention_heads", 0)
    width = heads * (getattr(config, "d_kv", None) or config.d_model // heads)
    layers = getattr(config, "decoder_layers", None) or getattr(config, "num_decoder_layers", config.num_hidden_layers)
    pairs = config.num_hidden_layers * read**2 + layers * (written**2 + written * read)
    return round((6 * passed + 12 * width * pairs) / seq_length)


def _spared(head: nn.Module | None, head_share: float) -> float:
    """Return the parameters of the head that a token passes by, in the mean."""
    weight: Any = getattr(head, "weight", None)
    return (1 - head_share) * weight.numel() if weight is not None else 0.0


def _attention_width(config: PreTrainedConfig) -> int:
    """Return layers * heads * head width."""
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None) or 0
    head_width = getattr(text, "head_dim", None) or (text.hidden_size // heads if heads else 0)
    return text.num_hidden_layers * heads * head_width


def _routed_share(config: PreTrainedConfig) -> float:
    """Return the share of the routed experts that one token passes through; 1 for a dense model."""
    chosen = getattr(config, "num_experts_per_tok", None)
    counts = (getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    experts = next((count for count in counts if count), None)
    return chosen / experts if chosen and experts else 1.0
