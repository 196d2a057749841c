"""Which model made a vector: a digest of its files.

Two models with the same digest give the same vectors. Settings that change none, such as who wrote the file, do not count.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.loading import parts_of
from codeparrot.run.checkpoint import sha256_of

_VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model")
_SETTINGS = ("config.json", "tokenizer_config.json")
_OF_NO_ACCOUNT = {"transformers_version", "_name_or_path", "name_or_path", "dtype", "torch_dtype", "use_cache"}
"""Settings that change no vector, which is computed in float32 whatever the type of the stored weights."""


def digest_of_model(model: str) -> str:
    """Return the SHA-256 of the weights, the vocabulary and the settings of a model.

    Every byte is read: a second a gigabyte or so.

    Args:
        model: what `find_model` returns.

    Raises:
        CodeparrotError: its settings are damaged.
    """
    folder, file = parts_of(model)
    paths = [Path(folder) / file["gguf_file"]] if file else sorted(Path(folder).glob("*.safetensors"))
    paths += [path for name in _VOCABULARIES if not file and (path := Path(folder) / name).is_file()]
    lines = [f"{path.suffix} {sha256_of(path)}" for path in paths]
    lines += [f"{name} {_settings(path)}" for name in _SETTINGS if not file and (path := Path(folder) / name).is_file()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _settings(path: Path) -> str:
    """Return the settings of a file that count, in one order."""
    try:
        found: dict[str, Any] = files.read_object(path)
    except (OSError, ValueError) as error:
        raise CodeparrotError(f"{path} is damaged ({error}): name another checkpoint") from error
    return json.dumps({name: value for name, value in found.items() if name not in _OF_NO_ACCOUNT}, sort_keys=True)
