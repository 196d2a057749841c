"""Where names stand in code, and whose they are.

By name, not by scope: two variables of one name in different functions are the same here. A function is here one at the top
level of the code, a method if its first parameter is `self` or `cls`.
"""

import ast
import builtins
import keyword
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

Kind = Literal["function", "variable", "attribute", "keyword", "import"]
"""function: the name of a function, or a call of it by itself. variable: also parameters, and functions and classes inside.
attribute: of anything, methods of classes inside too. keyword: of a call of other code. import: a module, or what it has."""

_KEPT = frozenset({*dir(builtins), *keyword.kwlist, *keyword.softkwlist, "self", "cls"})
"""Names that are part of the language, unless they are attributes."""
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
    **{getattr(ast, each): "name" for each in ("TypeVar", "ParamSpec", "TypeVarTuple") if hasattr(ast, each)},  # Python 3.12
}
"""Where nodes hold a name that a function may bind."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Place(NamedTuple):
    names: list[str]
    """One, or the parts of a module's."""
    kind: Kind
    binds: bool
    """Whether it makes the name one of the code's own."""
    put: Callable[[str], None]
    """Writes another name there; parts of a module with dots between them."""
    fixed: bool = False
    """Whether the name must stay wherever it stands, since other code may know it."""


class Own(NamedTuple):
    """Names that code gives itself."""

    every: list[str]
    """In the order of the places."""
    functions: frozenset[str]
    variables: frozenset[str]
    """A name may be both."""


def is_of_python(name: str, kind: Kind) -> bool:
    """Whether a name is part of the language where it stands."""
    dunder = name.startswith("__") and name.endswith("__")
    return dunder or name == "*" or (name in _KEPT and kind not in ("function", "attribute"))


def own_names(found: Sequence[Place]) -> Own:
    """Return the names that code binds, without those that it imports, takes from outside or gives to its classes."""
    fixed = {name for place in found if place.fixed for name in place.names}
    bound: list[tuple[str, Kind]] = [(place.names[0], place.kind) for place in found if place.binds]
    own = [(name, kind) for name, kind in bound if not is_of_python(name, kind) and (kind == "function" or name not in fixed)]
    functions, variables = (frozenset(name for name, kind in own if kind == each) for each in ("function", "variable"))
    return Own(list(dict.fromkeys(name for name, _ in own)), functions, variables)


def places(tree: ast.Module) -> list[Place]:
    """Return where names stand, in the order of `ast.walk`."""
    code = _Code(tree)
    return [place for node in ast.walk(tree) for place in _of_node(node, code)]


class _Code:
    """What must be known of all of the code to say what a name in it is."""

    def __init__(self, tree: ast.Module) -> None:
        nodes = list(ast.walk(tree))
        top = [node for node in tree.body if isinstance(node, _Function)]
        members = [each for node in nodes if isinstance(node, ast.ClassDef) for each in node.body]
        self.top, self.members = {id(node) for node in top}, {id(node) for node in members}
        self.functions = {node.name for node in top}
        imported = {(each.asname or each.name).split(".")[0] for each in nodes if isinstance(each, ast.alias)}
        self.bare = {node.name for node in top if not _is_method(node)} - imported
        """Functions that a bare name calls."""
        self.parameters = {
            **{name: _parameters(each) for name, each in _lambdas(nodes)},
            **{node.name: _parameters(node) for node in nodes if isinstance(node, _Function) and id(node) not in self.members},
        }
        """Of functions, wherever they are but in a class."""
        self.own_keywords = {id(each) for node in nodes if isinstance(node, ast.Call) for each in self._own_keywords(node)}
        given = {node.arg for node in nodes if isinstance(node, ast.keyword)}
        methods = [node for node in members if isinstance(node, _Function)]
        # A call by keyword does not show whose method it calls.
        self.fixed = {
            id(arg) for node in methods for arg in ast.walk(node.args) if isinstance(arg, ast.arg) and arg.arg in given
        }
        self.fixed |= {id(each) for node in members for each in _assigned(node)}

    def calls_itself(self, node: ast.expr) -> bool:
        """Whether an expression is a function, as an attribute of what stands for its object, class or parent."""
        return isinstance(node, ast.Attribute) and node.attr in self.functions and _is_own_object(node.value)

    def _own_keywords(self, call: ast.Call) -> list[ast.keyword]:
        """Return the keywords of a call that name parameters of this code: of what it calls, or of what it hands on."""
        called = [each.id for each in (call.func, *call.args) if isinstance(each, ast.Name)]
        known = {name for each in called if each not in self.functions or each in self.bare for name in self._of(each)}
        if isinstance(call.func, ast.Attribute) and self.calls_itself(call.func):
            known |= self._of(call.func.attr)
        return [each for each in call.keywords if each.arg in known]

    def _of(self, name: str) -> set[str]:
        return self.parameters.get(name, set())


def _of_node(node: Any, code: _Code) -> Iterator[Place]:
    if isinstance(node, ast.Global | ast.Nonlocal):
        for index, name in enumerate(node.names):
            kind: Kind = "function" if name in code.bare else "variable"
            yield Place([name], kind, False, partial(node.names.__setitem__, index), isinstance(node, ast.Global))
    elif isinstance(node, ast.alias):
        yield Place(node.name.split("."), "import", False, partial(setattr, node, "name"))
        bound = (node.asname or node.name).split(".")[0]
        yield Place([bound], "import", False, partial(setattr, node, "asname") if node.asname else _nowhere, True)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield Place(node.module.split("."), "import", False, partial(setattr, node, "module"))
    elif isinstance(node, ast.Attribute):
        yield Place([node.attr], "function" if code.calls_itself(node) else "attribute", False, partial(setattr, node, "attr"))
    elif isinstance(node, ast.MatchClass):
        for index, name in enumerate(node.kwd_attrs):
            yield Place([name], "attribute", False, partial(node.kwd_attrs.__setitem__, index))
    elif isinstance(node, ast.keyword) and node.arg:
        yield Place(
            [node.arg], "variable" if id(node) in code.own_keywords else "keyword", False, partial(setattr, node, "arg")
        )
    elif isinstance(name := getattr(node, field := _FIELDS.get(type(node), ""), None), str):
        yield Place([name], _kind(node, name, code), _binds(node), partial(setattr, node, field), id(node) in code.fixed)


def _kind(node: ast.AST, name: str, code: _Code) -> Kind:
    if id(node) in code.top:
        return "function"
    if id(node) in code.members:
        return "attribute"
    return "function" if name in code.bare and isinstance(node, ast.Name) else "variable"


def _binds(node: ast.AST) -> bool:
    return not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))


def _nowhere(name: str) -> None:
    """Stand for the place of a name that stands nowhere: that which `import a.b` binds."""


def _is_method(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = next(iter([*node.args.posonlyargs, *node.args.args]), None)
    return first is not None and first.arg in ("self", "cls")


def _is_own_object(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _lambdas(nodes: Sequence[ast.AST]) -> Iterator[tuple[str, ast.Lambda]]:
    """Yield the lambdas that get a name."""
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """Return the parameters of a function that a call can name."""
    return {each.arg for each in (*node.args.args, *node.args.kwonlyargs)}


def _assigned(node: ast.stmt) -> Iterator[ast.Name]:
    """Yield the names that a statement of a class makes attributes."""
    targets: list[ast.expr] = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    yield from (each for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
