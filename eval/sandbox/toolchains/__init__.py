"""Languages other than Python in which problems can be judged: one file each, and one line here."""

from codeparrot.errors import CodeparrotError
from codeparrot.eval.sandbox.toolchains import cpp, go, java, javascript, rust
from codeparrot.eval.sandbox.toolchains.toolchain import Language
from codeparrot.languages.names import LANGUAGES, canonical

KNOWN: dict[str, Language] = {
    each.name: each for each in (javascript.LANGUAGE, cpp.LANGUAGE, go.LANGUAGE, rust.LANGUAGE, java.LANGUAGE)
}


def language(name: str) -> Language:
    """Return what is known of a language, by any of its names.

    Raises:
        CodeparrotError: problems in it cannot be judged.
    """
    found = KNOWN.get(canonical(name.removesuffix("_test.go")))
    if found is None:
        title = LANGUAGES[canonical(name)].title if canonical(name) in LANGUAGES else name
        known = ", ".join(LANGUAGES[each].title for each in KNOWN)
        hint = ": give them in OpenAI's format" if title == "Python" else ""
        raise CodeparrotError(f"problems of MultiPL-E in {title} cannot be judged{hint}; those in {known} can")
    return found
