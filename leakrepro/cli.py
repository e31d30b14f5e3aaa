"""The command ``leakrepro``. Libraries are imported inside the commands to keep ``--help`` fast."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from leakrepro.errors import IncompleteScores, MissingExtra, NotebookError, StoreError

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark

# Errors that a user can fix. All others are bugs and are shown with a traceback.
_USER_ERRORS = (ValueError, OSError, FloatingPointError, IncompleteScores, MissingExtra, StoreError)


class _Commands(TyperGroup):
    """Prints errors as one line; exits with 2 for a user error and with 1 for failed notebooks."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except NotebookError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from error
        except _USER_ERRORS as error:
            if ctx.params["traceback"]:
                raise
            typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2) from error


# Core metric -> its name in the files of the leak@k authors.
_AUTHORS_NAMES = {
    "entailment": "ES",
    "cosine": "CS",
    "judge": "LLM_judge",
    "rougeL_recall": "rougeL_recall",
}

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
    traceback: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Measure what unlearned language models leak when they are sampled."""


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
        typer.Option(help="Notebooks run at the same time; default: from the profile."),
    ] = None,
    parameter: Annotated[
        list[str],
        typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="Notebook parameter, as YAML."),
    ] = [],  # noqa: B006
    notebooks: Annotated[Path, typer.Option(help="Folder of the notebooks.")] = Path("notebooks"),
    again: Annotated[
        bool, typer.Option("--again", help="Also run notebooks that are up to date.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Only print the estimated work and what is missing.")
    ] = False,
    tokens_per_second: Annotated[
        float | None, typer.Option(help="Dry run: tokens per second of the sampler.")
    ] = None,
    judge_price: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="IN OUT", help="Dry run: dollars per million tokens of the judge."),
    ] = None,
) -> None:
    """Run the notebooks of a profile; results and report go to runs/PROFILE/.

    With -p, they go to a separate folder, so existing results are not overwritten. A notebook that
    is up to date does not run again.

    \b
    Example: leakrepro reproduce --profile scratch-cpu --only 01 -p n=32 -p "k=[1, 32]"
    """
    if dry_run:
        from leakrepro.reproduction.dry_run import dry_run as plan

        typer.echo(
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
    from leakrepro.reproduction.runner import reproduce as run

    output = run(
        profile,
        only=only,
        jobs=jobs,
        parameters=_pairs(parameter, "-p"),
        notebooks=notebooks,
        again=again,
    )
    typer.echo(output / "index.html")


@app.command()
def verify(
    profile: Annotated[str, typer.Option(help="Name of a profile, or a .yaml file.")] = "embedded",
    only: Annotated[
        list[str], typer.Option(help="Notebook to verify, by number or name; may be repeated.")
    ] = [],  # noqa: B006
    jobs: Annotated[
        int | None,
        typer.Option(help="Notebooks run at the same time; default: from the profile."),
    ] = None,
    parameter: Annotated[
        list[str],
        typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="Same as for reproduce."),
    ] = [],  # noqa: B006
) -> None:
    """Recompute all scores and tables from the stored samples and compare them with the results.

    Does not sample, train or change anything. Prints one line per difference and then exits with 1.

    \b
    Example: leakrepro verify --profile embedded --only 01
    """
    import leakrepro as lr

    found = lr.verify(profile, only=only, jobs=jobs, parameters=_pairs(parameter, "-p"))
    for difference in found.differences:
        typer.echo(difference)
    typer.echo(found)
    if not found.agrees:
        raise typer.Exit(1)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or a model of the benchmark.")],
    benchmark: Annotated[str, typer.Option(help="fictional, tofu ...")],
    option: Option = [],  # noqa: B006
    metric: Annotated[
        list[str], typer.Option(help="Core metric, primary metric first; may be repeated.")
    ] = [],  # noqa: B006
    k: Annotated[list[int], typer.Option(help="Value of k; may be repeated.")] = [],  # noqa: B006
    n: Annotated[int | None, typer.Option(help="Samples per prompt.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the samples.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus probability mass.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Number of most likely tokens to keep.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Maximum tokens per answer.")] = None,
    engine: Annotated[str, typer.Option(help="hf or vllm.")] = "hf",
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    workers: Annotated[int, typer.Option(help="Processes or actors.")] = 1,
    csv: Annotated[
        Path | None, typer.Option(help="Also write a table of all values of k there.")
    ] = None,
) -> None:
    """Measure leak@k of one model and print the result.

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
    )
    typer.echo(report)
    typer.echo(f"samples: {report.samples_path}")
    if csv is not None:
        report.to_frame().to_csv(csv, index=False)
        typer.echo(f"table: {csv}")


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
        Path | None, typer.Option(help="Output folder; default: in LEAKREPRO_HOME/models.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Reference model of the losses; default: MODEL.")
    ] = None,
    watch: Annotated[int, typer.Option(help="Steps between leak@k measurements; 0 for none.")] = 0,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 50,
    report_to: Annotated[
        list[str], typer.Option(help="Tracker, such as tensorboard; may be repeated.")
    ] = [],  # noqa: B006
) -> None:
    """Unlearn a benchmark's forget set and print the new model's folder.

    An interrupted run resumes from its last checkpoint. To use several processes: accelerate launch
    -m leakrepro.cli unlearn ...

    \b
    Example: leakrepro unlearn ./my-model --benchmark tofu --method NPO -m beta=0.5 -m epochs=5
    """
    import leakrepro.unlearning as methods
    from leakrepro.profiles import fill, options_for

    given = _pairs(method_option, "-m")
    # Report invalid options before the benchmark is loaded.
    fill(methods.find_method(method).options, given, f"-m for {method}")
    bench = _benchmark(benchmark, option)
    options, source = options_for(model, bench, method, given)
    typer.echo(f"{method}: {source}", err=True)
    estimate = methods.estimate_unlearning(model, bench, method, options)
    typer.echo(f"memory: {estimate}", err=True)
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
    if int(os.environ.get("RANK", "0")) == 0:  # only one of several processes prints
        typer.echo(path)


