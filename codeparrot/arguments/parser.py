"""The parser of every command: an error of one line that names the nearest valid choice, and a short help."""

import dataclasses
import inspect
import json
import keyword
import re
import shutil
import sys
import textwrap
from argparse import SUPPRESS, Action
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

import yaml
from jsonargparse import (
    ActionConfigFile,  # pyright: ignore[reportPrivateImportUsage] - what "config" stands for in its documentation
    ArgumentParser,
    DefaultHelpFormatter,
    Namespace,
    get_loader,
    set_loader,
    set_parsing_settings,
)

from codeparrot.arguments.words import choices_of, element_of, flags_of
from codeparrot.errors import CodeparrotError, nearest
from codeparrot.location import path_of
from codeparrot.setting import Renamed, in_todays_names, wrong_type
from codeparrot.text_files import read_text, repeated_key, syntax_error

_WIDEST, _NARROWEST = 100, 30
"""Columns of the help: longer lines are hard to read, and shorter ones hold no option."""

set_parsing_settings(docstring_parse_attribute_docstrings=True)
_load_yaml = get_loader("yaml")


def _load_whole(text: str, path: str = "") -> Any:
    """Return the value of a YAML text, of which nothing is dropped.

    Raises:
        yaml.YAMLError: it is not YAML, a key stands twice in it, or it is nested too deeply.
    """
    place = f"{path}: " if path else ""
    try:
        repeated = repeated_key(text) if any(sign in text for sign in "\n{[-") else None
        if repeated:
            name, first, second = repeated
            both = f"lines {first} and {second}" if first != second else f"line {first}"
            raise yaml.YAMLError(f'"{name}" stands twice, in {both}: only one of them would count; join them')
        return _load_yaml(text)
    except yaml.MarkedYAMLError as error:
        raise yaml.YAMLError(f"{place}{syntax_error(error, text)}") from error
    except yaml.YAMLError as error:
        raise yaml.YAMLError(f"{place}{error}") from error


set_loader("yaml", _load_whole, exceptions=(yaml.YAMLError,))


