"""Schema and loading of profiles: YAML files with all settings of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from leakrepro.errors import DataError
from leakrepro.execution.backend import Backend
from leakrepro.profiles.strict_yaml import parse_yaml
from leakrepro.storage import paths
from leakrepro.storage.text_files import read_utf8
from leakrepro.types import Decoding

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


T = TypeVar("T", bound="DataclassInstance")


# (temperature, top_p) of the paper's decoding grid. Greedy decoding is omitted, because every
# report contains it.
GRID = tuple((t, p) for t in (0.2, 0.8, 1.0) for p in (0.2, 0.8, 1.0))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Trained(_Strict):
    """A model trained from random weights on forget and retain set, or only on the retain set.

    Attributes:
        train: ``"full"`` or ``"retain"``.
    """

    train: Literal["full", "retain"]


class Unlearned(_Strict):
    """The model trained on ``"full"``, unlearned by a method of ``leakrepro.unlearning``.

    Attributes:
        unlearn: Name of the method.
        options: Options of the method.
    """

    unlearn: str
    options: dict[str, Any] = {}


class Hosted(_Strict):
    """A checkpoint on the hub or in a local folder.

    Attributes:
        hub: Hub id or path.
        revision: Commit of the hub's repository; None for the newest.
    """

    hub: str
    revision: str | None = None


def _kind(spec: Any) -> str | None:
    kinds = ("train", "unlearn", "hub")
    given = spec if isinstance(spec, Mapping) else vars(spec) if isinstance(spec, _Strict) else ()
    return next((kind for kind in kinds if kind in given), None)


class Tuning(_Strict):
    """How the options of the unlearning methods are tuned (``leakrepro.reproduction.tuning``).

    Attributes:
        worlds: Validation benchmarks: each entry is a change to ``benchmark_options``, usually the
            seed. None of them may be reported.
        grids: Model name -> option -> values to try.
        min_retain: Minimum retain score of a choice, as a share of Original's; greedy decoding.
        rule_grids: Base method -> option of RULE's rounds -> values to try.
        max_retain_loss: Maximum loss of retain score by RULE relative to the base method, for
            greedy and sampled answers.
    """

    worlds: tuple[dict[str, Any], ...] = Field(min_length=1)
    grids: dict[str, dict[str, tuple[Any, ...]]]
    min_retain: float = Field(gt=0, le=1)
    rule_grids: dict[str, dict[str, tuple[Any, ...]]] = {}
    max_retain_loss: float = Field(default=0.03, ge=0, lt=1)

    def __str__(self) -> str:
        return (
            f"Options of {', '.join(self.grids)} were chosen on validation benchmarks "
            f"({', '.join(map(str, self.worlds))}) by greedy answers only: closest to Retrain's "
            f"greedy leak with at least {self.min_retain:.0%} of Original's greedy retain score."
        )


class Base(_Strict):
    """An unlearning method that RULE wraps.

    Attributes:
        options: Options of the method; None for those of the profile's unlearned model of this
            name.
        round: Options that change in RULE's rounds.
    """

    options: dict[str, Any] | None = None
    round: dict[str, Any] = {}


class Rule(_Strict):
    """Settings of RULE.

    Attributes:
        rounds: Number of rounds after the base method.
        options: Fields of ``leakrepro.unlearning.RuleOptions`` except ``base``, ``round`` and
            ``added``.
        bases: Base method -> its options in RULE.
        controls: Base methods for which both controls are also run.
    """

    rounds: PositiveInt
    options: dict[str, Any] = {}
    bases: dict[str, Base] = Field(min_length=1)
    controls: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _controls_fit(self) -> Rule:
        if unknown := [name for name in self.controls if name not in self.bases]:
            raise ValueError(f"controls of {', '.join(unknown)}, which is not one of the bases")
        return self


ModelSpec = Annotated[
    Annotated[Trained, Tag("train")]
    | Annotated[Unlearned, Tag("unlearn")]
    | Annotated[Hosted, Tag("hub")],
    Discriminator(
        _kind,
        custom_error_type="model",
        custom_error_message="a model is one of {train: full|retain}, {unlearn: METHOD}, {hub: ID}",
    ),
]


class Profile(_Strict):
    """The settings of one run of the notebooks.

    Attributes:
        name: The file's stem; results go to ``runs/<name>/``.
        benchmark: Name for ``leakrepro.load_benchmark``.
        benchmark_options: Options for ``leakrepro.load_benchmark``.
        worlds: Changes to ``benchmark_options``, for example seeds. The RULE notebooks evaluate the
            benchmark once per entry.
        models: Name in tables -> definition of the model, in the order of the tables.
        rule: Settings of RULE; None if the profile does not use it.
        training: Fields of ``TinyRecipe``, for models trained from random weights.
        decoding: Decoding of the forget prompts.
        retain_n: Samples per retain prompt, with the same decoding.
        k: Values of k in tables; at most ``decoding.n``.
        metrics: Ids of the core metrics, primary metric first; None for the benchmark's.
        core_metrics: Ids of the metrics that notebook 06 compares.
        judge: Id of the LLM judge in notebook 06; None to run without a judge.
        studied: Models in notebooks 05 to 09; the last one is examined in most detail. None for
            all.
        grid: Pairs of temperature and top_p in notebook 05.
        grid_n: Samples per forget prompt in each cell of the grid; None for ``decoding.n``.
        seeds: Number of generation seeds in notebook 08.
        engine: Sampling engine.
        engine_options: Fields of the engine's options.
        executor: Where sampling and scoring run.
        workers: Number of sampling processes.
        jobs: Number of notebooks that run at the same time.
        threads: CPU threads per process for torch; None for torch's default.
        studies: Name -> settings for another benchmark. A study inherits only the settings of
            execution, ``k``, ``retain_n`` and ``notebooks`` from its profile.
        notebooks: Stems of the notebooks that ``leakrepro reproduce`` runs.
        tuning: How the options of the methods are tuned; None if they are not.
    """

    name: str
    benchmark: str
    benchmark_options: dict[str, Any] = {}
    worlds: tuple[dict[str, Any], ...] = Field(default=({},), min_length=1)
    models: dict[str, ModelSpec] = Field(min_length=1)
    rule: Rule | None = None
    training: dict[str, Any] = {}
    decoding: Decoding
    retain_n: PositiveInt
    k: tuple[PositiveInt, ...] = Field(min_length=1)
    metrics: tuple[str, ...] | None = None
    core_metrics: tuple[str, ...] = ("rougeL_recall/stem", "exact_match")
    judge: str | None = None
    studied: tuple[str, ...] | None = None
    grid: tuple[tuple[float, float], ...] = GRID
    grid_n: PositiveInt | None = None
    seeds: PositiveInt = 24
    engine: Literal["hf", "vllm"] = "hf"
    engine_options: dict[str, Any] = {}
    executor: Literal["local", "ray"] = "local"
    workers: PositiveInt = 1
    jobs: PositiveInt = 1
    threads: PositiveInt | None = None
    studies: dict[str, dict[str, Any]] = {}
    notebooks: tuple[str, ...] = Field(min_length=1)
    tuning: Tuning | None = None

    @property
    def judges(self) -> tuple[str, ...]:
        """The judge as a tuple; empty without a judge."""
        return (self.judge,) if self.judge else ()

    @property
    def backend(self) -> Backend:
        """Where the profile's work runs.

        Raises:
            ValueError: for an option that the engine does not have.
        """
        # Imported here, because engines import torch and reading a profile does not need it.
        from leakrepro.sampling.engines.table import ENGINES

        where = f"profile {self.name!r}, engine_options"
        engine = fill(ENGINES[self.engine], self.engine_options, where)
        return Backend(engine, self.executor, self.workers, self.threads)

    @model_validator(mode="after")
    def _studied_are_models(self) -> Profile:
        if unknown := [name for name in self.studied or () if name not in self.models]:
            raise ValueError(f"studied: no model {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _k_fits(self) -> Profile:
        n = self.decoding.n
        if max(self.k) > n:
            fitting = [k for k in self.k if k <= n]
            raise ValueError(
                f"k = {max(self.k)} needs as many samples per prompt, but n is {n}: "
                f"raise n or pass k={fitting}"
            )
        return self


def load_profile(
    name: str | Path,
    *,
    study: str | None = None,
    models: Sequence[str] | None = None,
    n: int | None = None,
    retain_n: int | None = None,
    seed: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | Literal["all"] | None = None,
    max_new_tokens: int | None = None,
    k: Sequence[int] | None = None,
    bases: Sequence[str] | None = None,
    rounds: int | None = None,
) -> Profile:
    """Load a packaged profile by name or a user's profile by path, and change some values.

    An argument that is None keeps the profile's value, so a notebook can pass its parameters
    unchanged.

    >>> load_profile("paper", n=8, k=[1, 8], models=["Retrain"]).decoding.n
    8

    Args:
        name: ``"embedded"``, ``"scratch-cpu"``, ``"paper"`` ..., or a path that ends in ``.yaml``.
        study: Name of one of the profile's studies, to load it instead of the main settings.
        models: Names of the models to keep, in this order.
        n: Samples per forget prompt.
        retain_n: Samples per retain prompt.
        seed: Seed of the sampler.
        temperature: Sampling temperature; 0 is greedy decoding, which needs ``n=1``.
        top_p: Probability mass of nucleus sampling.
        top_k: Number of most likely tokens to keep; ``"all"`` keeps all, because None means no
            change.
        max_new_tokens: Maximum number of tokens per answer.
        k: Values of k.
        bases: Base methods of RULE to keep, in this order, with their controls.
        rounds: Number of RULE's rounds.

    Returns:
        The profile.

    Raises:
        DataError: for a file that is missing, not YAML or not a mapping of settings, or whose name
            cannot be the name of results; the message names the file and the line.
        ValueError: for an unknown profile, study, model or base method, or an invalid value.
    """
    content, where = _read(name)
    if study is not None:
        content = _study(content, study)
    known = content.get("models")
    if models is not None and isinstance(known, Mapping):
        if unknown := [model for model in models if model not in known]:
            raise ValueError(
                f"profile {content['name']!r} has no model {', '.join(map(repr, unknown))}; "
                f"it has: {', '.join(known)}"
            )
        content["models"] = {model: known[model] for model in models}
        if content.get("studied"):
            kept = [model for model in content["studied"] if model in models]
            content["studied"] = kept or None
    changes = {
        "n": n,
        "seed": seed,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "max_new_tokens": max_new_tokens,
    }
    decoding = content.get("decoding")
    if isinstance(decoding, Mapping):
        changed = {key: value for key, value in changes.items() if value is not None}
        content["decoding"] = {**decoding, **changed}
        if content["decoding"].get("top_k") == "all":
            content["decoding"]["top_k"] = None
    if k is not None:
        content["k"] = k
    if retain_n is not None:
        content["retain_n"] = retain_n
    if bases is not None or rounds is not None:
        content["rule"] = _rule(content, bases, rounds)
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        file = f" ({where})" if where else ""
        raise ValueError(f"profile {content['name']!r}: {_problems(error)}{file}") from error


def profile_names() -> list[str]:
    """Names of the packaged profiles."""
    folder = resources.files("leakrepro") / "profiles"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))


def fill(options: type[T], values: Mapping[str, Any], what: str) -> T:
    """Make an options dataclass from plain values of a profile or a command line.

    >>> fill(Decoding, {"n": 8}, "decoding").n
    8

    Args:
        options: The dataclass.
        values: Field values; missing fields keep their defaults.
        what: Where the values come from, for error messages.

    Returns:
        The instance.

    Raises:
        ValueError: for an unknown field, a value of another type, or an invalid value.
    """
    known = [field.name for field in dataclasses.fields(options)]
    if unknown := values.keys() - set(known):
        raise ValueError(
            f"{what}: unknown {', '.join(map(repr, sorted(unknown)))}; known: {', '.join(known)}"
        )
    try:
        return TypeAdapter(options).validate_python(dict(values))
    except ValidationError as error:
        raise ValueError(f"{what}: {_problems(error)}") from error


def _read(name: str | Path) -> tuple[dict[str, Any], str]:
    """Return the content of a profile with its name, and the file for error messages."""
    path = Path(name)
    if path.suffix == ".yaml":
        _check_name(path)
        text, where = read_utf8(path), str(path)
    elif str(name) in profile_names():
        packaged = resources.files("leakrepro") / "profiles" / f"{name}.yaml"
        text, where = packaged.read_text(encoding="utf-8"), ""
    else:
        raise ValueError(
            f"unknown profile {str(name)!r}; known: {', '.join(profile_names())}, "
            "or the path of a .yaml file"
        )
    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise DataError(f"{path}{line}: not YAML ({reason})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a profile must be a mapping, not {type(content).__name__}")
    _check_shapes(content, path)
    return {**content, "name": path.stem}, where


def _check_name(path: Path) -> None:
    """Raise unless results can be kept under the name of a profile's file."""
    problem = paths.name_problem(path.stem, longest=100)  # a run adds up to 70
    if not problem and path.stem.casefold() in map(str.casefold, profile_names()):
        packaged = resources.files("leakrepro") / "profiles" / path.name
        if not (path.exists() and str(path.resolve()) == str(Path(str(packaged)).resolve())):
            problem = "a packaged profile has this name"
    if problem:
        raise DataError(
            f"{path}: results are kept under the name of the file, {path.stem!r}: {problem}; "
            "rename the file"
        )


