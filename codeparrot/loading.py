"""Load a tokenizer, a model or a corpus by name.

A name is a folder, a run, a checkpoint, a GGUF file or a repository on the Hub. Weights are read only from safetensors or a
GGUF file, and no code from the Hub is run. A checkpoint that was cut short while it was written is never loaded.
"""

import contextlib
import glob
import hashlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from codeparrot import files
from codeparrot.errors import CodeparrotError, from_outside
from codeparrot.location import GGUF, is_hub_name, local_folder, path_of
from codeparrot.model import gguf
from codeparrot.model.kinds import Kind, classes, kind_stored, reader_of
from codeparrot.result import say
from codeparrot.run.checkpoint import MANIFEST, read_manifest, steps

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

logger = logging.getLogger("codeparrot")


def find_model(name: str) -> str:
    """Return the folder with config.json, or the GGUF file, that `name` means; a model on the Hub is downloaded first.

    Args:
        name: A run (its newest complete checkpoint is taken), a checkpoint, a folder with a model, a GGUF file, or
            `owner/name[@revision]` on the Hub.

    Raises:
        CodeparrotError: the folder is none of these or holds no complete checkpoint, or the Hub does not have the model.
    """
    if name.endswith(GGUF) and path_of(name).is_file():
        return str(path_of(name))
    folder = local_folder(name)
    if folder is None:
        from codeparrot.hub import fetch

        return str(fetch.model(name))
    if (folder / "config.json").is_file():
        return str(folder)
    if (folder / "checkpoints").is_dir():
        folder = _newest_checkpoint(folder)
    if not (folder / "model" / "config.json").is_file():
        raise CodeparrotError(f'"{name}" is no run, checkpoint or model: it has neither checkpoints/, model/ nor config.json')
    if not (folder / MANIFEST).is_file():
        raise CodeparrotError(f'the checkpoint "{folder}" is incomplete (no {MANIFEST}): name its run to use the newest one')
    return str(folder / "model")


def require_middles(model: str, instead: str) -> Literal["psm", "spm"]:
    """Refuse a checkpoint whose run has not learned to fill in the middle; of any other model that is not known.

    Its tokenizer may have the sentinels all the same, untrained: `codeparrot tokenizer train` adds them by default.

    Args:
        model: what `find_model` returns.
        instead: what the user can do without.

    Returns:
        The order of the parts to ask it in. A small model that has learned both goes on with a prefix that stands next to
        the middle better than it finds one before the suffix (docs/LOG.md); where it is not known, psm, the commoner order.
    """
    checkpoint = Path(model).parent
    if Path(model).name != "model" or not (checkpoint / MANIFEST).is_file():
        return "psm"
    try:
        config = read_manifest(checkpoint)["config"]
    except (CodeparrotError, KeyError):
        # The weights may be whole all the same.
        logger.warning("%s does not say whether the model has learned to fill in the middle", checkpoint / MANIFEST)
        return "psm"
    objective = config.get("objective", {})
    if objective.get("name", "causal") != "causal":
        return "psm"
    if not objective.get("fim_rate"):
        remedy = f"train a run with objective.fim_rate 0.5, or {instead}"
        raise CodeparrotError(f"{checkpoint} was trained with objective.fim_rate 0 and cannot fill in the middle: {remedy}")
    return "psm" if objective.get("fim_spm_rate") == 0 else "spm"


