"""The `codeparrot` command.

Each subcommand is one function in its own room: its signature is its flags, its docstring is its help, and one line of COMMANDS
registers it. Only the module of the command that was asked for is imported, so `codeparrot --help` costs a bare interpreter.

Exit status: 0 success, 1 an error (one line on stderr), 2 wrong arguments, 75 stopped before the end with everything saved
(the same command goes on), 130 interrupted (the command says whether it goes on).
"""

import atexit
import contextlib
import io
import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from codeparrot import __version__
from codeparrot.errors import CodeparrotError, from_outside, nearest
from codeparrot.eval.tasks import TASKS
from codeparrot.launcher import find_home, open_closed_streams, rank, wait_asleep
from codeparrot.result import Result


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
    several: bool = False
    """Whether a launcher may start it in several processes; only the first of them prints the result."""
    usual: str = ""
    """Argument by position that is meant where none is given."""
    goes_on: bool = False
    """Whether the same command goes on with what was done when it was interrupted."""


COMMANDS = {
    "quickstart": Command(
        "codeparrot.quickstart:quickstart", "the whole chain on this machine's own Python sources", goes_on=True
    ),
    "corpus build": Command(
        "codeparrot.corpus.build:build", "raw files to a clean corpus in Parquet", recipes="corpus", goes_on=True
    ),
    "corpus report": Command("codeparrot.corpus.report.command:report", "what a corpus holds and what its filters removed"),
    "corpus sql": Command("codeparrot.corpus.sources.bigquery:sql", "the query that exports the GitHub dump on BigQuery"),
    "corpus tokenize": Command("codeparrot.corpus.tokenize:tokenize", "a corpus to fixed-length windows of tokens"),
    "corpus pairs": Command("codeparrot.corpus.pairs.command:pairs", "the documented functions of a corpus, as a data set"),
    "corpus push": Command("codeparrot.publishing.folders:push_corpus", "a corpus to the Hub, as a data set with its card"),
    "tokenizer train": Command("codeparrot.tokenizer.train:train", "a byte-level BPE for code from a corpus"),
    "tokenizer report": Command("codeparrot.tokenizer.report:report", "how well tokenizers fit a corpus"),
    "tokenizer show": Command(
        "codeparrot.tokenizer.show:show", "the tokens of a text, with their places and bytes", positional=True
    ),
    "tokenizer push": Command("codeparrot.publishing.folders:push_tokenizer", "a tokenizer to the Hub"),
    "train": Command(
        "codeparrot.train:train",
        "pretrain a model (as accelerate launch codeparrot/train.py)",
        check="codeparrot.checks:check",
        several=True,
        goes_on=True,
    ),
    "plan": Command("codeparrot.plan.command:plan", "what a run will need", check="codeparrot.plan.command:check"),
    **{f"eval {name}": Command(*task[:2], several=True, goes_on=task.goes_on) for name, task in TASKS.items()},
    "eval compare": Command(
        "codeparrot.eval.compare:compare", "whether two evaluations differ, compared problem by problem", positional=True
    ),
    "inspect": Command("codeparrot.inspect_batch:inspect", "the batch of a training step, with the documents behind it"),
    "hub status": Command("codeparrot.publishing.commands:status", "what of a run is on the Hub, and what waits"),
    "hub push": Command(
        "codeparrot.publishing.commands:push", "push the checkpoints of a run that are not on the Hub yet", goes_on=True
    ),
    "hub promote": Command("codeparrot.publishing.promote:promote", "make main hold what a run's branch holds"),
    "complete": Command("codeparrot.generation.complete:complete", "complete code with a checkpoint"),
    "serve": Command("codeparrot.serve.command:serve", "completions for editors over HTTP, and a page to look into the model"),
    "export": Command("codeparrot.export.command:export", "a checkpoint for llama.cpp (GGUF) or sentence-transformers"),
    "embed": Command("codeparrot.search.embed:embed", "vectors of a source tree's functions and classes", positional=True),
    "search build": Command(
        "codeparrot.search.build:build", "an index of a source tree, for search", positional=True, goes_on=True
    ),
    "search query": Command(
        "codeparrot.search.query:query", "the places of a tree nearest to a text or a place", positional=True, usual="-"
    ),
    "scale run": Command(
        "codeparrot.scale.series:run", "a series of small runs for a law", check="codeparrot.scale.series:check", goes_on=True
    ),
    "scale fit": Command("codeparrot.scale.command:fit", "how the loss falls with parameters and tokens", positional=True),
    "scale predict": Command("codeparrot.scale.command:predict", "the loss of a larger model, by a fitted law"),
    "verify": Command("codeparrot.verify.command:verify", "check the invariants of training on this machine"),
    "runs": Command(
        "codeparrot.runs.listing:runs", "the runs there are: state, loss, speed, time left", positional=True, usual="runs"
    ),
    "tree": Command(
        "codeparrot.runs.tree:tree", "runs and those that began at their checkpoints", positional=True, usual="runs"
    ),
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
            "codeparrot COMMAND --help (or codeparrot help COMMAND) shows its options.",
            "Every command takes --json (its result as JSON) and --debug (tracebacks).",
        ]
    )


