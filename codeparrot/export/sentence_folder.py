"""A model as a folder of sentence-transformers.

Guarantee: SentenceTransformer(folder).encode gives the vectors of `codeparrot embed` to 1e-5 in float32, without whitening; a
text of no token at all is the exception, which it has no vector for. It is a folder of transformers as well, with its head. The
folder is complete or absent; it replaces such a folder and nothing else.

The names of the modules are those of all versions since 2.0: later ones read them.
"""

import json
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.errors import CodeparrotError, writing
from codeparrot.figures import count_in_words
from codeparrot.location import GGUF
from codeparrot.result import Result
from codeparrot.search.embedding import Embedder
from codeparrot.search.pooling import Pooling

MODULES = "modules.json"
_PARTS = (
    ("", "sentence_transformers.models.Transformer"),
    ("1_Pooling", "sentence_transformers.models.Pooling"),
    ("2_Normalize", "sentence_transformers.models.Normalize"),
)
_MODES = {"mean": "pooling_mode_mean_tokens", "last": "pooling_mode_lasttoken"}
_ALL_MODES = (
    "pooling_mode_cls_token",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
    *_MODES.values(),
)


def export_folder(checkpoint: str, place: Path, pooling: Pooling) -> Result:
    """Write a folder of sentence-transformers; see the command `export`.

    Raises:
        CodeparrotError: the model is an encoder-decoder or cannot be loaded, or something else is in the place.
    """
    from codeparrot.loading import config_of, find_model, load_model

    replaced = _check_output(place)
    folder_of_model = find_model(checkpoint)
    if config_of(folder_of_model).is_encoder_decoder:
        raise CodeparrotError(f'"{checkpoint}" is an encoder-decoder: sentence-transformers pools causal and masked models')
    model, tokenizer = load_model(folder_of_model, "cpu", kind=None)
    embedder = Embedder(model, tokenizer, pooling)
    with writing(place, "--output"), files.replaced_folder(place) as folder:
        model.save_pretrained(folder)
        _save_tokenizer(folder, tokenizer, embedder.context)
        _write(folder, embedder)
    facts: dict[str, Any] = {"output": str(place), "checkpoint": checkpoint, "format": "sentence-transformers"}
    facts |= {"pooling": embedder.pooling, "width": embedder.width, "max_seq_length": embedder.context, "replaced": replaced}
    facts["parameters"] = sum(each.numel() for each in model.parameters())
    context = f"{embedder.context:,} tokens" if embedder.context else "texts of any length"
    lines = [
        f"model       {place} ({count_in_words(facts['parameters'])} parameters{'; it replaced one' if replaced else ''})",
        f"vectors     {embedder.width} numbers, pooling {embedder.pooling}, {context}",
        f'next        sentence_transformers.SentenceTransformer("{place}").encode(["x"])',
    ]
    return Result("\n".join(lines), facts)


def _check_output(place: Path) -> bool:
    """Return whether a folder of sentence-transformers will be replaced."""
    if place.suffix == GGUF:
        raise CodeparrotError(f'--output "{place}": sentence-transformers reads a folder; name one, or leave out --format')
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return False
    if not (place / MODULES).is_file():
        raise CodeparrotError(f'--output "{place}" is there and no folder of sentence-transformers: name another folder')
    return True


def _save_tokenizer(folder: Path, tokenizer: Any, context: int | None) -> None:
    # Padding stands behind a text, where no token of a causal model sees it.
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if context:
        tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)


def _write(folder: Path, embedder: Embedder) -> None:
    """Write what sentence-transformers reads besides a model and its tokenizer."""
    own = _MODES[embedder.pooling]
    pooling = {"word_embedding_dimension": embedder.width, **{mode: mode == own for mode in _ALL_MODES}}
    parts = [{"idx": number, "name": str(number), "path": path, "type": kind} for number, (path, kind) in enumerate(_PARTS)]
    for name, content in {
        MODULES: parts,
        "sentence_bert_config.json": {"max_seq_length": embedder.context, "do_lower_case": False},
        "config_sentence_transformers.json": {"__version__": {}, "prompts": {}, "similarity_fn_name": "cosine"},
        f"{_PARTS[1][0]}/config.json": pooling,
    }.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=2), encoding="utf-8")
    (folder / _PARTS[2][0]).mkdir()
