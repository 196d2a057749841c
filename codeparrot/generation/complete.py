"""Complete code with a checkpoint.

Guarantees: the same checkpoint, prompt, settings and seed give the same completions on the same machine, whatever the model's
generation_config.json says; a terminal is streamed the text that would be returned otherwise; a completion that is as long as
it may be does not end inside a character. Weights are read from safetensors only, and no code from the Hub runs.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from codeparrot.errors import CodeparrotError
from codeparrot.generation.cursor import STDIN, Around, read_around
from codeparrot.generation.endings import StopAt, checked_language, ending, language_told
from codeparrot.generation.sampling import TEMPERATURES, is_temperature
from codeparrot.generation.texts import untorn
from codeparrot.languages.stops import stops_of
from codeparrot.loading import find_model, load_model, require_middles
from codeparrot.result import Result

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from codeparrot.generation.requests import Completion, Request

Stop = Literal["auto", "language", "block", "function", "none"]
MOST_COMPLETIONS = 10_000
"""Completions of one command: they are generated side by side, as one batch."""
_OF_THE_MODEL = (
    *(
        "repetition_penalty",
        "no_repeat_ngram_size",
        "suppress_tokens",
        "begin_suppress_tokens",
        "bad_words_ids",
        "sequence_bias",
    ),
    *("min_length", "min_new_tokens", "forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty"),
    *("top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "num_beams", "guidance_scale", "stop_strings"),
)
"""What generation_config.json may ask of transformers' `generate`, and no option of ours stands for."""

log = logging.getLogger(__name__)


def complete(
    checkpoint: str,
    prompt: str = STDIN,
    file: str | None = None,
    cursor: str | None = None,
    suffix: str = "",
    suffix_file: str | None = None,
    fim_order: Literal["auto", "psm", "spm"] = "auto",
    heal: bool = True,
    stop: Stop = "auto",
    language: str = "auto",
    stop_at_block_end: bool | None = None,
    num_completions: int = 1,
    temperature: float = 0.2,
    top_p: float = 0.95,
    max_new_tokens: int = 128,
    seed: int | None = 0,
    device: str = "auto",
) -> Result:
    """Complete code with a checkpoint, behind a prompt or at a cursor. The text is --prompt, a --file, or what is piped in.

    Args:
        checkpoint: A run (its newest checkpoint), a checkpoint, a model folder, a .gguf file, or a name on the Hub.
        prompt: Text to continue; - reads standard input, an empty text starts a new document.
        file: File with the prompt, instead of --prompt.
        cursor: Place in that text to complete at, LINE:COLUMN, both counted from 1; what is behind it is the suffix.
        suffix: Text behind the cursor, if any: fill in the middle. The model must have learned that (objective.fim_rate).
        suffix_file: File with the suffix.
        fim_order: What a model with a suffix reads: prefix, suffix (psm), or suffix, prefix (spm). The middle comes last.
            auto: spm for a run that has learned it, else psm.
        heal: Go on from the text of the prompt and not from its tokens, of which the last may be half of a longer one.
        stop: Where to end besides the end token: before the next block at the top level (language), with the block that the
            cursor is in, by indentation (block), with its function, by the language's syntax (function), or nowhere (none);
            auto: language, but none where there is a suffix.
        language: Language of the code, by any of its names (javascript, js, "c++", cpp); auto: that of the name of --file or
            --suffix_file, python without a file.
        stop_at_block_end: Older name: true is --stop language, false is --stop none.
        num_completions: Completions to draw for the prompt.
        temperature: Sampling temperature; 0 takes the likeliest token each time.
        top_p: Sample among the likeliest tokens that together hold this probability, above 0 and at most 1.
        max_new_tokens: Longest completion, in tokens, if the model's context has room for it.
        seed: The same seed gives the same completions; null draws new ones each time.
        device: Where to run: cpu, cuda, cuda:1, mps; auto takes the first accelerator, if any.
    """
    _check(num_completions, temperature, top_p, max_new_tokens)
    around = read_around(prompt, file, cursor, suffix, suffix_file)
    stop = _stop(stop, stop_at_block_end, around)
    language = _language(language, stop, [path for path in (file, suffix_file) if path is not None])
    texts, block = ending(stop, language, around.before)
    folder = find_model(checkpoint)
    learned = require_middles(folder, "leave out what is behind the cursor") if around.behind else "psm"
    order = learned if fim_order == "auto" else fim_order
    model, tokenizer = load_model(folder, device)
    if passed_over := _of_the_model(model):
        log.warning("%s in the model's generation_config.json is passed over: the options decide", passed_over)
    from codeparrot.generation.requests import Request

    request = Request(
        around.before,
        max_new_tokens=max_new_tokens,
        stop=texts,
        block=block,
        heal=heal,
        suffix=around.behind or None,
        order=order,
    )
    streaming = num_completions == 1 and sys.stdout.isatty()
    try:
        show = _show if streaming else None
        found = draw(model, tokenizer, request, num_completions, temperature, top_p, seed, show)
    except KeyboardInterrupt:
        if streaming:
            _show("\n")
        raise
    completions = [untorn(each.text) for each in found]
    facts = {"checkpoint": folder, "prompt": around.before, "completions": completions, "stop": stop}
    facts |= {"language": language} if language else {}
    facts |= {"ended": [each.ended for each in found], "healed": found[0].healed}
    facts |= {"suffix": around.behind, "fim_order": order} if around.behind else {}
    # Streamed text is not printed again: only the end of its last line is missing.
    return Result("" if streaming else _joined(completions), facts)


