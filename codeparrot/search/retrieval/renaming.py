"""Clones of a function with other names: what is left when names say nothing.

A clone does the same (Type 2 in the words of clone detection): Python's parser reads it, and writes it anew without comments
and docstrings and with the usual spaces. It is a function of the code and the names alone. Names are told apart by what they
are, not by scopes; names in texts, and attributes of classes inside of the function, stay. places.py says where names stand.
"""

import ast
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from codeparrot.search.retrieval.places import Place, is_of_python, own_names, places
from codeparrot.stream.order import draw


def bound_names(code: str) -> list[str]:
    """Return the names that a function gives itself: its own, its parameters, its variables; empty if it does not parse."""
    tree = _parsed(code)
    return [] if tree is None else own_names(places(tree)).every


def renamed(code: str, pool: Sequence[str], key: str) -> str | None:
    """Return a clone whose own names are drawn from a pool; names of other code, such as attributes, stay.

    A function's new name follows it to `self`, `cls` and `super()`, and a parameter's to calls of functions inside.

    Args:
        code: of a function.
        pool: distinct names, more than the function has.
        key: with the names, decides what is drawn.

    Returns:
        The clone; None if Python cannot parse the code or write it again, or if it has no name of its own.
    """
    tree = _parsed(code)
    found = [] if tree is None else places(tree)
    own = own_names(found)
    if tree is None or not own.every:
        return None
    taken = {name for place in found for name in place.names}
    new: dict[str, str] = {}
    for name in own.every:
        start = draw(len(pool), key, name)
        fresh = (pool[(start + step) % len(pool)] for step in range(len(pool)))
        new[name] = next(
            (each for each in fresh if each not in taken and not is_of_python(each, "variable")), f"name_{len(new)}"
        )
        taken.add(new[name])

    def name_of(place: Place, name: str) -> str:
        known = own.functions if place.kind == "function" else own.variables if place.kind == "variable" else ()
        return new[name] if name in known else name

    return _written(tree, found, name_of)


def anonymous(code: str, key: str | None = None) -> str | None:
    """Return a clone in which each name but Python's own is a letter and a number: its own, and those of other code.

    Args:
        code: of a function.
        key: decides which number a name gets; None: the order in which the tree of the code has them.

    Returns:
        The clone; None if Python cannot parse the code or write it again.
    """
    tree = _parsed(code)
    if tree is None:
        return None
    found = places(tree)
    names = dict.fromkeys(name for place in found for name in place.names if not is_of_python(name, place.kind))
    order = sorted(names, key=lambda name: draw(1 << 62, key, name)) if key is not None else list(names)
    new = {name: f"v{number}" for number, name in enumerate(order)}
    return _written(tree, found, lambda place, name: name if is_of_python(name, place.kind) else new[name])


def _parsed(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _written(tree: ast.Module, found: Sequence[Place], name_of: Callable[[Place, str], str]) -> str | None:
    for place in found:
        place.put(".".join(name_of(place, name) for name in place.names))
    for node in ast.walk(tree):
        _without_docstring(node)
    try:
        return ast.unparse(tree)
    except (ValueError, RecursionError):  # what Python reads and does not write: long numbers, some nested f-strings
        return None


def _without_docstring(node: Any) -> None:
    if (
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and ast.get_docstring(node, clean=False) is not None
    ):
        node.body = node.body[1:] or [ast.Pass()]