# Settings that are read before the profile is validated -> their types.
_SHAPES: dict[str, type | tuple[type, ...]] = {
    "models": Mapping,
    "decoding": Mapping,
    "rule": (Mapping, type(None)),
    "studies": (Mapping, type(None)),
    "studied": (list, type(None)),
}


def _check_shapes(content: Mapping[str, Any], path: Path) -> None:
    """Raise DataError unless the parts that overrides change are mappings and lists."""

    def check(value: Any, kind: type | tuple[type, ...], field: str) -> None:
        if not isinstance(value, kind):
            wanted = "list" if kind == _SHAPES["studied"] else "mapping"
            raise DataError(f"{path}: {field} must be a {wanted}, not {type(value).__name__}")

    for key in content:
        if not isinstance(key, str):
            raise DataError(f"{path}: the name of a setting must be text, not {key!r}")
    for key, kind in _SHAPES.items():
        if key in content:
            check(content[key], kind, key)
    for name, study in (content.get("studies") or {}).items():
        check(study, Mapping, f"studies.{name}")
        _check_shapes(study, path)
    if rule := content.get("rule"):
        check(rule.get("bases", {}), Mapping, "rule.bases")
        check(rule.get("controls", []), list, "rule.controls")


# Keys that a study inherits from its profile.
_INHERITED = (
    "name",
    "k",
    "retain_n",
    "engine",
    "engine_options",
    "executor",
    "workers",
    "jobs",
    "threads",
    "notebooks",
)


