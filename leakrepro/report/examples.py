"""Example answers with their references: clean when greedy, leaking when sampled."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from rapidfuzz.distance import LCSseq

from leakrepro.evaluation.answers import Answers
from leakrepro.evaluation.frames import add_estimate
from leakrepro.metrics.text import normalise
from leakrepro.report.style import style
from leakrepro.report.tables import escape_latex, latex_cell
from leakrepro.stats.checks import check_scores
from leakrepro.stats.estimator import leak_at_k
from leakrepro.storage.shown import NO_MATHS, html, plain
from leakrepro.types import Prompt, Scores

if TYPE_CHECKING:
    from leakrepro.sampling import Samples

_PARTS = ("greedy leaks", "only samples leak", "nothing leaks")
_GREEDY = ", greedy"  # suffix of the columns with the answers of other models


def hidden_leaks(
    answers: Answers,
    *,
    threshold: float = 1.0,
    count: int = 6,
    seed: int = 0,
    compared: Mapping[str, Samples] | None = None,
    texts: bool = True,
) -> pd.DataFrame:
    """Choose prompts whose greedy answer is clean while at least one sample leaks.

    The prompts are chosen at random from as many clusters as possible: no cluster appears twice
    before every cluster has appeared once.

    Args:
        answers: Samples and greedy answers of one model, with their scores.
        threshold: An answer leaks if its score is at least this, in (0, 1].
        count: Maximum number of rows.
        seed: Seed of the choice.
        compared: Model -> its greedy answers to the same prompts, shown for comparison.
        texts: Whether to include the columns with questions and answers.

    Returns:
        One row per prompt. Columns: id, cluster, question, reference, greedy (answer), sample (the
        first that leaks), draw (its number, from 1), leaks (number of leaking samples), of (number
        of samples), and per model in ``compared`` its greedy answer in "<model>, greedy".

    Raises:
        ValueError: when the answers are to different prompts, the scores are of different answers,
            or ``threshold`` is outside (0, 1].
    """
    compared = compared or {}
    samples, scores, greedy = answers.samples, answers.scores, answers.greedy
    for name, each in {"greedy": greedy, **compared}.items():
        if [p.id for p in each.prompts] != [p.id for p in samples.prompts]:
            raise ValueError(f"the answers {name!r} and the samples are to different prompts")
    check_counts(samples, scores)
    check_counts(greedy, answers.greedy_scores)
    leaking = _leaking(scores, threshold)
    hidden = np.flatnonzero(_ever(leaking) & ~_ever(_leaking(answers.greedy_scores, threshold)))
    labels = [prompt.cluster for prompt in samples.prompts]
    rows = []
    for i in _spread(hidden.tolist(), labels, count, np.random.default_rng(seed)):
        prompt, first = samples.prompts[i], int(np.argmax(leaking[i]))
        rows.append(
            {
                **_describe(prompt),
                "greedy": greedy.texts[i][0],
                "sample": samples.texts[i][first],
                "draw": first + 1,
                "leaks": int(leaking[i].sum()),
                "of": leaking[i].size,
                **{f"{name}{_GREEDY}": each.texts[i][0] for name, each in compared.items()},
            }
        )
    others = [f"{name}{_GREEDY}" for name in compared]
    return _frame(rows, ["greedy", "sample", "draw", "leaks", "of", *others], texts)


def _describe(prompt: Prompt) -> dict[str, str]:
    return {
        "id": prompt.id,
        "cluster": prompt.cluster,
        "question": prompt.messages[-1]["content"],
        "reference": prompt.reference,
    }


def leakiest(
    samples: Samples, scores: Scores | ArrayLike, *, count: int = 3, texts: bool = True
) -> pd.DataFrame:
    """Return the prompts that leak most, each with its sample of the highest score.

    Args:
        samples: Samples of one model.
        scores: Scores of the samples, prompts x samples.
        count: Maximum number of rows.
        texts: Whether to include the columns with questions and answers.

    Returns:
        One row per prompt, sorted by the highest score, then by the mean score. Columns: id,
        cluster, question, reference, sample, draw (its number, from 1), of (number of samples),
        score, mean score.

    Raises:
        ValueError: when the scores are of different samples.
    """
    checked = check_scores(scores)
    check_counts(samples, checked)
    highest = [(-row.max(), -row.mean(), i) for i, row in enumerate(checked)]
    rows = []
    for _, _, i in sorted(highest)[:count]:
        prompt, worst = samples.prompts[i], int(np.argmax(checked[i]))
        rows.append(
            {
                **_describe(prompt),
                "sample": samples.texts[i][worst],
                "draw": worst + 1,
                "of": checked[i].size,
                "score": float(checked[i][worst]),
                "mean score": float(checked[i].mean()),
            }
        )
    return _frame(rows, ["sample", "draw", "of", "score", "mean score"], texts)


def hidden_table(answers: Mapping[str, Answers], *, threshold: float = 1.0) -> pd.DataFrame:
    """Compute the shares of prompts that leak when greedy, only when sampled, or not at all.

    Args:
        answers: Model -> its samples and greedy answers, with their scores.
        threshold: An answer leaks if its score is at least this, in (0, 1].

    Returns:
        One row per model. Columns: model, prompts, samples (smallest number per prompt), greedy
        leaks, only samples leak, nothing leaks (shares in [0, 1], each with its interval in columns
        that end in " low" and " high").

    Raises:
        ValueError: when ``answers`` is empty, or ``threshold`` is outside (0, 1].
    """
    if not answers:
        raise ValueError("no models were given")
    rows = []
    for model, each in answers.items():
        greedy = _ever(_leaking(each.greedy_scores, threshold))
        sampled = _ever(_leaking(each.scores, threshold))
        row: dict[str, str | float] = {
            "model": model,
            "prompts": len(each.scores),
            "samples": int(each.scores.counts.min()),
        }
        for name, part in zip(_PARTS, (greedy, ~greedy & sampled, ~greedy & ~sampled), strict=True):
            curve = leak_at_k(part[:, None], 1, clusters=each.samples.clusters)
            add_estimate(row, name, curve, 1)
        rows.append(row)
    return pd.DataFrame(rows)


def hidden_figure(table: pd.DataFrame) -> Figure:
    """Draw the shares of ``hidden_table`` as one bar per model, distinguished by hatches.

    Args:
        table: Table from ``hidden_table``.
    """
    styles: tuple[dict[str, Any], ...] = (
        {"color": "0.25"},
        {"facecolor": "0.85", "hatch": "////", "edgecolor": "0.25"},
        {"facecolor": "white", "edgecolor": "0.6"},
    )
    with style():
        figure, axes = plt.subplots(figsize=(6.2, 0.34 * len(table) + 1.1))
        place = np.arange(len(table))
        left = np.zeros(len(table))
        for name, bar in zip(_PARTS, styles, strict=True):
            share = table[name].to_numpy(float)
            axes.barh(place, share, 0.7, left=left, label=name, linewidth=0.6, **bar)
            for y, (start, width) in enumerate(zip(left, share, strict=True)):
                if width >= 0.05:
                    axes.text(
                        start + width / 2,
                        y,
                        f"{width:.2f}".removeprefix("0"),
                        ha="center",
                        va="center",
                        fontsize=7,
                        color="white" if name == _PARTS[0] else "black",
                        bbox=None
                        if name != _PARTS[1]
                        else {"facecolor": "white", "edgecolor": "none", "pad": 1},
                    )
            left = left + share
        axes.set_yticks(place, table["model"])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("share of the forget prompts")
        figure.legend(loc="outside upper right", ncols=3)
        plt.close(figure)
    return figure


_BLOCKS = """<table class="{{ no_maths }}"
style="border-collapse: collapse; table-layout: auto; width: 100%">
{%- for heading, lines in examples %}
<tr><th colspan="2" style="text-align: left; padding-top: .8em; border-bottom: 1px solid #888">
{{ heading }}</th></tr>
{%- for label, text in lines %}
<tr><td style="text-align: left; vertical-align: top; width: 9em; white-space: nowrap">
{{- label }}</td>
<td style="text-align: left; white-space: pre-wrap">{{ text }}</td></tr>
{%- endfor %}
{%- endfor %}
</table>
"""


def examples_html(frame: pd.DataFrame) -> str:
    """Format examples as an HTML table, one block per prompt.

    The words that an answer shares with the reference are bold: the longest common subsequence of
    words, which ROUGE-L counts. Case and punctuation are ignored.

    Args:
        frame: Table from ``hidden_leaks`` or ``leakiest``.
    """
    blocks = [
        (plain(heading), [(plain(name), Markup(text)) for name, text in lines])
        for heading, lines in _blocks(frame, html, "<b>{}</b>")
    ]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return template.from_string(_BLOCKS).render(examples=blocks, no_maths=NO_MATHS)


def examples_latex(frame: pd.DataFrame, *, caption: str, label: str) -> str:
    r"""Format examples as a LaTeX table (package booktabs); see ``examples_html``.

    Args:
        frame: Table from ``hidden_leaks`` or ``leakiest``.
        caption: Caption, not escaped.
        label: Label for ``\ref``.
    """
    rows = []
    for heading, lines in _blocks(frame, escape_latex, r"\textbf{{{}}}"):
        rows.append(rf"\multicolumn{{2}}{{p{{0.95\linewidth}}}}{{{escape_latex(heading)}}} \\")
        rows += [rf"{latex_cell(name)} & {' '.join(text.split())} \\" for name, text in lines]
        rows.append(r"\midrule")
    return "\n".join(
        [
            r"\begin{table}[t]",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\label{{{label}}}",
            r"\begin{tabular}{lp{0.75\linewidth}}",
            r"\toprule",
            *rows[:-1],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def shared_words(text: str, reference: str) -> list[tuple[str, bool]]:
    """Split a text into runs of words that the reference does or does not share in this order.

    >>> shared_words("She wrote the Oath of Ink.", "The Oath of Rain")
    [('She wrote', False), ('the Oath of', True), ('Ink.', False)]

    Args:
        text: Text to split at white space.
        reference: Text to compare with; case and punctuation are ignored.

    Returns:
        Pairs of a run and whether it is part of the longest common subsequence of words.
    """
    words = text.split()
    answered = [(i, normalise(word)) for i, word in enumerate(words) if normalise(word)]
    true = [normalise(word) for word in reference.split()]
    shared = {
        i
        for block in LCSseq.opcodes([word for _, word in answered], true)
        if block.tag == "equal"
        for i, _ in answered[block.src_start : block.src_end]
    }
    runs = itertools.groupby(range(len(words)), key=lambda i: i in shared)
    return [(" ".join(words[i] for i in run), is_shared) for is_shared, run in runs]


def _blocks(
    frame: pd.DataFrame, escaped: Callable[[str], str], bold: str
) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    """Yield each row's heading and its lines of label and text, escaped, shared words in bold."""
    for row in frame.to_dict("records"):
        yield _heading(row), _lines(row, escaped, bold)


