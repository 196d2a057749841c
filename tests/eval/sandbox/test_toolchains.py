"""Problems in other languages: right programs pass, wrong and hostile ones do not, and the run goes on."""

import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Problem, Translated
from codeparrot.eval.problems.sets import from_row
from codeparrot.eval.sandbox.executor import Executor, Limits, Verdict
from codeparrot.eval.sandbox.toolchains import KNOWN, language

SECRETS = [f"secret-{secrets.token_hex(16)}" for _ in range(3)]
LIMITS = Limits(cpu_seconds=1.0, wall_seconds=4.0, memory_bytes=1 << 29, build_cpu_seconds=8.0)

_JS_TESTS = """const assert = require('node:assert');

function test() {{
  let candidate = answer;
{assertions}
}}

test();"""
_CPP_TESTS = "}}\nint main() {{\n    auto candidate = answer;\n{assertions}\n}}\n"
_CPP_PROMPT = (
    "#include<assert.h>\n#include<bits/stdc++.h>\n#include<fcntl.h>\n#include<netinet/in.h>\n#include<sys/mman.h>\n#include<sys/ptrace.h>\n"
    "#include<sys/stat.h>\n#include<unistd.h>\nstd::string answer(long x, std::vector<long> items) {\n"
)
JS_PROMPT = "// Return the answer.\nfunction answer(x, items) {\n"


