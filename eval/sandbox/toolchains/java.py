"""Java, by javac and java: program and test are one process. MultiPL-E's prompts import javatuples: `Pair` alone is here."""

import os
from pathlib import Path

from codeparrot.eval.problems.problem import Translated
from codeparrot.eval.sandbox.toolchains.toolchain import NUMBER, Language, Parts, Toolchain, binds_of, find_program, version_of

_LEAN = ("-Xshare:auto", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xmx512m", "-XX:CICompilerCount=1")
_REPORT = f"""
public class CodeparrotReport {{
    public static void main(String[] words) throws Exception {{
        java.io.PrintStream out = System.out;
        java.io.InputStream in = System.in;
        Problem.main(words);
        out.print("{NUMBER}" + new String(in.readAllBytes()));
        out.flush();
        Runtime.getRuntime().halt(0);
    }}
}}
"""
_PAIR = """
package org.javatuples;
public final class Pair<A, B> implements java.io.Serializable {
    private final A value0;
    private final B value1;
    public Pair(A value0, B value1) { this.value0 = value0; this.value1 = value1; }
    public static <A, B> Pair<A, B> with(A value0, B value1) { return new Pair<>(value0, value1); }
    public A getValue0() { return value0; }
    public B getValue1() { return value1; }
    @Override public boolean equals(Object other) {
        return other instanceof Pair && java.util.Objects.equals(value0, ((Pair<?, ?>) other).value0)
            && java.util.Objects.equals(value1, ((Pair<?, ?>) other).value1);
    }
    @Override public int hashCode() { return java.util.Objects.hash(value0, value1); }
    @Override public String toString() { return "[" + value0 + ", " + value1 + "]"; }
}
"""


def find() -> Toolchain:
    remedy = "install a JDK (apt install default-jdk-headless)"
    javac = os.path.realpath(find_program("javac", "java", remedy))
    home = str(Path(javac).parent.parent)
    java = f"{home}/bin/java"
    settings = [str(path) for path in Path("/etc").glob("java-*")]
    programs = {"javac": javac, "java": java}
    variables = (("LD_LIBRARY_PATH", f"{home}/lib"),)
    shown = settings if home.startswith("/usr/lib/") else [home, *settings]
    return Toolchain(LANGUAGE, version_of(javac, "-version"), binds_of(*shown), programs, variables)


def together(tools: Toolchain, problem: Translated, completion: str) -> Parts:
    files = (
        ("Problem.java", problem.prompt + completion + problem.test),
        ("CodeparrotReport.java", _REPORT),
        ("org/javatuples/Pair.java", _PAIR),
    )
    build = (tools.paths["javac"], *(f"-J{flag}" for flag in _LEAN), "-nowarn", "-encoding", "UTF8", "-d", ".")
    run = (tools.paths["java"], *_LEAN, "-ea", "-cp", ".", "CodeparrotReport")
    return Parts(run, "", (*build, *(name for name, _ in files)), files, tools.variables)


LANGUAGE = Language("java", find, together, threads=32, address_bytes=1 << 34)
