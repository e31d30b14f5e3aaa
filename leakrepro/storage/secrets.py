"""Removing secrets, such as the key of a server, from text that is shown or written."""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote, unquote, urlsplit, urlunsplit

_PIECE = 8  # characters of a secret that must not be shown
_MASK = "[key]"
_HIDDEN = "[not shown: it repeats the key]"
_LONGEST = 20_000  # characters that are searched; what follows is cut off
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){6,}")


def redact(text: str, secrets: Sequence[str]) -> str:
    """Return a text without the secrets.

    Removes each part of 8 or more characters of a secret (a shorter secret as a whole word), in
    either case, backwards, and with white space in it. If the text contains a secret in an encoded
    form (URL, HTML, JSON, hexadecimal, base64), a notice replaces the whole text.

    Args:
        text: Text that a server may have written.
        secrets: The secrets; empty ones are ignored.
    """
    text = text[:_LONGEST]
    for secret in secrets:
        for form in dict.fromkeys((secret, secret[::-1], quote(secret, safe=""))):
            text = _mask(text, form)
    for decode in (_plain, _base64, _hex):
        if any(_mask(each, secret) != each for each in decode(text) for secret in secrets):
            return _HIDDEN
    return text


def shown_url(url: str) -> str:
    """Return a URL without user, password, query and fragment.

    >>> shown_url("https://me:key@host:8000/v1?api_key=x")
    'https://host:8000/v1'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _mask(text: str, secret: str) -> str:
    """Mask all parts of a secret in a text."""
    if not secret.strip():
        return text
    if len(secret) < _PIECE:
        return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _MASK, text)
    # Positions of the characters that are not spaces, controls or invisible.
    places = [i for i, char in enumerate(text) if char.isprintable() and not char.isspace()]
    dense = "".join(_fold(text[i]) for i in places)
    secret = "".join(_fold(char) for char in secret)
    hidden: list[tuple[int, int]] = []
    for start in range(len(secret) - _PIECE + 1):
        piece, at = secret[start : start + _PIECE], -1
        while (at := dense.find(piece, at + 1)) >= 0:
            hidden.append((places[at], places[at + _PIECE - 1] + 1))
    for begin, end in reversed(_merged(hidden)):
        text = text[:begin] + _MASK + text[end:]
    return text


def _fold(char: str) -> str:
    """Lower case without changing the length."""
    lower = char.lower()
    return lower if len(lower) == 1 else char


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _plain(text: str) -> Iterator[str]:
    decoders: tuple[Callable[[str], str], ...] = (unquote, html.unescape, _json)
    for decode in decoders:
        once = decode(text)
        if once != text:
            yield once
            yield from (then(once) for then in decoders)


def _json(text: str) -> str:
    def char(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else match[2]

    return re.sub(r"\\(?:[ux]\{?0{0,4}([0-9a-fA-F]{2})\}?|([^\w\s]))", char, text)


def _base64(text: str) -> Iterator[str]:
    for run in _BASE64.findall(re.sub(r"\\?/", "/", text)):
        run = run.rstrip("=").replace("-", "+").replace("_", "/")
        for skip in range(4):
            part = run[skip:]
            part = part[: len(part) // 4 * 4] if len(part) % 4 == 1 else part
            try:
                yield base64.b64decode(part + "=" * (-len(part) % 4)).decode("latin-1")
            except (binascii.Error, ValueError):
                continue


def _hex(text: str) -> Iterator[str]:
    for run in _HEX.findall(re.sub(r"(?<=[0-9A-Fa-f]{2})[:\s,-](?=[0-9A-Fa-f]{2})", "", text)):
        yield from (bytes.fromhex(run).decode("latin-1"), bytes.fromhex(run[:-2]).decode("latin-1"))
