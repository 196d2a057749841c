"""Who imports whom, read off the sources: `python docs/draw_rooms.py` draws docs/rooms.svg from it.

An import counts wherever it stands, also inside a function; those for type checkers alone do not.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "codeparrot": "codeparrot",
    "tokenizer": "codeparrot.tokenizer",
    "eval": "codeparrot.eval",
    "configs": "codeparrot.configs",
    "launch": "codeparrot.launch",
}
"""Where the package lies in the tree, and the name that each folder is imported by."""

Graph = dict[str, set[str]]


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Return the file of every module of the package."""
    found = {}
    for folder, package in FOLDERS.items():
        for file in (root / folder).rglob("*.py"):
            parts = file.relative_to(root / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = file
    return found


def imports(root: Path = ROOT) -> Graph:
    """Return the modules of the package that each of its modules imports."""
    files = modules(root)
    return {name: {other for other in _imported(name, file, files) if other != name} for name, file in files.items()}


def _imported(name: str, file: Path, files: Mapping[str, Path]) -> Iterator[str]:
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in _executed(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield from [each for each in (whole if whole in files else source,) if each in files]


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _executed(child)


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the groups of names that reach each other (Tarjan's strongly connected components of more than one)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph[name]:
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            place = stack.index(name)
            group, stack[place:] = stack[place:], []
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return found


def room(name: str) -> str:
    """Return the room of a module: the folder below the package, or the module itself where it is loose."""
    return name.split(".")[1] if "." in name else name


def rooms(graph: Mapping[str, Iterable[str]]) -> Graph:
    """Return the rooms that each room imports."""
    found: Graph = {}
    for name, others in graph.items():
        found.setdefault(room(name), set()).update(room(other) for other in others if room(other) != room(name))
    return found
