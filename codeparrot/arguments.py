"""The arguments of every command: jsonargparse, with errors of one line that names the nearest valid choice and a short help.

`bind` makes the signature of a function its flags. A function whose only parameter is a dataclass, as `train(config: Config)`,
takes `--config FILE` and `--section.field VALUE` instead.
"""

import dataclasses
import importlib.resources
import inspect
import json
import os
import re
import shutil
import sys
import textwrap
from argparse import SUPPRESS, Action
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.location import stay_at_home

if TYPE_CHECKING:
    from codeparrot.config import Config

RECIPE = "recipe"
_WIDEST = 100
"""Columns of the help on a wide terminal; longer lines are hard to read."""

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Help(DefaultHelpFormatter):
    """An option on one line, what it does below it, its range and default in parentheses at the end."""

    def __init__(self, prog: str, **options: Any) -> None:
        width = min(shutil.get_terminal_size().columns - 2, _WIDEST)
        super().__init__(prog, **{"max_help_position": 8, "width": width, **options})

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{action.option_strings[0]} {action.metavar or self._get_default_metavar_for_optional(action)}"

    def _expand_help(self, action: Action) -> str:
        rule = getattr(action, "rule", None)
        details = ["required" if action.required else "", rule.words if rule else "", _default(action)]
        text = "; ".join(filter(None, details))
        return f"{action.help or ''}{f' ({text})' if text else ''}"


def _default(action: Action) -> str:
    """Return `default: ...` as it would be written on the command line; nothing where the text says what is done without."""
    value = action.default
    if action.nargs == 0 or value in (None, "", [], SUPPRESS):
        return ""
    if str(action.metavar).endswith("..."):
        value = " ".join(map(str, value))
    return f"default: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


class Parser(ArgumentParser):
    """Exits with status 2 and one line on stderr when the arguments are wrong."""

    def __init__(self, prog: str | None = None, **options: Any) -> None:
        # jsonargparse makes parsers of this class for the fields of nested dataclasses, with options of its own.
        super().__init__(prog=prog, **{"formatter_class": Help, **options})

    def print_help(self, file: Any = None) -> None:
        # argparse passes over an error of writing.
        try:
            print(self.format_help(), end="", file=file, flush=True)
        except BrokenPipeError:
            raise  # the reader has seen enough
        except OSError as error:
            raise CodeparrotError(f"cannot write the help to standard output: {error.strerror}") from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = _alternatives(" ".join(str(ex or message).split()))
        print(f"{self.prog}: error: {text}{self._hint(text)} ({self.prog} --help lists the options)", file=sys.stderr)
        self.exit(2)
        raise AssertionError("unreachable")

    def _hint(self, text: str) -> str:
        unknown = re.search(r"unrecognized arguments: --([\w.\-]+)", text)
        in_group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", text)
        in_file = re.search(r"Option '([\w.]+)' is not accepted", text)
        single = unknown or in_file
        name = single[1] if single else f"{in_group[1]}.{in_group[2]}" if in_group else None
        known = [str(action.dest) for action in self._actions]
        return nearest(name, known) if name else ""

    def lay_out(self, function: Callable[..., Any], hints: Mapping[str, Any], usage: str = "") -> None:
        """Arrange the help: a line of usage, what the command does, its options by section, then what all commands have.

        Args:
            function: its docstring says what the command does.
            hints: types of the arguments, by name.
            usage: of a command that reads a dataclass, what follows its name; by default the required arguments.
        """
        fields = dict(_metadata(hints))
        for action in self._actions:
            _present(action, fields.get(action.dest, {}), several=not usage)
        positional, others, *groups = self._action_groups
        others.title = "other options"
        names = {id(group): name for name, group in (self.groups or {}).items() if name in hints}
        sections = [group for group in groups if id(group) in names]
        own = [group for group in groups if id(group) not in names]
        for group in sections:
            group.title, group.description = names[id(group)], _purpose(hints[names[id(group)]])
        for group in own:
            group.title, group.description = "the rest" if usage else "options", None
        self._action_groups = [positional, *(sections + own if usage else own + sections), others]
        self.usage = _wrapped([self.prog, *([usage] if usage else [*self._required(), *self._optional()])])
        self.description = _purpose(function)
        # Only for the help: the command line takes them out before anything is parsed (cli.py).
        self.add_argument("--json", action="help", help="Print the result as one JSON object.")
        self.add_argument("--debug", action="help", help="Show the traceback of an error.")

    def _required(self) -> Iterator[str]:
        for action in self._actions:
            if action.required:
                yield " ".join([*action.option_strings[:1], str(action.metavar or action.dest.upper())])

    def _optional(self) -> list[str]:
        return ["[options]"] if any(not (action.required or action.dest == "help") for action in self._actions) else []


