from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from leakrepro.types import Decoding, Prompt, Scores, check_prompts

MESSAGES = ({"role": "user", "content": "Where was Ana Brik born?"},)


def _prompt(id: str = "q1", **changes: object) -> Prompt:
    fields = {"reference": "She was born in Oslo.", "cluster": "ana", "side": "forget", **changes}
    return Prompt(id, MESSAGES, **fields)  # type: ignore[arg-type]


class TestPrompt:
    def test_converts_sequences_to_tuples(self) -> None:
        prompt = Prompt(
            "q1",
            list(MESSAGES),  # type: ignore[arg-type]
            "Oslo",
            cluster="ana",
            side="retain",
            facts=["Oslo"],  # type: ignore[arg-type]
        )
        assert (prompt.messages, prompt.facts, prompt.choices) == (MESSAGES, ("Oslo",), ())

    def test_is_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            _prompt().id = "q2"  # type: ignore[misc]

    def test_rejects_invalid_values(self) -> None:
        with pytest.raises(ValueError, match="non-empty id"):
            _prompt("")
        with pytest.raises(ValueError, match="'q1': side must be 'forget' or 'retain', not 'test'"):
            _prompt(side="test")
        with pytest.raises(ValueError, match="'q1' does not have messages"):
            Prompt("q1", (), "Oslo", cluster="ana", side="forget")

    @pytest.mark.parametrize("value", [math.nan, None, 7, pd.NA, pd.NaT, np.float64("nan"), b"x"])
    @pytest.mark.parametrize("field", ["reference", "cluster", "facts", "choices", "content"])
    def test_rejects_what_is_not_text(self, field: str, value: object) -> None:
        fields: dict[str, Any] = {"reference": "Oslo", "cluster": "ana", "side": "forget"}
        messages: list[dict[str, Any]] = [{"role": "user", "content": "Where?"}]
        if field == "content":
            messages[0]["content"] = value
        else:
            fields[field] = ("x", value) if field in ("facts", "choices") else value
        with pytest.raises(TypeError, match=f"prompt 'q1': .*{field}.* must be text, not "):
            Prompt("q1", tuple(messages), **fields)

    def test_rejects_a_string_for_a_sequence(self) -> None:
        for name in ("facts", "choices"):
            with pytest.raises(TypeError, match=f"'q1': {name} must be a sequence, not 'Oslo'"):
                _prompt(**{name: "Oslo"})
        with pytest.raises(TypeError, match="'q1': messages must be a sequence, not nan"):
            Prompt("q1", math.nan, "Oslo", cluster="a", side="forget")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="'q1': a message must have role and content"):
            Prompt("q1", ({"role": "user"},), "Oslo", cluster="a", side="forget")

    @pytest.mark.parametrize("field", ["reference", "cluster", "facts", "choices", "content", "id"])
    def test_rejects_unpaired_surrogates(self, field: str) -> None:
        bad = "Os\ud83dlo"
        fields: dict[str, Any] = {"reference": "Oslo", "cluster": "ana", "side": "forget"}
        content = bad if field == "content" else "Where?"
        if field not in ("content", "id"):
            fields[field] = (bad,) if field in ("facts", "choices") else bad
        with pytest.raises(ValueError, match=rf"prompt 'q1.*{field}.*unpaired surrogate \\ud83d"):
            Prompt("q1" + bad * (field == "id"), ({"role": "user", "content": content},), **fields)
        assert _prompt(reference="Os\U0001f600lo").reference == "Os\U0001f600lo"

    def test_check_prompts(self) -> None:
        prompts = [_prompt("a"), _prompt("b")]
        assert check_prompts(prompts) == tuple(prompts)
        with pytest.raises(ValueError, match="share the id 'a'"):
            check_prompts([*prompts, _prompt("a")])
        with pytest.raises(ValueError, match="no prompts"):
            check_prompts([])


class TestScores:
    def test_rows(self) -> None:
        scores = Scores.from_rows([[0, 1, 0.5], [], [0.25]])
        assert len(scores) == 3
        assert scores.values.dtype == np.float64
        assert scores.counts.tolist() == [3, 0, 1]
        assert [row.tolist() for row in scores] == [[0, 1, 0.5], [], [0.25]]
        assert scores[-1].tolist() == [0.25]
        for index in (3, -4):
            with pytest.raises(IndexError, match=f"prompt {index} of 3"):
                scores[index]

    def test_no_rows(self) -> None:
        scores = Scores.from_rows([])
        assert (len(scores), scores.values.size) == (0, 0)

    def test_array_needs_equal_rows(self) -> None:
        assert Scores.from_rows([[1, 2], [3, 4]]).array().tolist() == [[1, 2], [3, 4]]
        with pytest.raises(ValueError, match="between 1 and 2 samples"):
            Scores.from_rows([[1, 2], [3]]).array()

    @pytest.mark.parametrize("offsets", [[0, 2], [1, 3], [0, 2, 1, 3], [], [[0, 3]]])
    def test_offsets_must_partition_the_values(self, offsets: list[int]) -> None:
        with pytest.raises(ValueError, match="offset"):
            Scores(np.zeros(3), np.array(offsets, dtype=np.int64))


class TestDecoding:
    def test_greedy_has_one_sample(self) -> None:
        greedy = Decoding(top_p=0.8, top_k=50, max_new_tokens=64, n=8, seed=3).greedy()
        assert greedy == Decoding(temperature=0.0, max_new_tokens=64, n=1)
        assert greedy.is_greedy
        assert not Decoding().is_greedy
        with pytest.raises(ValueError, match="n must be 1, not 200"):
            Decoding(temperature=0.0)

    def test_replace_validates(self) -> None:
        assert Decoding().replace(n=4) == Decoding(n=4)
        with pytest.raises(ValueError, match="top_p"):
            Decoding().replace(top_p=0.0)

    def test_is_hashable(self) -> None:
        assert len({Decoding(), Decoding(), Decoding(seed=1)}) == 2

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("temperature", -0.1),
            ("temperature", float("nan")),
            ("temperature", float("inf")),
            ("top_p", 0.0),
            ("top_p", 1.1),
            ("top_k", 0),
            ("max_new_tokens", 0),
            ("n", 0),
            ("n", 1 << 20),
            ("seed", -1),
            ("seed", 1 << 63),
        ],
    )
    def test_rejects_invalid_values(self, field: str, value: float) -> None:
        with pytest.raises(ValueError, match=f"^{field} must be"):
            Decoding(**{field: value})  # type: ignore[arg-type]
