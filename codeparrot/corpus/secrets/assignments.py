"""A secret that a name gives away, as languages other than Python assign it: `String pw = "..."`, `DB_PASSWORD=...`,
`<password>...</password>`, `:password "..."`, `#define PASSWORD "..."`, `password string = "..."`.

What is written without quotes counts in languages of settings alone, and only as the last thing on its line: elsewhere it is a
name or an expression.
"""

import re
from collections.abc import Iterator

MORE_NAMES = tuple("accountkey clientkey encryptionkey passcode privatekey signingkey pass pw".split())
"""Names in camel case, and short ones. Together with NAMES of key_patterns.py."""
MORE_PASSWORD_NAMES = ("passcode", "pass", "pw")
_SHORT = frozenset(("pass", "pw"))
"""Names only as a whole word of a name: not in `compass`."""

UNQUOTED = frozenset(
    "yaml shell dockerfile makefile batchfile ini java-properties properties dotenv gettext-catalog nginx text unknown".split()
)
"""Languages that write texts without quotes, and files of an unknown one: `.env` and `.ini` have no name in the table."""

# After the beginning of a name: its rest and what closes it; a type; a sign or spaces; what opens a string; and a string.
_QUOTED = re.compile(
    r"""[\w-]{0,40}["'`]?(?:\[\w{0,20}\]|[\])}?!]){0,3}[ \t]{0,20}
    (?: :[^=\n"'`]{1,60}= | [!=]={1,2} | [:?+.~|]{1,2}= | [=-]> | <- | \|\| | \?\? | [=:,({]
      | (?<!["'`])(?:[ \t][\w*&\[][\w.*&<>\[\]?:]{0,40}){1,2}[ \t]{0,20}:?= | (?<=["'])[ \t]+(?:value|content|default)=
      | (?P<gap>(?<=[ \t])(?!`)) )
    [ \t]{0,20} (?: (?:String::from|(?:new[ ])?(?:String|string)|std::string|Some|Just|pack)?[( ]{1,2} )?
    [@$A-Za-z8]{0,3}\#{0,2} (?P<quote>["'`])(?P<value>[^"'`\\\n]{8,200})(?P=quote)""",
    re.VERBOSE,
)
_ELEMENT = re.compile(r"""[\w-]{0,40}(?:["'][^<>\n]{0,40})?>[ \t]{0,20}(?P<value>[^<>\s"'`&\\]{8,200})[ \t]{0,20}</""")
_BARE = re.compile(
    r"""[\w.-]{0,40}[ \t]{0,20}(?:[:?]?=|:(?=[ \t]))[ \t]{0,20}(?P<value>[^\s"'`(){}\[\]<>$|\\,;]{8,200})"""
    r"""(?=[ \t]{0,100}(?:[#;][^\n]{0,200})?\r?$)""",
    re.MULTILINE,
)
_BARE_DOCKER = re.compile(
    r"""[\w.-]{0,40}[ \t]{1,20}(?P<value>[^\s"'`(){}\[\]<>$|\\,;]{8,200})(?=[ \t]{0,100}\r?$)""", re.MULTILINE
)


def values(content: str, name: str, start: int, end: int, language: str) -> Iterator[re.Match[str]]:
    """Yield what the name from `start` to `end` may give away: matches with a group `value`."""
    if name in _SHORT and not _is_word(content, start, end):
        return
    patterns = (_QUOTED, _ELEMENT, _BARE) if language in UNQUOTED else (_QUOTED, _ELEMENT)
    for pattern in (*patterns, _BARE_DOCKER) if language == "dockerfile" else patterns:
        match = pattern.match(content, end)
        # "pass" is a verb, too: only a sign makes it a name.
        if match and not (name in _SHORT and pattern is _QUOTED and match["gap"] is not None):
            yield match


def _is_word(content: str, start: int, end: int) -> bool:
    before, first, behind = content[start - 1 : start], content[start], content[end : end + 1]
    begins = not before.isalnum() or (first.isupper() and before.islower())
    return begins and not behind.isalnum() and behind != "_"
