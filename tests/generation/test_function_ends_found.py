"""Ends of functions that were once told wrongly, or slowly."""

import time

import pytest

from codeparrot.generation.functions import Function

FACTORY = "const make = function (a) {\n  class X {\n    get() { return 1; }\n    check(b) {\n      "
TYPED = "function sizing(origin: string): { unit: string; verb: string } | null {\n  "


@pytest.mark.parametrize(
    ("language", "before", "inside"),
    [
        ("javascript", FACTORY, "return b;\n    }"),
        ("typescript", TYPED, "return sizes[origin] ?? null;\n}"),
        ("typescript", f"function outer() {{\n{TYPED}", "if (a) {\n    b();\n  }\n}"),
    ],
)
def test_methods_of_classes_in_functions_and_types_that_are_objects(language: str, before: str, inside: str) -> None:
    assert Function.at(before, language).end(f"{inside}\n  more();\n}}\n") == len(inside)


@pytest.mark.parametrize("text", ["a" + " " * 1900 + "b" + "\n" * 2000, ":\n" * 4000, "get " * 480 + "\n" * 2000])
def test_lines_that_go_on_and_blanks_cost_no_more_than_their_length(text: str) -> None:
    begun = time.process_time()
    Function.at(text, "javascript")
    assert time.process_time() - begun < 3.0  # they took 9, 20 and 2 s
