"""The `codeparrot` command.

Each subcommand is one function in its own room: its signature is its flags, its docstring is its help, and one line of COMMANDS
registers it. Only the module of the command that was asked for is imported, so `codeparrot --help` costs a bare interpreter.

Exit status: 0 success, 1 an error (one line on stderr), 2 wrong arguments, 75 stopped before the end with everything saved
(the same command goes on), 130 interrupted.
"""

import atexit
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from codeparrot import __version__
from codeparrot.errors import CodeparrotError, nearest
from codeparrot.eval.tasks import TASKS
from codeparrot.files import to_json

_RANK = int(os.environ.get("RANK", "0"))
"""Only the first of several processes of one run prints the result."""


class Command(NamedTuple):
    """One line of the registry. The function is imported only when the command is asked for."""

    target: str
    """`module:function`. The module imports nothing heavy at its top, so that its help appears at once."""
    summary: str
    """Its line in `codeparrot --help`."""
    positional: bool = False
    """Whether arguments without a default are given by position instead of by name."""
    recipes: str = ""
    """Folder of `configs/` with the recipes that `--recipe` names; empty: there is no such option."""
    check: str = ""
    """`module:function` that refuses settings which cannot work together, before the command starts; for a command whose only
    parameter is a dataclass."""
    extra: str = ""
    """Extra of the package that brings libraries which only this command needs."""


COMMANDS = {
    "quickstart": Command("codeparrot.quickstart:quickstart", "the whole chain on this machine's own Python sources"),
    "corpus build": Command(
        "codeparrot.corpus.build:build", "raw files to a clean corpus in Parquet", recipes="corpus", extra="corpus"
    ),
    "corpus report": Command(
        "codeparrot.corpus.report.command:report", "what a corpus holds and what its filters removed", extra="corpus"
    ),
    "corpus sql": Command("codeparrot.corpus.sources.bigquery:sql", "the query that exports the GitHub dump on BigQuery"),
    "corpus tokenize": Command("codeparrot.corpus.tokenize:tokenize", "a corpus to fixed-length windows of tokens"),
    "corpus push": Command("codeparrot.publishing.folders:push_corpus", "a corpus to the Hub, as a data set with its card"),
    "tokenizer train": Command("codeparrot.tokenizer.train:train", "a byte-level BPE for code from a corpus"),
    "tokenizer report": Command("codeparrot.tokenizer.report:report", "how well tokenizers fit a corpus"),
    "tokenizer push": Command("codeparrot.publishing.folders:push_tokenizer", "a tokenizer to the Hub"),
    "train": Command(
        "codeparrot.train:train",
        "pretrain a model; the same as accelerate launch codeparrot/train.py",
        check="codeparrot.checks:check",
    ),
    **{f"eval {name}": Command(*task) for name, task in TASKS.items()},
    "eval compare": Command(
        "codeparrot.eval.compare:compare", "whether two evaluations differ, compared problem by problem", positional=True
    ),
    "inspect": Command("codeparrot.inspect_batch:inspect", "the batch of one training step, with the documents it came from"),
    "hub status": Command("codeparrot.publishing.commands:status", "what of a run is on the Hub, and what waits"),
    "hub push": Command("codeparrot.publishing.commands:push", "push the checkpoints of a run that are not on the Hub yet"),
    "hub promote": Command("codeparrot.publishing.promote:promote", "make main hold what a run's branch holds"),
    "complete": Command("codeparrot.generation.complete:complete", "complete code with a checkpoint"),
    "verify": Command("codeparrot.verify.command:verify", "check the invariants of training on this machine"),
    "plot": Command("codeparrot.plot:plot", "loss curves of one run or several", positional=True),
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: codeparrot COMMAND [options]",
            "",
            "Pretrain a language model for code, from raw source files to completions.",
            "",
            *lines,
            "",
            "codeparrot COMMAND --help shows the options of a command with their units and defaults.",
            "Every command takes --json (the result as one JSON object on stdout) and --debug (tracebacks).",
        ]
    )


