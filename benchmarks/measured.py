"""What a benchmark has measured, by name in a file: an interrupted one goes on, and several processes share the work."""

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

T_OF_3 = 4.303
"""Student's t for a 95% interval of the mean of three values."""


class Measured:
    """Values by name, in a JSON file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, name: str, measure: Callable[..., Any], *arguments: Any, unit: str = "") -> Any:
        """Return what was measured under a name, or measure it and keep it."""
        if name not in self._read():
            value = measure(*arguments)
            # Read anew: other processes have measured meanwhile.
            self._file.write_text(json.dumps({**self._read(), name: value}, indent=1), encoding="utf-8")
            print(f"{name}: {f'{value:.4f} {unit}' if unit else value}", flush=True)
        return self._read()[name]

    def _read(self) -> dict[str, Any]:
        return json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}


def interval(values: list[float], unit: str = "") -> str:
    """Return the mean of three values with its 95% interval, and the values."""
    half = T_OF_3 * statistics.stdev(values) / math.sqrt(len(values))
    mean = f"{statistics.mean(values):.4f} +- {half:.4f}{f' {unit}' if unit else ''}"
    return f"{mean} ({', '.join(f'{value:.4f}' for value in values)})"
