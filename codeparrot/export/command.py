"""`codeparrot export`: a checkpoint as a GGUF file, which llama.cpp, Ollama and LM Studio load.

Guarantees: llama.cpp makes the same ids of a text, knows the sentinels of fill-in-the-middle, and computes the same logits up
to rounding (f32: about 1e-4; its cache of float16 makes that 1e-3). What a file cannot say exactly, a setting of the model or a
step of the tokenizer, is refused before anything is written. The file is complete or absent; it replaces a GGUF file and
nothing else.
Cost: memory for the model in float32; seconds for 100 million parameters.
"""

from pathlib import Path
from typing import Any, Literal

from codeparrot.errors import CodeparrotError, writing
from codeparrot.figures import count_in_words, size_in_words
from codeparrot.files import new_file
from codeparrot.location import GGUF, path_of
from codeparrot.result import Result
from codeparrot.search.pooling import Pooling

Type = Literal["f32", "f16", "q8_0"]
MAGIC = b"GGUF"


def export(
    checkpoint: str,
    output: str,
    format: Literal["gguf", "sentence-transformers"] = "gguf",
    type: Literal["auto", "f32", "f16", "q8_0"] = "auto",
    license: str = "",
    pooling: Pooling = "auto",
) -> Result:
    """Write a checkpoint with its tokenizer: a gpt2 or llama as a GGUF file for llama.cpp, or any for sentence-transformers.

    Args:
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, or a name on the Hub.
        output: File to write, ending in .gguf; for sentence-transformers a folder. One that is there is replaced.
        format: What reads it: gguf for llama.cpp and what is built on it, or sentence-transformers.
        type: Of gguf. Numbers that matrices are stored as: f32 is exact, f16 half as large, q8_0 a quarter (8 bits and a scale
            for 32 numbers). All others stay f32. auto: f16.
        license: Of gguf. SPDX name of the model's licence, to write into the file.
        pooling: Of sentence-transformers. How the vectors of a text's tokens become one. auto: mean.
    """
    place = path_of(output)
    if format == "sentence-transformers":
        from codeparrot.export.sentence_folder import export_folder

        _require_unset(format, type=type, license=license)
        return export_folder(checkpoint, place, pooling)
    _require_unset(format, pooling=pooling)
    stored: Type = "f16" if type == "auto" else type
    replaced = _check_output(place)
    if checkpoint.endswith(GGUF):
        raise CodeparrotError(f'--checkpoint "{checkpoint}" is a GGUF file already: name the run or folder that it was made of')
    import gguf  # noqa: F401 - its absence is said before a model is loaded

    from codeparrot.export.families import described, weights_of
    from codeparrot.export.origin import origin_of
    from codeparrot.export.vocabulary import vocabulary_of
    from codeparrot.export.writing import write
    from codeparrot.loading import find_model, load_model

    folder = find_model(checkpoint)
    model, tokenizer = load_model(folder, "cpu")
    family = described(model)
    vocabulary = vocabulary_of(tokenizer, family.num_rows)
    origin = origin_of(checkpoint, folder, license)
    with writing(place, "--output"), new_file(place) as fresh:
        written = write(fresh, family, weights_of(model, family), vocabulary, origin, stored)
    facts: dict[str, Any] = {
        "output": str(place),
        "checkpoint": folder,
        "format": format,
        "type": stored,
        "family": family.name,
    }
    facts |= {"parameters": written.parameters, "bytes": place.stat().st_size, "tensors": written.tensors}
    facts |= {
        "family": family.name,
        "larger": written.larger,
        "pre_tokenizer": vocabulary.pre,
        "fim": vocabulary.fills,
        "replaced": replaced,
    }
    facts |= {"vocab_size": vocabulary.num_tokens, **origin.facts()}
    return Result(_text(facts), facts)


def _require_unset(format: str, **given: str) -> None:
    """Refuse settings of the other format, which would change nothing."""
    for name, value in given.items():
        if value not in ("", "auto"):
            raise CodeparrotError(f"--{name} {value} does nothing with --format {format}: leave it out")


def _check_output(place: Path) -> bool:
    """Return whether a GGUF file will be replaced.

    Raises:
        CodeparrotError: the name has another ending, or what is there is something else.
    """
    if place.suffix != GGUF:
        raise CodeparrotError(f'--output "{place}" must end in {GGUF}: programs know the format by it')
    if not place.exists():
        return False
    if place.is_dir():
        raise CodeparrotError(f'--output "{place}" is a folder: name a file')
    with place.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise CodeparrotError(f'--output "{place}" is there and no GGUF file: name another file')
    return True


def _text(facts: dict[str, Any]) -> str:
    parameters, size = count_in_words(facts["parameters"]), size_in_words(facts["bytes"])
    what = f"{facts['family']}, {parameters} parameters, {size}, {facts['type']}"
    fills = "it fills in the middle" if facts["fim"] else "no sentinels of fill-in-the-middle"
    lines = [
        f"model       {facts['output']} ({what}){'; it replaced a GGUF file' if facts['replaced'] else ''}",
        f"tokenizer   {facts['vocab_size']:,} tokens, split as {facts['pre_tokenizer']}; {fills}",
    ]
    if facts["larger"]:
        lines.append(f"as f16      {facts['larger']} of {facts['tensors']} tensors, whose rows are no multiple of 32 numbers")
    return "\n".join([*lines, f"next        llama-server -m {facts['output']}"])