class Help(DefaultHelpFormatter):
    """An option on one line, what it does below it, its range and default in parentheses at the end."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"max_help_position": 8, "width": _columns() - 2, **options})

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        name = getattr(action, "shown", "") or action.option_strings[0]
        return f"{name} {action.metavar or self._get_default_metavar_for_optional(action)}"

    def _expand_help(self, action: Action) -> str:
        rule = getattr(action, "rule", None)
        details = ["required" if action.required else "", rule.words if rule else "", _default(action)]
        text = "; ".join(filter(None, details))
        return f"{action.help or ''}{f' ({text})' if text else ''}"


def _columns() -> int:
    return max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))


def _default(action: Action) -> str:
    """Return `default: ...` as it would be written on the command line; nothing where the text says what is done without."""
    value = action.default
    if action.nargs == 0 or value in (None, "", [], (), SUPPRESS):
        return ""
    if str(action.metavar).endswith("...") and not any(str(each).split() != [str(each)] for each in value):
        value = " ".join(map(str, value))
    return f"default: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


class SettingsFile(ActionConfigFile):
    """Reads a file of settings. A mapping in it, as `model`, adds to one from a file or a flag before it, as sections do.

    One of another `family` or `name`, or from other weights, replaces it: its settings belong to something else.
    """

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        before = {name: value for name, value in vars(cfg).items() if isinstance(value, dict)}
        super().__call__(parser, cfg, values, option_string)
        for name, old in before.items():
            new = cfg[name]
            if isinstance(new, dict) and all(new.get(key, old.get(key)) == old.get(key) for key in ("family", "name", "from")):
                cfg[name] = old | new


class Parser(ArgumentParser):
    """Exits with status 2 and one line on stderr when the arguments are wrong."""

    recipes: Sequence[str] = ()
    """Names that `--recipe` knows."""
    renames: Sequence[Renamed] = ()
    """Settings that had another name; files still have them under it."""

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
        said = " ".join(str(ex or message).split())
        print(
            f"{self.prog}: error: {self._in_words(said)}{self._hint(said)} ({self.prog} --help lists the options)",
            file=sys.stderr,
        )
        self.exit(2)
        raise AssertionError("unreachable")

    def parse_path(self, path: Any, *arguments: Any, **options: Any) -> Any:
        """Read a file of settings, as every text file of a user is read."""
        if str(path) == "-":
            return super().parse_path(path, *arguments, **options)
        try:
            text = read_text(path_of(path))
            settings = _load_whole(text, str(path))
        except CodeparrotError as error:
            self.error(str(error))
        except yaml.YAMLError as error:
            self.error(str(error))
        if not isinstance(settings, dict) or not settings:
            self.error(f"{path} holds no settings; write them as `name: value`, with the names of the help")
        if (today := in_todays_names(settings, self.renames)) != settings:
            text = yaml.safe_dump(today, allow_unicode=True)
        return self.parse_string(text, str(path), *arguments, **options)

    def parse_args(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().parse_args(*arguments, **options)
        except UnicodeDecodeError as error:  # the file of one section (`--optim FILE`), which jsonargparse reads itself
            self.error(f"a file of settings is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}")

    def _in_words(self, text: str) -> str:
        """Return an error of jsonargparse in plain words: unknown settings, values of the wrong type, missing flags."""
        if unknown := _unknown_in_file(text):
            return f"there is no setting {unknown}"
        if missing := re.fullmatch(r"the following arguments are required: ([\w., ]+)", text):
            typed = {action.dest: action.option_strings[0] for action in self._actions if action.option_strings}
            return f"missing {' and '.join(typed.get(name, name.upper()) for name in missing[1].split(', '))}"
        if file := re.search(r"key \"(\w+)\": (?:File does not exist|Path is not a file): '(.*)'", text):
            known = f"; name a YAML file, or {' or '.join(self.recipes)}" if self.recipes else "; name a YAML file"
            return f'--{file[1]}: the file "{file[2]}" does not exist{nearest(Path(file[2]).name, self.recipes) or known}'
        if section := re.search(r'key "([\w.]+)": Unable to load config "(.*)"', text):
            return f"{section[1]} is {section[2]}; it must be a section of settings, or a file with one"
        found = wrong_type(text)
        if found and found.name in self._places():
            return f"{found.name.upper()} is given without a flag: {self.prog} {found.value}"
        return f"{found.name} {found}" if found and found.expected else text

    def values(self, words: Sequence[str], target: Callable[..., Any]) -> Namespace:
        """Parse the words of a command line and return the arguments of `target`, a function or a dataclass.

        Wrong ones end the process with status 2. So does a setting or a section that a file names and leaves empty.
        """
        options = self.parse_args(words)
        for name, hint in flags_of(target).items():
            if name not in options:
                continue  # `**stages` of `corpus build`, whose flags have names of their own
            value = options.get(name)
            if value is None and type(None) not in get_args(hint):
                self.error(f"{name} is null; give it a value, or leave it out")
            if dataclasses.is_dataclass(hint) and not isinstance(value, Namespace):
                self.error(f"{name} is {value}; it must be a section of settings, or a file with one")
        return self.instantiate(options)

    def _hint(self, text: str) -> str:
        unknown = re.search(r"unrecognized arguments: --([\w.\-]+)", text)
        name = unknown[1] if unknown else _unknown_in_file(text)
        if name in self._places():
            return f"; {name.upper()} is given without a flag"
        if name:
            return self._meant(name)
        bare = re.search(r"unrecognized arguments: ([^\s-]\S*)", text)
        flags = (each.option_strings[0] for each in self._actions if each.option_strings and each.nargs != 0)
        return f"; did you mean {next(flags)} {bare[1]}?" if bare else ""

    def _places(self) -> list[str]:
        """Return the arguments that are given by position."""
        return [str(action.dest) for action in self._actions if not action.option_strings]

    def _meant(self, name: str) -> str:
        """Return the suggestion for an unknown setting: what others call it, or its name in another section, or the nearest."""
        section, _, word = name.replace("-", "_").lower().rpartition(".")
        known = [getattr(action, "shown", "").removeprefix("--") or str(action.dest) for action in self._actions]
        same = [each for each in known if each.rpartition(".")[2] == word]
        found = same or [str(each.dest) for each in self._actions if word in getattr(each, "also", ())]
        within = [each for each in found if each.rpartition(".")[0] == section] or found
        choices = " or ".join(f'"{each}"' for each in within[:3])
        return f"; did you mean {choices}?" if within else nearest(name, known)

    def lay_out(self, function: Callable[..., Any], hints: Mapping[str, Any], usage: str = "", kind: Any = None) -> None:
        """Arrange the help: a line of usage, what the command does, its options by section, then what all commands have.

        What a dataclass adds to the one that it extends stands first: a command's own options, before the sections of a run.

        Args:
            function: its docstring says what the command does.
            hints: types of the arguments, by name.
            usage: of a command that reads a dataclass, what follows its name; by default the required arguments.
            kind: that dataclass. `left_out`, if it has such, names settings that the command refuses: they are not shown.
        """
        fields = dict(_metadata(hints)) | ({field.name: field.metadata for field in dataclasses.fields(kind)} if kind else {})
        for action in self._actions:
            _present(action, fields.get(action.dest, {}))
            if action.dest in getattr(kind, "left_out", ()):
                action.help = SUPPRESS
        positional, others, *groups = self._action_groups
        others.title = "other options"
        names = {id(group): name for name, group in (self.groups or {}).items() if name in hints}
        sections = [group for group in groups if id(group) in names]
        own = [group for group in groups if id(group) not in names]
        for group in sections:
            group.title, group.description = names[id(group)], _purpose(hints[names[id(group)]])
        for group in own:
            group.title, group.description = "the rest" if usage else "options", None
        first = [self._first_group(own, added)] if kind and (added := _added(kind)) else []
        self._action_groups = [positional, *first, *(sections + own if usage else own + sections), others]
        self.usage = _wrapped([self.prog, *([usage] if usage else [*self._required(), *self._optional()])])
        self.description = _purpose(function)
        # Only for the help: the command line takes them out before anything is parsed (cli.py).
        self.add_argument("--json", action="help", help="Print the result as one JSON object.")
        self.add_argument("--debug", action="help", help="Show the traceback of an error.")

    def _first_group(self, groups: list[Any], names: Iterable[str]) -> Any:
        """Move options into a group of their own, and return it."""
        moved = self.add_argument_group("options")
        for group in groups:
            moved._group_actions += [action for action in group._group_actions if action.dest in names]
            group._group_actions = [action for action in group._group_actions if action.dest not in names]
        return moved

    def may_be_left_out(self) -> None:
        """Say in the help that the argument by position need not be given."""
        for action in self._actions:
            if not action.option_strings:
                action.required = False

    def _required(self) -> Iterator[str]:
        for action in self._actions:
            name = str(action.metavar or action.dest.upper())
            if action.required:
                yield " ".join([*action.option_strings[:1], name])
            elif not action.option_strings:
                yield f"[{name}]"

    def _optional(self) -> list[str]:
        return ["[options]"] if any(not (action.required or action.dest == "help") for action in self._actions) else []


def _added(kind: Any) -> list[str]:
    """Return the names of the fields that a dataclass adds to another one."""
    bases = [base for base in kind.__mro__[1:] if dataclasses.is_dataclass(base)]
    inherited = {field.name for base in bases for field in dataclasses.fields(base)}
    return [field.name for field in dataclasses.fields(kind) if field.name not in inherited] if inherited else []


def _unknown_in_file(text: str) -> str:
    """Return the setting of a file that an error of jsonargparse calls unknown; empty: it is another error."""
    found = re.search(r"Group '(?P<group>[\w.]+)' does not accept option '([\w.\-]+)'", text)
    if found:
        return f"{found['group']}.{found[2]}"
    found = re.search(r"Option '([\w.\-]+)' is not accepted", text)
    return found[1] if found else ""


def _wrapped(words: Iterable[str]) -> str:
    """Return a usage whose options stay beside their values where it takes more than one line."""
    kept = " ".join(word.replace(" ", "\0") for word in words)
    lines = textwrap.wrap(kept, _columns() - len("usage: "), break_on_hyphens=False, break_long_words=False)
    return ("\n" + " " * len("usage: codeparrot ")).join(lines).replace("\0", " ")


def _purpose(documented: Any) -> str:
    """Return the first paragraph of a docstring."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def _metadata(hints: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dotted names of the fields of dataclasses among `hints`, with what setting.py keeps at them."""
    for name, hint in hints.items():
        if dataclasses.is_dataclass(hint):
            yield from ((f"{name}.{field.name}", field.metadata) for field in dataclasses.fields(hint))


def _present(action: Action, metadata: Mapping[str, Any]) -> None:
    """Say in the help what an option takes: what a number counts, or its type; several values where it is a list.

    Keep what its field says besides: its range, and what others call it.
    """
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
    elif element := element_of(hint):
        choices = f"{{{','.join(get_args(element))}}}" if get_origin(element) is Literal else _last(action)
        action.metavar = f"{_NUMBERS.get(element, choices)} ..."
    elif bool in types and (choices := choices_of(types)):
        action.metavar = f"{{true,false,{','.join(choices)}}}"
    elif bool not in types and (number := next((_NUMBERS[each] for each in types if each in _NUMBERS), None)):
        action.metavar = number
    action.rule, action.also = metadata.get("rule"), metadata.get("also", ())  # type: ignore[attr-defined]
    was = metadata.get("was")
    if was and keyword.iskeyword(was.name):  # the name that users know, which Python has for itself
        action.shown = f"--{was.name}"  # type: ignore[attr-defined]


_NUMBERS: dict[Any, str] = {int: "INT", float: "FLOAT"}


def _last(action: Action) -> str:
    return action.dest.rpartition(".")[2].upper()
