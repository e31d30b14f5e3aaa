"""Core data types shared by all subpackages: prompts, scores, decoding settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Side = Literal["forget", "retain"]


@dataclass(frozen=True)
class Prompt:
    """One question, with the answer that must be forgotten or retained.

    Args:
        id: Unique identifier within a benchmark; part of the keys of seeds and stores.
        messages: Chat turns before the answer, each ``{"role": ..., "content": ...}``. A single
            turn with the role ``"text"`` is plain text without a chat template, which the model
            continues.
        reference: The true answer.
        cluster: Label of the group of dependent prompts (author, article, ...), which intervals
            take into account.
        side: ``"forget"`` or ``"retain"``.
        facts: Strings that contain the secret; an answer with any of them leaks.
        choices: Options of a multiple-choice question, in order.

    Raises:
        TypeError: If a field that holds text is not text, such as NaN or None; the message names
            the prompt and the field.
        ValueError: If ``id`` or ``messages`` is empty, a turn with the role ``"text"`` is not the
            only turn, ``side`` is unknown, or a text has an unpaired surrogate.
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
    reference: str
    _: dataclasses.KW_ONLY
    cluster: str
    side: Side
    facts: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.id == "":
            raise ValueError("a prompt needs a non-empty id")
        for name in ("messages", "facts", "choices"):
            given: Any = getattr(self, name)
            if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
                raise TypeError(f"prompt {self.id!r}: {name} must be a sequence, not {given!r}")
            object.__setattr__(self, name, tuple(given))
        for turn in self.messages:
            if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
                raise TypeError(
                    f"prompt {self.id!r}: a message must have role and content, not {turn!r}"
                )
        if not self.messages:
            raise ValueError(f"prompt {self.id!r} does not have messages")
        if len(self.messages) > 1 and any(turn["role"] == "text" for turn in self.messages):
            raise ValueError(f"prompt {self.id!r}: a turn of role 'text' must be the only turn")
        if self.side not in ("forget", "retain"):
            raise ValueError(
                f"prompt {self.id!r}: side must be 'forget' or 'retain', not {self.side!r}"
            )
        for name, text in self._texts():
            if not isinstance(text, str):
                raise TypeError(
                    f"prompt {self.id!r}: {name} must be text, not {text!r} ({type(text).__name__})"
                )
            if found := unpaired_surrogate(text):
                raise ValueError(
                    f"prompt {self.id!r}: {name} has the unpaired surrogate {found}; the text is "
                    "not valid Unicode"
                )

    def _texts(self) -> Iterator[tuple[str, Any]]:
        """Names and values of all fields that must be text."""
        yield from (("id", self.id), ("reference", self.reference), ("cluster", self.cluster))
        for i, turn in enumerate(self.messages):
            yield from ((f"messages[{i}][{key!r}]", value) for key, value in turn.items())
        for name in ("facts", "choices"):
            yield from ((f"{name}[{i}]", text) for i, text in enumerate(getattr(self, name)))


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of prompts x samples in one flat array; prompts may differ in number of samples.

    ``values[offsets[i]:offsets[i + 1]]`` are the scores of prompt ``i``.

    >>> s = Scores.from_rows([[0.0, 1.0], [0.5]])
    >>> len(s), s[0].tolist(), s.counts.tolist()
    (2, [0.0, 1.0], [2, 1])

    Args:
        values: Scores, float64 [samples of all prompts].
        offsets: Offsets of the prompts, int64 [prompts + 1], from 0 to the number of values.

    Raises:
        ValueError: If the offsets do not partition the values.
    """

    values: NDArray[np.float64]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(_numbers(self.values, "values"))
        offsets = np.ascontiguousarray(self.offsets, dtype=np.int64)
        if values.ndim != 1 or offsets.ndim != 1 or offsets.size == 0:
            raise ValueError("Scores needs one-dimensional values and at least one offset")
        if offsets[0] != 0 or offsets[-1] != values.size or np.any(np.diff(offsets) < 0):
            raise ValueError(
                f"offsets must increase from 0 to the number of values ({values.size}), "
                f"got {offsets[0]}..{offsets[-1]}"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "offsets", offsets)

    @classmethod
    def from_rows(cls, rows: Any) -> Scores:
        """Build scores from one row per prompt and one column per sample.

        Args:
            rows: A table or array of prompts x samples (numpy, pandas, polars, Arrow, torch), or
                one sequence or one-dimensional array per prompt, which may differ in length.

        Raises:
            ValueError: If a row is not one-dimensional, a score is masked, or scores are not
                numbers. The message names the prompt by its position.
            TypeError: If ``rows`` is a mapping, a set, text or a table that is not loaded.
        """
        if isinstance(rows, cls):
            return rows
        arrays = score_rows(rows)
        offsets = np.concatenate([[0], np.cumsum([a.size for a in arrays])])
        return cls(np.concatenate(arrays) if arrays else np.empty(0), offsets)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of samples per prompt, int64 [prompts]."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return int(self.offsets.size - 1)

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"prompt {index} of {len(self)}")
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[NDArray[np.float64]]:
        return (self[i] for i in range(len(self)))

    def array(self) -> NDArray[np.float64]:
        """Return the scores as ``[prompts, n]``.

        Raises:
            ValueError: If prompts have different numbers of samples.
        """
        counts = np.unique(self.counts)
        if counts.size > 1:
            raise ValueError(
                f"prompts have between {counts[0]} and {counts[-1]} samples; "
                "array() needs the same number for all prompts"
            )
        return self.values.reshape(len(self), -1)


@dataclass(frozen=True)
class Decoding:
    """Decoding settings: temperature, then top-k, then top-p, as in transformers and vLLM.

    Args:
        temperature: Sampling temperature; 0 is greedy decoding, with one sample per prompt
            (``n=1``).
        top_p: Keep the smallest set of tokens whose total probability is at least this; 1 keeps
            all.
        top_k: Keep this number of most likely tokens; None keeps all. The authors' runs probably
            used transformers' default of 50, so the setting is explicit here.
        max_new_tokens: Maximum number of generated tokens, including the end token.
        n: Number of samples per prompt, below 2**20.
        seed: Seed of the run; see ``leakrepro.sampling.seeds``.
        stop: Strings that end an answer, which is cut off before the first of them.

    Raises:
        ValueError: If a value is out of range, or if decoding is greedy and ``n`` is above 1.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    max_new_tokens: int = 200
    n: int = 200
    seed: int = 0
    stop: tuple[str, ...] = dataclasses.field(default=(), metadata={"keyed": "unless default"})

    def __post_init__(self) -> None:
        # 1 and 1.0 are equal, so they must also be equal as text in a key.
        object.__setattr__(self, "temperature", float(self.temperature))
        object.__setattr__(self, "top_p", float(self.top_p))
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be a finite number >= 0, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1 or None, not {self.top_k}")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if not 1 <= self.n < 1 << 20:
            raise ValueError(f"n must be from 1 to {(1 << 20) - 1}, not {self.n}")
        stop: Any = self.stop  # a string is a sequence of strings as well
        if isinstance(stop, str) or not all(isinstance(s, str) and s for s in stop):
            raise ValueError(f"stop must contain non-empty strings, not {stop!r}")
        object.__setattr__(self, "stop", tuple(stop))
        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"seed must be from 0 to 2**63 - 1, not {self.seed}")
        if self.is_greedy and self.n != 1:
            raise ValueError(
                f"greedy decoding (temperature 0) gives one sample: n must be 1, not {self.n}"
            )

    def __str__(self) -> str:
        """The field's short form, such as ``T = 1, top-p 1``."""
        if self.is_greedy:
            return "greedy"
        top_k = "" if self.top_k is None else f", top-k {self.top_k}"
        return f"T = {self.temperature:g}, top-p {self.top_p:g}{top_k}"

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0

    def greedy(self) -> Decoding:
        """Return greedy decoding with the same length limit and stop strings."""
        return Decoding(temperature=0.0, max_new_tokens=self.max_new_tokens, n=1, stop=self.stop)

    def ending_like(self, other: Decoding) -> Decoding:
        """Return a copy with the length limit and stop strings of another decoding."""
        return self.replace(max_new_tokens=other.max_new_tokens, stop=other.stop)

    def replace(self, **changes: Any) -> Decoding:
        """Return a copy with changed fields."""
        return dataclasses.replace(self, **changes)