def load_model(
    model: str, device: str = "auto", dtype: "torch.dtype | None" = None, kind: Kind | None = "causal"
) -> tuple["PreTrainedModel", Any]:
    """Load a model in evaluation mode and its tokenizer from a folder, a GGUF file or the Hub.

    Args:
        model: what `find_model` returns.
        device: where the model goes; auto takes the first accelerator there is.
        dtype: type of the weights. None: float32 on a CPU, where other types are slower or lose precision for nothing, and as
            stored elsewhere.
        kind: the model must be of this kind; None: any, for vectors. Then weights of a head or a pooler may be missing, and
            what is returned is the part without them (`reader_of`).

    Raises:
        CodeparrotError: model or tokenizer is missing or damaged, or needs code that is not part of transformers; the model is
            of another kind.
    """
    say(f"loading the model {model}")
    import torch
    import transformers

    place = _device(device)
    folder, file = parts_of(model)
    chosen = dtype or (torch.float32 if place.type == "cpu" else "auto")
    own = _kind_here(model, kind)
    tokenizer = load_tokenizer_of(model)
    try:
        with _progress_on_terminals(), _only_errors() if kind is None else contextlib.nullcontext():
            options: Any = {"dtype": chosen, "use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
            if file:
                options["config"] = gguf.config_of(folder, **file)
            loaded: Any = getattr(transformers, classes()[own].auto).from_pretrained(folder, **options, **file)
    except Exception as error:
        # Besides OSError, ValueError and RuntimeError, damaged files raise exceptions of safetensors and Exception itself.
        raise not_loaded(model, error) from error
    network, missing = loaded[0], loaded[1]["missing_keys"]
    if kind is None:
        network, missing = _of_vectors(network, missing)
    if missing:
        raise CodeparrotError(f'the model "{model}" lacks {min(missing)} (of {len(missing)} weights): name another checkpoint')
    # transformers makes up an empty tokenizer where there is none.
    if len(tokenizer) <= 1 or _largest_read(tokenizer) >= network.get_input_embeddings().num_embeddings:
        raise CodeparrotError(f'the tokenizer in "{model}" is missing or not that of its model: copy the right one there')
    if file:
        gguf.mend_rope(network, folder, **file)
    return network.to(place).eval(), tokenizer


def _of_vectors(network: Any, missing: set[str]) -> tuple[Any, set[str]]:
    """Return what makes vectors, and the weights that it lacks: all of a model, or its reader where the rest is missing."""
    network.config.architectures = network.config.architectures or [type(network).__name__]
    if not missing:
        return network, missing
    reader = reader_of(network)
    own = {id(weight) for weight in (*reader.parameters(), *reader.buffers())}
    named = dict([*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)])
    # A name that is not known stays missing.
    needed = {name for name in missing if name not in named or id(named[name]) in own}
    if not needed:
        say("the checkpoint has no head; vectors do not need one")
        reader.config.architectures = [type(reader).__name__]
    return reader, needed


def _kind_here(model: str, asked: Kind | None) -> Kind:
    own: Kind = "causal" if model.endswith(GGUF) else kind_stored(config_of(model))
    if asked not in (None, own):
        words = f"is a {classes()[own].words} and cannot be used here, where text is written or its likelihood measured"
        raise CodeparrotError(f'the model "{model}" {words}; name a {classes()[asked].words}')
    return own


def parts_of(model: str) -> tuple[str, dict[str, Any]]:
    """Return the folder of a model, and the argument that names a GGUF file in it."""
    return (str(Path(model).parent), {"gguf_file": Path(model).name}) if model.endswith(GGUF) else (model, {})


def not_loaded(model: str, error: Exception) -> CodeparrotError:
    """Return the one line for a model, a config or a tokenizer that transformers could not load."""
    if isinstance(error, MemoryError | RuntimeError) and (known := from_outside(error)):
        return known  # another checkpoint of the same size would not do
    reason = str(error).strip().split("\n", 1)[0]
    return CodeparrotError(f'no model can be loaded from "{model}" ({reason}): name another checkpoint')


def load_tokenizer_of(model: str) -> Any:
    """Load the tokenizer of a model without the model; see `load_model`."""
    from transformers import AutoTokenizer

    folder, file = parts_of(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **file)
        return gguf.mend_tokenizer(tokenizer, folder, **file) if file else tokenizer
    except Exception as error:
        raise not_loaded(model, error) from error


def stored_dtype(model: str, device: str = "auto") -> "torch.dtype | None":
    """Return the type that `load_model` gives the weights where none is asked for; None if only loading them shows it."""
    import torch

    if _device(device).type == "cpu":
        return torch.float32
    return None if model.endswith(GGUF) else config_of(model).dtype


def config_of(model: str) -> Any:
    """Load the transformers config of a model without the model; see `load_model`."""
    from transformers import AutoConfig

    folder, file = parts_of(model)
    try:
        return gguf.config_of(folder, **file) if file else AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise not_loaded(model, error) from error


