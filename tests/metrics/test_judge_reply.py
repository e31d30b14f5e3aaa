"""Replies of servers: each gives a score or a reason."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from leakrepro.metrics.judge_reply import RUBRICS, Graded, read_reply

YES = '{"conveys": "yes"}'


def completion(content: Any, finish: Any = "stop", **message: Any) -> bytes:
    choice = {"index": 0, "finish_reason": finish, "message": {"content": content, **message}}
    return json.dumps({"choices": [choice], "usage": {"total_tokens": 7}}).encode()


def graded(body: bytes, rubric: str = "yes/no") -> Graded:
    return read_reply(body, RUBRICS[rubric])


@pytest.mark.parametrize(
    "content",
    [
        *[YES, f" {YES}\n", '{"conveys": "Yes"}', '{"conveys": " YES "}', json.dumps(YES)],
        *[f"```json\n{YES}\n```", f"```\n{YES}\n```", f"```JSON {YES}```"],
        f"<think>It might be no: {{}} or so.</think>\n{YES}",
        f"The candidate names the place. So: {YES}",
        f"The candidate names the place.\n```json\n{YES}\n```",
        [{"type": "text", "text": '{"conveys":'}, {"type": "text", "text": ' "yes"}'}],
        ['{"conveys": "yes"}'],
    ],
)
def test_forms_of_one_answer(content: Any) -> None:
    assert graded(completion(content)) == Graded(1.0, tokens=7)


@pytest.mark.parametrize(
    ("content", "score"),
    [
        *[('{"level": 3}', 1.0), ('{"level": "2"}', 0.5), ('{"level": 1.0}', 0.0)],
        *[('{"level": 0}', None), ('{"level": 4}', None), ('{"level": -1}', None)],
        *[('{"level": NaN}', None), ('{"level": Infinity}', None), ('{"level": 2.5}', None)],
        *[('{"level": true}', None), ('{"level": null}', None), ('{"level": "high"}', None)],
        *[
            ('{"level": [3]}', None),
            ("3", None),
            ('{"Level": 3}', None),
            ('{"level": 1e400}', None),
        ],
    ],
)
def test_levels(content: str, score: float | None) -> None:
    assert graded(completion(content), "levels").score == score


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<!DOCTYPE html>\n<title>Sign in</title>", "not a completion: '<!DOCTYPE html> <title>"),
        (b"", "not a completion: ''"),
        (b"\xff\xfe{", "not a completion"),
        (b'"yes"', "not a completion: '\"yes\"'"),
        (b"[" * 100_000, "not a completion"),
        (b"9" * 10_000, "not a completion"),
        (b"NaN", "not a completion"),
        (b"null", "not a completion: 'null'"),
        (b'data: {"choices": []}\n\n', "not a completion"),
        (b"{}", "not a completion: '{}'"),
        (b'{"choices": []}', "not a completion"),
        (b'{"choices": [null]}', "not a completion"),
        (b'{"choices": {"message": 1}}', "not a completion"),
        (b'{"choices": [{"text": "yes"}]}', "not a completion"),
        (b'{"error": {"message": "out of credit"}}', "an error .*: 'out of credit'"),
        (b'{"error": 7, "choices": []}', "an error instead of a completion: "),
        (completion(None), "an answer without text"),
        (completion(""), "an answer without text"),
        (completion(7), "an answer without text"),
        (completion(None, refusal="I can't help."), 'the judge refused: "I can\'t help."'),
        (completion([{"type": "refusal", "refusal": "No."}]), "the judge refused: 'No.'"),
        (completion("", "content_filter"), "content filter withheld"),
        (completion(YES, "length"), "cut off at the limit on its length: "),
        (completion("<think>Let me", "length"), "cut off .*: '<think>Let me'"),
        (completion("Yes"), "another form than .*conveys.*: 'Yes'"),
        (completion("Well, it\x1b[31m depends"), r"another form than .*: 'Well, it\\x1b\[31m dep"),
        (completion(f"{YES}{YES}"), "another form"),
        (completion(f"[{YES}]"), "another form"),
        (completion(f'The candidate says "{YES}"'), "another form"),
        (completion(f"<think>never ends {YES}"), "another form"),
        (completion('{"conveys": "no", "conveys": "yes"}'), "another form"),
        (completion('{"conveys": "yes", "why": "x"}'), "another form"),
        (completion('{"conveys": "maybe"}'), "another form"),
        (completion('{"conveys": 1}'), "another form"),
        (completion('{"conveys": true}'), "another form"),
        (completion("[" * 50_000), "another form"),
    ],
)
def test_the_reason_is_stated(body: bytes, reason: str) -> None:
    found = graded(body)
    assert found.score is None
    assert re.search(reason, found.reason), found.reason
    assert len(found.reason) < 250


@pytest.mark.parametrize("usage", [None, 3, [], {"total_tokens": "7"}, {"total_tokens": -1}])
def test_odd_counts_of_tokens_are_0(usage: Any) -> None:
    reply = json.loads(completion(YES)) | {"usage": usage}
    assert graded(json.dumps(reply).encode()) == Graded(1.0)


def damaged(rng: random.Random) -> bytes:
    """A valid reply with one to three pieces of damage in the message, the fields or the bytes."""
    values = [
        None,
        7,
        -1.5,
        True,
        "",
        "no",
        "\ud800",
        [],
        {},
        [{}],
        {"text": []},
        "{" * 99,
        "`" * 9,
    ]
    content: Any = rng.choice([YES, '{"conveys": "no"}'] * 9 + values)
    if isinstance(content, str) and rng.random() < 0.3:
        at = rng.randrange(len(content) + 1)
        content = (
            content[:at] + rng.choice(["", "{", "}", '"', "\\", "x", "\n", "```"]) + content[at:]
        )
    reply = json.loads(
        completion(content, rng.choice(["stop", None, "length", 3, "content_filter"]))
    )
    for _ in range(rng.randrange(3)):
        place: Any = rng.choice([reply, reply.get("choices"), reply.get("usage")])
        if isinstance(place, dict) and place:
            place[rng.choice(list(place))] = rng.choice(values)
        elif isinstance(place, list) and place and isinstance(place[0], dict):
            place[0][rng.choice(["message", "finish_reason"])] = rng.choice(values)
    body = json.dumps(reply).encode()
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(body))
        body = rng.choice(
            [body[:at], body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :], body + body[at:]]
        )
        if not body:
            break
    return body


def test_damaged_replies_have_a_score_or_a_reason() -> None:
    rng = random.Random(17)
    scored = 0
    for _ in range(1000):
        body = damaged(rng)
        found = graded(body)
        if found.score is None:
            assert found.reason
        else:
            scored += 1
            # A score follows only from a reply that is whole and says so.
            choice = json.loads(body.decode(errors="replace"))["choices"][0]
            assert choice.get("finish_reason") not in ("length", "content_filter")
            assert found.score == float("yes" in str(choice["message"]["content"]).lower())
    assert 20 < scored < 600
