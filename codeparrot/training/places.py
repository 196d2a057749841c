"""What a run reads from this machine is looked for before a library is loaded: a mistyped path is refused at once.

Nothing is read and nothing on the Hub is asked for.
"""

from codeparrot.checks import check_world_size
from codeparrot.config import Config, as_list
from codeparrot.launcher import world_size_asked
from codeparrot.loading import tokenizer_here
from codeparrot.stream.readers.hub import is_on_hub
from codeparrot.stream.sources import open_shards


def check_places(config: Config) -> None:
    """Check the number of processes, the tokenizer's folder and the files of both splits.

    Raises:
        CodeparrotError: naming the key, and the nearest path that exists.
    """
    check_world_size(config, world_size_asked())
    tokenizer_here(config.tokenizer.path)
    stream = config.stream
    data = [("train", "stream.train", as_list(stream.train)), ("valid", "stream.valid", as_list(stream.valid))]
    data += [("valid", f"evaluate.also {name}", as_list(each.valid)) for name, each in config.further_sets().items()]
    for split, setting, names in data:
        here = [name for name in names if isinstance(name, str) and not is_on_hub(name)]
        open_shards(here, split=split, column=stream.text_column, seq_length=stream.seq_length, setting=setting)