def _alternatives(text: str) -> str:
    """Return an error of jsonargparse; where a value fits none of several types, only the key, the value and what it may be."""
    found = re.search(
        r'key "([\w.]+)": Does not validate against any of the Union.*?Errors: (.*) Given value type: .*?: (.*)', text
    )
    types = re.findall(r"Expected a (?:<class '(\w+)'>|typing\.Literal\[([^\]]*)\])", found[2]) if found else []
    if not found or not types:
        return text
    expected = [_IN_WORDS.get(name, name) or words.replace("'", "") for name, words in types]
    return f"{found[1]} is {found[3]}; it must be {' or '.join(expected)}"


_IN_WORDS = {"int": "a whole number", "float": "a number", "str": "text"}


def _wrapped(words: Iterable[str]) -> str:
    """Return a usage whose options stay beside their values where it takes more than one line."""
    kept = " ".join(word.replace(" ", "\0") for word in words)
    width = min(shutil.get_terminal_size().columns, _WIDEST) - len("usage: ")
    lines = textwrap.wrap(kept, width, break_on_hyphens=False, break_long_words=False)
    return ("\n" + " " * len("usage: codeparrot ")).join(lines).replace("\0", " ")


def _purpose(documented: Any) -> str:
    """Return the first paragraph of a docstring."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def _metadata(hints: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dotted names of the fields of dataclasses among `hints`, with what setting.py keeps at them."""
    for name, hint in hints.items():
        if dataclasses.is_dataclass(hint):
            yield from ((f"{name}.{field.name}", field.metadata) for field in dataclasses.fields(hint))


def _present(action: Action, metadata: Mapping[str, Any], several: bool) -> None:
    """Say in the help what an option takes: what a number counts, or its type; several values where it is a list."""
    hint = action.type or getattr(action, "_typehint", None)
    types = (hint, *get_args(hint))
    if action.dest == "help":
        action.help = "Show this help and exit."
    elif dataclasses.is_dataclass(hint) or type(action).__name__ == "_ActionConfigLoad":
        action.help = SUPPRESS  # a file for one section: --config reads all of them
    elif action.dest == "print_config":
        action.help = "Print all settings as YAML, as they are after all other arguments, and exit."
    elif unit := metadata.get("unit"):
        action.metavar = unit.upper()
    elif several and (element := _element(hint)):
        action.metavar = f"{_NUMBERS.get(element, _last(action))} ..."
    elif bool not in types and (number := next((_NUMBERS[each] for each in types if each in _NUMBERS), None)):
        action.metavar = number
    action.rule = metadata.get("rule")  # type: ignore[attr-defined]


_NUMBERS: dict[Any, str] = {int: "INT", float: "FLOAT"}


def _last(action: Action) -> str:
    return action.dest.rpartition(".")[2].upper()


def add_recipe(parser: Parser, folder: str) -> None:
    """Let `--recipe` read settings from a YAML file."""
    names = " or ".join(sorted(recipes(folder)))
    text = f"YAML file with the settings above, or {names}; flags win."
    parser.add_argument(f"--{RECIPE}", action="config", metavar="FILE", help=text)


def recipe_first(arguments: Sequence[str], folder: str) -> list[str]:
    """Put `--recipe` before all other flags, so that they win, and write the name of a recipe that ships as its path."""
    found, others, waiting = [], [], False
    for word in arguments:
        flag, equals, value = word.partition("=")
        if waiting or (flag == f"--{RECIPE}" and equals):
            name = word if waiting else value
            found += [f"--{RECIPE}", str(recipes(folder).get(name, name))]
            waiting = False
        elif word == f"--{RECIPE}":
            waiting = True
        else:
            others.append(word)
    return [*found, *([f"--{RECIPE}"] if waiting else []), *others]


def recipes(folder: str) -> dict[str, Path]:
    """Return the recipes that ship with the package, by name."""
    files = (Path(str(importlib.resources.files("codeparrot.configs"))) / folder).glob("*.yaml")
    return {file.stem: file for file in files}


def spell_out(arguments: Sequence[str], function: Callable[..., Any]) -> list[str]:
    """Write `--a-flag` as `--a_flag`, and a flag that is true or false and has no value as true."""
    switches = {name for name, hint in get_type_hints(function).items() if bool in (hint, *get_args(hint))}
    spelled = []
    for index, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if re.fullmatch(r"--\w[\w-]*", name):
            name = "--" + name[2:].replace("-", "_")
        following = arguments[index + 1] if index + 1 < len(arguments) else "--"
        bare = name[2:] in switches and not equals and following.lower() not in ("true", "false")
        spelled.append(f"{name}=true" if bare else f"{name}{equals}{value}")
    return spelled


