"""A dry run scales what an embedded run has drawn, and draws nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_world as small
import yaml
from tofu_files import write_files
from typer.testing import CliRunner

from leakrepro.cli import app
from leakrepro.profiles.schema import load_profile, profile_names
from leakrepro.reproduction import dry_run as dryrun
from leakrepro.reproduction.dry_run import dry_run, parameters
from leakrepro.reproduction.record import read_records
from leakrepro.reproduction.runner import reproduce
from leakrepro.reproduction.scaling import Workload, load_workload, sizes
from leakrepro.reproduction.workload import measure
from leakrepro.storage import provenance

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
HOSTED = {
    "benchmark": "tofu",
    "models": {
        "Original": {"hub": "org/tofu_Llama-3.2-1B-Instruct_full", "revision": "abc"},
        "NPO": {"hub": "org/NPO-7b"},
    },
    "metrics": ["entailment/org/nli@def", "rougeL_recall/stem"],
    "core_metrics": ["entailment/org/nli@def", "cosine/org/mini"],
    "judge": "judge/gpt-4o-mini",
    "decoding": {"n": 20, "max_new_tokens": 100},
    "retain_n": 5,
    "k": [1, 8],
    "notebooks": ["01_leak_curves", "06_core_metrics", "07_leak_histograms", "99_mine"],
    "engine": "vllm",
}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no data files, no key, and nothing written outside."""
    monkeypatch.setattr(dryrun, "_hub_answers", lambda: False)
    monkeypatch.delenv("LEAKREPRO_DATA", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))


@pytest.fixture
def hosted(tmp_path: Path) -> Path:
    path = tmp_path / "hosted.yaml"
    path.write_text(yaml.safe_dump(HOSTED, sort_keys=False))
    return path


def test_every_notebook_of_the_package_was_measured() -> None:
    stems = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert stems
    assert sorted(stems) == load_workload().notebooks


def test_the_measured_profile_is_the_packages() -> None:
    """The table is made again when the profile changes."""
    workload = load_workload()
    profile = load_profile(workload.profile)
    assert workload.sizes[""] == sizes(profile)
    assert workload.sizes.keys() == {"", *profile.studies}
    for study in profile.studies:
        assert workload.sizes[study] == sizes(load_profile(workload.profile, study=study))


def test_for_the_measured_profile_it_is_what_was_measured() -> None:
    workload = load_workload()
    plan = dry_run(workload.profile)
    for each in plan.notebooks:
        stores = [group for group in workload.stores if each.stem in group.used_by]
        assert each.samples == sum(group.samples for group in stores)
        assert each.tokens == sum(group.tokens for group in stores)
    assert plan.total.samples == sum(group.samples for group in workload.stores)
    assert plan.total.tokens == sum(group.tokens for group in workload.stores)
    # Counted in the folder of models of that run.
    assert plan.total.trainings == 41


def test_the_table_is_read_as_it_was_written() -> None:
    workload = load_workload()
    assert Workload.load(workload.dump()) == workload


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_and_study_has_a_plan(name: str, tmp_path: Path) -> None:
    plan = dry_run(name)
    assert [each.stem for each in plan.notebooks] == list(load_profile(name).notebooks)
    for each in plan.notebooks:
        assert each.known
        assert each.samples > 0
        assert each.tokens >= each.samples
        assert each.hours > 0
    assert plan.total.samples <= sum(each.samples for each in plan.notebooks)
    assert plan.total.samples >= max(each.samples for each in plan.notebooks)
    assert not (tmp_path / "home").exists()
    assert "nan" not in str(plan)


