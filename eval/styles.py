"""How a prompt is given to the model that continues it. The style moves pass@k: scores compare only within one.

HumanEval's prompts, and the project's own, end in a newline. Tokenizers for code know that newline together with the
indentation behind it as one token; the model has hardly ever seen code go on behind the newline alone.
"""

from collections.abc import Mapping
from typing import Any, Literal

from codeparrot.generation.prompts import encode_prompt
from codeparrot.generation.requests import Request

PromptStyle = Literal["healed", "exact", "stripped", "codeparrot"]

_IN_WORDS = {
    "exact": "The prompts were given as they are, ends between two tokens or not (--prompt_style exact)",
    "stripped": "White space at the end of the prompts was stripped (--prompt_style stripped)",
    "codeparrot": "The prompts were stripped and followed an end-of-text token (--prompt_style codeparrot)",
}


def styled(prompt: str, style: PromptStyle, stop: tuple[str, ...], tokenizer: Any) -> Request:
    """Return the request to continue a prompt.

    Args:
        prompt: text.
        style: `healed` takes tokens at its end back where the text might go on into a longer token; `exact` does not;
            `stripped` leaves white space at its end out; `codeparrot` leaves it out at both ends and puts the end-of-text token
            in front, as the original script did (transformers, research_projects/codeparrot/scripts/human_eval.py).
        stop: texts that end the completion.
        tokenizer: the model's.
    """
    if style == "codeparrot":
        return Request([tokenizer.eos_token_id, *encode_prompt(tokenizer, prompt.strip())], stop=stop)
    return Request(prompt.rstrip() if style == "stripped" else prompt, stop=stop, heal=style == "healed")


def note(report: Mapping[str, Any], style: str) -> str:
    """Return what a report says of the style of its prompts; empty where that is not known."""
    if style == "healed":
        return f"The first token was healed in {report.get('prompts_healed', 0)} of {report['problems']} problems."
    return f"{_IN_WORDS[style]}: scores of other styles do not compare." if style in _IN_WORDS else ""
