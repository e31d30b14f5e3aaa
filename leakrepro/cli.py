"""The command ``leakrepro``. Commands import libraries late, so that help is printed quickly."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from leakrepro.errors import (
    BusyError,
    IncompleteScores,
    MissingExtra,
    NotebookError,
    StoreError,
    WorkerError,
    extra_named,
)
from leakrepro.storage.shown import plain

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark
    from leakrepro.stats.estimator import Interval

# Errors that a user can correct. Any other error is a bug and keeps its traceback.
_USER_ERRORS = (
    ValueError,
    OSError,
    FloatingPointError,
    BusyError,
    IncompleteScores,
    MissingExtra,
    StoreError,
    WorkerError,
)


class _Commands(TyperGroup):
    """Prints errors as one line; exit status 2 for a wrong request, 1 for failed notebooks."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with extra_named("this command"):
                return super().invoke(ctx)
        except NotebookError as error:
            _show(f"Error: {error}", err=True)
            raise typer.Exit(1) from error
        except _USER_ERRORS as error:
            if ctx.params["traceback"]:
                raise
            _show(f"Error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2) from error


# Core metric -> its name in the authors' files.
_AUTHORS = {
    "entailment": "ES",
    "cosine": "CS",
    "judge": "LLM_judge",
    "rougeL_recall": "rougeL_recall",
}


def _show(value: object, *, err: bool = False) -> None:
    """Print a value; control sequences in names and answers are shown, not sent."""
    typer.echo(plain(str(value)), err=err)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Option = Annotated[
    list[str],
    typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the benchmark."),
]


@app.callback()
def main(
    traceback: Annotated[bool, typer.Option(help="Show where an error comes from.")] = False,
) -> None:
    """Measures what unlearned language models leak when they are sampled."""


@app.command()
def reproduce(
    profile: Annotated[
        str, typer.Option(help="embedded, scratch-cpu, paper, or a .yaml file.")
    ] = "embedded",
    only: Annotated[
        list[str], typer.Option(help="Notebook to run, by number or name; may be repeated.")
    ] = [],  # noqa: B006
    jobs: Annotated[
        int | None,
        typer.Option(help="Notebooks at the same time; by default the profile's number."),
    ] = None,
    parameter: Annotated[
        list[str],
        typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="Notebook parameter, as YAML."),
    ] = [],  # noqa: B006
    notebooks: Annotated[Path, typer.Option(help="Folder of the notebooks.")] = Path("notebooks"),
    again: Annotated[bool, typer.Option("--again", help="Also run unchanged notebooks.")] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Only print the cost and what is missing on this machine.")
    ] = False,
    tokens_per_second: Annotated[
        float | None, typer.Option(help="Dry run: speed of the sampler.")
    ] = None,
    judge_price: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="IN OUT", help="Dry run: dollars per million tokens of a judge."),
    ] = None,
) -> None:
    """Run the notebooks of a profile; results and report go to runs/PROFILE/.

    With -p they go to a separate folder, so that nothing is replaced. A notebook runs again only if
    one of its inputs has changed.

    \b
    Example: leakrepro reproduce --profile scratch-cpu --only 01 -p n=32 -p "k=[1, 32]"
    """
    if dry_run:
        from leakrepro.reproduction.dry_run import dry_run as plan

        _show(
            plan(
                profile,
                only=only,
                parameters=_pairs(parameter, "-p"),
                tokens_per_second=tokens_per_second,
                judge_price=judge_price,
            )
        )
        return
    if tokens_per_second is not None or judge_price is not None:
        raise ValueError("--tokens-per-second and --judge-price belong to --dry-run")
    from leakrepro.execution.lifetime import ends_in_order
    from leakrepro.reproduction.runner import reproduce as run

    with ends_in_order():
        output = run(
            profile,
            only=only,
            jobs=jobs,
            parameters=_pairs(parameter, "-p"),
            notebooks=notebooks,
            again=again,
        )
    _show(output / "index.html")


