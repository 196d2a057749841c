"""Ends of functions that were once told wrongly, or slowly."""

import pytest

from codeparrot.generation.functions import Function
from tests.growth import check_linear

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


@pytest.mark.parametrize("parts", [("a", " ", "b", "\n"), (":\n",), ("get ", "\n")])
def test_lines_that_go_on_and_blanks_cost_no_more_than_their_length(parts: tuple[str, ...]) -> None:
    def work(size: int) -> None:
        Function.at("".join(part * size for part in parts), "javascript")

    check_linear(work, 400, 2000)
