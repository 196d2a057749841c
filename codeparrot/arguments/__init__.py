"""The arguments of every command: jsonargparse, with errors of one line that names the nearest valid choice and a short help.

`bind` makes the signature of a function its flags. A function whose only parameter is a dataclass, as `train(config: Config)`,
takes `--config FILE` and `--section.field VALUE` instead. words.py reads the words, parser.py the settings and their files.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from codeparrot.arguments.parser import Parser, SettingsFile
from codeparrot.arguments.words import RECIPE, join_lists, recipe_first, recipes, rename, spell_out, with_usual
from codeparrot.launcher import rank
from codeparrot.location import stay_at_home
from codeparrot.setting import check_number, check_ranges, renamed

if TYPE_CHECKING:
    from codeparrot.config import Config


def add_recipe(parser: Parser, folder: str) -> None:
    """Let `--recipe` read settings from a YAML file."""
    parser.recipes = sorted(recipes(folder))
    text = f"YAML file with the settings above, or {' or '.join(parser.recipes)}; flags win."
    parser.add_argument(f"--{RECIPE}", action=SettingsFile, metavar="FILE", help=text)


def bind(
    function: Callable[..., Any],
    arguments: Sequence[str],
    prog: str,
    *,
    positional: bool = False,
    usual: str = "",
    recipe_folder: str = "",
    check: Callable[[Any], None] = lambda settings: None,
    inherit: Callable[[Any, Sequence[str], str], Sequence[str]] = lambda kind, words, prog: words,
) -> Callable[[], Any]:
    """Read the arguments of a function from the command line and return what calls it with them.

    Wrong arguments end the process with status 2 and one line.

    Args:
        function: its signature is its flags; or its only parameter is a dataclass.
        arguments: words behind the name of the command.
        prog: name of the command, for help and errors.
        positional: whether arguments without a default are given by position.
        usual: argument by position that is meant where none is given; empty: there is no such argument.
        recipe_folder: folder of the recipes that `--recipe` names; empty: there is no such option.
        check: raises CodeparrotError where the settings of a dataclass cannot work together.
        inherit: adds to the words of a command whose settings are a dataclass what they imply.
    """
    hints = _parameters(function)
    if len(hints) == 1 and dataclasses.is_dataclass(kind := next(iter(hints.values()))):
        settings = parse_settings(kind, inherit(kind, arguments, prog), prog, function)
        check(settings)
        return lambda: function(settings)
    parser = Parser(prog)
    if recipe_folder:
        arguments = recipe_first(arguments, recipe_folder)
        add_recipe(parser, recipe_folder)
    parser.add_function_arguments(function, as_positional=positional)
    if usual:
        parser.may_be_left_out()
        arguments = with_usual(arguments, usual)
    parser.lay_out(function, hints)
    options = vars(parser.values(join_lists(spell_out(arguments, function), function, positional), function))
    for name, value in options.items():
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"--{name}.")
        else:
            check_number(f"--{name}", value)
    return lambda: function(**{name: value for name, value in options.items() if name != RECIPE})


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(function).items() if name != "return"}


def parse_settings(kind: Any, arguments: Sequence[str], prog: str, function: Callable[..., Any]) -> Any:
    """Read `--config FILE` and dotted overrides into the dataclass `kind`; the docstring of `function` is shown as help.

    Wrong arguments end the process with status 2 and one line.
    """
    parser = Parser(prog)
    text = "YAML file with the settings above. Where several arguments set the same thing, the last wins; lists are joined."
    parser.add_argument("--config", action=SettingsFile, metavar="FILE", help=text)
    parser.add_class_arguments(kind)
    parser.lay_out(function, get_type_hints(kind), "--config FILE [--section.field VALUE ...]", kind)
    parser.renames = renamed(kind)
    words = join_lists(rename(spell_out(arguments, kind), parser.renames), kind)
    options = parser.values(words, kind)
    if "from" in options.get("model", {}) and _is_default(("model", "family"), options, words, parser, kind):
        options.model = {key: value for key, value in options.model.items() if key != "family"}
    settings = kind(**{field.name: getattr(options, field.name) for field in dataclasses.fields(kind)})
    moved = stay_at_home(settings, words) if hasattr(settings, "run") else ""
    if moved and function is not parse_config and rank() == 0:
        print(f"codeparrot: {moved}", file=sys.stderr)
    return settings


def _is_default(place: tuple[str, str], options: Any, words: Sequence[str], parser: Parser, kind: Any) -> bool:
    """Whether a value in a mapping has it from the mapping's default, and no flag and no file says it: with another default
    it would be another one."""
    name, key = place
    default = parser.get_default(name)
    if key not in options[name] or options[name][key] != default.get(key):
        return False
    parser.set_defaults({name: {**default, key: ""}})
    return parser.values(words, kind)[name].get(key) == ""


def parse_config(arguments: Sequence[str], prog: str = "codeparrot train") -> "Config":
    """Read and check the configuration of a run, as `codeparrot train` does. `prog` is the command that errors name.

    Raises:
        CodeparrotError: the settings cannot work together.
    """
    from codeparrot.checks import check
    from codeparrot.config import Config

    config = parse_settings(Config, arguments, prog, parse_config)
    check(config)
    return config


def load_config(path: Path) -> "Config":
    """Read a resolved configuration, as `config.yaml` of a run directory."""
    return parse_config(["--config", str(path)], "codeparrot")
