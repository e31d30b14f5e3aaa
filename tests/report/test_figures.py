from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from example_reports import METRICS, MODELS, report
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D

from leakrepro.report import leak_figure, save_figure, split_figure
from leakrepro.report.style import line_styles
from leakrepro.types import Decoding


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def _lines(figure: Figure, panel: int = 0) -> list[Line2D]:
    return figure.axes[panel].get_lines()


def _with_data(lines: list[Line2D], y: np.ndarray) -> list[Line2D]:
    return [line for line in lines if np.array_equal(np.asarray(line.get_ydata()), y)]


class TestLeakFigure:
    def test_draws_curves_bands_and_greedy(self) -> None:
        reports = [report("Original"), report("NPO")]
        figure = leak_figure(reports)
        axes = figure.axes[0]
        assert axes.get_xscale() == "log"
        assert axes.get_ylabel() == "leak@k (fact_match)"
        ticks = axes.xaxis.get_major_formatter().format_ticks(axes.get_xticks())
        assert ticks == ["1", "2", "4", "8", "16", "32", "64", "128"]
        bands = [c for c in axes.collections if isinstance(c, PolyCollection)]
        assert len(bands) == 2
        for one, band in zip(reports, bands, strict=True):
            curve = one.curve()
            (line,) = _with_data(_lines(figure), curve.value)
            np.testing.assert_array_equal(np.asarray(line.get_xdata()), curve.k)
            corners = band.get_paths()[0].vertices
            for bound in (curve.low, curve.high):
                assert np.isin(bound, np.asarray(corners)[:, 1]).all()
            greedy = float(one.greedy["fact_match"].value[0])
            level = _with_data(_lines(figure), np.array([greedy, greedy]))
            marker = _with_data(_lines(figure), np.array([greedy]))
            assert len(level) == len(marker) == 1
            assert to_rgba(level[0].get_color()) == to_rgba(line.get_color())
            assert level[0].get_linestyle() == "--"
            assert marker[0].get_marker() == line.get_marker()
            assert marker[0].get_markerfacecolor() == "white"
        assert _texts(figure) == ["Original", "NPO", "greedy decoding"]
        assert [text.get_text() for text in axes.texts] == ["lower is better"]

    def test_another_metric(self) -> None:
        npo = report()
        figure = leak_figure([npo], METRICS[1])
        assert figure.axes[0].get_ylabel() == "leak@k (fact_match/strict)"
        assert _with_data(_lines(figure), npo.curves[METRICS[1]].value)
        assert not _with_data(_lines(figure), npo.curves[METRICS[0]].value)

    def test_guessing_counts_hard_prompts_as_zero(self) -> None:
        npo = report()
        assert npo.chance is not None
        figure = leak_figure([npo], chance=True)
        assert _texts(figure)[-1] == "guessing"
        assert len(_with_data(_lines(figure), npo.chance * (32 / 80))) == 1
        with pytest.raises(ValueError, match="no report has a chance curve"):
            leak_figure([report(chance=None)], chance=True)
        with pytest.raises(ValueError, match="chance is only known for the primary metric"):
            leak_figure([npo], METRICS[1], chance=True)

    def test_one_model_under_two_decodings(self) -> None:
        cool = report(decoding=Decoding(temperature=0.2), texts_digest="others", seed=1)
        assert _texts(leak_figure([report(), cool]))[:2] == [
            "NPO (T = 1, top-p 1)",
            "NPO (T = 0.2, top-p 1)",
        ]

    def test_checks_the_reports(self) -> None:
        with pytest.raises(ValueError, match="same weights"):
            leak_figure(
                [report("NPO", weights_fingerprint="w"), report("Retrain", weights_fingerprint="w")]
            )

    def test_leaves_no_open_figures(self) -> None:
        leak_figure([report()])
        split_figure([report()])
        assert plt.get_fignums() == []


class TestSplitFigure:
    def test_panels(self) -> None:
        reports = [report("Retrain"), report("NPO")]
        figure = split_figure(reports)
        easy, hard = figure.axes
        assert [easy.get_title(), hard.get_title()] == ["easy prompts (32)", "hard prompts (48)"]
        assert easy.get_ylim() == hard.get_ylim()
        for one in reports:
            assert one.easy is not None
            assert one.hard is not None
            assert len(_with_data(_lines(figure, 0), one.easy.value)) == 1
            assert len(_with_data(_lines(figure, 1), one.hard.value)) == 1
        chance = reports[0].chance
        assert chance is not None
        assert len(_with_data(_lines(figure, 0), chance)) == 1
        assert not _with_data(_lines(figure, 1), chance)
        assert _texts(figure) == ["Retrain", "NPO", "guessing"]

    def test_without_chance(self) -> None:
        assert _texts(split_figure([report(chance=None)])) == ["NPO"]

    def test_rejects_reports_without_a_split(self) -> None:
        with pytest.raises(ValueError, match="'NPO' does not have easy and hard prompts"):
            split_figure([report(hard=None)])


class TestSave:
    def test_writes_the_same_bytes_again(self, tmp_path: Path) -> None:
        first = save_figure(
            leak_figure([report(model) for model in MODELS]), tmp_path / "a" / "x.y"
        )
        again = save_figure(
            leak_figure([report(model) for model in MODELS]), tmp_path / "b" / "x.y"
        )
        assert [path.name for path in first] == ["x.y.png", "x.y.pdf"]
        for one, other in zip(first, again, strict=True):
            assert one.read_bytes() == other.read_bytes()
        assert first[1].read_bytes().startswith(b"%PDF")

    def test_has_high_resolution_and_is_not_blank(self, tmp_path: Path) -> None:
        figure = split_figure([report()])
        image = imread(save_figure(figure, tmp_path / "x")[0])
        assert image.shape[1] >= 200 * figure.get_size_inches()[0]
        assert 0.01 < np.mean(image[..., :3].min(axis=2) < 0.9) < 0.5


class TestStyles:
    def test_lines_of_a_figure_differ_even_in_grey(self) -> None:
        names = [*MODELS, "RMU", "BLUR-NPO", "NPO+ENT", "mine", "yours"]
        styles = line_styles(names)
        assert len({(line.marker, line.dashes) for line in styles.values()}) == len(names)
        assert len({line.colour for line in styles.values()}) >= 9

    def test_known_methods_have_fixed_styles(self) -> None:
        assert line_styles(["NPO"])["NPO"] == line_styles([*MODELS, "mine"])["NPO"]
        assert line_styles(["mine"])["mine"] not in line_styles(list(MODELS)).values()

    def test_many_models(self) -> None:
        assert len(set(line_styles([f"m{i}" for i in range(90)]).values())) == 90