def unpaired_surrogate(text: str) -> str | None:
    r"""Return the first unpaired surrogate of a text, such as ``\ud800``, or None.

    A string with one is not Unicode text: it cannot be tokenised or written to a file.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x}"
    return None


def check_prompts(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Return the prompts as a tuple; raise ValueError if it is empty or two share an id."""
    prompts = tuple(prompts)
    if not prompts:
        raise ValueError("no prompts were given")
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise ValueError(f"two prompts share the id {prompt.id!r}")
        seen.add(prompt.id)
    return prompts


def score_rows(scores: Any) -> list[NDArray[np.float64]]:
    """Return the scores of each prompt; the one place that reads scores of any type.

    Tables have one row per prompt and one column per sample, also those whose iterator goes over
    columns. Missing values become nan.

    Args:
        scores: As in ``Scores.from_rows``.

    Raises:
        ValueError: As ``Scores.from_rows``.
        TypeError: As ``Scores.from_rows``.
    """
    if isinstance(scores, Scores):
        return list(scores)
    if isinstance(scores, str | bytes | Mapping | set | frozenset):
        raise TypeError(
            f"scores must be rows of prompts x samples, not {type(scores).__name__}; pass a list "
            "with the scores of each prompt"
        )
    scores = _array(scores)
    if not isinstance(scores, np.ndarray):
        if not isinstance(scores, Iterable):
            raise TypeError(f"scores must be prompts x samples, not {type(scores).__name__}")
        rows = [_numbers(_array(row), f"prompt {i}") for i, row in enumerate(scores)]
    elif scores.ndim == 1 and scores.dtype == object:  # rows of different lengths
        rows = [_numbers(_array(row), f"prompt {i}") for i, row in enumerate(scores)]
    elif scores.ndim == 0:
        raise ValueError("scores must be prompts x samples, but this is a single number")
    else:
        rows = list(_numbers(scores, "scores"))
    for i, row in enumerate(rows):
        if np.ndim(row) != 1:
            raise ValueError(
                f"scores must be prompts x samples, but prompt {i} has {np.ndim(row)} dimensions; "
                "pass the scores of a single prompt as [scores]"
            )
    return rows