@app.command()
def verify(
    profile: Annotated[
        str, typer.Option(help="Profile whose results are verified, or a .yaml file.")
    ] = "embedded",
    only: Annotated[
        list[str], typer.Option(help="Notebook to verify, by number or name; may be repeated.")
    ] = [],  # noqa: B006
    jobs: Annotated[
        int | None,
        typer.Option(help="Notebooks at the same time; by default the profile's number."),
    ] = None,
    parameter: Annotated[
        list[str],
        typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="As passed to reproduce."),
    ] = [],  # noqa: B006
    notebooks: Annotated[Path, typer.Option(help="Folder of the notebooks.")] = Path("notebooks"),
) -> None:
    """Score every stored sample again, compute every table again, and compare with the results.

    Nothing is sampled, trained or changed. Each difference is printed; the exit status is then 1.

    \b
    Example: leakrepro verify --profile embedded --only 01
    """
    import leakrepro as lr
    from leakrepro.execution.lifetime import ends_in_order

    given = _pairs(parameter, "-p")
    with ends_in_order():
        found = lr.verify(profile, only=only, jobs=jobs, parameters=given, notebooks=notebooks)
    for difference in found.differences:
        _show(difference)
    _show(found)
    if not found.agrees:
        raise typer.Exit(1)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or a model of the benchmark.")],
    benchmark: Annotated[str, typer.Option(help="fictional, tofu ...")],
    option: Option = [],  # noqa: B006
    metric: Annotated[
        list[str], typer.Option(help="Core metric, the primary one first; may be repeated.")
    ] = [],  # noqa: B006
    k: Annotated[list[int], typer.Option(help="Value of k; may be repeated.")] = [],  # noqa: B006
    n: Annotated[int | None, typer.Option(help="Samples per prompt.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the samples.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling threshold.")] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Number of most likely tokens that are kept.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Maximum length of an answer, in tokens.")
    ] = None,
    engine: Annotated[str, typer.Option(help="hf or vllm.")] = "hf",
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    workers: Annotated[int, typer.Option(help="Processes or actors.")] = 1,
    interval: Annotated[
        str,
        typer.Option(help="Beside leak@k: prompts, samples (new ones), both, or plain stderr."),
    ] = "prompts",
    csv: Annotated[
        Path | None, typer.Option(help="Also write the values of all k to this file.")
    ] = None,
) -> None:
    """Measure leak@k of one model and print a row of the table.

    \b
    Example: leakrepro evaluate ./my-model --benchmark tofu -o forget=forget05 --n 200
    """
    import leakrepro as lr

    backend = lr.Backend(engine, executor, workers)
    bench = _benchmark(benchmark, option)
    given = {
        "n": n,
        "seed": seed,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "max_new_tokens": max_new_tokens,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    report = lr.evaluate(
        model,
        bench,
        decoding=bench.decoding.replace(**changes),
        metric=metric or None,
        k=k or None,
        backend=backend,
        interval=interval,  # type: ignore[arg-type]
    )
    _show(report)
    _show(f"samples: {report.samples_path}")
    if csv is not None:
        from leakrepro.evaluation.frames import save_table

        save_table(report.to_frame(), csv)
        _show(f"table: {csv}")


@app.command()
def unlearn(
    model: Annotated[str, typer.Argument(help="Folder or hub id of the model to start from.")],
    benchmark: Annotated[str, typer.Option(help="fictional, tofu ...")],
    method: Annotated[str, typer.Option(help="Unlearning method.")] = "NPO",
    option: Option = [],  # noqa: B006
    method_option: Annotated[
        list[str],
        typer.Option("--method-option", "-m", metavar="KEY=VALUE", help="Option of the method."),
    ] = [],  # noqa: B006
    output_dir: Annotated[
        Path | None, typer.Option(help="Where to save; by default under LEAKREPRO_HOME/models.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Model that the losses compare with [MODEL].")
    ] = None,
    watch: Annotated[
        int, typer.Option(help="Steps between two measurements of leak@k; 0 for none.")
    ] = 0,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between two checkpoints.")] = 50,
    report_to: Annotated[
        list[str], typer.Option(help="Tracker, such as tensorboard; may be repeated.")
    ] = [],  # noqa: B006
) -> None:
    """Unlearn a benchmark's forget set and print the new model's folder.

    A call that was stopped continues where it was. For several processes: accelerate launch -m
    leakrepro.cli unlearn ...

    \b
    Example: leakrepro unlearn ./my-model --benchmark tofu --method NPO -m beta=0.5 -m epochs=5
    """
    import leakrepro.unlearning as methods
    from leakrepro.profiles import fill, options_for

    given = _pairs(method_option, "-m")
    fill(methods.find_method(method).options, given, f"-m for {method}")  # wrong options fail first
    bench = _benchmark(benchmark, option)
    options, source = options_for(model, bench, method, given)
    _show(f"{method}: {source}", err=True)
    estimate = methods.estimate_unlearning(model, bench, method, options)
    _show(f"memory: {estimate}", err=True)
    path = methods.unlearn(
        model,
        bench,
        method,
        options,
        reference=reference,
        output_dir=output_dir,
        watch=methods.LeakWatch(every=watch) if watch else None,
        checkpoint_every=checkpoint_every,
        report_to=report_to,
    )
    if int(os.environ.get("RANK", "0")) == 0:  # one of several processes prints it
        _show(path)


@app.command()
def rule(
    model: Annotated[str, typer.Argument(help="The original model: folder, hub id or name.")],
    benchmark: Annotated[str, typer.Option(help="fictional, tofu ...")],
    base: Annotated[str, typer.Option(help="Unlearning method that RULE wraps.")] = "NPO",
    rounds: Annotated[int, typer.Option(help="Rounds after the base method.")] = 3,
    option: Option = [],  # noqa: B006
    method_option: Annotated[
        list[str],
        typer.Option(
            "--method-option", "-m", metavar="KEY=VALUE", help="Option of the base method."
        ),
    ] = [],  # noqa: B006
    round_option: Annotated[
        list[str],
        typer.Option(
            "--round-option",
            "-r",
            metavar="KEY=VALUE",
            help="Option of the base method in each round.",
        ),
    ] = [],  # noqa: B006
    rule_option: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="Option of RULE, such as n=64 or cap=4.")
    ] = [],  # noqa: B006
    retrain: Annotated[
        str | None, typer.Option(help="Model that never saw the forget set, to compare with.")
    ] = None,
    n: Annotated[int | None, typer.Option(help="Samples per prompt in the evaluation.")] = None,
    engine: Annotated[str, typer.Option(help="hf or vllm.")] = "hf",
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    workers: Annotated[int, typer.Option(help="Processes or actors.")] = 1,
    output_dir: Annotated[
        Path | None, typer.Option(help="Models and table; by default under LEAKREPRO_HOME.")
    ] = None,
) -> None:
    """Run RULE: sample the unlearned model, add what leaks to the forget set, unlearn again.

    A call that was stopped continues where it was.

    \b
    Example: leakrepro rule Original --benchmark fictional --base NPO -r steps=80 --rule-option n=64
    """
    import leakrepro as lr
    from leakrepro.profiles import fill, options_for
    from leakrepro.unlearning import RuleOptions, find_method

    kind = find_method(base).options
    given, changes = _pairs(method_option, "-m"), _pairs(round_option, "-r")
    rule_given = _pairs(rule_option, "--rule-option")
    if taken := rule_given.keys() & {"base", "round"}:
        raise ValueError(f"--rule-option {taken.pop()} is set with -m and -r instead")
    options = fill(RuleOptions, rule_given, "--rule-option")
    fill(kind, given, f"-m for {base}")  # wrong options fail before the benchmark is read
    fill(kind, given | changes, f"-r for {base}")
    backend = lr.Backend(engine, executor, workers)
    bench = _benchmark(benchmark, option)
    if given or changes:
        options = dataclasses.replace(
            options,
            base=options_for(model, bench, base, given)[0],
            round=options_for(model, bench, base, given | changes)[0],
        )
    result = lr.rule(
        model,
        bench,
        base,
        rounds,
        options if given or changes or rule_given else None,
        retrain=retrain,
        decoding=None if n is None else bench.decoding.replace(n=n),
        backend=backend,
        output_dir=output_dir,
    )
    _show(result)
    for each in result.rounds:
        _show(f"round {each.index}: {each.checkpoint}")