def join_lists(arguments: Sequence[str], function: Callable[..., Any], positional: bool = False) -> list[str]:
    """Write the values of every list flag of `function` as the one JSON list that jsonargparse expects.

    So `--source a b`, `--source a --source b`, `--source=a --source+ b` and `--source '[a, b]'` are the same. With
    `positional`, the words that belong to no flag are the values of the first parameter, where that is a list.
    """
    hints = get_type_hints(function)
    for group, hint in list(hints.items()):
        if dataclasses.is_dataclass(hint):
            hints |= {f"{group}.{name}": nested for name, nested in get_type_hints(hint).items()}
    lists = {name: element for name, hint in hints.items() if (element := _element(hint))}
    first = next(iter(hints), None)
    unflagged = first if positional and first in lists else None
    values: dict[str, list[Any] | None] = {}
    kept: list[str] = []
    flag, awaits_value = None, False
    for word in arguments:
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.removesuffix("+")
        if word.startswith("--") and name in lists:
            flag, awaits_value = (None if equals else name), False
            values[name] = [*(values.get(name) or []), *_values(value, lists[name])] if equals else values.get(name)
        elif word.startswith("--"):
            flag, awaits_value = None, not equals
            kept.append(word)
        elif flag or (unflagged and not awaits_value and not word.startswith("-")):
            name = flag or str(unflagged)
            values[name] = [*(values.get(name) or []), *_values(word, lists[name])]
        else:
            awaits_value = False
            kept.append(word)
    for name, given in values.items():
        text = json.dumps(given)
        kept.append(text if name == unflagged else f"--{name}" if given is None else f"--{name}={text}")
    return kept


def _element(hint: Any) -> Any:
    """Return the type of the elements of a list or tuple (or None), None for any other type."""
    return next((get_args(each)[0] for each in (hint, *get_args(hint)) if get_origin(each) in (list, tuple)), None)


def _values(word: str, element: Any) -> list[Any]:
    if word.startswith("[") and word.endswith("]"):
        return yaml.safe_load(word)
    return [yaml.safe_load(word) if element in (int, float, bool) else word]


def bind(
    function: Callable[..., Any],
    arguments: Sequence[str],
    prog: str,
    *,
    positional: bool = False,
    recipe_folder: str = "",
    check: Callable[[Any], None] = lambda settings: None,
) -> Callable[[], Any]:
    """Read the arguments of a function from the command line and return what calls it with them.

    Wrong arguments end the process with status 2 and one line.

    Args:
        function: its signature is its flags; or its only parameter is a dataclass.
        arguments: words behind the name of the command.
        prog: name of the command, for help and errors.
        positional: whether arguments without a default are given by position.
        recipe_folder: folder of the recipes that `--recipe` names; empty: there is no such option.
        check: raises CodeparrotError where the settings of a dataclass cannot work together.
    """
    hints = _parameters(function)
    if len(hints) == 1 and dataclasses.is_dataclass(kind := next(iter(hints.values()))):
        settings = parse_settings(kind, arguments, prog, function)
        check(settings)
        return lambda: function(settings)
    parser = Parser(prog)
    if recipe_folder:
        arguments = recipe_first(arguments, recipe_folder)
        add_recipe(parser, recipe_folder)
    parser.add_function_arguments(function, as_positional=positional)
    parser.lay_out(function, hints)
    options = vars(parser.instantiate(parser.parse_args(join_lists(spell_out(arguments, function), function, positional))))
    return lambda: function(**{name: value for name, value in options.items() if name != RECIPE})


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(function).items() if name != "return"}


def parse_settings(kind: Any, arguments: Sequence[str], prog: str, function: Callable[..., Any]) -> Any:
    """Read `--config FILE` and dotted overrides into the dataclass `kind`; the docstring of `function` is shown as help.

    Wrong arguments end the process with status 2 and one line.
    """
    parser = Parser(prog)
    text = "YAML file with the settings above. Where several arguments set the same thing, the last wins."
    parser.add_argument("--config", action="config", metavar="FILE", help=text)
    parser.add_class_arguments(kind)
    parser.lay_out(function, get_type_hints(kind), "--config FILE [--section.field VALUE ...]")
    options = parser.instantiate(parser.parse_args(list(arguments)))
    settings = kind(**{field.name: getattr(options, field.name) for field in dataclasses.fields(kind)})
    moved = stay_at_home(settings, arguments) if hasattr(settings, "run") else ""
    if moved and function is not parse_config and os.environ.get("RANK", "0") == "0":
        print(f"codeparrot: {moved}", file=sys.stderr)
    return settings


def parse_config(arguments: Sequence[str]) -> "Config":
    """Read and check the configuration of a run, as `codeparrot train` does.

    Raises:
        CodeparrotError: the settings cannot work together.
    """
    from codeparrot.checks import check
    from codeparrot.config import Config

    config = parse_settings(Config, arguments, "codeparrot train", parse_config)
    check(config)
    return config


def load_config(path: Path) -> "Config":
    """Read a resolved configuration, as `config.yaml` of a run directory."""
    return parse_config(["--config", str(path)])
