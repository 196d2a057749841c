"""Clones of a function with other names: what is left when names say nothing.

A clone does the same (Type 2 in the words of clone detection): Python's parser reads it, and writes it anew without comments
and docstrings and with the usual spaces. It is a function of the code and the names alone.
"""

import ast
import builtins
import keyword
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from codeparrot.stream.order import draw

_KEPT = frozenset({*dir(builtins), *keyword.kwlist, *keyword.softkwlist, "self", "cls"})
"""Names that are part of the language."""
_FIELDS: dict[type[ast.AST], str] = {
    ast.FunctionDef: "name",
    ast.AsyncFunctionDef: "name",
    ast.ClassDef: "name",
    ast.arg: "arg",
    ast.Name: "id",
    ast.ExceptHandler: "name",
    ast.MatchAs: "name",
    ast.MatchStar: "name",
    ast.MatchMapping: "rest",
}
"""Where nodes hold a name that a function may bind."""
_OTHER_FIELDS: dict[type[ast.AST], str] = {ast.Attribute: "attr", ast.keyword: "arg"}
"""Where nodes hold names of other code."""


def bound_names(code: str) -> list[str]:
    """Return the names that a function gives itself: its own, its parameters, its variables; empty if it does not parse."""
    tree = _parsed(code)
    return [] if tree is None else _bound(tree)


def renamed(code: str, pool: Sequence[str], key: str) -> str | None:
    """Return a clone whose own names are drawn from a pool; names of other code, such as attributes, stay.

    Args:
        code: of a function.
        pool: distinct names, more than the function has.
        key: with the names, decides what is drawn.

    Returns:
        The clone; None if Python cannot parse the code or write it again, or if it has no name of its own.
    """
    tree = _parsed(code)
    own = [] if tree is None else _bound(tree)
    if tree is None or not own:
        return None
    taken = {name for node in ast.walk(tree) for name in _names(node)}
    new: dict[str, str] = {}
    for name in own:
        place = draw(len(pool), key, name)
        fresh = (pool[(place + step) % len(pool)] for step in range(len(pool)))
        new[name] = next((each for each in fresh if each not in taken), f"name_{len(new)}")
        taken.add(new[name])
    return _written(tree, lambda name: new.get(name, name), _FIELDS)


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
    names = dict.fromkeys(name for node in ast.walk(tree) for name in _names(node) if name not in _KEPT)
    order = sorted(names, key=lambda name: draw(1 << 62, key, name)) if key is not None else list(names)
    new = {name: f"v{number}" for number, name in enumerate(order)}
    return _written(tree, lambda name: new.get(name, name), {**_FIELDS, **_OTHER_FIELDS})


def _parsed(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Global | ast.Nonlocal):
        return node.names
    if isinstance(node, ast.alias):
        return [*node.name.split("."), *([node.asname] if node.asname else [])]
    if isinstance(node, ast.ImportFrom):
        return node.module.split(".") if node.module else []
    name = getattr(node, {**_FIELDS, **_OTHER_FIELDS}.get(type(node), ""), None)
    return [name] if isinstance(name, str) else []


def _bound(tree: ast.Module) -> list[str]:
    """Return the names that code binds, in the order of the tree, without those that it imports or takes from outside."""
    outside = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    imported = {
        (each.asname or each.name).split(".")[0]
        for node in ast.walk(tree)
        for each in getattr(node, "names", [])
        if isinstance(each, ast.alias)
    }
    found = dict.fromkeys(
        name
        for node in ast.walk(tree)
        if type(node) in _FIELDS and not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
        for name in _names(node)
    )
    return [name for name in found if name not in _KEPT | outside | imported]


def _written(tree: ast.Module, new: Callable[[str], str], fields: dict[type[ast.AST], str]) -> str | None:
    everywhere = ast.Attribute in fields
    for node in ast.walk(tree):
        _without_docstring(node)
        if isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [new(name) for name in node.names]
        elif everywhere and isinstance(node, ast.alias):
            node.name = ".".join(new(name) for name in node.name.split("."))
            node.asname = new(node.asname) if node.asname else None
        elif everywhere and isinstance(node, ast.ImportFrom) and node.module:
            node.module = ".".join(new(name) for name in node.module.split("."))
        elif (field := fields.get(type(node))) and isinstance(name := getattr(node, field), str):
            setattr(node, field, new(name))
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