@app.command()
def tune(
    profile: Annotated[str, typer.Argument(help="Name of a profile, or a .yaml file.")],
    study: Annotated[str | None, typer.Option(help="One of the profile's studies instead.")] = None,
    rule: Annotated[
        bool, typer.Option("--rule", help="Tune RULE's rounds instead of the methods.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Also write all trials to this CSV file.")
    ] = None,
) -> None:
    """Try the settings of a profile's tuning grids and print the chosen ones.

    It uses the worlds of the tuning section, which are never reported. A call that was stopped
    continues where it was.

    \b
    Example: leakrepro tune embedded --study muse-news --output trials.csv
    """
    from leakrepro.evaluation.frames import save_table
    from leakrepro.profiles.schema import load_profile
    from leakrepro.reproduction import tuning

    settings = load_profile(profile, study=study)
    trials = tuning.tune_rules(settings) if rule else tuning.tune(settings)
    if output is not None:
        save_table(trials, output, "%.4f")
    assert settings.tuning is not None  # tune raises for a profile without it
    if rule:
        chosen = tuning.choose_rules(trials, settings.tuning.max_retain_loss)
    else:
        chosen = tuning.choose(trials, settings.tuning.min_retain)
    _show(chosen.to_string(index=False))


@app.command()
def score(
    store: Annotated[Path, typer.Argument(help="Folder of a sample store.")],
    metric: Annotated[str, typer.Option(help="Core metric.")] = "rougeL_recall/stem",
    benchmark: Annotated[
        str | None, typer.Option(help="Benchmark of the samples; the fact metrics need it.")
    ] = None,
    option: Option = [],  # noqa: B006
    new_draws: Annotated[bool, typer.Option(help="The same as --interval samples.")] = False,
    interval: Annotated[
        str,
        typer.Option(help="Beside leak@k: prompts, samples (new ones), both, or plain stderr."),
    ] = "prompts",
    export: Annotated[
        Path | None, typer.Option(help="Also write samples and scores in the authors' format.")
    ] = None,
) -> None:
    """Score stored samples and print leak@k.

    \b
    Example: leakrepro score runs/samples/0123456789abcdef --metric rougeL_recall/stem
    """
    import leakrepro as lr
    from leakrepro.evaluation.leak_report import check_shown, plain_stderr

    if benchmark is None and metric.startswith("fact_match"):
        raise ValueError(f"{metric} refuses answers about others, so it needs --benchmark")
    bench = _benchmark(benchmark, option) if benchmark is not None else None
    core = lr.load_metric(metric, bench)
    samples = lr.read_samples(store)
    scores = lr.score_samples(samples, core)
    check_shown(interval)
    shown = "samples" if new_draws else interval
    over: dict[str, tuple[Interval, ...]] = {
        "both": ("prompts", "samples"),
        "samples": ("samples",),
    }
    curves = [
        lr.leak_at_k(scores, interval=each, clusters=samples.clusters, plan=samples.plan)
        for each in over.get(shown, ("prompts",))
    ]
    level = f"{100 * curves[0].confidence:g} %"
    heads = [f"{level} interval over {curve.interval}" for curve in curves]
    if shown == "stderr":
        heads = ["standard error"]
    _show(f"{'k':>5}  leak@k  {'  '.join(heads)} ({core.id})")
    for i, k in enumerate(curves[0].k):
        cells = [f"{curve.low[i]:.4f} to {curve.high[i]:.4f}" for curve in curves]
        if shown == "stderr":
            cells = [f"{plain_stderr(curves[0])[i]:.4f}"]
        row = "  ".join(f"{cell:<{len(head)}}" for cell, head in zip(cells, heads, strict=True))
        _show(f"{k:>5}  {curves[0].value[i]:.4f}  {row}".rstrip())
    if export is not None:
        name = _AUTHORS.get(core.id.partition("/")[0], core.id)
        lr.export_generations(samples, export, {name: scores})
        _show(f"generations: {export}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="generations_n200.json of the leak@k authors.")],
    temperature: Annotated[float, typer.Option(help="Temperature of the samples.")],
    top_p: Annotated[float, typer.Option(help="Nucleus sampling threshold of the samples.")] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Number of most likely tokens that were kept.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(help="Maximum length of an answer, in tokens.")
    ] = 200,
    benchmark: Annotated[
        str | None, typer.Option(help="Benchmark whose prompts these are, for its clusters.")
    ] = None,
    option: Option = [],  # noqa: B006
    store: Annotated[
        Path | None, typer.Option(help="Folder of the store; by default in LEAKREPRO_HOME.")
    ] = None,
) -> None:
    """Put samples that the leak@k authors' scripts drew into a store and print its folder.

    \b
    Example: leakrepro import generations_n200.json --temperature 1 --benchmark tofu
    """
    import leakrepro as lr

    decoding = lr.Decoding(
        temperature=temperature, top_p=top_p, top_k=top_k, max_new_tokens=max_new_tokens, n=1
    )
    prompts = _benchmark(benchmark, option) if benchmark is not None else None
    samples = lr.import_generations(file, decoding=decoding, benchmark=prompts, store=store)
    _show(samples.path)


