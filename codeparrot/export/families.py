"""Families of models as llama.cpp knows them: which settings it can honour, what it calls them, how it lays out weights.

A setting that llama.cpp would silently compute otherwise is refused by name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot.errors import CodeparrotError

if TYPE_CHECKING:
    import torch
    from gguf import GGUFWriter

ROPE_FACTORS = "rope_freqs.weight"
"""What llama.cpp divides the frequencies of rotary embeddings by, one factor a pair of dimensions."""
TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
"""Three names of the approximation that GPT-2 uses."""


class Weight(NamedTuple):
    """A tensor as the file holds it."""

    name: str
    shape: tuple[int, ...]
    matrix: bool
    """Whether it may be stored in fewer bits. Norms, biases and embeddings of positions stay float32."""
    values: "Callable[[], torch.Tensor]"
    """Gives the numbers: float32, on the CPU."""


@dataclass(frozen=True)
class Family:
    """A model of a family that llama.cpp has."""

    name: str
    config: Any
    settings: "Callable[[GGUFWriter, Any], None]"
    """Writes the settings of a config."""
    num_rows: int
    """Rows of the embeddings."""
    layout: "Callable[[str, torch.Tensor, Any], torch.Tensor]"
    """Turns a weight, by its name in the file, into llama.cpp's layout."""


def described(model: Any) -> Family:
    """Return the family of a model.

    Raises:
        CodeparrotError: llama.cpp does not have it, or not with these settings.
    """
    config = model.config
    known = {"gpt2": _GPT2, "llama": _LLAMA}
    if config.model_type not in known:
        raise CodeparrotError(f"a {config.model_type} cannot be exported as GGUF: only {' and '.join(known)} can")
    required, settings, layout = known[config.model_type]
    for name, allowed in required.items():
        if (value := getattr(config, name)) not in allowed:
            says = f"model.{name} {value}"
            raise CodeparrotError(f"{says} cannot be exported: llama.cpp computes every {config.model_type} with {allowed[0]}")
    if config.model_type == "llama":
        rope_factors(model)
    return Family(config.model_type, config, settings, model.get_input_embeddings().num_embeddings, layout)


def weights_of(model: Any, family: Family) -> list[Weight]:
    """Return the weights of a model in the order of its layers.

    Raises:
        CodeparrotError: llama.cpp has no place for one of them.
    """
    from gguf import MODEL_ARCH, get_tensor_name_map

    names = get_tensor_name_map(MODEL_ARCH[family.name.upper()], family.config.num_hidden_layers)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    found = []
    for name, values in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue  # llama.cpp takes the embeddings where there is no output
        stem, _, kind = name.rpartition(".")
        known = names.get_name(stem)
        if known is None:
            raise CodeparrotError(f"{name} cannot be exported: llama.cpp has no such weight in a {family.name}")
        found.append(_weight(f"{known}.{kind}", values, family))
    return [*found, *_rope(model, family)]


def _weight(name: str, values: "torch.Tensor", family: Family) -> Weight:
    laid_out = family.layout(name, values, family.config)
    matrix = laid_out.dim() > 1 and not name.startswith("position_embd.")
    return Weight(name, tuple(laid_out.shape), matrix, lambda: laid_out.float().cpu())


def _rope(model: Any, family: Family) -> Iterator[Weight]:
    factors = rope_factors(model) if family.name == "llama" else None
    if factors is not None:
        yield Weight(ROPE_FACTORS, tuple(factors.shape), False, lambda: factors)


def rope_factors(model: Any) -> "torch.Tensor | None":
    """Return what a llama divides its rotary frequencies by, [head dimension / 2]; None for nothing.

    Raises:
        CodeparrotError: its frequencies depend on the length of the text, or attention is scaled too.
    """
    import torch

    config, rotary = model.config, model.model.rotary_emb
    kind = config.rope_parameters.get("rope_type", "default")
    if kind not in ("default", "linear", "llama3") or config.rope_parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise CodeparrotError(f"model.rope_parameters of type {kind} cannot be exported: only default, linear and llama3 can")
    if kind == "default":
        return None
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    return 1.0 / config.rope_parameters["rope_theta"] ** half / rotary.inv_freq.float().cpu()


def _sizes(writer: "GGUFWriter", config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)


def _gpt2_settings(writer: "GGUFWriter", config: Any) -> None:
    _sizes(writer, config)
    writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _gpt2_layout(name: str, values: "torch.Tensor", config: Any) -> "torch.Tensor":
    """GPT-2's matrices in a layer are [input, output]; llama.cpp's are [output, input], as those of nn.Linear."""
    return values.T if name.startswith("blk.") and values.dim() == 2 else values


def _llama_settings(writer: "GGUFWriter", config: Any) -> None:
    _sizes(writer, config)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])


def _llama_layout(name: str, values: "torch.Tensor", config: Any) -> "torch.Tensor":
    """llama.cpp rotates neighbours, (0, 1), (2, 3), ...; transformers the halves of a head, (0, d/2), (1, d/2 + 1), ..."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return values
    halves = values.view(heads, 2, config.head_dim // 2, values.shape[1])
    return halves.transpose(1, 2).reshape(values.shape)


_Known = tuple[Mapping[str, tuple[Any, ...]], Callable[..., None], Callable[..., Any]]
_GPT2: _Known = (
    {
        "activation_function": TANH_GELU,
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    _gpt2_settings,
    _gpt2_layout,
)
_LLAMA: _Known = (
    {"hidden_act": ("silu", "swish"), "attention_bias": (False,), "mlp_bias": (False,)},
    _llama_settings,
    _llama_layout,
)
