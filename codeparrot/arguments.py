"""The argument parser of every command: jsonargparse, with errors as one line that names the nearest valid choice."""

import dataclasses
import importlib.resources
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from codeparrot.errors import nearest

if TYPE_CHECKING:
    from codeparrot.config import Config

RECIPE = "recipe"

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Parser(ArgumentParser):
    """Exits with status 2 and one line on stderr when the arguments are wrong."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = " ".join(str(ex or message).split())
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


def add_recipe(parser: Parser, folder: str) -> None:
    """Let `--recipe` read settings from a YAML file."""
    names = " or ".join(sorted(recipes(folder)))
    parser.add_argument(f"--{RECIPE}", action="config", help=f"YAML file with the settings below, or {names}; flags win")


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
    unflagged = next(iter(lists), None) if positional else None
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


def parse_config(arguments: Sequence[str]) -> "Config":
    """Read `--config FILE` and dotted overrides. Wrong ones end the process with status 2 and one line.

    Raises:
        CodeparrotError: the settings are understood but cannot work together.
    """
    from codeparrot.checks import check
    from codeparrot.config import Config

    parser = Parser(prog="codeparrot train")
    parser.add_argument("--config", action="config", help="YAML file with the settings below; later ones win")
    parser.add_class_arguments(Config)
    options = parser.instantiate(parser.parse_args(list(arguments)))
    config = Config(**{name: getattr(options, name) for name in Config.__dataclass_fields__})
    check(config)
    return config


def load_config(path: Path) -> "Config":
    """Read a resolved configuration, as `config.yaml` of a run directory."""
    return parse_config(["--config", str(path)])
