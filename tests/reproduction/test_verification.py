"""Results are derived again from stored samples; what was changed or deleted is named."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sqlite3
import sys
from pathlib import Path

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_world as small
import yaml
from typer.testing import CliRunner

import leakrepro as lr
from leakrepro.cli import app
from leakrepro.errors import StoreError
from leakrepro.metrics.score_cache import ScoreCache
from leakrepro.reproduction.record import read_records, write_record
from leakrepro.reproduction.runner import reproduce
from leakrepro.reproduction.tables import compare_tables
from leakrepro.sampling.store import open_store
from leakrepro.storage import provenance
from leakrepro.storage.keys import digest
from leakrepro.storage.provenance import Kind, Note
from leakrepro.storage.records import file_digest, is_edited, keep_written
from leakrepro.types import Decoding

sys.path.insert(0, str(Path(__file__).parents[1] / "metrics"))
from nli_models import make_nli

CODE = """\
import leakrepro as lr

settings = lr.load_profile(profile)
benchmark = lr.load_benchmark(settings.benchmark, **settings.benchmark_options)
paths = lr.make_models(settings, benchmark)
reports = [
    lr.evaluate(path, benchmark, name=name, decoding=settings.decoding, metric=settings.metrics,
                k=settings.k, retain_n=settings.retain_n)
    for name, path in paths.items()
]
folder = lr.paths.results(run or settings.name)
table = lr.report.table(reports)
table.assign(seconds=__import__("time").time()).to_csv(folder / "01_tiny.csv", index=False)
(folder / "01_tiny.tex").write_text(table[["model", "k", "leak@k"]].to_latex(index=False))
lr.report.save_figure(lr.report.leak_figure(reports), folder / "01_tiny")
table[["model", "k", "leak@k"]]
"""
TABLE = "01_tiny.csv"


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, small_home: Path, small_original: Path
) -> Path:
    """A folder with a profile, a notebook, and the home that its run has filled."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(small_original, folder / "home" / "models" / small_original.name)
    nli = make_nli(folder / "nli")
    metrics = ["fact_match", f"entailment/{nli}/gate=0"]
    profile = small.profile(metrics=metrics, notebooks=["01_tiny"])
    (folder / "tiny.yaml").write_text(yaml.safe_dump(profile))
    nb = nbformat.v4.new_notebook()
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb.cells = [
        nbformat.v4.new_code_cell(
            'profile = "embedded"\nrun = None', metadata={"tags": ["parameters"]}
        ),
        nbformat.v4.new_code_cell(CODE),
    ]
    (folder / "notebooks").mkdir()
    nbformat.write(nb, folder / "notebooks" / "01_tiny.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEAKREPRO_HOME", str(folder / "home"))
        patch.chdir(folder)
        reproduce("tiny.yaml")
    return folder


