"""Rust, by rustc: program and test are one process."""

from codeparrot.eval.problems.problem import Translated
from codeparrot.eval.sandbox.toolchains.toolchain import (
    NUMBER,
    ONE_HEAP,
    Language,
    Parts,
    Toolchain,
    binds_of,
    find_program,
    version_of,
)

_REPORT = f"""
fn main() {{
    codeparrot_check();
    let mut codeparrot_half = ::std::string::String::new();
    ::std::io::stdin().read_line(&mut codeparrot_half).expect("the second half");
    ::std::print!("{NUMBER}{{}}", codeparrot_half);
}}
"""


def find() -> Toolchain:
    compiler = find_program("rustc", "rust", "install Rust (apt install rustc, or rustup)")
    linker = find_program("cc", "rust", "it links Rust's programs (apt install gcc)")
    root = version_of(compiler, "--print", "sysroot")
    found = f"{root}/bin/rustc"
    paths = [found, f"{root}/lib", linker, *(find_program(name, "rust", "install binutils") for name in ("as", "ld", "ld.bfd"))]
    binds = binds_of(*(path for path in paths if path != "/usr/lib"))
    variables = (("LD_LIBRARY_PATH", f"{root}/lib"), *ONE_HEAP)
    programs = {"rustc": found, "cc": linker}
    return Toolchain(LANGUAGE, version_of(compiler, "--version"), binds, programs, variables)


def together(tools: Toolchain, problem: Translated, completion: str) -> Parts:
    text = problem.prompt + completion + problem.test.replace("fn main()", "fn codeparrot_check()") + _REPORT
    # Its own linker looks for its parts in /proc, which a sandbox does not have.
    flags = ("--edition", "2021", "-C", f"linker={tools.paths['cc']}", "-C", "link-arg=-fuse-ld=bfd", "--cap-lints", "allow")
    return Parts(("./program",), text, (tools.paths["rustc"], *flags, "-o", "program", "-"), (), tools.variables)


LANGUAGE = Language("rust", find, together)
