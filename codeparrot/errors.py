"""The one exception that the command line prints as a single line.

Raise it where something enters from outside (configuration, files, network, user input), with a message that names the thing
and the remedy. Any other exception is a defect and shows its traceback.
"""

import difflib
from collections.abc import Iterable


class CodeparrotError(Exception):
    """Bad input. The message is one line: what is wrong, where, and what to do about it."""


def nearest(word: str, choices: Iterable[str], closeness: float = 0.5) -> str:
    """Return `; did you mean "x"?` for the choice closest to `word`, or an empty string when none is close.

    `closeness` is a share of equal letters, as difflib counts them.
    """
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=closeness)
    return f'; did you mean "{close[0]}"?' if close else ""
