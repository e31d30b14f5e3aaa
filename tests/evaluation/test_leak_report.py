from __future__ import annotations

import warnings

import numpy as np
import pytest
from example_reports import METRICS, report

from leakrepro.evaluation.leak_report import check_reports, digest_texts
from leakrepro.report import caption
from leakrepro.report.captions import labels
from leakrepro.stats.estimator import leak_at_k
from leakrepro.types import Decoding


class TestLeakReport:
    def test_headline_is_the_first_metric(self) -> None:
        npo = report()
        assert npo.headline == METRICS[0]
        assert npo.curve() is npo.curves[METRICS[0]]
        assert npo.curve(METRICS[1]) is npo.curves[METRICS[1]]
        with pytest.raises(
            ValueError, match=r"'NPO' does not have the metric 'ES', only fact_match, "
        ):
            npo.curve("ES")

    def test_rejects_contradictory_fields(self) -> None:
        one = leak_at_k(np.zeros((3, 4)), 1)
        with pytest.raises(ValueError, match="'NPO': no core metric"):
            report(curves={})
        with pytest.raises(ValueError, match="'NPO': greedy has the metrics"):
            report(greedy={METRICS[0]: one})
        with pytest.raises(ValueError, match="retain_sampled must hold only k = 1"):
            report(retain_sampled=dict.fromkeys(METRICS, leak_at_k(np.zeros((3, 4)))))
        with pytest.raises(ValueError, match=r"finished is a share in \[0, 1\], not 99"):
            report(finished=99)
        with pytest.raises(ValueError, match="chance needs one value"):
            report(chance=np.zeros(3))
        with pytest.raises(ValueError, match="chance needs one value"):
            report(easy=None)


class TestChecks:
    def test_different_models_do_not_warn(self) -> None:
        reports = (report("NPO"), report("Retrain"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert check_reports(iter(reports)) == reports

    def test_one_model_under_several_decodings(self) -> None:
        cool = report(decoding=Decoding(temperature=0.2, max_new_tokens=32), texts_digest="others")
        assert len(check_reports([report(), cool])) == 2

    def test_same_weights_under_two_names(self) -> None:
        with pytest.raises(ValueError, match=r"'NPO' and 'Retrain' are the same weights \(abc\)"):
            check_reports(
                [
                    report("NPO", weights_fingerprint="abc"),
                    report("Retrain", weights_fingerprint="abc"),
                ]
            )

    def test_one_name_for_two_weights(self) -> None:
        with pytest.raises(ValueError, match="different weights are named 'NPO'"):
            check_reports([report(), report(weights_fingerprint="other", texts_digest="others")])

    def test_the_same_report_twice(self) -> None:
        with pytest.raises(ValueError, match="'NPO' is reported twice"):
            check_reports([report(), report()])

    def test_identical_samples_from_different_weights(self) -> None:
        with pytest.warns(UserWarning, match="'NPO' and 'Retrain' have different weights but iden"):
            check_reports([report("NPO", texts_digest="t"), report("Retrain", texts_digest="t")])

    def test_no_reports(self) -> None:
        with pytest.raises(ValueError, match="no reports"):
            check_reports([])


class TestDigest:
    def test_depends_on_texts_and_their_order(self) -> None:
        digests = [
            digest_texts(rows)
            for rows in ([["a", "b"]], [["a"], ["b"]], [["ab"]], [["b", "a"]], [["a", ""], ["b"]])
        ]
        assert len(set(digests)) == 5
        assert digest_texts([("a", "b")]) == digests[0]

    def test_accepts_unpaired_surrogates(self) -> None:
        assert digest_texts([["\ud800"]]) != digest_texts([["\ud801"]])


@pytest.mark.parametrize(
    ("decoding", "expected"),
    [
        (Decoding(), "T = 1, top-p 1"),
        (Decoding(temperature=0.2, top_p=0.8, top_k=50), "T = 0.2, top-p 0.8, top-k 50"),
        (Decoding().greedy(), "greedy"),
    ],
)
def test_describe_decoding(decoding: Decoding, expected: str) -> None:
    assert str(decoding) == expected


class TestCaption:
    def test_states_the_parameters(self) -> None:
        assert caption([report("Original"), report("NPO")]) == (
            "leak@k (fact_match) on fictional(seed=0): Original, NPO. Samples: T = 1, top-p 1, "
            "n = 200 samples per prompt, at most 32 new tokens, seed 0. Forget prompts: 80 in 16 "
            "clusters; 95 % intervals over clusters of prompts. Greedy decoding gives one answer "
            "per prompt. Lower is better."
        )

    def test_follows_the_parameters(self) -> None:
        scores = np.zeros((7, 4))
        curves = {
            METRICS[0]: leak_at_k(scores, confidence=0.9),
            METRICS[1]: leak_at_k(scores, interval="samples"),
        }
        other = report(
            curves=curves, decoding=Decoding(temperature=0.8, n=4), easy=None, chance=None
        )
        text = caption([report("Retrain"), other])
        assert "T = 1, top-p 1, n = 200" in text
        assert "; T = 0.8, top-p 1, n = 4" in text
        assert "16 clusters; 95 % intervals over clusters of prompts; 7; 90 % intervals" in text
        text = caption([other], METRICS[1])
        assert "(fact_match/strict)" in text
        assert "7; 95 % intervals for new samples of these prompts" in text


def test_labels_say_what_differs() -> None:
    cool = report(decoding=Decoding(temperature=0.2))
    assert labels([report("Retrain"), report()]) == ["Retrain", "NPO"]
    assert labels([report(), cool]) == ["NPO (T = 1, top-p 1)", "NPO (T = 0.2, top-p 1)"]
    assert labels([report(), report(benchmark="tofu")]) == [
        "NPO (fictional(seed=0))",
        "NPO (tofu)",
    ]