@app.command()
def rule(
    model: Annotated[str, typer.Argument(help="The original model: folder, hub id or name.")],
    benchmark: Annotated[str, typer.Option(help="fictional, tofu ...")],
    base: Annotated[str, typer.Option(help="Unlearning method that RULE wraps.")] = "NPO",
    rounds: Annotated[int, typer.Option(help="Rounds after the base method.")] = 3,
    option: Option = [],  # noqa: B006
    method_option: Annotated[
        list[str],
        typer.Option("--method-option", "-m", metavar="KEY=VALUE", help="Base method option."),
    ] = [],  # noqa: B006
    round_option: Annotated[
        list[str],
        typer.Option(
            "--round-option", "-r", metavar="KEY=VALUE", help="Base method option in the rounds."
        ),
    ] = [],  # noqa: B006
    rule_option: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="RULE option, such as n=64 or cap=4.")
    ] = [],  # noqa: B006
    retrain: Annotated[
        str | None, typer.Option(help="Baseline model that never saw the forget set.")
    ] = None,
    n: Annotated[int | None, typer.Option(help="Samples per prompt of the evaluation.")] = None,
    engine: Annotated[str, typer.Option(help="hf or vllm.")] = "hf",
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    workers: Annotated[int, typer.Option(help="Processes or actors.")] = 1,
    output_dir: Annotated[
        Path | None, typer.Option(help="Folder of models and table; default: in LEAKREPRO_HOME.")
    ] = None,
) -> None:
    """Run RULE: sample the unlearned model, add what leaks to the forget set, unlearn again.

    An interrupted run resumes where it stopped.

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
    # Report invalid options before the benchmark is loaded.
    fill(kind, given, f"-m for {base}")
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
    typer.echo(result)
    for each in result.rounds:
        typer.echo(f"round {each.index}: {each.checkpoint}")


@app.command()
def score(
    store: Annotated[Path, typer.Argument(help="Folder of a sample store.")],
    metric: Annotated[str, typer.Option(help="Core metric.")] = "rougeL_recall/stem",
    benchmark: Annotated[
        str | None, typer.Option(help="Benchmark of the samples; required by fact_match.")
    ] = None,
    option: Option = [],  # noqa: B006
    new_draws: Annotated[
        bool, typer.Option(help="Interval over new samples of the same prompts, not over prompts.")
    ] = False,
    export: Annotated[
        Path | None, typer.Option(help="Also write samples and scores in the authors' format.")
    ] = None,
) -> None:
    """Score existing samples and print leak@k.

    \b
    Example: leakrepro score runs/samples/0123456789abcdef --metric rougeL_recall/stem
    """
    import leakrepro as lr

    if benchmark is None and metric.startswith("fact_match"):
        raise ValueError(f"{metric} must know the names of all subjects: it needs --benchmark")
    bench = _benchmark(benchmark, option) if benchmark is not None else None
    core = lr.load_metric(metric, bench)
    samples = lr.read_samples(store)
    scores = lr.score_samples(samples, core)
    curve = lr.leak_at_k(
        scores,
        interval="samples" if new_draws else "prompts",
        clusters=samples.clusters,
        plan=samples.plan,
    )
    typer.echo(f"{'k':>5}  leak@k  {100 * curve.confidence:g} % interval ({core.id})")
    for i, k in enumerate(curve.k):
        typer.echo(f"{k:>5}  {curve.value[i]:.4f}  {curve.low[i]:.4f} to {curve.high[i]:.4f}")
    if export is not None:
        name = _AUTHORS_NAMES.get(core.id.partition("/")[0], core.id)
        lr.export_generations(samples, export, {name: scores})
        typer.echo(f"generations: {export}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="generations_n200.json of the leak@k authors.")],
    temperature: Annotated[float, typer.Option(help="Sampling temperature of the file.")],
    top_p: Annotated[float, typer.Option(help="Nucleus probability mass of the file.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Top-k setting of the file.")] = None,
    max_new_tokens: Annotated[
        int, typer.Option(help="Maximum tokens per answer of the file.")
    ] = 200,
    benchmark: Annotated[
        str | None, typer.Option(help="Benchmark of the prompts, for its clusters.")
    ] = None,
    option: Option = [],  # noqa: B006
    store: Annotated[
        Path | None, typer.Option(help="Folder of the store; default: in LEAKREPRO_HOME.")
    ] = None,
) -> None:
    """Import samples of the leak@k authors' scripts into a sample store and print its folder.

    \b
    Example: leakrepro import generations_n200.json --temperature 1 --benchmark tofu
    """
    import leakrepro as lr

    decoding = lr.Decoding(
        temperature=temperature, top_p=top_p, top_k=top_k, max_new_tokens=max_new_tokens, n=1
    )
    prompts = _benchmark(benchmark, option) if benchmark is not None else None
    samples = lr.import_generations(file, decoding=decoding, benchmark=prompts, store=store)
    typer.echo(samples.path)


@app.command()
def bench(
    shape: Annotated[
        list[str] | None,
        typer.Argument(help="tofu, knowmem, verbmem, cell, memory, sampling; several or [all]."),
    ] = None,
    only: Annotated[
        list[str], typer.Option(help="Part of a contestant's name; may be repeated.")
    ] = [],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="Number of timed rounds per contestant.")] = 7,
    quick: Annotated[bool, typer.Option(help="Use a tenth of the pairs and three rounds.")] = False,
    stem: Annotated[bool, typer.Option(help="Compare words by their Porter stems.")] = True,
    new_words: Annotated[
        float, typer.Option(help="Share of the candidates' words that occur nowhere else.")
    ] = 0.02,
    seed: Annotated[int, typer.Option(help="Seed of the texts.")] = 0,
    threads: Annotated[
        int | None, typer.Option(help="Threads of multi-threaded contestants; default: all CPUs.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write the result there; - prints only JSON.")
    ] = None,
) -> None:
    """Time the kernel and every installed peer on the same pairs; check that they agree.

    The shape "sampling" compares the samplers with transformers' generate.

    Install the peers with pip install "leakrepro[bench]".

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
    typer.echo(text if str(json) == "-" else readable(result))


@app.command()
def info() -> None:
    """Describe the capabilities of this machine and this installation.

    \b
    Example: leakrepro info
    """
    from leakrepro.info import describe

    lines = describe()
    width = max(map(len, lines))
    for topic, value in lines.items():
        typer.echo(f"{topic:<{width}}  {value}")


def _benchmark(name: str, options: Sequence[str]) -> Benchmark:
    from leakrepro.benchmarks import load_benchmark

    return load_benchmark(name, **_pairs(options, "-o"))


def _pairs(given: Sequence[str], flag: str) -> dict[str, Any]:
    import yaml

    from leakrepro.profiles.schema import parse_yaml

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
