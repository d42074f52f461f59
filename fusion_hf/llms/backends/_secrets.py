"""A key that a server repeats, taken out of whatever it says before anything is shown, logged or kept."""

import base64
import functools
import re
import urllib.parse

SHORTEST = 8  # characters; a shorter key ("none", "EMPTY") is a word that an answer may hold, and no secret
HIDDEN = "***"
_WINDOW = 1 << 16


def clean(text: str, key: str | None, most: int = 300) -> str:
    """One line of at most `most` characters without the key, for messages.

    The key goes first, while its blanks are as they were and none of it is cut off.
    """
    start = text[:_WINDOW]
    if key:
        start = hide(start, key) if len(key) >= SHORTEST else start.replace(key, HIDDEN)
    # A terminal would obey control characters.
    line = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(start.split()))
    if len(text) > _WINDOW and key:
        line = line[: max(0, len(line) - 8 * len(key))]  # a key may be cut in two where the window ends
    return line[:most]


def hide(text: str, key: str | None) -> str:
    """The text without the key, however it is written there: plain, with blanks between, escaped, or as base64."""
    if not key or len(key) < SHORTEST or not text:
        return text
    return _pattern(key).sub(HIDDEN, text)


@functools.lru_cache(maxsize=64)
def _pattern(key: str) -> re.Pattern[str]:
    words = (r"\s*".join(map(_character, word)) for word in key.split())
    forms = [r"(?:\s|\+|%20|\\+u0020|&\#32;|&nbsp;)*".join(words), *map(re.escape, _base64(key))]
    return re.compile("|".join(forms))


def _character(letter: str) -> str:
    """A character as it may stand in plain text, JSON (``\\u0041``), HTML (``&#65;``) or a URL (``%41``)."""
    code = ord(letter)
    percent = "".join(f"%{byte:02x}" for byte in letter.encode())
    forms = [re.escape(letter), rf"(?i:\\+u{code:04x}|{percent}|&\#{code};|&\#x{code:x};)"]
    if letter in '"\\/':
        forms.insert(0, r"\\" + re.escape(letter))
    return f"(?:{'|'.join(forms)})"


def _base64(key: str) -> set[str]:
    """What is the same in every base64 text that has the key in it: its three positions, both alphabets, quoted too."""
    found = set()
    for before in range(3):
        data = bytes(before) + key.encode()
        whole = len(data) // 3 * 4  # characters that do not depend on what follows
        text = base64.b64encode(data).decode()[-(-before * 4 // 3) : whole]
        found |= {text, text.replace("+", "-").replace("/", "_"), urllib.parse.quote(text, safe="")}
    return {text for text in found if len(text) >= SHORTEST}
