"""What a command hands back to the command line: a text for people and the same facts as data for programs."""

from typing import Any, NamedTuple


class Result(NamedTuple):
    """Printed as `text`, or as one JSON object with `--json`. A command never prints its result itself."""

    text: str
    data: dict[str, Any]
