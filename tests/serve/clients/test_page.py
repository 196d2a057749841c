"""docs/editors.md speaks of clients whose requests the tests make."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "editors.md"
TESTED_ELSEWHERE = {"OpenAI's clients": "test_completions.py", "Ollama's clients": "test_ollama.py"}
NO_CLIENTS = {"Sentinels of other models", "What llama.cpp's options do"}


def test_every_client_of_the_page_has_its_transcript() -> None:
    here = Path(__file__).parent
    for title in set(re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) - NO_CLIENTS:
        own = re.sub(r"\W", "_", title.lower().removesuffix("-ai.nvim"))
        file = here.parent / TESTED_ELSEWHERE[title] if title in TESTED_ELSEWHERE else here / f"test_{own}.py"
        assert file.is_file(), file
