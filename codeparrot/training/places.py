"""What a run reads from this machine is looked for before a library is loaded: a mistyped path is refused at once.

Nothing is read and nothing on the Hub is asked for.
"""

from typing import Any

from codeparrot.checks import check_world_size
from codeparrot.config import Config, StreamConfig, as_list
from codeparrot.errors import CodeparrotError
from codeparrot.launcher import world_size_asked
from codeparrot.loading import tokenizer_here
from codeparrot.location import GGUF, HUB, local_folder, path_of
from codeparrot.mirror.store import check_place
from codeparrot.run.begun import begun, on_hub
from codeparrot.run.checkpoint import MANIFEST
from codeparrot.stream.entries import paths_of
from codeparrot.stream.mixture import further_sets
from codeparrot.stream.opened import check_documents, setting_of
from codeparrot.stream.readers.hub import is_on_hub
from codeparrot.stream.shards import Shard
from codeparrot.stream.sources import open_shards


def check_places(config: Config) -> None:
    """Check the number of processes, the tokenizer's folder and the files of both splits.

    Raises:
        CodeparrotError: naming the key, and the nearest path that exists.
    """
    check_world_size(config, world_size_asked())
    if config.tokenizer.path:
        tokenizer_here(config.tokenizer.path)
    _check_source(config)
    _check_resume(config.resume)
    if config.checkpoint.mirror:
        check_place(config.checkpoint.mirror)
    stream = config.stream
    _check(as_list(stream.valid), "valid", "stream.valid", stream)
    for source in paths_of(stream.train):
        shards = _check(
            source.path, "train", setting := setting_of(source, stream.train), stream, source.description, source.language
        )
        if stream.packing == "best_fit":
            check_documents(shards, setting)
    for each in further_sets(config).values():
        _check(as_list(each.stream.valid), "valid", each.setting, stream, each.description)


def _check(
    names: list[str], split: str, setting: str, stream: StreamConfig, description: str = "", language: str = ""
) -> list[Shard]:
    here = [name for name in names if not is_on_hub(name)]
    how: Any = {"column": stream.text_column, "seq_length": stream.seq_length, "setting": setting}
    return open_shards(here, split=split, **how, description=description, language=language)


def _check_source(config: Config) -> None:
    """A run that goes on does not need what it began with. One with a mirror may go on from there (mirror/arrival.py)."""
    name = config.model.get("from")
    if name is None or begun(config) or on_hub(config) or config.checkpoint.mirror:
        return
    try:
        if not (name.endswith(GGUF) and path_of(name).is_file()):
            local_folder(name)
    except CodeparrotError as error:
        raise CodeparrotError(f"model.from: {error}") from error


def _check_resume(name: str) -> None:
    """Refuse what is no checkpoint and holds a model: a run may begin with its weights."""
    if name in ("auto", "never") or name.startswith(HUB):
        return
    place = path_of(name)
    if place.is_file():
        what = "a GGUF file, a model" if place.suffix == GGUF else "a file"
    elif (place / "config.json").is_file() and not (place / MANIFEST).is_file() and not (place / "checkpoints").is_dir():
        what = "a folder with a model"
    else:
        return
    begin = f'--model \'{{"from": "{name}"}}\' begins a run at step 0 with its weights; ' if what != "a file" else ""
    remedy = f"{begin}--resume takes a run, or one of its checkpoints"
    raise CodeparrotError(f"cannot resume from {name}: it is {what} without the state of a run; {remedy}")
