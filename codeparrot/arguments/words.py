"""Words of a command line, in the forms that people write, to the one form that jsonargparse reads."""

import dataclasses
import importlib.resources
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from codeparrot.setting import Renamed

RECIPE = "recipe"


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


def spell_out(arguments: Sequence[str], target: Callable[..., Any]) -> list[str]:
    """Write `--a-flag` as `--a_flag`, and a flag that is true or false and has no value as true."""
    hints = {name: (hint, *get_args(hint)) for name, hint in flags_of(target).items()}
    words = {name: {*_TRUE_OR_FALSE, *choices_of(types)} for name, types in hints.items() if bool in types}
    spelled = []
    for index, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if re.fullmatch(r"--\w[\w.-]*\+?", name):
            name = "--" + name[2:].replace("-", "_")
        following = arguments[index + 1] if index + 1 < len(arguments) else "--"
        bare = name[2:] in words and not equals and following.lower() not in words[name[2:]]
        spelled.append(f"{name}=true" if bare else f"{name}{equals}{value}")
    return spelled


def rename(arguments: Sequence[str], renames: Sequence[Renamed]) -> list[str]:
    """Write flags that have another name today under that name. They are spelled out already."""
    words, today = list(arguments), {each.flag(each.was.name): each for each in renames}
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if (each := today.get(name)) is None:
            continue
        flag, following = each.flag(each.name), words[index + 1 : index + 2]
        if not each.was.values:
            words[index] = f"{flag}{equals}{value}"
            continue
        bare = not equals and (not following or following[0].lower() not in _TRUE_OR_FALSE)
        given = yaml.safe_load(value if equals else "true" if bare else following[0])
        words[index] = f"{flag}={each.value(given)}"
        if not equals and not bare:
            words[index + 1 : index + 2] = []
    return words


_TRUE_OR_FALSE = ("true", "false", "yes", "no", "on", "off")


def join_lists(arguments: Sequence[str], target: Callable[..., Any], positional: bool = False) -> list[str]:
    """Write the values of every list flag of `target` as the one JSON list that jsonargparse expects.

    So `--source a b`, `--source a --source b`, `--source=a --source+ b` and `--source '[a, b]'` are the same. An empty list
    takes back what came before it. A flag that is only given with a plus (`--source+ b`) adds to what a file says. The list
    stands where its flag stood last, so that it wins over a file of settings before it and not over one behind it.

    Args:
        arguments: words of the command line.
        target: function, or dataclass of sections, whose parameters or fields are the flags.
        positional: whether words that belong to no flag are values of the first parameter, where that is a list.
    """
    hints = flags_of(target)
    lists = {name: element for name, hint in hints.items() if (element := element_of(hint))}
    first = next(iter(hints), None)
    unflagged = first if positional and first in lists else None
    given: dict[str, _Given] = {}
    kept: list[str | _Given] = []
    current, awaits_value = None, False

    def here(name: str, plus: bool) -> _Given:
        one = given.setdefault(name, _Given(name, hints[name], plus))
        one.plus = one.plus and plus
        kept[:] = [*(each for each in kept if each is not one), one]
        return one

    for word in arguments:
        flag, equals, value = word.removeprefix("--").partition("=")
        name = flag.removesuffix("+")
        if word.startswith("--") and name in lists:
            found = here(name, name != flag)
            current, awaits_value = (None if equals else found), False
            found.words += [value] if equals else []
            found.unfinished = not equals
        elif word.startswith("--"):
            current, awaits_value = None, not equals
            kept.append(word)
        elif current:
            current.words.append(word)
            current.unfinished = False
        elif unflagged and not awaits_value and not word.startswith("-"):
            here(unflagged, False).words.append(word)
        else:
            awaits_value = False
            kept.append(word)
    return [word if isinstance(word, str) else word.text(bare=word.name == unflagged) for word in kept]


@dataclass
class _Given:
    """The words that a list flag was given."""

    name: str
    hint: Any
    plus: bool
    words: list[str] = field(default_factory=list)
    unfinished: bool = False
    """Whether no word followed the flag."""

    def text(self, bare: bool) -> str:
        """Return them as one word of the command line; `bare`: without the flag."""
        if self.unfinished:
            return f"--{self.name}"
        kinds = [get_origin(each) or each for each in (self.hint, *get_args(self.hint))]
        flag = "" if bare else f"--{self.name}{'+' if self.plus and list in kinds else ''}="
        element = element_of(self.hint)
        section = _takes_sections(element) and self.words[0].startswith("{")
        if len(self.words) == 1 and not self.plus and kinds[0] not in (list, tuple) and str in kinds and not section:
            return flag + self.words[0]  # of a name or a list of names
        cleared = len(self.words) - self.words[::-1].index("[]") if "[]" in self.words else 0
        return flag + json.dumps([value for word in self.words[cleared:] for value in _values(word, element)])


def flags_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of all flags, by name: parameters of a function or fields of a dataclass, and the fields of these."""
    hints = {name: hint for name, hint in get_type_hints(target).items() if name != "return"}
    for group, hint in list(hints.items()):
        if dataclasses.is_dataclass(hint):
            hints |= {f"{group}.{name}": nested for name, nested in get_type_hints(hint).items()}
    return hints


def choices_of(types: Sequence[Any]) -> list[str]:
    """Return the words that a flag of these types takes, if there are any."""
    return [word for each in types if get_origin(each) is Literal for word in get_args(each)]


def element_of(hint: Any) -> Any:
    """Return the type of the elements of a list or tuple (or None), None for any other type."""
    return next((get_args(each)[0] for each in (hint, *get_args(hint)) if get_origin(each) in (list, tuple)), None)


def _takes_sections(element: Any) -> bool:
    return dict in [get_origin(each) for each in (element, *get_args(element))]


def _values(word: str, element: Any) -> list[Any]:
    """Return the values that a word stands for; a word that is no YAML is a value, for the parser to judge."""
    try:
        if word.startswith("[") and word.endswith("]") and isinstance(several := yaml.safe_load(word), list):
            return several
        if word.startswith("{") and _takes_sections(element) and isinstance(section := yaml.safe_load(word), dict):
            return [section]
        return [yaml.safe_load(word) if element in (int, float, bool) else word]
    except yaml.YAMLError:
        return [word]


def with_usual(arguments: Sequence[str], usual: str) -> list[str]:
    """Write the argument by position that is meant where none is given; empty: there is no such argument."""
    after_flag, given = False, {"-h", "--help"} & {*arguments}
    for word in arguments:
        given = given or not (after_flag or word.startswith("-"))
        after_flag = word.startswith("-") and "=" not in word
    return [*arguments] if given or not usual else [usual, *arguments]