def attacks(name: str, together: bool) -> dict[str, str]:
    """Return hostile bodies of a function that gets a number and an empty list and returns a text, by their titles.

    Without `together`, the test asks for secrets that no program can know: one that passes escaped its process, or forged its
    verdict. With it, program and test are one process, and the body tries to end well without the test.
    """
    file = Path(__file__).with_name(f"attacks-{'cpp' if name == 'c++' else name}.txt")
    parts = (part.split("\n", 1) for part in re.split("^=== ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:])
    return {title: body for title, body in parts if title.startswith("together: ") == together}


def javascript(answers: list[str], solution: str = "") -> Translated:
    assertions = "\n".join(f"  assert.deepStrictEqual(candidate({x}, []), '{text}');" for x, text in enumerate(answers))
    row = {"name": f"js-{bool(solution)}", "language": "js", "prompt": JS_PROMPT, "canonical_solution": solution}
    return made({**row, "tests": _JS_TESTS.format(assertions=assertions)})


def cpp(answers: list[str], solution: str = "") -> Translated:
    assertions = "\n".join(
        f'    assert(candidate(({x}), (std::vector<long>())) == ("{text}"));' for x, text in enumerate(answers)
    )
    row = {"name": f"cpp-{bool(solution)}", "language": "cpp", "prompt": _CPP_PROMPT, "canonical_solution": solution}
    return made({**row, "tests": _CPP_TESTS.format(assertions=assertions)})


def made(row: dict[str, Any]) -> Translated:
    problem = from_row({"stop_tokens": [], **row}, "here")
    assert isinstance(problem, Translated)
    return problem


def missing(name: str) -> str:
    """Return why a language cannot be tested here; an empty string if it can. Continuous integration installs node and g++."""
    try:
        language(name).find()
    except CodeparrotError as error:
        if os.environ.get("CI") == "true" and name in ("javascript", "c++"):
            pytest.fail(str(error))
        return str(error)
    return ""


@pytest.fixture(scope="module")
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Two workers with every language that is here."""
    found = [name for name in KNOWN if not missing(name)]
    try:
        with Executor(LIMITS, 2, languages=found) as started:
            yield started
    except CodeparrotError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


def need(name: str) -> None:
    if why := missing(name):
        pytest.skip(why)


def judged(executor: Executor, jobs: list[tuple[Translated, str]]) -> list[Verdict]:
    verdicts = dict(executor.judge(jobs))
    return [verdicts[index] for index in range(len(jobs))]


ROWS: dict[str, dict[str, Any]] = {
    "javascript": {
        "prompt": "function sum(a, b) {\n",
        "tests": _JS_TESTS.format(assertions="  assert.deepEqual(candidate(2, 3), 5);").replace("answer", "sum"),
    },
    "c++": {
        "prompt": "#include<bits/stdc++.h>\nlong sum(long a, long b) {\n",
        "tests": _CPP_TESTS.format(assertions="    assert(candidate((2), (3)) == (5));").replace("answer", "sum"),
    },
    "rust": {
        "prompt": "fn sum(a: isize, b: isize) -> isize {\n",
        "tests": "}\n\nfn main() {\n    let candidate = sum;\n    assert_eq!(candidate(2, 3), 5);\n}\n",
    },
    "java": {
        "prompt": "import org.javatuples.*;\nclass Problem {\n    public static long sum(long a, long b) {\n",
        "tests": "    }\n    public static void main(String[] args) {\n    assert(sum((2l), (3l)) == (5l));\n    }\n\n}\n",
    },
    "go": {
        "prompt": 'package sum_test\n\nimport (\n    "testing"\n)\n\nfunc sum(a int, b int) int {\n',
        "tests": 'func TestSum(t *testing.T) {\n  candidate := sum\n\tif candidate(2, 3) != 5 {\n\t\tt.Errorf("no")\n\t}\n}\n',
    },
}
"""A problem of each language as MultiPL-E writes it."""
ENDS = {"javascript": "\n}\n", "go": "\n}\n"}
"""Ends a completion of the languages whose tests do not."""
WRONG = ("return a - b;", "return no_such_name;")
LEAVE = {
    "javascript": "process.exit(0);",
    "rust": "std::process::exit(0)",
    "java": "System.exit(0); return 0;",
    "c++": "exit(0);",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ROWS))
def test_a_right_program_passes_and_a_wrong_one_does_not_in_each_language(name: str, executor: Executor) -> None:
    need(name)
    end = ENDS.get(name, "\n")
    problem = made({"name": "sum", "language": name, "canonical_solution": f"return a + b;{end}", **ROWS[name]})
    completions = [
        problem.canonical_solution,
        *(f"{text}{end}" for text in WRONG),
        *([LEAVE[name] + end] if name in LEAVE else []),
    ]
    verdicts = judged(executor, [(problem, text) for text in completions])
    # JavaScript has no compiler: the name is missed when it is used.
    expected = ["passed", "failed", "error" if name == "javascript" else "compile_error", *(["error"] if name in LEAVE else [])]
    assert [str(verdict.outcome) for verdict in verdicts] == expected, verdicts
    strong = name in ("javascript", "c++")
    assert {verdict.weak for verdict in verdicts} == {not strong}


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of a server on this machine that must not be reached."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server.getsockname()[1]
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["javascript", "c++"])
def test_no_attack_passes_and_the_program_after_it_has_its_own_verdict(
    name: str, executor: Executor, tmp_path: Path, listener: int
) -> None:
    need(name)
    marker = tmp_path / "marker"
    make, end = (javascript, "}\n") if name == "javascript" else (cpp, "")
    hostile = attacks(name, together=False)
    assert len(hostile) >= 20
    target, witness = make(SECRETS), make(["yes"])
    right = f'return "yes";{end}'
    jobs: list[tuple[Translated, str]] = []
    for text in hostile.values():
        body = text.replace("MARKER", str(marker)).replace("PORT", str(listener))
        jobs += [(target, f"{body}{end}"), (witness, right)]
    verdicts = judged(executor, jobs)
    found = list(zip(hostile, verdicts[::2], verdicts[1::2], strict=True))
    assert [(title, verdict) for title, verdict, _ in found if verdict.passed or "REACHED" in verdict.detail] == []
    assert [(title, after) for title, _, after in found if not after.passed] == []
    assert not marker.exists()
    assert not any(verdict.weak for verdict in verdicts)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["javascript", "c++"])
def test_leaving_early_or_printing_does_not_pass_where_program_and_test_are_one_process(name: str, executor: Executor) -> None:
    need(name)
    make, end = (javascript, "}\n") if name == "javascript" else (cpp, "")
    problem = make(["yes"], "x")
    executor.weak[problem] = True
    completions = [f'return "yes";{end}', *(f"{text}{end}" for text in attacks(name, together=True).values())]
    verdicts = judged(executor, [(problem, text) for text in completions])
    assert [verdict.passed for verdict in verdicts] == [True] + [False] * (len(completions) - 1), verdicts
    assert all(verdict.weak for verdict in verdicts)


@pytest.mark.slow
def test_a_test_with_live_objects_is_judged_the_weaker_way(executor: Executor) -> None:
    need("javascript")
    tests = _JS_TESTS.format(assertions="  assert.deepEqual(candidate((x) => x + 1, [2]), 3);")
    solution = "  return x(items[0]);\n}\n"
    problem = made({"name": "live", "language": "js", "prompt": JS_PROMPT, "tests": tests, "canonical_solution": solution})
    verdicts = judged(executor, [(problem, solution), (problem, "  return x(0);\n}\n")])
    assert [(verdict.passed, verdict.weak) for verdict in verdicts] == [(True, True), (False, True)]


@pytest.mark.slow
def test_values_cross_as_they_are_and_changed_arguments_come_back(executor: Executor) -> None:
    need("javascript")
    need("c++")
    kept = "[undefined, null, -0, NaN, Infinity, 'a\\ud800', 12n, new Map([[1, new Set(['x'])]]), new Date(5), { a: [] }]"
    assertions = f"  const v = {kept};\n  assert.deepStrictEqual(candidate(0, v), v);\n  const w = [3, 1];\n"
    assertions += "  candidate(1, w);\n  assert.deepStrictEqual(w, [1, 3]);\n  assert.throws(() => candidate(2, []), /two/);"
    tests = _JS_TESTS.format(assertions=assertions)
    body = "  if (x === 2) throw new TypeError('two');\n  return x === 1 ? items.sort() : items;\n}\n"
    js = made({"name": "js", "language": "js", "prompt": JS_PROMPT, "tests": tests})
    prompt = (
        "#include<bits/stdc++.h>\nstd::map<std::string, std::optional<std::tuple<double, bool>>> turn("
        "std::vector<std::pair<long, std::string>> &items, const std::set<std::array<char, 2>> &s, std::vector<bool> b) {\n"
    )
    cpp_tests = (
        '}\nint main() {\n    auto candidate = turn;\n    std::vector<std::pair<long, std::string>> v = {{1, "a\\n"}};\n'
        "    auto found = candidate(v, {{'x', 'y'}}, {true, false});\n"
        '    assert(v.size() == 2 && v[1].second == "xy" && found.size() == 2);\n'
        '    assert(std::get<0>(*found["t"]) == 0.5 && std::get<1>(*found["t"]) && !found["none"]);\n}\n'
    )
    solution = '    for (auto a : s) items.push_back({2, {a[0], a[1]}});\n    return {{"t", {{0.5, b[0]}}}, {"none", {}}};\n'
    made_cpp = made({"name": "cpp", "language": "cpp", "prompt": prompt, "tests": cpp_tests})
    verdicts = judged(executor, [(js, body), (made_cpp, solution)])
    assert [(verdict.passed, verdict.weak) for verdict in verdicts] == [(True, False)] * 2, verdicts


@pytest.mark.slow
def test_only_what_a_program_throws_is_an_error_that_its_test_expects(executor: Executor) -> None:
    need("javascript")
    assertions = "  assert.throws(() => candidate(-1, []));\n  assert.throws(() => candidate(-2, []), /negative/);"
    problem = made({"name": "throws", "language": "js", "prompt": JS_PROMPT, "tests": _JS_TESTS.format(assertions=assertions)})
    unasked = made({**ROWS["javascript"], "name": "unasked", "language": "js", "tests": _JS_TESTS.format(
        assertions="  assert.throws(() => candidate(() => 1, 2));").replace("answer", "sum")})  # fmt: skip
    bodies = ["process.exit(0);", "require('fs').writeSync(3, Buffer.from([255, 255, 255, 255, 86]));", "return () => 1;"]
    bodies += ["x = []; for (;;) x.push(new Uint8Array(1 << 24).fill(1));"]
    jobs = [(problem, "  throw new RangeError('negative');\n}\n"), (unasked, "  return 1;\n}\n")]
    verdicts = judged(executor, [*jobs, *((problem, f"{body}\n}}\n") for body in bodies)])
    assert [verdict.passed for verdict in verdicts] == [True] + [False] * (len(verdicts) - 1), verdicts


@pytest.mark.slow
def test_a_test_that_waits_for_promises_is_judged_by_what_they_bring(executor: Executor) -> None:
    need("javascript")
    tests = _JS_TESTS.format(assertions="  assert.strictEqual(await candidate(1, []), 2);").replace(
        "function", "async function"
    )
    solution = "  return x + 1;\n}\n"
    row = {"name": "promises", "language": "js", "prompt": f"async {JS_PROMPT[JS_PROMPT.index('function') :]}", "tests": tests}
    problem = made({**row, "canonical_solution": solution})
    later = "  await new Promise((done) => setTimeout(done, 5));\n"
    bodies = [f"{later}{solution}", "  return x;\n}\n", f"{later}  return x;\n}}\n", "  await new Promise(() => {});\n}\n"]
    verdicts = judged(executor, [(problem, solution), *((problem, body) for body in bodies)])
    assert [(verdict.passed, verdict.weak) for verdict in verdicts] == [(True, True)] * 2 + [(False, True)] * 3, verdicts


@pytest.mark.slow
def test_a_long_list_may_be_changed_in_place(executor: Executor) -> None:
    need("javascript")
    assertions = (
        "  const v = Array.from({ length: 200000 }, (_, i) => -i);\n  candidate(1, v);\n  assert.strictEqual(v[0], -199999);"
    )
    problem = made({"name": "long", "language": "js", "prompt": JS_PROMPT, "tests": _JS_TESTS.format(assertions=assertions)})
    assert [v.passed for v in judged(executor, [(problem, "  items.sort((a, b) => a - b);\n}\n")])] == [True]


@pytest.mark.slow
def test_programs_in_python_keep_their_limits_beside_other_languages(executor: Executor) -> None:
    need("javascript")
    prompt = "import resource\n\ndef limits():\n"
    test = (
        "def check(limits):\n"
        f"    assert limits() == {[LIMITS.memory_bytes, LIMITS.processes + 1, LIMITS.file_bytes, LIMITS.open_files]}\n"
    )
    problem = Problem("limits", prompt, "limits", test, "", ())
    names = "resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE"
    body = f"    return [resource.getrlimit(name)[1] for name in ({names})]\n"
    verdicts = dict(executor.judge([(problem, body)]))
    assert verdicts[0].passed, verdicts


@pytest.mark.slow
def test_shared_memory_counts_and_threads_have_room(executor: Executor) -> None:
    need("c++")
    problem = cpp(["yes"])
    shared = (
        "const std::size_t size = (1ul << 29) + (1ul << 26);\n"
        "if (mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) throw std::bad_alloc();\n"
        'return "yes";\n'
    )
    threads = (
        "std::vector<std::thread> all; std::atomic<long> sum(0);\n"
        "for (int i = 0; i < 8; i++) all.emplace_back([&] { std::vector<long> v(1 << 20, 1); sum += v[5]; });\n"
        'for (auto &each : all) each.join();\nreturn sum == 8 ? "yes" : "no";\n'
    )
    verdicts = judged(executor, [(problem, shared), (problem, threads)])
    assert [str(verdict.outcome) for verdict in verdicts] == ["out_of_memory", "passed"], verdicts


def test_a_missing_tool_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, tool, package in (("javascript", "node", "nodejs"), ("cpp", "g\\+\\+", "g\\+\\+"), ("go", "go", "golang-go")):
        with pytest.raises(CodeparrotError, match=f"need {tool}, which is not installed: install .*{package}"):
            language(name).find()
    with pytest.raises(CodeparrotError, match="problems of MultiPL-E in Lua cannot be judged; those in JavaScript, C\\+\\+"):
        language("lua")
    with pytest.raises(CodeparrotError, match="in Python cannot be judged: give them in OpenAI's format"):
        language("py")


def test_what_was_prepared_is_gone_when_the_pool_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("javascript")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    started = time.monotonic()
    with Executor(LIMITS, 1, languages=["javascript"]):
        assert [path.name for path in tmp_path.glob("codeparrot-tools-*")] != []
    assert list(tmp_path.glob("codeparrot-tools-*")) == [] and time.monotonic() > started
