"""C++, by g++: program and test are two processes (harness/remote.hpp), compiled one by one.

Almost all of a compilation is reading the standard headers. They are compiled once for a pool of sandboxes, and every program
sees all of them, whatever it includes.
"""

import re
import shutil
import subprocess
from pathlib import Path

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Translated
from codeparrot.eval.sandbox.inside.toolchain import HARNESS
from codeparrot.eval.sandbox.toolchains.toolchain import (
    HEADERS,
    NUMBER,
    ONE_HEAP,
    Language,
    Parts,
    Toolchain,
    binds_of,
    directives_behind_brace,
    ends_function,
    find_program,
    version_of,
)

_FLAGS = ("-std=c++17", "-pipe", "-w")
_HEADER = "remote.hpp"


def find() -> Toolchain:
    compiler = find_program("g++", "c++", "install a C++ compiler (apt install g++)")
    paths = [compiler, *(find_program(name, "c++", "install binutils") for name in ("as", "ld"))]
    return Toolchain(LANGUAGE, version_of(compiler, "--version"), binds_of(*paths, "/usr/include"), {"g++": compiler})


def prepare(tools: Toolchain, folder: Path) -> None:
    shutil.copy(Path(HARNESS) / _HEADER, folder)
    command = [tools.paths["g++"], *_FLAGS, "-x", "c++-header", str(folder / _HEADER), "-o", str(folder / f"{_HEADER}.gch")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        said = (ran.stderr.strip().splitlines() or ["no reason"])[0]
        raise CodeparrotError(f"{tools.version} cannot compile the standard headers ({said}): install g++ 9 or newer, whole")


def _compiled(tools: Toolchain, source: str) -> Parts:
    build = (tools.paths["g++"], *_FLAGS, "-include", f"{HEADERS}/{_HEADER}", "-x", "c++", "-", "-o", "program")
    return Parts(("./program",), source, build, variables=ONE_HEAP)


def program(tools: Toolchain, problem: Translated, completion: str) -> Parts:
    end = "\n}\n" if ends_function(problem.test) else "\n"
    serve = f"int main() {{ return codeparrot::serve(&{problem.entry_point}); }}\n"
    return _compiled(tools, f"{problem.prompt}{completion}{end}{serve}")


def test(tools: Toolchain, problem: Translated) -> Parts:
    name = problem.entry_point
    stub = f"static constexpr codeparrot::Remote<decltype(&{name})> codeparrot_remote;\n#define {name} codeparrot_remote\n"
    return _compiled(tools, f"{problem.prompt}\n__builtin_trap();\n{directives_behind_brace(problem.test, stub)}")


def together(tools: Toolchain, problem: Translated, completion: str) -> Parts:
    # Macros of the program end where the test begins: it would not be the test that runs.
    names = dict.fromkeys(re.findall(r"define(?:\s|/\*.*?\*/)+(\w+)", completion.replace("\\\n", ""), re.DOTALL))
    undone = "".join(f"#undef {name}\n" for name in ("NDEBUG", "assert", *names))
    checked = f"codeparrot_check_{NUMBER}"
    begin = f"{undone}#include <assert.h>\n#define main {checked}\n"
    report = (
        f"\n#undef main\nint main() {{\n    {checked}();\n    char half[64];\n    fflush(stdout);\n"
        "    const long count = ::read(0, half, sizeof half);\n"
        f'    if (count <= 0 || ::write(1, "{NUMBER}", 32) != 32) _exit(1);\n'
        "    _exit(::write(1, half, count) != count);\n}\n"
    )
    return _compiled(tools, problem.prompt + completion + directives_behind_brace(_returning(problem.test), begin) + report)


def _returning(tests: str) -> str:
    """Return tests whose `main` returns: renamed, it may not end without."""
    end = tests.rstrip()
    return f"{end[:-1]}\nreturn 0;\n}}\n" if end.endswith("}") else tests


LANGUAGE = Language("c++", find, together, program, test, prepare=prepare)
