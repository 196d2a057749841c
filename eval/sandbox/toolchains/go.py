"""Go, by its own tool: program and test are one process, a test binary of the package that the prompt names."""

import re
from pathlib import Path

from codeparrot.eval.problems.problem import Translated
from codeparrot.eval.sandbox.toolchains.toolchain import NUMBER, Language, Parts, Toolchain, binds_of, find_program, version_of

_REPORT = """package {package}

import (
	"fmt"
	"io"
	"os"
	"testing"
)

func TestMain(m *testing.M) {{
	status := m.Run()
	if status == 0 {{
		half, _ := io.ReadAll(os.Stdin)
		fmt.Print("{number}" + string(half))
	}}
	os.Exit(status)
}}
"""

_VARIABLES = (("GO111MODULE", "off"), ("GOFLAGS", "-p=1"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0"))


def find() -> Toolchain:
    go = find_program("go", "go", "install Go (apt install golang-go)")
    root = version_of(go, "env", "GOROOT")
    # Debian's sources lie elsewhere, behind a link.
    places = {root, str(Path(f"{root}/src").resolve().parent)}
    binds = binds_of(*sorted(path for path in places if not Path(path).is_relative_to("/usr/lib")))
    return Toolchain(LANGUAGE, version_of(go, "version"), binds, {"go": f"{root}/bin/go"}, (*_VARIABLES, ("GOROOT", root)))


def together(tools: Toolchain, problem: Translated, completion: str) -> Parts:
    package = re.search(r"^package\s+(\w+)", problem.prompt, re.MULTILINE)
    report = _REPORT.format(package=package.group(1) if package else "main", number=NUMBER)
    files = (("problem_test.go", problem.prompt + completion + problem.test), ("report_test.go", report))
    build = (tools.paths["go"], "test", "-vet=off", "-c", "-o", "program", *(name for name, _ in files))
    return Parts(("./program",), "", build, files, tools.variables)


LANGUAGE = Language("go", find, together, threads=24, address_bytes=1 << 36)