def load_tokenizer(name: str) -> Any:
    """Load a tokenizer from a folder in the transformers format, or from the Hub: `owner/name[@revision]`.

    Raises:
        CodeparrotError: it cannot be loaded, or has no end-of-document token.
    """
    folder = tokenizer_here(name)
    if folder is None:
        from codeparrot.hub import fetch

        folder = fetch.tokenizer(name)
    say(f"loading the tokenizer {name}")
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise CodeparrotError(f"tokenizer.path: cannot load {name}: {' '.join(str(error).split())[:200]}") from error
    if tokenizer.eos_token_id is None:
        raise CodeparrotError(f"tokenizer.path: {name} has no eos_token, which ends each document; set it in its config")
    return tokenizer


def tokenizer_here(name: str) -> Path | None:
    """Return the folder of a tokenizer on this machine; None if only the Hub can have it.

    Raises:
        CodeparrotError: the folder is none of a tokenizer, or it is a mistyped one.
    """
    try:
        folder = local_folder(name)
    except CodeparrotError as error:
        raise CodeparrotError(f"tokenizer.path: {error}") from error
    if folder is not None and not (folder / "tokenizer.json").is_file():
        raise CodeparrotError(f"tokenizer.path: {name} holds no tokenizer.json; train one with `codeparrot tokenizer train`")
    return folder


def largest_id(tokenizer: Any) -> int:
    """Return the largest id of a tokenizer. `len` counts its tokens, whose ids may have gaps, or share one."""
    return max(*tokenizer.get_vocab().values(), *tokenizer.all_special_ids)


def special_ids(tokenizer: Any) -> set[int]:
    """Return the ids of special tokens, sentinels included, which transformers' `all_special_ids` may lack."""
    return {*tokenizer.all_special_ids, *(index for index, each in tokenizer.added_tokens_decoder.items() if each.special)}


def _largest_read(tokenizer: Any) -> int:
    """Return the largest id that a model reads: of a text, or of its ends. Some models have no row for their padding token."""
    special = special_ids(tokenizer)
    ends = (each for each in (tokenizer.bos_token_id, tokenizer.eos_token_id) if each is not None)
    return max(0, *(index for index in tokenizer.get_vocab().values() if index not in special), *ends)


def tokenizer_digest(tokenizer: Any) -> str:
    """Return the SHA-256 of everything that determines which ids a text gets."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def corpus_here(name: str) -> str:
    """Return a corpus that can be opened: `name` itself, or the folder to which a data set of the Hub was downloaded.

    Raises:
        CodeparrotError: the Hub does not have it.
    """
    on_disk = path_of(name).exists() or glob.has_magic(name)
    if on_disk or not is_hub_name(name) or local_folder(name) is not None:
        return name
    from codeparrot.hub import fetch

    return str(fetch.corpus(name))


def _newest_checkpoint(run: Path) -> Path:
    for checkpoint in steps(run / "checkpoints"):
        try:
            files.read_object(checkpoint / MANIFEST)
        except FileNotFoundError:
            continue  # being removed
        except (OSError, ValueError) as error:
            logger.warning("passing over %s: its %s cannot be read (%s)", checkpoint, MANIFEST, error)
        else:
            return checkpoint
    raise CodeparrotError(f'the run "{run}" has no complete checkpoint yet: train on until it writes one')


def _device(name: str) -> "torch.device":
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, here in available.items() if here))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise CodeparrotError(f'--device "{name}" is no device: auto, {", ".join(available)} or cuda:1') from error
    if not available.get(device.type) or (device.index or 0) >= max(1, torch.cuda.device_count()):
        here = ", ".join(kind for kind, here in available.items() if here)
        raise CodeparrotError(f'--device "{name}" is not on this machine, which has {here}')
    return device


@contextlib.contextmanager
def _progress_on_terminals() -> Iterator[None]:
    from transformers.utils import logging as of_transformers

    silenced = of_transformers.is_progress_bar_enabled() and not sys.stderr.isatty()
    if silenced:
        of_transformers.disable_progress_bar()
    try:
        yield
    finally:
        if silenced:
            of_transformers.enable_progress_bar()


@contextlib.contextmanager
def _only_errors() -> Iterator[None]:
    """Silence transformers' report of missing weights: the caller checks them."""
    reports = logging.getLogger("transformers.modeling_utils")

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    # Its level stays: transformers takes another one for a wish to check plans of tensor parallelism, and warns of those.
    reports.addFilter(is_error)
    try:
        yield
    finally:
        reports.removeFilter(is_error)
