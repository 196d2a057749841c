"""The weights of another model as the beginning of a run: `model.from`.

The run begins at step 0, with a fresh optimizer, and with a model that computes what its source computes. Once it has a
checkpoint it does not need the source any more: shape and tokenizer are read from the checkpoint.

Cost: each process reads the whole model into its host's memory, as it would draw a new one. A strategy that splits it does so
afterwards.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError, from_outside
from codeparrot.hub import fetch
from codeparrot.loading import (
    config_of,
    find_model,
    largest_id,
    load_tokenizer,
    load_tokenizer_of,
    not_loaded,
    parts_of,
)
from codeparrot.location import GGUF, local_folder
from codeparrot.model import gguf
from codeparrot.model.context import context_of
from codeparrot.model.families import config_of_weights, load_weights
from codeparrot.objectives import load_objective
from codeparrot.objectives.objective import kind_trained
from codeparrot.result import say
from codeparrot.run import checkpoint
from codeparrot.run.begun import begun, on_hub
from codeparrot.training.agreement import Agreement

logger = logging.getLogger("codeparrot")

PROBE = "def area(x: float) -> float:\n\tif x != '\u00e4\u20ac\U0001d11e':\n        return [x ** 2, 0x1F]  # 3.14159\n"
"""Text that two tokenizers must encode alike to be taken for one."""
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


class Source(NamedTuple):
    """Where the shape of a run's model comes from, and its tokenizer where no other is named."""

    name: str
    """`model.from`, as it was written."""
    place: str
    """Folder with config.json, or GGUF file."""
    first: bool
    """Whether the run begins, with the weights at `place`. If not, that is a checkpoint of the run."""

    @property
    def revision(self) -> str | None:
        """Return the commit of a repository on the Hub, or the name of a checkpoint of ours."""
        place = Path(self.place)
        if place.parent.name == "snapshots":
            return place.name
        return place.parent.name if place.name == "model" and (place.parent / checkpoint.MANIFEST).is_file() else None

    def facts(self) -> dict[str, Any]:
        """Return what the run keeps of its source: name, revision and the SHA-256 of each file with weights."""
        place = Path(self.place)
        files = [place] if place.is_file() else sorted(place.glob("*.safetensors"))
        return {
            "from": self.name,
            "revision": self.revision,
            "sha256": {file.name: checkpoint.sha256_of(file) for file in files},
        }


def source_of(config: Config, *, weights: bool = True) -> Source | None:
    """Return the source of a run; None if its weights are drawn.

    Args:
        config: of the run.
        weights: whether a repository on the Hub is fetched whole, or only its config and its tokenizer.

    Raises:
        CodeparrotError: there is no such model, or it has no weights in safetensors.
    """
    name = config.model.get("from")
    if name is None:
        return None
    place = begun(config)
    if place is not None:
        return Source(name, str(place / "model"), first=False)
    if on_hub(config):
        return Source(name, str(fetch.tokenizer(config.resume)), first=False)
    try:
        if not weights and not name.endswith(GGUF) and local_folder(name) is None:
            return Source(name, str(fetch.tokenizer(name)), first=True)
        found = find_model(name)
    except CodeparrotError as error:
        raise CodeparrotError(f"model.from: {error}") from error
    if not found.endswith(GGUF) and not any(Path(found).glob("*.safetensors")):
        raise CodeparrotError(f"model.from: {name} holds no *.safetensors; pickled weights may run code and are not read")
    return Source(name, found, first=True)


def check_agreed(source: Source | None, agreement: Agreement) -> None:
    """Check that all processes begin with the same weights. All of them call this.

    Raises:
        CodeparrotError: the source changed while they looked. The same on all processes.
    """
    found = sorted(set(agreement.gather("" if source is None else str(source.revision))))
    if len(found) > 1:
        raise CodeparrotError(f"model.from: processes found {' and '.join(found)}: it changes; name a checkpoint or a revision")


def tokenizer_of(config: Config, source: Source | None) -> Any:
    """Return the tokenizer of a run: that of `tokenizer.path`, or the source's own where that is empty.

    Raises:
        CodeparrotError: there is none, it has no end of document, or it gives other ids than the source's own.
    """
    path = config.tokenizer.path
    if source is None:
        return load_tokenizer(path)
    if not path:
        own = _own_tokenizer(source)
        if own is None:
            raise CodeparrotError(f"model.from: {source.name} holds no tokenizer; name its own in tokenizer.path")
        if own.eos_token_id is None:
            raise CodeparrotError(f"model.from: the tokenizer of {source.name} has no eos_token, which ends each document")
        return own
    tokenizer = load_tokenizer(path)
    if source.first and (own := _own_tokenizer(source)) is not None:
        _check_same_ids(tokenizer, own, path, source)
    return tokenizer


def _own_tokenizer(source: Source) -> Any:
    """Return the tokenizer beside the source's weights, or None if there is none."""
    place = Path(source.place)
    if place.is_dir() and not any((place / name).is_file() for name in _TOKENIZER_FILES):
        return None
    say(f"loading the tokenizer of {source.name}")
    tokenizer = load_tokenizer_of(source.place)
    # transformers makes up an empty tokenizer where there is none.
    if len(tokenizer) <= 1:
        return None
    if not tokenizer.is_fast:
        raise CodeparrotError(f"model.from: the tokenizer of {source.name} has no tokenizer.json, and runs only in Python")
    return tokenizer


