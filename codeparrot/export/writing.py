"""The file itself: settings, vocabulary and origin first, then the weights, one after another.

A number that does not fit its type, or is none, ends the export: llama.cpp would load it and write nonsense.
Cost: memory for one weight beside the model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.export.families import Family, Weight
from codeparrot.export.origin import Origin
from codeparrot.export.vocabulary import Vocabulary
from codeparrot.result import progress_bar

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType


class Written(NamedTuple):
    """What a file holds."""

    parameters: int
    tensors: int
    larger: int
    """Tensors that did not fit blocks of 32 numbers and have type f16 instead."""


def write(place: Path, family: Family, weights: Sequence[Weight], vocabulary: Vocabulary, origin: Origin, type: str) -> Written:
    """Write a GGUF file.

    Raises:
        CodeparrotError: a weight is not finite, or too large for the type.
    """
    from gguf import GGML_QUANT_VERSION, GGUFWriter, LlamaFileType, size_label

    files = {"f32": LlamaFileType.ALL_F32, "f16": LlamaFileType.MOSTLY_F16, "q8_0": LlamaFileType.MOSTLY_Q8_0}
    parameters = sum(_count(weight.shape) for weight in weights)
    writer = GGUFWriter(None, family.name)
    origin.write(writer)
    writer.add_size_label(size_label(parameters, parameters, 0, 0))
    writer.add_file_type(files[type])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    family.settings(writer, family.config)
    vocabulary.write(writer)
    types = [_type(weight, type) for weight in weights]
    for weight, stored in zip(weights, types, strict=True):
        _announce(writer, weight, stored)
    try:
        writer.write_header_to_file(place)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        _write_weights(writer, weights, types)
    finally:
        writer.close()
    larger = sum(stored.name == "F16" for stored in types) if type == "q8_0" else 0
    return Written(parameters, len(weights), larger)


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _type(weight: Weight, wanted: str) -> "GGMLQuantizationType":
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if not weight.matrix:
        return GGMLQuantizationType.F32
    stored = GGMLQuantizationType[wanted.upper()]
    return stored if weight.shape[-1] % GGML_QUANT_SIZES[stored][0] == 0 else GGMLQuantizationType.F16


def _announce(writer: Any, weight: Weight, stored: "GGMLQuantizationType") -> None:
    import numpy as np
    from gguf import GGML_QUANT_SIZES

    numbers, num_bytes = GGML_QUANT_SIZES[stored]
    size = _count(weight.shape) // numbers * num_bytes
    writer.add_tensor_info(weight.name, weight.shape, np.dtype(np.float32), size, raw_dtype=stored)


def _write_weights(writer: Any, weights: Sequence[Weight], types: "Sequence[GGMLQuantizationType]") -> None:
    with progress_bar(
        total=sum(_count(weight.shape) for weight in weights) * 4, desc="writing", unit="B", unit_scale=True
    ) as bar:
        for weight, stored in zip(weights, types, strict=True):
            writer.write_tensor_data(_stored(weight, stored))
            bar.update(_count(weight.shape) * 4)


def _stored(weight: Weight, stored: "GGMLQuantizationType") -> Any:
    import numpy as np
    from gguf import quantize

    values = weight.values().contiguous().numpy()
    if not np.isfinite(values).all():
        raise CodeparrotError(f"{weight.name} holds numbers that are not finite: export an earlier checkpoint")
    # A scale of q8_0 is a 127th of the largest number, and float16 itself.
    most = {"F16": 1.0, "Q8_0": 127.0}.get(stored.name, np.inf) * float(np.finfo(np.float16).max)
    if np.abs(values).max(initial=0.0) > most:
        raise CodeparrotError(f"{weight.name} holds numbers that are too large for {stored.name.lower()}: use --type f32")
    return quantize(values, stored)