def _study(content: Mapping[str, Any], study: str) -> dict[str, Any]:
    """The settings of one of a profile's studies, with the inherited keys."""
    studies = content.get("studies") or {}
    if study not in studies:
        raise ValueError(
            f"profile {content['name']!r} does not have the study {study!r}; it has: "
            f"{', '.join(studies) or 'none'}"
        )
    inherited = {key: content[key] for key in _INHERITED if key in content}
    return {**inherited, **studies[study]}


def _rule(
    content: Mapping[str, Any], bases: Sequence[str] | None, rounds: int | None
) -> dict[str, Any]:
    """The section ``rule``, reduced to some base methods or with another number of rounds."""
    rule = content.get("rule")
    if not isinstance(rule, Mapping):
        raise ValueError(f"profile {content['name']!r} does not have a section `rule`")
    rule = dict(rule)
    if bases is not None:
        known = rule.get("bases", {})
        if unknown := [base for base in bases if base not in known]:
            raise ValueError(
                f"profile {content['name']!r} does not have RULE around {', '.join(unknown)}; "
                f"it has: {', '.join(known)}"
            )
        rule["bases"] = {base: known[base] for base in bases}
        rule["controls"] = [base for base in rule.get("controls", ()) if base in bases]
    if rounds is not None:
        rule["rounds"] = rounds
    return rule


def _problems(error: ValidationError) -> str:
    return "; ".join(
        ": ".join(
            filter(None, [".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")])
        )
        for e in error.errors()
    )
