"""Secrets are removed from text, in every form that a server may repeat them."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from leakrepro.storage.secrets import redact, shown_url

KEY = "sk-pro/j+Secret_0123&4567=Z"

FORMS: list[Callable[[str], str]] = [
    lambda key: key,
    lambda key: key[:12] + "...",
    lambda key: "..." + key[-9:],
    str.upper,
    lambda key: key[::-1],
    " ".join,
    lambda key: key[:5] + "\n" + key[5:],
    "\u200b".join,
    quote,
    lambda key: quote(key, safe=""),
    lambda key: quote(quote(key, safe=""), safe=""),
    lambda key: "".join(f"%{ord(char):02x}" for char in key),
    html.escape,
    lambda key: "".join(f"&#{ord(char)};" for char in key),
    lambda key: "".join(f"&#x{ord(char):x};" for char in key),
    json.dumps,
    lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
    lambda key: "".join(f"\\x{ord(char):02x}" for char in key),
    lambda key: key.replace("/", "\\/"),
    lambda key: base64.b64encode(key.encode()).decode(),
    lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
    lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    lambda key: base64.b64encode(f"a:{key}".encode()).decode(),
    lambda key: key.encode().hex(),
    lambda key: key.encode().hex(":"),
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_removed_in_every_form(form: Callable[[str], str]) -> None:
    written = form(KEY)
    for text in (written, f"bad key {written}!", f'<p class="x">{written}</p>', f"a={written}&b=1"):
        shown = redact(text, [KEY])
        assert written not in shown
        assert all(KEY[i : i + 8] not in shown for i in range(len(KEY) - 7))
        assert "key" in shown


def test_other_text_stays() -> None:
    text = 'The model "gpt-4o" does not exist. 100% of &lt;b&gt; = \\u00e9 QUJDREVGR0hJSktM 0123'
    assert redact(text, [KEY, "", " "]) == text
    assert redact("Taken: x, max, EMPTY.", ["x"]) == "Taken: [key], max, EMPTY."


def test_a_url_is_shown_without_secrets() -> None:
    assert shown_url("https://u:p@h.org:1/v1?api_key=x#y") == "https://h.org:1/v1"
    assert shown_url("http://h/v1/") == "http://h/v1/"