@pytest.fixture
def world(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for one test."""
    folder = tmp_path / "world"
    shutil.copytree(finished, folder)
    monkeypatch.setenv("LEAKREPRO_HOME", str(folder / "home"))
    # The path of the profile is in the records; that of the metric's model is in the profile.
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and "-wal" not in p.name)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if "-shm" not in p.name}


def forget_store(world: Path) -> Path:
    """The store of the sampled forget prompts."""
    stores = [open_store(path.parent) for path in world.glob("home/samples/*/manifest.json")]
    (found,) = [s for s in stores if s.identity.decoding.n == 8 and len(s.prompts) == 10]
    return found.path


def rewrite(shard: Path, row: int, text: str) -> tuple[str, int]:
    """Changes a text and leaves the rest of the file as it was; returns prompt and index."""
    table = pq.read_table(shard)
    texts = table["text"].to_pylist()
    texts[row] = text
    place = table.column_names.index("text")
    changed = table.set_column(place, "text", pa.array(texts, pa.string()))
    pq.write_table(changed, shard, compression="zstd", write_page_checksum=True)
    return table["prompt_id"][row].as_py(), table["sample"][row].as_py()


def test_the_record_says_what_the_results_rest_on(finished: Path) -> None:
    (record,) = read_records(finished / "home" / "tiny").values()
    assert len(record.stores) == 3  # forget, retain, greedy
    for path, use in record.stores.items():
        samples = lr.read_samples(finished / "home" / path)
        assert use.samples == use.drawn == sum(samples.counts)
        assert use.tokens == use.drawn_tokens == samples.tokens
    assert record.trained == ()
    assert "torch" in record.environment
    page = (finished / "home" / "tiny" / "index.html").read_text()
    assert f"Samples read: {10 * 8 + 20 * 2 + 30}" in page


def test_untouched_results_agree_and_stay_untouched(world: Path) -> None:
    before = contents(world / "home")
    found = lr.verify("tiny.yaml")
    assert found.differences == ()
    assert found.agrees
    assert (found.notebooks, found.stores, found.samples) == (("01_tiny",), 3, 150)
    table = (world / "home" / "tiny" / TABLE).read_text().splitlines()
    assert found.cells == (len(table) - 1) * (table[0].count(",") + 1)
    assert contents(world / "home") == before

    page = world / "home" / "tiny" / "index.html"
    page.write_text(page.read_text().replace("nothing published", "agrees (1 of 1)"))
    found = lr.verify("tiny.yaml", only=["01"])
    assert found.differences == (
        f"{page} is not the report of these results; `leakrepro reproduce` restores it",
    )


def test_changed_samples_scores_and_cells_are_named(world: Path) -> None:
    shard = forget_store(world) / "shard-00000.parquet"
    prompt, sample = rewrite(shard, 21, "I changed this.")
    assert sample == 21 % 8
    assert lr.read_samples(shard.parent).texts[2][5] == "I changed this."  # the store sees nothing

    (scores,) = (world / "home" / "scores").glob("*.sqlite")
    with sqlite3.connect(scores) as connection:
        key, kept = connection.execute("SELECT key, score FROM scores LIMIT 1").fetchone()
        connection.execute("UPDATE scores SET score = ? WHERE key = ?", (1 - kept, key))
    connection.close()

    table = world / "home" / "tiny" / TABLE
    lines = table.read_text().splitlines()
    place = lines[0].split(",").index("n")
    row = lines[2].split(",")
    row[place] = "9"
    lines[2] = ",".join(row)
    table.write_text("\n".join(lines) + "\n")

    found = lr.verify("tiny.yaml")
    assert not found.agrees
    text = "\n".join(found.differences)
    assert f"{shard}: sample {sample} of prompt {prompt!r} was changed" in text
    assert (
        f"{scores}: the score of {key} is {1 - kept:.1f}, and {kept:.1f} when computed again"
        in text
    )
    assert f"{table}, row 2, column 'n': 9, and 8 when derived again" in text
    assert "column 'seconds'" not in text


def test_a_deleted_store_is_named_and_restored_alone(world: Path) -> None:
    store = forget_store(world)
    before = contents(world / "home")
    shutil.rmtree(store)
    result = CliRunner().invoke(app, ["verify", "--profile", "tiny.yaml"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"samples: {store} is not a sample store")
    assert "`leakrepro reproduce` restores it" in lines[0]
    assert lines[1].endswith(
        "0 notebooks, 70 samples in 2 stores, 0 cells of tables: 1 differences"
    )

    reproduce("tiny.yaml")
    check_restored(world, before)
    (record,) = read_records(world / "home" / "tiny").values()
    assert sum(use.drawn for use in record.stores.values()) == 80


def test_a_deleted_model_is_named_and_restored_alone(world: Path) -> None:
    before = contents(world / "home")
    (model,) = (world / "home" / "models").glob("Original-*")
    shutil.rmtree(model)
    (difference,) = lr.verify("tiny.yaml").differences
    assert f"missing: the model {model}" in difference
    assert "`leakrepro reproduce` restores" in difference
    assert not model.exists()

    reproduce("tiny.yaml")
    check_restored(world, before)
    (record,) = read_records(world / "home" / "tiny").values()
    assert record.trained == (model.name,)
    assert sum(use.drawn for use in record.stores.values()) == 0


def test_deleted_results_are_named_and_restored_alone(world: Path) -> None:
    before = contents(world / "home")
    results = world / "home" / "tiny"
    for name in (TABLE, "01_tiny.png", "01_tiny.pdf"):
        (results / name).unlink()
    shutil.rmtree(world / "home" / "scores")
    found = lr.verify("tiny.yaml").differences
    missing = [f"{results / name} is missing" for name in (TABLE, "01_tiny.pdf", "01_tiny.png")]
    assert [each.split(";")[0] for each in found] == missing
    reproduce("tiny.yaml")
    check_restored(world, before)


def check_restored(world: Path, before: dict[str, bytes]) -> None:
    """Everything is there again; what says when and how long differs, and nothing else."""
    after = contents(world / "home")
    assert after.keys() == before.keys()
    differing = {name for name in after if after[name] != before[name]}
    # Training logs hold times, and a database lays out the same content in other bytes.
    told = {"tiny/runs.json", "tiny/index.html", "tiny/01_tiny.ipynb", "tiny/01_tiny.html"}
    made = {name for name in differing if name.endswith((".sqlite", "log.json", "complete.json"))}
    assert differing - told - made <= {f"tiny/{TABLE}"}
    if f"tiny/{TABLE}" in differing:
        columns = [
            [line.rsplit(",", 1)[0] for line in text[f"tiny/{TABLE}"].decode().splitlines()]
            for text in (before, after)
        ]
        assert columns[0] == columns[1]  # the last column is the time


def test_what_was_not_run_cannot_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="no results to verify: run leakrepro reproduce first"):
        lr.verify("embedded")
    with pytest.raises(ValueError, match="unknown profile"):
        lr.verify("embeded")


def test_only_verifies_what_it_names(world: Path) -> None:
    with pytest.raises(ValueError, match=r"no notebook '02' in .*tiny; there are: 01_tiny"):
        lr.verify("tiny.yaml", only=["02"])


class TestTables:
    @pytest.mark.parametrize(
        ("kept", "derived", "found"),
        [
            ("a,b\nx,0.1\n", "a,b\nx,0.1\n", None),
            ("a,b\nx,0.1\n", "a,b\nx,0.10000000000000002\n", None),
            ("a,b\nx,0.1\n", "a,b\nx,0.1000000001\n", "row 1, column 'b': 0.1, and 0.1000000001"),
            ("a,b\nx,\n", "a,b\nx,0.0\n", "row 1, column 'b': , and 0.0"),
            ("a,b\nx,1\n", "a,b\ny,1\n", "row 1, column 'a': x, and y"),
            ("a,seconds\nx,1\n", "a,seconds\nx,2\n", None),
            ("a\nx\n", "a\nx\nx\n", "has other rows or columns"),
            ("a\nx\n", "b\nx\n", "has other rows or columns"),
        ],
    )
    def test_cells_are_equal_to_rounding(
        self, tmp_path: Path, kept: str, derived: str, found: str | None
    ) -> None:
        for name, text in (("kept", kept), ("derived", derived)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "01_x.csv").write_text(text)
        cells, differences = compare_tables(tmp_path / "kept", tmp_path / "derived", "01_x")
        if found is None:
            assert (cells, differences) == (2, [])
        else:
            assert len(differences) == 1
            assert found in differences[0]

    def test_a_table_without_its_like_is_named(self, tmp_path: Path) -> None:
        for name in ("kept", "derived"):
            (tmp_path / name).mkdir()
            (tmp_path / name / f"01_x.{name}.csv").write_text("a\n1\n")
        _, differences = compare_tables(tmp_path / "kept", tmp_path / "derived", "01_x")
        assert [each.split("/")[-1].split(";")[0] for each in differences] == [
            "01_x.derived.csv is missing",
            "01_x.kept.csv is not written when derived again",
        ]


class TestStoredOnly:
    def test_samples_are_read_and_never_drawn(
        self,
        tiny_llama: Path,
        small_world: lr.Benchmark,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        notes = tmp_path / "notes"
        monkeypatch.setenv(provenance.LOG, str(notes))
        decoding = Decoding(n=2, max_new_tokens=2)
        lr.sample(tiny_llama, small_world, decoding, store=tmp_path / "s")
        monkeypatch.setenv(provenance.STORED_ONLY, "1")
        lr.sample(tiny_llama, small_world, decoding, store=tmp_path / "s")
        assert provenance.read_notes(notes)[-2:] == [
            Note(Kind.STORE, tmp_path / "s", drawn=(0,)),
            Note(Kind.STORE, tmp_path / "s"),
        ]
        with pytest.raises(StoreError, match=rf"missing: samples in the store {tmp_path / 't'}"):
            lr.sample(tiny_llama, small_world, decoding, store=tmp_path / "t")
        assert not (tmp_path / "t").exists()

    def test_scores_are_computed_again_and_compared(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a, b, c = ("a",), ("b",), ("c",)
        assert ScoreCache("m", tmp_path).put({a: 0.25, b: 1.0}) == [0.25, 1.0]
        # Another process was first: its scores hold.
        assert ScoreCache("m", tmp_path).put({a: 0.2500001}) == [0.25]
        notes = tmp_path / "notes"
        monkeypatch.setenv(provenance.LOG, str(notes))
        monkeypatch.setenv(provenance.STORED_ONLY, "1")
        cache = ScoreCache("m", tmp_path)
        assert cache.get([a, b]) == {}
        assert cache.put({a: 0.2500001, b: 0.0, c: 0.5}) == [0.25, 0.0, 0.5]
        (note,) = (n for n in provenance.read_notes(notes) if n.kind == Kind.CHANGED_SCORE)
        assert (note.path, note.key, note.kept, note.computed) == (cache.path, digest(b), 1.0, 0.0)
        answers = ScoreCache("m", tmp_path, remade=False)
        assert answers.get([a, b, c]) == {0: 0.25, 1: 1.0}  # and c was not kept


def test_a_failed_notebook_has_no_results(world: Path) -> None:
    results = world / "home" / "tiny"
    (record,) = read_records(results).values()
    write_record(results, dataclasses.replace(record, status="failed", stores={}))
    found = lr.verify("tiny.yaml")
    assert found.differences == ("01_tiny: its last run failed, so it does not have results",)


def tamper(file: Path) -> None:
    """Changes what a reader of this kind of file would see."""
    if file.suffix in (".ipynb", ".html", ".tex", ".csv", ".json"):
        text = file.read_text()
        digit = next(i for i in range(len(text) - 1, 0, -1) if text[i].isdigit())
        file.write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))


def test_every_file_that_reproduce_wrote_is_checked(world: Path) -> None:
    results = world / "home" / "tiny"
    files = sorted(path for path in results.rglob("*") if path.is_file())
    kinds = {path.suffix for path in files}
    assert kinds == {".ipynb", ".html", ".csv", ".tex", ".png", ".pdf", ".npy", ".json"}
    originals = {path: path.read_bytes() for path in files}
    for path in files:
        if path.name != "runs.json":
            tamper(path)
            assert path.read_bytes() != originals[path]
    differences = "\n".join(lr.verify("tiny.yaml").differences)
    for path in files:
        if path.name != "runs.json":
            assert f"{path} was changed after `leakrepro reproduce` wrote it" in differences, path
    assert "Traceback" not in differences
    for path in files:
        if path.name != "runs.json":
            path.unlink()
    (results / "01_tiny.extra.csv").write_text("a\n1\n")
    (results / "notes.txt").write_text("mine")
    differences = "\n".join(lr.verify("tiny.yaml").differences)
    for path in files:
        assert path.name == "runs.json" or f"{path} is missing" in differences, path
    for name in ("01_tiny.extra.csv", "notes.txt"):
        assert f"{results / name} was not written by `leakrepro reproduce`" in differences


def test_a_forged_notebook_with_matching_table_record_and_digests_is_found(world: Path) -> None:
    results = world / "home" / "tiny"
    (record,) = read_records(results).values()
    table = results / TABLE
    lines = table.read_text().splitlines()
    place = lines[0].split(",").index("leak@k")
    row = lines[1].split(",")
    value, row[place] = row[place], "0.125"
    lines[1] = ",".join(row)
    table.write_text("\n".join(lines) + "\n")
    executed = results / "01_tiny.ipynb"
    nb = nbformat.read(executed, as_version=4)
    nb.cells[-1].source += "\ntable.loc[0, 'leak@k'] = 0.125"
    (output,) = [o for o in nb.cells[-1].outputs if o.output_type == "execute_result"]
    shown = output.data["text/html"]
    output.data["text/html"] = re.sub(r"<td>\d\.\d+</td>", "<td>0.1250</td>", shown, count=1)
    assert output.data["text/html"] != shown
    nbformat.write(nb, executed)
    digests = {name: file_digest(results / name) for name in record.written}
    write_record(results, dataclasses.replace(record, written=digests))
    differences = lr.verify("tiny.yaml").differences
    number = len(nb.cells)
    assert not any("was changed after" in each for each in differences)
    assert any(
        each.startswith(f"{table}, row 1, column 'leak@k': 0.125, and {value}")
        for each in differences
    )
    assert any(
        each.startswith(f"{executed}, cell {number}: its text is not") for each in differences
    )
    shown_again = f"{executed}, cell {number}, row 1, column 'leak@k': 0.1250, and "
    assert any(each.startswith(shown_again) for each in differences)


def test_damaged_files_are_named_without_a_traceback(world: Path) -> None:
    results = world / "home" / "tiny"
    for name in (TABLE, "01_tiny.ipynb", "01_tiny.tex", "index.html"):
        (results / name).write_bytes(b"\xff\xfe\x00\x80" + (results / name).read_bytes())
    result = CliRunner().invoke(app, ["verify", "--profile", "tiny.yaml"])
    assert result.exit_code == 1
    assert f"{results / TABLE} cannot be read as a table" in result.output
    assert f"{results / '01_tiny.ipynb'} is not a notebook" in result.output
    assert f"{results / 'index.html'} was changed" in result.output


def test_a_changed_record_and_a_changed_source_are_named(world: Path) -> None:
    file = world / "home" / "tiny" / "runs.json"
    content = json.loads(file.read_text())
    content["01_tiny"]["seconds"] += 1
    file.write_text(json.dumps(content))
    source = world / "notebooks" / "01_tiny.ipynb"
    source.write_text(source.read_text().replace("leak_figure(reports)", "leak_figure(reports )"))
    text = "\n".join(lr.verify("tiny.yaml").differences)
    assert f"{file}: the record of 01_tiny was changed" in text
    assert f"01_tiny: {Path('notebooks/01_tiny.ipynb')} has changed since its run" in text
    for damaged in ("{", "[]", '{"01_tiny": 3}', "\xff"):
        file.write_text(damaged, encoding="latin-1")
        result = CliRunner().invoke(app, ["verify", "--profile", "tiny.yaml"])
        assert result.exit_code == 2
        assert result.output.startswith(f"Error: {file} ")
        assert "delete it" in result.output
        assert result.output.count("\n") == 1


def test_files_that_are_written_again_get_new_digests(world: Path) -> None:
    results = world / "home" / "tiny"
    (results / "index.html").unlink()
    reproduce("tiny.yaml")  # writes the page again
    assert lr.verify("tiny.yaml").agrees
    assert "02_other" not in read_records(results)
    (results / TABLE).write_text((results / TABLE).read_text().replace(",", ",", 1))
    keep_written(results, [TABLE])
    (record,) = read_records(results).values()
    assert record.written[TABLE] == file_digest(results / TABLE)
    assert not is_edited(json.loads((results / "runs.json").read_text())["01_tiny"])