def test_the_numbers_of_a_notebook(hosted: Path) -> None:
    plan = dry_run(hosted, tokens_per_second=100)
    curves, core, histograms, mine = plan.notebooks
    # 400 forget prompts x 20, 400 retain prompts x 5, and all of them greedily, of two models.
    assert curves.samples == 2 * (400 * 20 + 400 * 5 + 800)
    # Tokens per sample are those of the embedded models, whose answers have at most 48 tokens.
    measured = [g for g in load_workload().stores if "01_leak_curves" in g.used_by]
    expected = 0.0
    for factor, count in {"n": 400 * 20, "retain_n": 400 * 5, "forget and retain": 800}.items():
        groups = [group for group in measured if factor in group.factors]
        per_sample = sum(g.tokens for g in groups) / sum(g.samples for g in groups)
        expected += 2 * count * per_sample * 100 / 48
    assert curves.tokens == pytest.approx(expected)
    assert (curves.models, curves.trainings, curves.judge) == (2, 0, None)
    # The 7B model takes seven times as long.
    assert curves.hours == pytest.approx((curves.tokens / 2) * (1 + 7) / 100 / 3600)
    assert core.samples == curves.samples
    assert core.judge is not None
    assert core.judge.requests == core.samples
    assert core.judge.output_tokens == 8 * core.judge.requests
    assert core.judge.input_tokens > 100 * core.judge.requests
    assert core.judge.dollars is None
    assert not mine.known
    assert mine.samples == 0
    # What notebook 07 adds to the others are greedy answers to the forget prompts alone.
    assert histograms.samples == 2 * (400 * 20 + 400)
    assert plan.total.samples == curves.samples + 2 * 400
    priced = dry_run(hosted, only=["06"], judge_price=(2.0, 10.0)).total.judge
    assert priced is not None
    dollars = (2 * core.judge.input_tokens + 10 * core.judge.output_tokens) / 1e6
    assert priced.dollars == pytest.approx(dollars)