@app.command()
def bench(
    shape: Annotated[
        list[str] | None,
        typer.Argument(help="tofu, knowmem, verbmem, cell, memory, sampling; several or [all]."),
    ] = None,
    only: Annotated[
        list[str], typer.Option(help="Part of a contestant's name; may be repeated.")
    ] = [],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="Number of timings per contestant.")] = 7,
    quick: Annotated[bool, typer.Option(help="A tenth of the pairs and three rounds.")] = False,
    stem: Annotated[bool, typer.Option(help="Compare words by their Porter stems.")] = True,
    new_words: Annotated[
        float, typer.Option(help="Share of candidate words that occur only once.")
    ] = 0.02,
    seed: Annotated[int, typer.Option(help="Seed of the texts.")] = 0,
    threads: Annotated[
        int | None, typer.Option(help="Threads of multi-threaded contestants; all CPUs by default.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write the result to this file; - prints only JSON.")
    ] = None,
) -> None:
    """Time the kernel and every installed peer on the same pairs; check that they agree.

    The shape sampling times the samplers against transformers' generate.

    Peers come with pip install "leakrepro[bench]".

    \b
    Example: leakrepro bench tofu sampling --only rouge --json bench.json
    """
    from json import dumps

    from leakrepro.bench import SHAPES, readable
    from leakrepro.bench import bench as run

    result = run(
        shape or SHAPES,
        only=only,
        rounds=rounds,
        quick=quick,
        stem=stem,
        new_words=new_words,
        seed=seed,
        threads=threads,
    )
    text = dumps(result, indent=2)
    if json is not None and str(json) != "-":
        json.write_text(text + "\n")
    _show(text if str(json) == "-" else readable(result))


@app.command()
def info() -> None:
    """Print the versions and capabilities of this machine and installation.

    \b
    Example: leakrepro info
    """
    from leakrepro.info import describe

    lines = describe()
    width = max(map(len, lines))
    for topic, value in lines.items():
        _show(f"{topic:<{width}}  {value}")


def _benchmark(name: str, options: Sequence[str]) -> Benchmark:
    from leakrepro.benchmarks import load_benchmark

    return load_benchmark(name, **_pairs(options, "-o"))


def _pairs(given: Sequence[str], flag: str) -> dict[str, Any]:
    import yaml

    from leakrepro.profiles.strict_yaml import parse_yaml

    pairs: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"{flag} takes KEY=VALUE, not {text!r}")
        if key in pairs:
            raise ValueError(f"{flag} {key} is given twice")
        try:
            pairs[key] = parse_yaml(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{flag} {text!r}: the value is not YAML") from error
    return pairs


if __name__ == "__main__":
    app()
