"""Damaged profiles and profile names: one error that names the file, or a valid profile."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leakrepro.cli import app
from leakrepro.errors import DataError
from leakrepro.profiles.schema import load_profile, profile_names
from leakrepro.storage import paths

TEXT = """\
benchmark: fictional
models:
  Original: {train: full}
  Retrain: {train: retain}
  NPO: {unlearn: NPO, options: {beta: 0.1, epochs: 3}}
decoding: {n: 16, top_k: 5, temperature: 1.0}
retain_n: 4
k: [1, 16]
studied: [NPO]
rule: {rounds: 2, bases: {NPO: {}}, controls: [NPO]}
studies:
  other: {benchmark: tofu, models: {NPO: {unlearn: NPO}}, decoding: {n: 32}, k: [1, 2]}
notebooks: [01_topic]
"""


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
DEEP = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 40))


def write(path: Path, text: str = TEXT) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def test_the_undamaged_profile_loads(tmp_path: Path) -> None:
    assert load_profile(write(tmp_path / "mine.yaml", "\ufeff" + TEXT)).retain_n == 4
    for name in ("a", "A-b_c.2", "caf\u00e9", "x y", "01"):
        assert load_profile(write(tmp_path / f"{name}.yaml")).name == name


@pytest.mark.parametrize(
    "name",
    [
        *["...yaml", "..yaml", "....yaml", "-x.yaml", " .yaml", ". .yaml", "x .yaml", "a\x1b.yaml"],
        *["models.yaml", "Samples.yaml", "SCORES.yaml", "digests.yaml", "nul.yaml", "con.x.yaml"],
        *["embedded.yaml", "Embedded.yaml", "PAPER.yaml", "a\nb.yaml", "~.yaml", "a:b.yaml"],
        *["x" * 101 + ".yaml", "$HOME.yaml", "<b>.yaml", "a;b.yaml"],
    ],
)
def test_names_that_leave_the_folder_or_collide_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="results are kept under the name of the file") as caught:
        load_profile(write(tmp_path / name))
    assert str(tmp_path) in str(caught.value)


def test_a_packaged_profile_can_be_named_by_its_path() -> None:
    path = Path(str(paths.__file__)).parents[1] / "profiles" / "embedded.yaml"
    assert load_profile(path) == load_profile("embedded")
    assert all(paths.name_problem(name) is None for name in profile_names())


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", "a/b", "a\\b", "models", "MODELS"])
def test_results_stay_in_their_folder(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a run"):
        paths.results(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT + "retain_n: 5\n", r"line 14: .*the key 'retain_n' occurs twice"),
        (TEXT.replace("{n: 16,", "{n: 16, n: 17,"), "line 6: .*the key 'n' occurs twice"),
        (TEXT.replace("  Retrain:", "  Original:"), "line 4: .*the key 'Original' occurs twice"),
        (LAUGHS, r"line \d+: .*with its aliases more than 10,000 values"),
        (DEEP, r"line \d+: .*with its aliases .* or 32 nested ones"),
        ("&a [*a]", "line 1: .*an alias to a value that contains it"),
        ("a: &a {b: [{c: *a}]}", "line 1: .*an alias to a value that contains it"),
        ("a: &a {<<: *a}", "line 1: .*an alias to a value that contains it"),
        ("a: *b", "line 1: .*undefined alias"),
        (TEXT + "x: " + "[" * 40 + "]" * 40, "line 14: .*more than 32 nested values"),
        (TEXT + "x: " + "{a: " * 5000 + "}" * 5000, "line 14: .*more than 32 nested values"),
        (TEXT + 'x: "\\ud800"', r"line 14: .*unpaired surrogate \\ud800"),
        (TEXT + "x: !!int z", "line 14: .*'z' is not a value of type .*int"),
        (TEXT + "x: !!bool z", "line 14: .*'z' is not a value of type .*bool"),
        (TEXT + "x: !!int ''", "line 14: .*is not a value of type"),
        (TEXT + f"x: {'9' * 5000}", "line 14: .*is not a value of type"),
        (TEXT + "x: !!python/object/apply:os.system [ls]", "line 14: .*could not determine"),
        (TEXT + "? [a]\n: b", "line 14: .*a key must be one value"),
        (TEXT + "\x00", "not YAML"),
        (TEXT + "1: x", "the name of a setting must be text, not 1"),
        ("models: 5\n", "models must be a mapping, not int"),
        (TEXT.replace("{n: 16, top_k: 5, temperature: 1.0}", "[16]"), "decoding must be a mapping"),
        (TEXT.replace("{rounds: 2, bases: {NPO: {}}, controls: [NPO]}", "x"), "rule must be a map"),
        (
            TEXT.replace("bases: {NPO: {}}", "bases: [NPO]"),
            "rule.bases must be a mapping",
        ),
        (TEXT.replace("[NPO]\nrule", "NPO\nrule"), "studied must be a list, not str"),
        (TEXT.replace("  other: {benchmark", "  other: [] #"), "studies.other must be a mapping"),
        (TEXT.replace("retain_n: 4", "retain_n: x"), r"profile 'mine': retain_n.*mine\.yaml\)$"),
    ],
)
def test_the_error_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "mine.yaml", text)
    with pytest.raises(ValueError, match=message) as caught:
        load_profile(path, study="other" if "studies.other" in message else None)
    assert str(path) in str(caught.value)


def damaged(rng: random.Random) -> str:
    """A profile with one to three pieces of damage in its text or its values."""
    values = ["5", "-1", "[]", "{}", "null", "~", "true", ".nan", "1e999", "'x'", "[[1]]", "{a: 1}"]
    parts = ["&a ", "*a", "!!int ", "- ", "? ", ": ", "{", "}", "[", "]", "'", '"', "\t", "\n", "#"]
    text = TEXT
    for _ in range(rng.randint(1, 3)):
        lines = text.splitlines(keepends=True)
        at, i = rng.randrange(len(text)), rng.randrange(len(lines))
        line = lines[i]
        key, colon, _ = line.partition(":")
        text = rng.choice(
            [
                text[:at] + rng.choice(parts) + text[at:],
                text[:at] + text[at + rng.randint(1, 9) :],
                text[:at],
                "".join([*lines[:i], key + colon, " ", rng.choice(values), "\n", *lines[i + 1 :]]),
                "".join([*lines[:i], line, line, *lines[i + 1 :]]),
                "".join([*lines[:i], *lines[i + 1 :]]),
                text[:at] + chr(rng.choice([0, 7, 0x85, 0x202E, 0xD800, 0xFEFF])) + text[at:],
            ]
        )
        if not text:
            break
    return text


def test_a_damaged_profile_is_one_error_or_a_valid_profile(tmp_path: Path) -> None:
    rng = random.Random(15)
    path, valid = tmp_path / "mine.yaml", 0
    overrides = [
        {},
        {"study": "other"},
        {"models": ["NPO"]},
        {"bases": ["NPO"]},
        {"n": 8, "k": [1]},
    ]
    for _ in range(400):
        write(path, damaged(rng))
        changes = rng.choice(overrides)
        try:
            profile = load_profile(path, **changes)  # type: ignore[arg-type]
        except ValueError as error:
            said = str(error)
        else:
            said = f"mine is valid, with k = {profile.k}"
            valid += 1
        assert "mine" in said
        assert "Traceback" not in said
    assert 10 < valid < 300


def test_aliases_and_merged_settings_are_allowed(tmp_path: Path) -> None:
    text = TEXT.replace("decoding: {n: 16", "decoding: &d {n: 16").replace(
        "decoding: {n: 32}", "decoding: {<<: *d, n: 32, seed: 3}"
    )
    study = load_profile(write(tmp_path / "mine.yaml", text), study="other")
    assert (study.decoding.n, study.decoding.top_k, study.decoding.seed) == (32, 5, 3)


def test_the_command_line_gives_one_line(tmp_path: Path) -> None:
    for text in (TEXT + "retain_n: 5\n", "a: &a [*a]", "[" * 3000, "\x00", TEXT.replace("4", "x")):
        path = write(tmp_path / "mine.yaml", text)
        result = CliRunner().invoke(app, ["tune", str(path)])
        assert result.exit_code == 2
        assert len(result.output.strip().splitlines()) == 1
        assert str(path) in result.output
