"""A licence identifier is found in the comments of every language, and in nothing that only looks like one."""

import pytest

from codeparrot.corpus.licenses.rules import declared_inside, license_of_file
from tests.growth import check_linear

MARK = "SPDX-License-Identifier: "
LICENSES = {"MIT": "MIT", "Apache-2.0 OR MIT": "Apache-2.0 OR MIT", "GPL-2.0+": "GPL-2.0-or-later"}
COMMENTS: dict[str, tuple[str, ...]] = {
    "python": ("# {}", '"""{}\n'),
    "javascript": ("// {}", "/* {} */", "/*! {} */", "/**\n * {}\n */"),
    "typescript": ("/// {}", "/*\n{}\n*/"),
    "java": ("/* {} */ package a;",),
    "c": ("/*{}*/", "  * {}\n"),
    "c++": ("//! {}", "///< {}"),
    "go": ("//{}",),
    "rust": ("//! {}", "/*! {} */"),
    "php": ("<?php // {}", "<?php\n/* {} */", "<?php # {}"),
    "ruby": ("# {}", "=begin\n{}\n=end"),
    "shell": ("#!/bin/sh\n# {}", "## {}"),
    "haskell": ("-- {}", "{{- {} -}}", "{{-\n{}\n-}}", "--- | {}"),
    "ocaml": ("(* {} *)", "(** {} *)"),
    "pascal": ("{{ {} }}", "(* {} *)", "{{* {} *}}"),
    "lua": ("-- {}", "--[[ {} ]]", "--[==[ {} ]==]", "--[[ {} --]]"),
    "sql": ("-- {}", "/* {} */"),
    "clojure": (";; {}", ";;; {}", ";{}"),
    "common-lisp": ("#| {} |#",),
    "erlang": ("%% {}", "% {}"),
    "matlab": ("% {}", "%{{\n{}\n%}}"),
    "tex": ("%{}",),
    "fortran": ("! {}", "!> {}", "C {}", "c     {}", "* {}"),
    "html": ("<!-- {} -->", "<!DOCTYPE html>\n<!--\n  {}\n-->", "<!--{}-->"),
    "xml": ('<?xml version="1.0"?><!-- {} -->', "<!--\n{} -->"),
    "css": ("/* {} */",),
    "vue": ("<!-- {} -->",),
    "batchfile": ("REM {}", "@rem {}", ":: {}"),
    "visual-basic": ("' {}", "'{}", "''' {}"),
    "vim-script": ('" {}',),
    "m4": ("dnl {}",),
    "julia": ("#= {} =#", "# {}"),
    "powershell": ("<# {} #>", "# {}"),
    "yaml": ("# {}",),
    "toml": ("#{}",),
    "restructuredtext": (".. {}",),
    "roff": ('.\\" {}',),
    "scss": ("// {}",),
    "jinja": ("{{# {} #}}", "{{#- {} -#}}", "{{{{!-- {} --}}}}"),
    "assembly": ("; {}", "@ {}", "| {}"),
    "asp": ("<%-- {} --%>",),
    "dockerfile": ("# {}",),
    "f#": ("(* {} *)", "// {}"),
}
CASES = [(language, comment) for language, comments in COMMENTS.items() for comment in comments]
FRIENDS: dict[str, tuple[str, ...]] = {
    "python": ("'" + MARK + "MIT'", "mark = '" + MARK + "MIT'", "x = 1  # see " + MARK + "MIT"),
    "javascript": (
        *("'" + MARK + "MIT',", '  "' + MARK + 'MIT"', "`" + MARK + "MIT`", f'const mark = "{MARK}MIT";', f"f('{MARK}MIT')"),
        *(f"['{MARK}MIT', 1]", f"// add {MARK}MIT to each file", f'"license": "{MARK}MIT"', f"/{MARK}MIT/.test(x)"[1:]),
    ),
    "c": (f'"{MARK}GPL-2.0\\n"', f'#define MARK "{MARK}MIT"', f'puts("{MARK}MIT");'),
    "shell": (f"grep '{MARK}MIT' x", f"'{MARK}MIT' \\", f'echo "{MARK}MIT"'),
    "go": (f"`{MARK}MIT`", f'var mark = "{MARK}MIT"'),
}
NOT_FOUND = [(language, line) for language, lines in FRIENDS.items() for line in lines if line != f"{MARK}MIT/.test(x)"]


@pytest.mark.parametrize(("language", "comment"), CASES)
def test_an_identifier_is_found_in_a_comment_of_its_language(language: str, comment: str) -> None:
    for written, expected in LICENSES.items():
        content = comment.format(MARK + written) + "\nx\n"
        assert declared_inside(content, language) == expected
        assert declared_inside(content.replace("\n", "\r\n"), language) == expected


@pytest.mark.parametrize(("language", "line"), NOT_FOUND)
def test_a_string_with_the_words_is_no_identifier(language: str, line: str) -> None:
    assert declared_inside(f"{line}\nx\n", language) is None


def test_at_least_twenty_languages_are_planted() -> None:
    assert len(COMMENTS) >= 20 and len(CASES) >= 60


def test_a_quote_is_a_comment_only_outside_of_python() -> None:
    content = f"' {MARK}MIT\n"
    assert declared_inside(content, "visual-basic") == declared_inside(content, None) == "MIT"
    assert declared_inside(content, "python") is None and declared_inside(content) is None


def test_a_file_of_any_language_narrows_what_its_repository_grants() -> None:
    content = f"(* {MARK}GPL-3.0-only *)\n"
    assert license_of_file("MIT", content, "ocaml") == "GPL-3.0-only AND MIT"
    assert license_of_file("MIT", content, "python") == "MIT"


@pytest.mark.parametrize("piece", [MARK, "'", '"', "/", "<?xml", "c ", " ", MARK + "-", "'" + MARK])
def test_hostile_tops_take_time_in_proportion_to_their_length(piece: str) -> None:
    check_linear(lambda size: declared_inside(MARK + piece * size, None), 10_000, 100_000)