def entry(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by default that of the command line, and end the process with its exit status."""
    status = 1
    open_closed_streams()
    find_home()
    wait_asleep()
    if os.environ.get("WORLD_SIZE"):
        # One of several processes. Exit handlers run in reverse order: the one registered first runs last.
        atexit.register(lambda: _leave(status))
    try:
        status = main(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    fetching = sys.modules.get("codeparrot.training.fetching")  # only where something was fetched
    if fetching and fetching.left_behind():
        _leave(status)
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
        return _deliver(result, as_json, _rank_in(arguments)) if result is not None else 0
    except BrokenPipeError as error:
        if debug or not _reader_gone():
            raise
        return _unprinted(error, 0)
    except KeyboardInterrupt:
        if debug:
            raise
        print(f"codeparrot: interrupted{_how_to_go_on(arguments)}", file=sys.stderr)
        return 130
    except Exception as error:
        known = error if isinstance(error, CodeparrotError) else from_outside(error)
        if debug or known is None:
            raise
        _give_up_stdout()
        number = _rank_in(arguments)
        print(f"codeparrot: {f'process {number}: ' if number else ''}error: {known}", file=sys.stderr)
        return 1


def _rank_in(arguments: Sequence[str]) -> int:
    """Return the rank of this process in the command; RANK may belong to another program."""
    command = COMMANDS.get(" ".join(arguments[:2])) or COMMANDS.get(" ".join(arguments[:1]))
    return rank() if command and command.several else 0


def _deliver(result: Result, as_json: bool, number: int) -> int:
    """Print a result and return the exit status.

    Raises:
        CodeparrotError: the command did its work, and its result is bad.
    """
    status = result.status.code
    if number == 0:
        text = result.text
        if as_json:
            from codeparrot.files import to_json  # not for the help

            text = to_json(result.data)
        try:
            print(text, flush=True)
            if getattr(sys.stdout, "name", "") == os.devnull:
                raise OSError(None, "it is closed")
        except OSError as error:
            status = _unprinted(error, status)
    if result.status.problem:
        raise CodeparrotError(result.status.problem)
    return status


def _unprinted(error: OSError, status: int) -> int:
    """Say that the result could not be printed, and return the exit status: at least 1, since nobody saw the result."""
    _give_up_stdout()
    # A reader that goes away (`codeparrot ... | head`) has seen enough.
    if not isinstance(error, BrokenPipeError):
        remedy = "what the command wrote elsewhere is there"
        print(f"codeparrot: error: cannot write the result to standard output: {error.strerror} ({remedy})", file=sys.stderr)
    return status or 1


def _give_up_stdout() -> None:
    """Send what is still to be printed nowhere, if stdout does not take it: the interpreter would try again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reader_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _how_to_go_on(arguments: Sequence[str]) -> str:
    command = COMMANDS.get(" ".join(arguments[:2])) or COMMANDS.get(" ".join(arguments[:1]))
    return "; the same command goes on with what is done" if command and command.goes_on else ""


def _escape_what_cannot_be_written() -> None:
    """Write a character that the terminal's encoding lacks as its escape (\\u4e16) instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def prepare(arguments: list[str]) -> Callable[[], Any]:
    """Read the arguments of a command and return what runs it. Wrong arguments end the process with status 2."""
    if not arguments or arguments[0] in ("-h", "--help"):
        return lambda: Result(usage(), {"commands": list(COMMANDS)})
    if arguments[0] == "--version":
        return lambda: Result(f"codeparrot {__version__}", {"version": __version__})
    if arguments[0] == "help":
        return prepare([*arguments[1:], "--help"])
    return _bound(*_split(arguments))


def _bound(name: str, arguments: list[str]) -> Callable[[], Any]:
    from codeparrot.arguments import bind
    from codeparrot.arguments.shorthand import config_named, in_bytes
    from codeparrot.registry import load

    _check_surroundings()
    command = COMMANDS[name]
    arguments = in_bytes(config_named(arguments) if command.check else arguments)

    def check(settings: Any) -> None:
        if command.check:
            load(command.check)(settings)

    # A command that reads the settings of a run: they may be those of another one.
    settings: dict[str, Any] = {"inherit": load("codeparrot.runs.child:inherit")} if command.check else {}
    return bind(
        load(command.target),
        arguments,
        f"codeparrot {name}",
        positional=command.positional,
        usual=command.usual,
        recipe_folder=command.recipes,
        check=check,
        **settings,
    )


def _check_surroundings() -> None:
    """Refuse what Python and its libraries cannot work in.

    Raises:
        CodeparrotError: there are no docstrings, or the current folder was removed.
    """
    if sys.flags.optimize > 1:
        raise CodeparrotError("Python runs without docstrings, which this and transformers read: unset PYTHONOPTIMIZE (or -OO)")
    try:
        Path.cwd()
    except FileNotFoundError:
        raise CodeparrotError("the current folder was removed: change to one that exists (cd)") from None


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
