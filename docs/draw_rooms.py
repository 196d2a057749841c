"""Who imports whom, read off the sources: `python docs/draw_rooms.py` draws docs/rooms.svg from it.

An import counts wherever it stands, also inside a function; those for type checkers alone do not.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
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


SMALL = (
    "codeparrot errors result files text_files figures markdown_tables config setting location registry checks arguments "
    "launcher plot configs launch"
).split()
"""Imported from nearly everywhere: arrows to them would hide the others."""
ENTRIES = "__main__ cli train quickstart inspect_batch".split()
ALONE = {"codeparrot.training.preemption", "codeparrot.corpus.definitions", "codeparrot.corpus.sentences"}
"""Modules that import nothing of their rooms and are used alone, too: signals and time limits, functions and docstrings."""
WORDS = {
    "corpus": "raw files to a clean corpus",
    "stream": "documents to windows",
    "tokenizer": "a BPE for code",
    "model": "the model and its loss",
    "objectives": "what is predicted",
    "optim": "optimizers, schedules",
    "run": "formats on the disk",
    "training": "live parts of the loop",
    "generation": "prompts to completions",
    "serve": "completions for editors",
    "search": "vectors of code",
    "export": "a checkpoint as a file",
    "eval": "tasks, problems, sandbox",
    "hub": "reading from the Hub",
    "publishing": "writing to the Hub",
    "loading": "names to models",
    "verify": "the invariants, checked",
    "plan": "what a run will need",
    "scale": "scaling laws",
    "runs": "runs side by side",
    "entry points": "train, cli, quickstart, ...",
}
WIDTH, HEIGHT, GAP_X, GAP_Y, BEND = 176, 46, 22, 44, 4


def arrows(graph: Mapping[str, Iterable[str]]) -> Graph:
    """Return the rooms that each room imports, but for the small modules and what follows from others."""
    shown = {name: {*others} - ALONE for name, others in graph.items() if name not in ALONE}
    merged: Graph = {}
    for name, others in rooms(shown).items():
        if name not in SMALL:
            merged.setdefault(_box(name), set()).update(_box(other) for other in others if other not in SMALL)
    for name, others in merged.items():
        others.discard(name)
    return {name: {other for other in others if not _around(merged, name, other)} for name, others in merged.items()}


def _box(name: str) -> str:
    return "entry points" if name in ENTRIES else name


def _around(graph: Graph, start: str, end: str) -> bool:
    """Whether another way leads from `start` to `end`."""
    seen: set[str] = set()
    waiting = [other for other in graph[start] if other != end]
    while waiting:
        name = waiting.pop()
        if name == end:
            return True
        if name not in seen:
            seen.add(name)
            waiting += graph.get(name, ())
    return False


def levels(graph: Graph) -> list[list[str]]:
    """Return the rooms from the top to the bottom: each is above all that it imports."""
    depth: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max((of(other) for other in graph.get(name, ())), default=-1)
        return depth[name]

    names = set(graph) | {other for others in graph.values() for other in others}
    return [sorted(name for name in names if of(name) == level) for level in range(max(map(of, names)), -1, -1)]


Way = tuple[str, ...]
"""The places on the way of an arrow, one a level: a room, bends, a room."""


def ways(graph: Graph, rows: list[list[str]]) -> list[Way]:
    """Return the ways of all arrows; one that passes levels has a bend of its own in each, so that it crosses no room."""
    level = {name: number for number, row in enumerate(rows) for name in row}

    def between(name: str, other: str) -> Way:
        return tuple(f"{name} > {other} at {number}" for number in range(level[name] + 1, level[other]))

    return [(name, *between(name, other), other) for name in sorted(graph) for other in sorted(graph[name])]


def in_order(rows: list[list[str]], found: list[Way]) -> list[list[str]]:
    """Return the places of each level from left to right, each near what it is joined with (barycentres, Sugiyama 1981)."""
    first = {name: number for number, row in enumerate(rows) for name in row}
    bends = {place: first[way[0]] + number for way in found for number, place in enumerate(way)}
    order = [[*row, *sorted({place for place in bends if bends[place] == number} - {*row})] for number, row in enumerate(rows)]
    joined: dict[str, list[str]] = {}
    for way in found:
        for upper, lower in pairwise(way):
            joined.setdefault(upper, []).append(lower)
            joined.setdefault(lower, []).append(upper)
    for sweep in range(8):
        for row in order if sweep % 2 else order[::-1]:
            column = {place: x for each in order for place, x in _columns(each).items()}
            near = {place: joined.get(place, [place]) for place in row}
            centre = {place: sum(column[each] for each in near[place]) / len(near[place]) for place in row}
            row.sort(key=centre.__getitem__)
    return order


def _columns(row: list[str]) -> dict[str, float]:
    """Return where the places of a level are, around 0."""
    edges = [0.0]
    for place in row:
        edges.append(edges[-1] + (BEND if " > " in place else WIDTH) + GAP_X)
    return {place: (left + right) / 2 - edges[-1] / 2 for place, left, right in zip(row, edges, edges[1:], strict=False)}


def draw(graph: Graph) -> str:
    """Return the picture as SVG."""
    rows = levels(graph)
    found = ways(graph, rows)
    order = in_order(rows, found)
    columns = [_columns(row) for row in order]
    half = max(abs(x) for row in columns for x in row.values()) + WIDTH / 2 + GAP_X
    width, height = 2 * half, len(rows) * (HEIGHT + GAP_Y) + GAP_Y // 2
    middle = {
        name: (half + x, GAP_Y // 2 + number * (HEIGHT + GAP_Y))
        for number, row in enumerate(columns)
        for name, x in row.items()
    }
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" font-family="system-ui, sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0L8,4L0,8z" fill="#6b7280"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height}" fill="#ffffff"/>',
    ]
    lines += [_arrow([middle[place] for place in way]) for way in found]
    lines += [_drawn(name, *middle[name]) for row in rows for name in row]
    return "\n".join([*lines, "</svg>", ""])


def _arrow(points: list[tuple[float, float]]) -> str:
    (x, y), *others = points
    y += HEIGHT
    path = f"M{x:.0f},{y:.0f}"
    for to_x, to_y in others:
        bend = (to_y - y) / 2
        path += f"C{x:.0f},{y + bend:.0f} {to_x:.0f},{to_y - bend:.0f} {to_x:.0f},{to_y:.0f}"
        x, y = to_x, to_y
        if (to_x, to_y) != others[-1]:
            y += HEIGHT
            path += f"V{y:.0f}"
    return f'<path d="{path}" fill="none" stroke="#6b7280" stroke-width="1.2" marker-end="url(#tip)"/>'


def _drawn(name: str, x: float, y: float) -> str:
    middle = f'x="{x:.0f}" text-anchor="middle"'
    return (
        f'<rect x="{x - WIDTH / 2:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="7" fill="#eff6ff" stroke="#2563eb"/>'
        f'<text {middle} y="{y + 20:.0f}" font-size="15" font-weight="600" fill="#1f2937">{name}</text>'
        f'<text {middle} y="{y + 37:.0f}" font-size="11" fill="#6b7280">{WORDS.get(name, "")}</text>'
    )


if __name__ == "__main__":
    (ROOT / "docs" / "rooms.svg").write_text(draw(arrows(imports())), encoding="utf-8")
