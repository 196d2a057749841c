"""The FLOPs of a token, as PaLM and as llm.c count them.

Costs: the model is built on the meta device (0.2 s for 48 layers, no memory).
"""

from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from codeparrot.model.families import without_weights
from codeparrot.model.kinds import kind_of


def flops_per_token(config: PreTrainedConfig, seq_length: int, head_share: float = 1.0) -> int:
    """Return forward and backward FLOPs a token: 6 N + 12 * layers * heads * head width * seq_length (PaLM, appendix B).

    N counts the parameters that every token is multiplied with: no position embeddings (as in nanoGPT), no input embedding
    unless it is also the head, and of routed experts only the share that a token passes through. The second term is attention
    without the causal mask's saving, as is customary; recomputation by gradient checkpointing is not counted.

    Args:
        config: of any family.
        seq_length: tokens in a window.
        head_share: share of the tokens whose logits are computed.
    """
    model = without_weights(config)
    head = model.get_output_embeddings()
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    tables -= {head.weight} if head is not None else set()
    share = _routed_share(config.get_text_config())
    multiplied = sum(
        parameter.numel() * (share if ".experts." in name else 1)
        for name, parameter in model.named_parameters()
        if parameter not in tables
    )
    multiplied -= _spared(head, head_share)
    return round(6 * multiplied + 12 * _attention_width(config) * seq_length)


def causal_flops_per_token(config: PreTrainedConfig, seq_length: int, head_share: float = 1.0) -> int:
    """Return forward and backward FLOPs a token as llm.c counts them: 6 N + 6 * layers * heads * head width * seq_length.

    N counts all parameters, of routed experts only the share that a token passes through. Attention is the half that a causal
    mask leaves; a model that sees both sides has the whole.
    """
    share = _routed_share(config.get_text_config())
    model = without_weights(config)
    parameters = model.named_parameters()
    passed = sum(parameter.numel() * (share if ".experts." in name else 1) for name, parameter in parameters)
    passed -= _spared(model.get_output_embeddings(), head_share)
    half = 6 if kind_of(config) == "causal" else 12
    return round(6 * passed + half * _attention_width(config) * seq_length)


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