def _array(given: Any) -> Any:
    """Return a table, tensor or series as a numpy array; anything else as it is."""
    if isinstance(given, np.ndarray):
        return given if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
    name = type(given).__name__
    if hasattr(given, "detach"):  # torch: also with gradients, on a GPU, or in bfloat16
        if given.is_complex():
            raise ValueError("scores must be real numbers, not complex")
        return given.detach().cpu().to_dense().double().numpy()
    if hasattr(given, "iloc"):  # pandas
        if given.ndim == 1:
            return _series(given)
        columns = [_series(given.iloc[:, i]) for i in range(given.shape[1])]
        if any(column.dtype == object for column in columns):
            i = next(i for i, column in enumerate(columns) if column.dtype == object)
            raise ValueError(
                f"scores must be numbers, but column {given.columns[i]!r} is of type "
                f"{given.dtypes.iloc[i]}; a table of scores has one column per sample only"
            )
        return np.column_stack(columns) if columns else np.empty(given.shape)
    if hasattr(given, "collect") and hasattr(given, "columns"):
        raise TypeError(f"{name} is not loaded: pass its collect()")
    if hasattr(given, "schema") and hasattr(given, "__arrow_c_stream__"):  # polars, Arrow, duckdb
        if not hasattr(given, "to_numpy") and not hasattr(given, "__array__"):
            import pyarrow

            given = pyarrow.table(given)
        return given.to_numpy() if hasattr(given, "to_numpy") else np.asarray(given)
    if hasattr(given, "to_numpy"):  # a column
        try:
            return given.to_numpy()
        except ValueError:  # Arrow copies only if asked to
            return given.to_numpy(zero_copy_only=False)
    return np.asarray(given) if hasattr(given, "__array__") else given


def _series(series: Any) -> NDArray[Any]:
    """Return a pandas series as floats with nan for missing values, or as objects."""
    if getattr(series.dtype, "kind", "O") in "biuf":
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(series, dtype=object)


def _numbers(values: Any, name: str) -> NDArray[np.float64]:
    """Return values as floats; ``name`` is what an error calls them."""
    if isinstance(values, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(values)
        if hidden.any():
            where = np.argwhere(hidden)[0].tolist()
            place = f"prompt {where[0]}, sample {where[1]}" if len(where) == 2 else name
            raise ValueError(
                f"{place} has a masked score; remove the sample, since a sample without a score "
                "must not be given as a number"
            )
        values = values.data
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths within a prompt
        raise ValueError(f"{name}: scores are not a one-dimensional row: {error}") from None
    if array.size == 0 and array.dtype.names is None:
        return array.astype(np.float64)
    if array.dtype.names is not None or array.dtype.kind not in "biuf":
        what = "None or values of different types" if array.dtype == object else str(array.dtype)
        raise ValueError(
            f"{name}: scores must be numbers, not {what}; convert them, and remove samples that do "
            "not have a score"
        )
    return array.astype(np.float64)
