"""Finds parts that plug in: a registry maps a name to "module:attribute", which is imported only when somebody asks for it."""

import copy
import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.setting import check_ranges, wrong_type


def load(target: str) -> Any:
    """Return the attribute that "module:attribute" names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def find(setting: str, name: Any, registry: Mapping[str, str]) -> Any:
    """Return the part that is registered under a name.

    Args:
        setting: the setting that holds the name, for the error.
        name: as the user wrote it.
        registry: maps names to "module:attribute".

    Raises:
        CodeparrotError: nothing has this name; the error suggests the nearest one.
    """
    if name not in registry:
        hint = nearest(str(name), registry)
        raise CodeparrotError(f'{setting}: there is no "{name}"{hint} (known: {", ".join(sorted(registry))})')
    return load(registry[name])


def build(section: str, kind: type, settings: Mapping[str, Any]) -> Any:
    """Return an instance of a dataclass from settings that a user wrote.

    Raises:
        CodeparrotError: a setting is unknown (the error suggests the nearest one), of the wrong type, or out of range.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    hints = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for name, value in settings.items():
        if name not in known:
            expected = f"known: {', '.join(known)}" if known else "it has no settings"
            raise CodeparrotError(f'{section}.{name} is not a setting of "{kind.__name__}"{nearest(name, known)} ({expected})')
        if value is None and type(None) not in get_args(hints[name]):
            raise CodeparrotError(f"{section}.{name} is null; give it a value, or leave it out")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        # jsonargparse writes into lists and sections that it is given.
        built = kind(**vars(parser.instantiate(parser.parse_object(copy.deepcopy(dict(settings))))))
    except (ArgumentError, TypeError, ValueError) as error:
        found = wrong_type(words := " ".join(str(error).split()))
        raise CodeparrotError(
            f"{section}.{found.name} {found}" if found and found.expected else f"{section}: {words}"
        ) from error
    check_ranges(built, f"{section}.")
    return built