def generate_completions(
    model: "PreTrainedModel",
    tokenizer: Any,
    prompt: str,
    *,
    num_completions: int = 1,
    temperature: float = 0.2,
    top_p: float = 0.95,
    max_new_tokens: int = 128,
    seed: int | None = 0,
    stop: Sequence[str] = stops_of("python"),
    heal: bool = True,
    show: Callable[[str], None] | None = None,
) -> list[str]:
    """Return the text with which `model` continues `prompt`, up to the first of the `stop` texts, without trailing white space.

    The model may be in the middle of its training: its modes (train or eval) and the random state of the process are left as
    they were. If prompt and new tokens do not fit the context together, the prompt loses its beginning, down to half the
    context, and a warning is logged.

    Args:
        model: A causal language model of transformers, unwrapped (not DDP, DeepSpeed or FSDP).
        tokenizer: Its tokenizer. Special tokens spelled out in the prompt are taken as text.
        prompt: Text to continue; an empty one starts a document.
        num_completions: Completions, generated as one batch.
        temperature: Sampling temperature; 0 is greedy, and then all completions are the same.
        top_p: Probability mass to sample from, above 0 and at most 1.
        max_new_tokens: Longest completion, in tokens, if the model's context has room for it.
        seed: Sampling seed; None draws a new one.
        stop: Texts that end a completion and are not part of it; the prompt's own text does not count.
        heal: Take back the end of the prompt where it may go on into a longer token.
        show: Called with each new piece of a single completion's text; joined, the pieces are the returned text.
    """
    from codeparrot.generation.requests import Request

    request = Request(prompt, max_new_tokens=max_new_tokens, stop=tuple(stop), heal=heal)
    return [each.text for each in draw(model, tokenizer, request, num_completions, temperature, top_p, seed, show)]


def draw(
    model: "PreTrainedModel",
    tokenizer: Any,
    request: "Request",
    num_completions: int,
    temperature: float,
    top_p: float,
    seed: int | None,
    show: Callable[[str], None] | None = None,
) -> "list[Completion]":
    """Return completions of a request, which leaves the sampler open; see `generate_completions` for the rest."""
    from codeparrot.generation.engine import Engine
    from codeparrot.generation.multinomial import Multinomial, Noise
    from codeparrot.generation.prompts import context_length, resolved

    greedy = temperature == 0
    num_rows = 1 if greedy else num_completions
    noise, end = Noise(seed, num_rows, model.device), frozenset({tokenizer.eos_token_id})
    # Done once for all rows, so that a prompt that is too long is reported once.
    request = resolved(replace(request, ends=end), tokenizer, context_length(model))
    rows = [Multinomial(temperature, top_p, noise, row) for row in range(num_rows)]
    # Nothing else runs beside these rows: filling up the batch would only cost time.
    with Engine(model, tokenizer, batch_size=num_rows, multiple=1) as engine:
        completions = [engine.submit(replace(request, sampler=sampler)) for sampler in rows]
        while engine.busy:
            for ended in engine.step():
                ended.raise_failure()
            if show and (piece := completions[0].take()):
                show(piece)
    if show and (piece := completions[0].take(last=True)):
        show(piece)
    return completions * (num_completions if greedy else 1)


def _of_the_model(model: "PreTrainedModel") -> str:
    """Return the model's own settings that would change which tokens come: options mean the same for all models."""
    settings = model.generation_config.to_diff_dict() if model.generation_config is not None else {}
    return ", ".join(f"{name} {settings[name]}" for name in _OF_THE_MODEL if settings.get(name) not in (None, False, 0, 1, []))


def _check(num_completions: int, temperature: float, top_p: float, max_new_tokens: int) -> None:
    if not 1 <= num_completions <= MOST_COMPLETIONS:
        raise CodeparrotError(f"--num_completions {num_completions} is out of range: from 1 to {MOST_COMPLETIONS:,}")
    if not is_temperature(temperature):
        raise CodeparrotError(f"--temperature {temperature} is out of range: {TEMPERATURES}")
    if not 0 < top_p <= 1:
        raise CodeparrotError(f"--top_p {top_p} is out of range: above 0 and at most 1")
    if max_new_tokens < 1:
        raise CodeparrotError(f"--max_new_tokens {max_new_tokens} is too few: at least 1")


def _language(language: str, stop: StopAt, paths: Sequence[str]) -> str:
    """Return the name of the language of the code; empty where the files' names do not show it."""
    if language != "auto":
        if stop == "language":
            stops_of(language)  # a language that is told has them, or is refused
        return checked_language(language)
    return language_told("", paths) if paths else "python"


def _stop(stop: Stop, at_block_end: bool | None, around: Around) -> StopAt:
    if at_block_end is None:
        # The end token ends a middle.
        return stop if stop != "auto" else "none" if around.behind else "language"
    if stop != "auto":
        raise CodeparrotError("--stop_at_block_end is an older name of --stop language or none: give --stop alone")
    return "language" if at_block_end else "none"


def _show(text: str) -> None:
    sys.stdout.write(untorn(text))
    sys.stdout.flush()


def _joined(completions: Sequence[str]) -> str:
    if len(completions) == 1:
        return completions[0]
    headed = (f"# completion {number} of {len(completions)}\n{text}" for number, text in enumerate(completions, start=1))
    return "\n\n".join(headed)