def _heading(row: Mapping[Hashable, Any]) -> str:
    if "leaks" in row:
        leaks = f"{row['leaks']} of {row['of']} samples leak"
        return f"{row['id']}: greedy clean, {leaks}, the first is draw {row['draw']}"
    score = f"score {row['score']:.2f} at draw {row['draw']}"
    return f"{row['id']}: {score}, mean {row['mean score']:.2f} of {row['of']} samples"


def _lines(
    row: Mapping[Hashable, Any], escaped: Callable[[str], str], bold: str
) -> Iterator[tuple[str, str]]:
    if "question" not in row:
        return
    yield "question", escaped(row["question"])
    yield "reference", escaped(row["reference"])
    names = {"greedy": "greedy answer", "sample": f"sample {row['draw']}"}
    names |= {str(name): str(name) for name in row if str(name).endswith(_GREEDY)}
    for column, name in names.items():
        if column in row:
            runs = shared_words(row[column], row["reference"])
            marked = [bold.format(escaped(run)) if shared else escaped(run) for run, shared in runs]
            yield name, escaped(" ").join(marked)


def _frame(rows: list[dict[str, Any]], columns: list[str], texts: bool) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["id", "cluster", "question", "reference", *columns])
    if texts:
        return frame
    hidden = [c for c in frame if c in ("question", "reference", "greedy", "sample")]
    return frame.drop(columns=[*hidden, *(c for c in frame if str(c).endswith(_GREEDY))])


def _leaking(scores: Scores, threshold: float) -> list[NDArray[np.bool_]]:
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], not {threshold}")
    return [row >= threshold for row in check_scores(scores)]


def _ever(leaking: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.array([row.any() for row in leaking])


def check_counts(samples: Samples, scores: Scores) -> None:
    """Raise ValueError unless there is one score per sample, prompt by prompt."""
    if scores.counts.tolist() != samples.counts:
        raise ValueError("the scores are of different samples: their numbers differ")


def _spread(
    candidates: Sequence[int], labels: Sequence[str], count: int, rng: np.random.Generator
) -> list[int]:
    """Choose candidates at random, each label once before any repeats; return them sorted."""
    seen: dict[str, int] = {}
    turns: list[tuple[int, int, int]] = []
    for i in rng.permutation(np.asarray(candidates, dtype=np.int64)).tolist():
        seen[labels[i]] = seen.get(labels[i], 0) + 1
        turns.append((seen[labels[i]], len(turns), i))
    return sorted(i for _, _, i in sorted(turns)[:count])
