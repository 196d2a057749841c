"""The argument parser of every command: jsonargparse, with errors as one line that names the nearest valid choice."""

import re
import sys
from typing import NoReturn

from jsonargparse import ArgumentParser, set_parsing_settings

from codeparrot.errors import nearest

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Parser(ArgumentParser):
    """Exits with status 2 and one line on stderr when the arguments are wrong."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = " ".join(str(ex or message).split())
        print(f"{self.prog}: error: {text}{self._hint(text)} ({self.prog} --help lists the options)", file=sys.stderr)
        self.exit(2)
        raise AssertionError("unreachable")

    def _hint(self, text: str) -> str:
        unknown = re.search(r"unrecognized arguments: --([\w.\-]+)", text)
        in_group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", text)
        name = unknown[1] if unknown else f"{in_group[1]}.{in_group[2]}" if in_group else None
        known = [str(action.dest) for action in self._actions]
        return nearest(name, known) if name else ""
