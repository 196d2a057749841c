"""The rooms hold: no import circle, and no import against the table of docs/architecture.md."""

from pathlib import Path

import pytest

from docs.draw_rooms import ROOT, arrows, circles, draw, imports, modules, room

ANYWHERE = "codeparrot errors result files text_files figures markdown_tables config setting location".split()
"""Small modules that import nothing above them."""
ENTRIES = "train quickstart plot inspect_batch cli __main__".split()
"""Entry points, which may import everything."""
TABLE = {
    "errors": "",
    "languages": "errors",
    "result": "launcher",
    "files": "",
    "text_files": "errors",
    "markdown_tables": "",
    "figures": "files",
    "location": "errors",
    "setting": "errors",
    "config": "errors setting location",
    "checks": "errors config setting objectives optim stream.mixture stream.batches",
    "arguments": "errors config checks launcher",
    "launcher": "errors",
    "registry": "errors",
    "run": "config errors files stream.mixture stream.batches",
    "mirror": "run publishing.ledger publishing.progress stream.readers",
    "hub": "run",
    "loading": "hub files run model",
    "stream": "config languages",
    "model": "config",
    "objectives": "stream model registry loading",
    "optim": "model registry",
    "corpus": "languages stream loading hub objectives eval.problems registry",
    "tokenizer": "languages stream loading hub",
    "generation": "languages model loading stream",
    "serve": "languages generation loading run stream search.index",
    "search": "languages eval launcher loading run model stream corpus.definitions corpus.sources corpus.decode",
    "export": "loading run model stream search.embedding search.pooling",
    "eval": "languages generation model loading hub run stream launcher objectives.pairs training.preemption "
    "corpus.definitions corpus.sentences",
    "training": "mirror.store languages checks launcher loading hub run stream model objectives optim generation eval plot",
    "publishing": "run hub model.kinds objectives optim arguments checks plot corpus.output corpus.report stream.entries "
    "stream.batches",
    "verify": "run tokenizer",
    "plan": "arguments checks loading run stream model objectives optim eval.tasks training launch",
    "scale": "arguments checks run model stream.batches stream.cores",
    "runs": "arguments run mirror optim plot publishing.ledger",
    "configs": "",
    "launch": "",
}
"""What each room may import besides itself and ANYWHERE; a dotted name is only that module or folder of the room."""
LIMIT = 350


def forbidden(graph: dict[str, set[str]]) -> list[str]:
    found = []
    for name, others in sorted(graph.items()):
        own = room(name)
        allowed = [*TABLE.get(own, "").split(), own, *(ANYWHERE if own not in ANYWHERE else [])]
        for other in sorted(others):
            inside = any(f"{other}.".startswith(f"codeparrot.{each}.") for each in allowed) or other == "codeparrot"
            if own not in ENTRIES and not inside:
                found.append(f"{name} imports {other}")
    return found


def test_no_import_goes_in_a_circle() -> None:
    assert circles(imports()) == []


def test_rooms_import_what_the_table_allows() -> None:
    assert forbidden(imports()) == []


def test_every_room_is_in_the_table() -> None:
    known = {*TABLE, *ENTRIES, "codeparrot"}
    assert {room(name) for name in modules()} - known == set()


def test_the_table_and_the_circles_are_noticed() -> None:
    graph = {"codeparrot.stream.a": {"codeparrot.training.b"}, "codeparrot.training.b": {"codeparrot.stream.a"}}
    assert forbidden(graph) == ["codeparrot.stream.a imports codeparrot.training.b"]
    assert circles(graph) == [["codeparrot.stream.a", "codeparrot.training.b"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_few_modules_are_loose() -> None:
    assert len(list((ROOT / "codeparrot").glob("*.py"))) <= 20


@pytest.mark.parametrize("folder", ["codeparrot", "tokenizer", "eval", "benchmarks", "docs", "tests"])
def test_files_hold_one_idea(folder: str) -> None:
    def length(file: Path) -> int:
        return len(file.read_text(encoding="utf-8").splitlines())

    assert {str(file) for file in (ROOT / folder).rglob("*.py") if length(file) > LIMIT} == set()


def test_functions_are_read_on_one_screen() -> None:
    import ast

    def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        first = node.body[0]
        documented = ast.get_docstring(node) is not None
        docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
        return (node.end_lineno or 0) - node.lineno + 1 - docstring

    long = [
        f"{name}.{node.name}"
        for name, file in modules().items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > 80
    ]
    assert long == []


def test_the_picture_shows_the_imports_there_are() -> None:
    drawn = (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8")
    assert drawn == draw(arrows(imports())), "draw it again: python docs/draw_rooms.py"