def test_downloads_and_what_is_missing(
    hosted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = {("org/NPO-7b", None): str(tmp_path)}
    monkeypatch.setattr(
        dryrun,
        "try_to_load_from_cache",
        lambda repo, file, revision: cache.get((repo, revision)),
    )
    monkeypatch.setattr(dryrun, "installed", lambda module: module == "openai")
    plan = dry_run(hosted)
    found = {(each.what, each.id): (each.bytes, each.cached) for each in plan.downloads}
    assert found == {
        ("model", "org/tofu_Llama-3.2-1B-Instruct_full@abc"): (2e9, False),
        ("model", "org/NPO-7b"): (14e9, True),
        ("metric", "org/nli@def"): (None, False),
        ("metric", "org/mini"): (None, False),
        ("data", "locuslab/TOFU"): (None, False),
    }
    text = "\n".join(plan.missing)
    for part in ("a GPU", "the hub", "leakrepro[vllm]", "leakrepro[nli]", "OPENAI_API_KEY"):
        assert part in text
    assert "leakrepro[judge]" not in text
    assert "leakrepro[ray]" not in text
    page = str(plan)
    assert "model  org/NPO-7b: in the cache" in page
    assert "model  org/tofu_Llama-3.2-1B-Instruct_full@abc: about 2.0 GB" in page
    (line,) = [each for each in page.splitlines() if "99_mine" in each]
    assert line.split() == ["99_mine", "not", "known"]

    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("LEAKREPRO_DATA", str(tmp_path / "nothing"))
    text = "\n".join(dry_run(hosted).missing)
    assert "OPENAI_API_KEY" not in text
    assert f"the files of tofu: LEAKREPRO_DATA={tmp_path / 'nothing'} does not have" in text


def test_prompts_are_counted_where_the_files_are(
    hosted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "data" / "tofu")
    monkeypatch.setenv("LEAKREPRO_DATA", str(tmp_path / "data"))
    content = HOSTED | {"benchmark_options": {"forget": "forget01", "authors": 1}}
    content["benchmark_options"]["retain_questions"] = 20
    hosted.write_text(yaml.safe_dump(content, sort_keys=False))
    plan = dry_run(hosted, only=["01"])
    assert plan.total.samples == 2 * (20 * 20 + 20 * 5 + 40)
    assert "data" not in {each.what for each in plan.downloads}
    monkeypatch.delenv("LEAKREPRO_DATA")
    assert dry_run(hosted, only=["01"]).total.samples == plan.total.samples  # as it is known


def test_a_measured_run_is_counted_exactly(
    small_home: Path, small_original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """01 of a small world, scaled from itself and to more samples."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(small.profile(metrics=["fact_match"]), sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEAKREPRO_HOME", str(small_home))
        output = reproduce(path, notebooks=NOTEBOOKS)
        patch.setenv(provenance.STORED_ONLY, "1")
        workload = measure(output)
    monkeypatch.setattr(dryrun, "load_workload", lambda: workload)
    stores = read_records(output)["01_leak_curves"].stores.values()
    plan = dry_run(path).total
    assert plan.samples == sum(use.samples for use in stores) == 10 * 8 + 20 * 2 + 30
    assert plan.tokens == sum(use.tokens for use in stores)
    assert (plan.models, plan.trainings) == (1, 1)
    more = dry_run(path, parameters={"n": 16, "retain_n": 6}).total
    assert more.samples == 10 * 16 + 20 * 6 + 30
    longer = dry_run(path, parameters={"max_new_tokens": 64}).total
    assert longer.tokens == 2 * plan.tokens


def test_studies_and_parameters_count(tmp_path: Path) -> None:
    study = {
        "benchmark": "tofu",
        "benchmark_options": {"forget": "forget05"},
        "models": {"Original": {"hub": "org/a"}},
        "decoding": {"n": 10, "max_new_tokens": 4},
    }
    content = HOSTED | {"studies": {"muse-news": study}, "notebooks": ["12_muse", "13_wmdp"]}
    path = tmp_path / "with.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    muse, wmdp = dry_run(path).notebooks
    assert muse.samples == 200 * 10 + 400 * 5 + 600
    assert wmdp.samples == 0  # the profile has no such study
    muse, _ = dry_run(path, parameters={"n": 40, "models": ["NPO"]}).notebooks
    assert muse.samples == 200 * 40 + 400 * 5 + 600


def test_rule_counts_rounds_controls_and_searches(tmp_path: Path) -> None:
    changes = {
        "models": {"Original": {"train": "full"}, "Retrain": {"train": "retain"}},
        "rule": {
            "rounds": 2,
            "options": {"n": 16},
            "bases": {"NPO": {"options": {"epochs": 1}}, "RMU": {"options": {"epochs": 1}}},
            "controls": ["NPO"],
        },
        "notebooks": ["03_rule_trajectories", "04_rule_before_after"],
    }
    path = tmp_path / "rule.yaml"
    path.write_text(yaml.safe_dump(small.profile(**changes), sort_keys=False))
    plan = dry_run(path)
    # Retrain; NPO with two rounds and twice as many of its controls; RMU with two rounds.
    models = 1 + (1 + 2 + 4) + (1 + 2)
    assert plan.total.models == models
    assert plan.total.trainings == models + 1  # and Original
    asked = 10 * 8 + 20 * 2 + 30
    held_out = 10 * 8 + 30  # the retain samples are shared
    searches = (1 + 3 + 2) * 10 * 16  # round 0 once a base, then one a model and round
    assert plan.total.samples == models * asked + (models - 1) * held_out + searches
    assert plan.notebooks[0].samples == plan.notebooks[1].samples == plan.total.samples


def test_a_size_is_read_from_an_id() -> None:
    assert parameters("open-unlearning/tofu_Llama-3.2-1B-Instruct_full") == 1e9
    assert parameters("HuggingFaceH4/zephyr-7b-beta") == 7e9
    assert parameters("org/model_1.5B") == 1.5e9
    assert parameters("open-unlearning/x_SimNPO_lr1e-05_b4.5_a1_d1") is None
    assert parameters("OptimAI-Lab/TOFU-forget10_RULE-NPO") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "embeded"}, "unknown profile 'embeded'"),
        ({"only": ["98"]}, "no notebook '98'"),
        ({"tokens_per_second": 0}, "tokens_per_second must be above 0"),
        ({"parameters": {"n": 4}}, "k = 8 needs as many samples per prompt"),
    ],
)
def test_a_wrong_request(hosted: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dry_run(**({"profile": hosted} | arguments))


def test_the_command(hosted: Path) -> None:
    line = ["reproduce", "--profile", str(hosted), "--dry-run", "--judge-price", "2", "10"]
    result = CliRunner().invoke(app, [*line, "--tokens-per-second", "50"])
    assert result.exit_code == 0
    assert "06_core_metrics: 21,600 requests" in result.stdout
    assert "about $" in result.stdout
    assert "at 50 tokens/s" in result.stdout
    assert "all, each draw once" in result.stdout
    refused = CliRunner().invoke(app, ["reproduce", "--tokens-per-second", "50"])
    assert refused.exit_code == 2
    assert "belong to --dry-run" in refused.stderr
