"""Text of others made fit to be shown: what would act on the reader's screen is written out."""

import re

# What moves the cursor, turns colours, renames the window, or turns the direction of writing (which can show a name as
# another one), what is not seen at all, and halves of characters, which no terminal takes. Joiners within words stay.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str, kept: str = "") -> str:
    r"""Write characters that act instead of being seen as escapes, but for those that are `kept`.

    Names come from models, files and records of others, and a terminal does what it is sent.

    >>> printable("a\x1b[31m")
    'a\\x1b[31m'
    """
    return _UNSEEN.sub(
        lambda found: found[0] if found[0] in kept else found[0].encode("unicode_escape").decode("ascii"),
        text,
    )
