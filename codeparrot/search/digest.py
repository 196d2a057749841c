"""Which model made a vector: a digest of its files."""

import hashlib
from pathlib import Path

from codeparrot.loading import parts_of
from codeparrot.run.checkpoint import sha256_of

_VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model")


def digest_of_model(model: str) -> str:
    """Return the SHA-256 of the weights and the vocabulary of a model. Every byte is read: a second a gigabyte or so.

    Args:
        model: what `find_model` returns.
    """
    folder, file = parts_of(model)
    paths = [Path(folder) / file["gguf_file"]] if file else sorted(Path(folder).glob("*.safetensors"))
    paths += [path for name in _VOCABULARIES if not file and (path := Path(folder) / name).is_file()]
    lines = [f"{path.suffix} {sha256_of(path)}" for path in paths]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