def _check_same_ids(tokenizer: Any, own: Any, path: str, source: Source) -> None:
    """Check that the tokens which two tokenizers share have one id each, and that they cut a text alike.

    Tokens that only one of them has may be new sentinels, or names for spare rows.
    """
    ours, theirs = tokenizer.get_vocab(), own.get_vocab()
    moved = next((token for token, index in theirs.items() if ours.get(token, index) != index), None)
    if moved is not None:
        why = f"{moved!r} is {ours[moved]} there and {theirs[moved]} here"
    else:
        cut, expected = (each.backend_tokenizer.encode(PROBE, add_special_tokens=False).ids for each in (tokenizer, own))
        if cut == expected:
            return
        why = f"a line of code is {len(cut)} tokens there and {len(expected)} here, or other ones"
    raise CodeparrotError(
        f"tokenizer.path: {path} is not the tokenizer whose ids {source.name} has learned ({why}); leave tokenizer.path out to "
        "keep its own"
    )


def settings_of(config: Config, source: Source) -> Any:
    """Return the transformers config of the source, with the settings beside `model.from`.

    Raises:
        CodeparrotError: the source is no model that can be trained here, or a setting contradicts its weights.
    """
    kind = kind_trained(load_objective(config.objective))
    settings = config_of_weights(config_of(source.place), config.model, kind)
    if source.place.endswith(GGUF):
        gguf.check_trainable(*_file(source))
    return settings


def _file(source: Source) -> tuple[str, str]:
    folder, file = parts_of(source.place)
    return folder, file["gguf_file"]


def fit_source(settings: Any, tokenizer: Any, config: Config, source: Source, length: int) -> None:
    """Check that a source fits the tokenizer and windows of `length` positions; give its config as many ids as asked for.

    Raises:
        CodeparrotError: naming the setting and the remedy.
    """
    text, size = settings.get_text_config(), largest_id(tokenizer) + 1
    if text.vocab_size < size:
        if not config.model.get("resize_embeddings"):
            raise CodeparrotError(
                f"model.from: {source.name} has {text.vocab_size} rows of embeddings and the tokenizer {size} ids; set "
                f"model.resize_embeddings true to add {size - text.vocab_size} rows, each the mean of the others"
            )
        text.vocab_size = size
    context = context_of(settings)
    if context is not None and context < length:
        raise CodeparrotError(
            f"stream.seq_length {length} is beyond the {context} positions of {source.name}; set stream.seq_length {context}"
        )
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list | tuple) else [settings.eos_token_id]
    if ends != [None] and tokenizer.eos_token_id not in ends:
        own = f"{tokenizer.eos_token_id} ({tokenizer.eos_token})"
        raise CodeparrotError(
            f"model.from: {source.name} ends documents with {settings.eos_token_id} and the tokenizer with {own}; set "
            f"model.eos_token_id {tokenizer.eos_token_id} to end them so from now on"
        )


def first_weights(config: Config, source: Source, settings: Any, accelerator: Any) -> PreTrainedModel:
    """Return the source's model on the host, with as many rows of embeddings as `settings` has ids.

    Raises:
        CodeparrotError: the weights cannot be read, or are not those of the source's config.
    """
    say(f"loading the weights of {source.name}")
    folder, file = parts_of(source.place)
    with without_zero3(accelerator), torch.random.fork_rng(devices=[]):
        try:
            model, found = load_weights(settings_of(config, source), folder, **file)
        except CodeparrotError:
            raise
        except Exception as error:
            # Damaged files raise exceptions of safetensors and Exception itself.
            raise from_outside(error) or not_loaded(source.name, error) from error
        if missing := sorted(found["missing_keys"]):
            raise CodeparrotError(f"model.from: {source.name} lacks {missing[0]} (of {len(missing)} weights); name another")
        if unused := sorted(found["unexpected_keys"]):
            logger.warning("model.from: %s of %s and %d more are not used", unused[0], source.name, len(unused) - 1)
        resize(model, settings.get_text_config().vocab_size)
    return model


def resize(model: PreTrainedModel, size: int) -> None:
    """Give the embeddings `size` rows, and an untied head too; each new one is the mean of the old ones."""
    embeddings: Any = model.get_input_embeddings()
    rows = int(embeddings.weight.shape[0])
    if rows >= size:
        return
    model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            tensors: list[Any] = [getattr(layer, name, None) for name in ("weight", "bias")]
            for tensor in tensors:
                if tensor is not None:
                    tensor[rows:] = tensor[:rows].mean(0, keepdim=True)


class without_zero3:
    """Has each process read the whole model under ZeRO-3, where transformers would spread it over the processes."""

    def __init__(self, accelerator: Any) -> None:
        plugin = getattr(accelerator.state, "deepspeed_plugin", None)
        self._settings = getattr(plugin, "dschf", None)

    def __enter__(self) -> None:
        if self._settings is not None:
            from transformers.integrations.deepspeed import unset_hf_deepspeed_config

            unset_hf_deepspeed_config()

    def __exit__(self, *_: object) -> None:
        if self._settings is not None:
            from transformers.integrations.deepspeed import set_hf_deepspeed_config

            set_hf_deepspeed_config(self._settings)
