"""One place in one file is the same request in every dialect."""

import pytest

from tests.serve.clients.typing_in import PREFIX, SUFFIX
from tests.serve.conftest import Served


def texts(served: Served, prefix: str, suffix: str) -> dict[str, str]:
    options = {"num_predict": 10, "temperature": 0}
    infill = {"input_prefix": prefix, "input_suffix": suffix, "n_predict": 10, "temperature": 0}
    rendered = {"prompt": f"<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>", "n_predict": 10, "temperature": 0}
    around = {"prompt": prefix, "suffix": suffix, "max_tokens": 10, "temperature": 0}
    generate = {"prompt": prefix, "suffix": suffix, "options": options, "stream": False}
    mistral = served.post("/v1/fim/completions", **around)
    return {
        "infill": served.post("/infill", **infill)["content"],
        "completion": served.post("/completion", **rendered)["content"],
        "mistral": mistral["choices"][0]["message"]["content"],
        "ollama": served.post("/api/generate", **generate)["response"],
        "openai": served.post("/v1/completions", **around)["choices"][0]["text"],
    }


@pytest.mark.parametrize("suffix", [SUFFIX, ""])
@pytest.mark.parametrize("prefix", [PREFIX, PREFIX + "i", "", "x = '🙂"])
def test_every_dialect_answers_the_same_text(served: Served, prefix: str, suffix: str) -> None:
    if prefix or suffix:
        found = texts(served, prefix, suffix)
        assert len(set(found.values())) == 1, found
