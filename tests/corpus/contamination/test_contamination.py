"""Copies of HumanEval's problems, plain and disguised, planted among documents that hold none."""

import ast
import builtins
import gzip
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.contamination.benchmark_texts import Sample, description, read_benchmark
from codeparrot.corpus.contamination.index import Index, normalised
from codeparrot.corpus.contamination.program_tokens import tokens
from codeparrot.corpus.contamination.stage import Contamination
from codeparrot.corpus.report.reading import findings_of
from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.problems.sets import load_problems
from tests.corpus.samples import STANDARD_LIBRARY

HUMANEVAL = Contamination(benchmarks=("humaneval",))
SURROUNDINGS = "import os\n\n\ndef other(path):\n    return os.path.join(path, 'name')\n\n\n{}\n\nprint(other('.'))\n"


@pytest.fixture(scope="module")
def index() -> Index:
    return Index.load(HUMANEVAL)


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return list(load_problems("humaneval"))


def plain(problem: Problem) -> str:
    return problem.prompt + problem.canonical_solution


def without_documentation(program: str) -> str:
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None and len(node.body) > 1:
            node.body = node.body[1:]
    return ast.unparse(tree)


class Renamer(ast.NodeTransformer):
    """Renames every name that the program itself binds."""

    def __init__(self, tree: ast.AST) -> None:
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        self.names = {name: f"renamed_{number}" for number, name in enumerate(sorted(names)) if not hasattr(builtins, name)}

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self.names.get(node.id, node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.arg = self.names.get(node.arg, node.arg)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.name = self.names.get(node.name, node.name)
        self.generic_visit(node)
        return node


def renamed(problem: Problem) -> str:
    tree = ast.parse(without_documentation(plain(problem)))
    return ast.unparse(Renamer(tree).visit(tree))


def commented(problem: Problem) -> str:
    lines = without_documentation(plain(problem)).splitlines()
    return "\n".join(f"{line}  # step {number}" for number, line in enumerate(lines))


def respaced(problem: Problem) -> str:
    return plain(problem).replace("    ", "\t").replace("\n", "\n\n").replace(", ", " ,  ").upper()


def as_comment(problem: Problem) -> str:
    return "\n".join(f"#   {line}" for line in problem.prompt.splitlines())


@pytest.mark.parametrize(
    ("disguise", "recall"),
    [
        (plain, 1.0),
        (respaced, 1.0),
        (as_comment, 0.99),
        # Without its documentation, little is left of a short problem, and anyone might write it: `return a + b`.
        (lambda problem: without_documentation(plain(problem)), 0.88),
        (commented, 0.88),
        (renamed, 0.85),
    ],
    ids=["plain", "white space", "as comments", "no documentation", "comments added", "renamed"],
)
def test_disguised_copies_are_found(
    index: Index, problems: list[Problem], disguise: Callable[[Problem], str], recall: float
) -> None:
    documents = [SURROUNDINGS.format(disguise(problem)) for problem in problems]
    found = [{hit.task_id for hit in index.hits(document)} for document in documents]
    assert sum(problem.task_id in each for problem, each in zip(problems, found, strict=True)) >= recall * len(problems)


@pytest.mark.parametrize("disguise", [commented, renamed], ids=["comments added", "renamed"])
def test_of_long_solutions_nearly_every_disguised_copy_is_found(
    index: Index, problems: list[Problem], disguise: Callable[[Problem], str]
) -> None:
    long = [problem for problem in problems if len(tokens(problem.canonical_solution).starts) >= 30]
    assert len(long) > 80
    found = [problem.task_id in {hit.task_id for hit in index.hits(disguise(problem))} for problem in long]
    assert sum(found) >= 0.98 * len(long)


def test_hardly_a_file_of_the_standard_library_is_taken_for_a_copy(index: Index) -> None:
    files = [file.read_text(encoding="utf-8") for file in sorted(STANDARD_LIBRARY.glob("*.py"))]
    hits = {number: found for number, text in enumerate(files) if (found := index.hits(text))}
    assert len(files) > 150
    assert len(hits) <= 0.01 * len(files), hits


def test_a_hit_says_what_was_found_and_how(index: Index, problems: list[Problem]) -> None:
    first = problems[0]
    hits = {hit.how: hit for hit in index.hits(SURROUNDINGS.format(plain(first)))}
    assert set(hits) == {"docstring", "solution", "ngram"}
    assert {(hit.benchmark, hit.task_id) for hit in hits.values()} == {("humaneval", first.task_id)}
    assert hits["docstring"].excerpt.startswith("Check if in given list of numbers, are any two numbers closer")
    assert hits["solution"].excerpt.startswith("for idx, elem in enumerate(numbers):")
    assert hits["ngram"].excerpt.startswith("for idx, elem in enumerate(numbers):")
    assert all("\n" not in hit.excerpt and len(hit.excerpt) <= 120 for hit in hits.values())


def test_what_is_short_is_everybodys() -> None:
    index = Index([Sample("own", "1", "Add numbers.", "    return a + b\n")], Contamination())
    assert index.hits('def add(a, b):\n    "Add numbers."\n    return a + b\n') == []


@pytest.mark.parametrize(("characters", "found"), [(39, False), (40, True)])
def test_a_text_is_looked_for_when_it_has_forty_characters(characters: int, found: bool) -> None:
    text = "".join(chr(ord("a") + number % 26) for number in range(characters))
    index = Index([Sample("own", "1", text, "")], Contamination())
    assert bool(index.hits(f"x = 1\n#  {text[:20].upper()}\n#  {text[20:]}\n")) is found


@pytest.mark.parametrize(("names", "found"), [(14, True), (13, False)])
def test_a_solution_is_compared_when_it_has_five_ngrams(names: int, found: bool) -> None:
    solution = " ".join(str(number) for number in range(1000, 1000 + names))
    index = Index([Sample("own", "1", "", solution)], Contamination(min_characters=1000))
    assert bool(index.hits(f"before = 1\n{solution}\nafter = 2\n")) is found


@pytest.mark.parametrize(("kept", "found"), [(30, True), (29, False)])
def test_half_of_the_ngrams_must_be_there(kept: int, found: bool) -> None:
    # 50 tokens have 41 n-grams; the first 30 and 29 tokens have 21 and 20. Numbers cannot be renamed.
    solution = [str(number) for number in range(1000, 1050)]
    index = Index([Sample("own", "1", "", " ".join(solution))], Contamination(min_characters=1000))
    assert bool(index.hits(" ".join(solution[:kept]))) is found


def test_a_program_of_the_same_form_with_other_attributes_is_no_copy() -> None:
    solution = "for a in b:\n    c.append(a.first[0] + d.second(1, a))\n    e.third += c.pop()\n"
    index = Index([Sample("own", "1", "", solution)], Contamination())
    renamed_only = "for v in w:\n    x.append(v.first[0] + y.second(1, v))\n    z.third += x.pop()\n"
    assert [hit.how for hit in index.hits(renamed_only)] == ["ngram"]
    assert index.hits("for v in w:\n    x.extend(v.fifth[0] + y.sixth(1, v))\n    z.last += x.get()\n") == []


def test_a_table_with_other_numbers_is_no_copy() -> None:
    index = Index([Sample("own", "1", "", f"table = {[*range(100, 130)]}\n")], Contamination())
    assert index.hits(f"names = {[*range(100, 130)]}\n") != []
    assert index.hits(f"table = {[*range(200, 230)]}\n") == []


@given(st.text(alphabet="\"'#\\\n :ax(é1.", max_size=200))
def test_any_document_has_an_answer(content: str) -> None:
    assert Index.load(HUMANEVAL).hits(content) == []


@pytest.mark.parametrize("piece", ['"""', "'''", "#", "\\", "a", "1", "("])
def test_hostile_documents_take_time_in_proportion_to_their_length(index: Index, piece: str) -> None:
    start = time.process_time()
    index.hits(piece * (2**20 // len(piece)))
    assert time.process_time() - start < 5


def write_rows(file: Path, rows: list[object]) -> Path:
    text = "\n".join(json.dumps(row) for row in rows).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


CODE = (
    "def first_repeated_char(str1):\r\n  for index,c in enumerate(str1):\r\n"
    "    if str1[:index+1].count(c) > 1:\r\n      return c"
)
MBPP = {
    "task_id": 602,
    "text": "Write a python function to find the first repeated character in a given string.",
    "code": CODE,
    "test_list": ['assert first_repeated_char("abcabc") == "a"'],
}


@pytest.mark.parametrize("name", ["own.jsonl", "own.jsonl.gz"])
def test_a_file_of_the_user_is_a_benchmark(tmp_path: Path, name: str) -> None:
    own = {"prompt": "def f(x):\n    '''A documentation that is nowhere else at all, ever.'''\n"}
    file = write_rows(tmp_path / name, [MBPP, own])
    index = Index.load(Contamination(benchmarks=(str(file),)))
    hits = index.hits('"""Write a Python function to find\n   the first repeated character in a given string."""\n')
    assert [(hit.benchmark, hit.task_id, hit.how) for hit in hits] == [(str(file), "602", "docstring")]
    assert {hit.how for hit in index.hits(CODE.replace("str1", "text"))} == {"ngram"}
    assert [hit.task_id for hit in index.hits("# a documentation that is\n# nowhere else at all, ever.\n")] == ["2"]


def test_hits_are_counted_under_the_name_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("one/own.jsonl", "other/own.jsonl")
    for name, row in zip(names, (MBPP, {"prompt": "What is asked for in the other one of the two files."}), strict=True):
        (tmp_path / name).parent.mkdir()
        write_rows(tmp_path / name, [row])
    monkeypatch.chdir(tmp_path)
    hits = Index.load(Contamination(benchmarks=names)).hits(f"{CODE}\n# What is asked for in the other one of the two files.\n")
    assert {hit.benchmark for hit in hits} == {*names}
    found = {"files": 1, "benchmarks": dict(Counter(hit.benchmark for hit in hits)), "hits": []}
    report = findings_of({"settings": {"contamination": {"benchmarks": names}}, "contamination": found})["contamination"]
    assert report and [*report["benchmarks"]] == [*names]


COMMENT = "# Given a list of numbers, their weights and a limit,\n#\n# return the sum of those below it.\n"


@pytest.mark.parametrize(
    "prompt",
    [
        COMMENT,
        f"{COMMENT}def weighted(values, weights, limit):\n",
        "def weighted(values, weights, limit):\n" + indent(COMMENT, "    "),
        f"# Imports\nimport math\n\n{COMMENT}def weighted(values, weights, limit):\n    # your code:\n",
        f"{COMMENT}# Example:\n# >>> weighted([1], [2], 3)\n# 2\ndef weighted(values, weights, limit):\n",
    ],
)
def test_a_description_in_comments_is_found_as_one_in_a_docstring(tmp_path: Path, prompt: str) -> None:
    index = Index.load(Contamination(benchmarks=(str(write_rows(tmp_path / "own.jsonl", [{"prompt": prompt}])),)))
    for document in (prompt, f'"""{COMMENT.replace("#", "")}"""\n'):
        assert [hit.how for hit in index.hits(f"import os\n{document}    return 1\n")] == ["docstring"]


@pytest.mark.parametrize(
    "line", ["Q = \"'''\"", 'Q = \'"""\'', "Q = '\\'\"\"\"'", "Q = '#'; R = \"'''\"", 'Q = ""; R = "\\""', "don't"]
)
def test_a_quote_in_a_short_string_hides_nothing(index: Index, problems: list[Problem], line: str) -> None:
    copy = renamed(max(problems, key=lambda problem: len(problem.canonical_solution)))
    assert {hit.how for hit in index.hits(f"{line}\n{copy}\n")} == {"ngram"}


def test_comments_and_triple_quoted_strings_have_no_tokens_and_short_strings_have() -> None:
    left_out = "# a 'b\n'''c \\''' \"d\"'''\n\"\"\"e ' #\"\"\"\n"
    assert tokens(f"{left_out}f = 'g # h' # i\n").program.split() == b'f = "g # h"'.split()


def test_our_own_problems_are_a_benchmark() -> None:
    samples = read_benchmark("codeparrot")
    assert len(samples) > 10
    assert all(sample.documentation and sample.solution for sample in samples)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"other": 1}\n', r"own\.jsonl, line 1: no text under"),
        ("no json\n", "line 1: not JSON"),
        ("[" * 100_000, "line 1: not JSON"),
        ('{"code": "\xff"}', "not UTF-8: byte 10 is 0xff, in line 1"),
    ],
)
def test_a_file_that_is_no_benchmark_is_refused(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "own.jsonl").write_text(content, encoding="latin-1")
    with pytest.raises(CodeparrotError, match=named):
        Contamination(benchmarks=(str(tmp_path / "own.jsonl"),)).check()


@pytest.mark.parametrize(
    "settings",
    [
        Contamination(min_characters=0),
        Contamination(ngram=-1),
        Contamination(min_ngrams=0),
        Contamination(min_overlap=0),
        Contamination(min_overlap=1.5),
    ],
)
def test_impossible_settings_are_refused(settings: Contamination) -> None:
    with pytest.raises(CodeparrotError, match="contamination"):
        settings.check()


def test_without_a_benchmark_nothing_is_found() -> None:
    assert Index.load(Contamination()).hits("def f():\n    return 1\n" * 100) == []


@pytest.mark.parametrize(
    ("documentation", "expected"),
    [
        ("Does this.\n>>> f(1)\n2", "Does this."),
        ("Does this.\nand that\nassert f(1) == 2", "Does this.\nand that"),
        ("Does this.\n\nExamples:\n f(1)", "Does this.\n"),
        ("Does this.", "Does this."),
    ],
)
def test_a_description_ends_before_the_examples(documentation: str, expected: str) -> None:
    assert description(documentation) == expected


def test_normalised_texts_have_no_case_white_space_quotes_or_comment_signs() -> None:
    assert normalised("# A\t'b'\n#\"É\" \\\n") == "abé".encode()