def entry(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by default that of the command line, and end the process with its exit status."""
    status = 1
    if "WORLD_SIZE" in os.environ:
        # One of several processes. Exit handlers run in reverse order: the one registered first runs last.
        atexit.register(lambda: _leave(status))
    try:
        status = main(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """End the process without finalizing the interpreter.

    gloo threads may release the last collective's tensors after it returns. A thread that does so while the interpreter is
    finalizing aborts the process ("terminate called without an active exception"), and the launcher then reports a finished
    run as failed: https://github.com/pytorch/pytorch/issues/190489.
    """
    import logging

    logging.shutdown()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):  # the reader went away, or the stream is closed
            stream.flush()
    os._exit(status)


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    _escape_what_cannot_be_written()
    arguments = [word for word in argv if word not in ("--json", "--debug")]
    as_json, debug = "--json" in argv, "--debug" in argv
    try:
        action = prepare(arguments)
        # With --json, stdout holds one JSON object and nothing else, whatever a library prints.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            result = action()
        if result is None:
            return 0
        if _RANK == 0:
            print(to_json(result.data) if as_json else result.text, flush=True)
        if result.status.problem:
            raise CodeparrotError(result.status.problem)
        return result.status.code
    except CodeparrotError as error:
        if debug:
            raise
        print(f"codeparrot: {f'process {_RANK}: ' if _RANK else ''}error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of a pipe went away (`codeparrot ... | head`). That is no error of ours; stdout must not be flushed again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        if debug:
            raise
        print("codeparrot: interrupted", file=sys.stderr)
        return 130


def _escape_what_cannot_be_written() -> None:
    """Write a character that the terminal's encoding lacks as its escape (\\u4e16) instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def prepare(arguments: list[str]) -> Callable[[], Any]:
    """Read the arguments of a command and return what runs it. Wrong arguments end the process with status 2."""
    if not arguments or arguments[0] in ("-h", "--help"):
        return lambda: print(usage())
    if arguments[0] == "--version":
        return lambda: print(f"codeparrot {__version__}")
    name, rest = _split(arguments)
    with _extra_named(name):
        action = _bound(name, rest)

    def run() -> Any:
        with _extra_named(name):
            return action()

    return run


def _bound(name: str, arguments: list[str]) -> Callable[[], Any]:
    from codeparrot.arguments import bind
    from codeparrot.registry import load

    command = COMMANDS[name]

    def check(settings: Any) -> None:
        if command.check:
            load(command.check)(settings)

    return bind(
        load(command.target),
        arguments,
        f"codeparrot {name}",
        positional=command.positional,
        recipe_folder=command.recipes,
        check=check,
    )


@contextlib.contextmanager
def _extra_named(name: str) -> Iterator[None]:
    """Where a library of the command's extra is missing, say which extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra, module = COMMANDS[name].extra, str(error.name).partition(".")[0]
        if not extra or module == "codeparrot":
            raise
        raise CodeparrotError(f"{name} needs the extra \"{extra}\": pip install 'codeparrot[{extra}]'") from error


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return name, arguments[words:]
    family = [name for name in COMMANDS if name.startswith(arguments[0] + " ")]
    if family:
        if len(arguments) == 1 or arguments[1] in ("-h", "--help"):
            raise SystemExit(_family_help(arguments[0], family, asked=len(arguments) > 1))
        raise _unknown(" ".join(arguments[:2]))
    raise _unknown(arguments[0])


def _family_help(family: str, names: list[str], asked: bool) -> int:
    lines = [f"  codeparrot {name:<{max(map(len, names))}}  {COMMANDS[name].summary}" for name in names]
    print("\n".join([f"usage: codeparrot {family} COMMAND [options]", "", *lines]), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def _unknown(name: str) -> SystemExit:
    hint = nearest(name, COMMANDS)
    print(f'codeparrot: error: unknown command "{name}"{hint} (codeparrot --help lists them)', file=sys.stderr)
    return SystemExit(2)
