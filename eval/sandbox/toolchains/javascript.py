"""JavaScript, by Node.js: program and test are two processes (harness/program.js, harness/tester.js)."""

from codeparrot.eval.problems.problem import Translated
from codeparrot.eval.sandbox.toolchains.toolchain import NUMBER, Language, Parts, Toolchain, binds_of, find_program, version_of

_FLAGS = ("--max-old-space-size=512", "--no-warnings")


def find() -> Toolchain:
    node = find_program("node", "javascript", "install Node.js (apt install nodejs)")
    return Toolchain(LANGUAGE, f"node {version_of(node, '--version')}", binds_of(node), {"node": node})


def program(tools: Toolchain, problem: Translated, completion: str) -> Parts:
    run = (tools.paths["node"], *_FLAGS, "{harness}/program.js", problem.entry_point)
    return Parts(run, problem.prompt + completion)


def test(tools: Toolchain, problem: Translated) -> Parts:
    return Parts((tools.paths["node"], *_FLAGS, "{harness}/tester.js", problem.entry_point), problem.test)


def together(tools: Toolchain, problem: Translated, completion: str) -> Parts:
    text = f"{NUMBER}\n{problem.prompt}{completion}\n{problem.test}"
    run = (tools.paths["node"], *_FLAGS, "{harness}/together.js", "script.js")
    return Parts(run, files=(("script.js", text),))


LANGUAGE = Language("javascript", find, together, program, test, threads=16, address_bytes=1 << 32)
