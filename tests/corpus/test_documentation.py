"""docs/corpus.md names what exists. tests/test_cli.py checks for all documents that their commands parse."""

from pathlib import Path

from codeparrot.corpus.sources.presets import PRESETS
from codeparrot.corpus.statistics import CLUSTERS_FILE, SAMPLES_FILE

TEXT = (Path(__file__).parents[2] / "docs" / "corpus.md").read_text(encoding="utf-8")


def test_the_documentation_names_what_there_is() -> None:
    assert f"`{SAMPLES_FILE}`" in TEXT and f"`{CLUSTERS_FILE}`" in TEXT
    assert len(PRESETS) == 4
