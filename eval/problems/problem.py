"""A problem: a prompt to complete, and a test that decides whether a completion solves it."""

from dataclasses import dataclass

STOP = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif")
"""Where a completion of a function ends, as in the CodeParrot and Codex evaluations."""

STOP_PROGRAM = ("\nassert", '\n"""', "\nprint", "\nif", "\n```")
"""Where a completion that defines the whole program ends."""


@dataclass(frozen=True)
class Problem:
    """One task of a set."""

    task_id: str
    prompt: str
    entry_point: str
    """The function that is tested."""
    test: str
    """Python source that defines `check(candidate)`, whose assertions hold for a solution."""
    canonical_solution: str = ""
    """A completion that solves it; empty where there is none."""
    stop: tuple[str, ...] = STOP
    """Text that ends a completion and is not part of it."""
