"""The page that shows what a profile's notebooks gave."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from leakrepro.files import write_atomically
from leakrepro.report.tables import readable

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>leakrepro: {{ name }}</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
         color: #222; background: #fff; }
  h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin: 0; }
  section { border-top: 1px solid #ccc; margin-top: 2rem; padding-top: 1rem; }
  .status { float: right; } .ok { color: #11662b; } .failed { color: #a51616; }
  .meta { color: #555; font-size: .85rem; }
  a { color: #0b57a4; margin-right: .8rem; display: inline-block; }
  figure { margin: 1rem 0; } img { max-width: 100%; }
  pre { background: #f6f0f0; padding: .8rem; overflow-x: auto; }
  .scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
  th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #eee; }
  th { border-bottom-color: #888; } td:first-child, th:first-child { text-align: left; }
</style>
<h1>leakrepro: {{ name }}</h1>
{% for stem, run in runs.items() %}
<section id="{{ stem }}">
  <span class="status {{ run.status }}">{{ run.status }}, {{ run.seconds | round | int }} s</span>
  <h2>{{ stem }}</h2>
  <p>{% for file in files[stem] %}<a href="{{ file | urlencode }}">{{ file }}</a>{% endfor %}</p>
  {% if run.error %}<pre>{{ run.error }}</pre>{% endif %}
  {% for file, data in figures[stem].items() %}
  <figure><img src="data:image/png;base64,{{ data }}" alt="{{ file }}"></figure>
  {% endfor %}
  {% for table in tables[stem] %}<div class="scroll">{{ table | safe }}</div>{% endfor %}
  <p class="meta">
    started {{ run.started }}{% if run.commit %}, notebooks at {{ run.commit }}{% endif %}<br>
    {% for key, value in run.parameters.items() %}{{ key }} = {{ value }}; {% endfor %}<br>
    {% for key, value in run.versions.items() %}{{ key }} {{ value }}; {% endfor %}
  </p>
</section>
{% endfor %}
</html>
"""
_TABLE_ROWS = 40  # longer tables are linked, not shown


def write_index(folder: Path, runs: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes ``index.html``: each notebook's status, files, figures, tables and circumstances.

    A notebook's files are those in ``folder`` whose names begin with its stem, or with its stem
    without the number; those of a failed one are left out, since they are of an earlier run.

    Args:
        folder: Results of a profile.
        runs: Notebook stem -> ``status``, ``seconds``, ``started``, ``error``, ``parameters``,
            ``versions`` and ``commit``.

    Returns:
        The page.

    Raises:
        OSError: when the folder cannot be read or written.
    """
    runs = dict(sorted(runs.items()))
    files = {stem: _files(folder, stem, failed=bool(run["error"])) for stem, run in runs.items()}
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = template.from_string(_PAGE).render(
        name=folder.name,
        runs=runs,
        files=files,
        figures={stem: _figures(folder, names) for stem, names in files.items()},
        tables={stem: _tables(folder, names) for stem, names in files.items()},
    )
    path = folder / "index.html"
    write_atomically(path, page.encode())
    return path


def _files(folder: Path, stem: str, *, failed: bool) -> list[str]:
    if failed:
        return [name for name in (f"{stem}.failed.ipynb",) if (folder / name).exists()]
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    prefixes = (stem, stem.partition("_")[2] or stem)
    return [name for name in names if name.startswith(prefixes)]


def _figures(folder: Path, names: list[str]) -> dict[str, str]:
    figures = [name for name in names if name.endswith(".png")]
    return {name: base64.b64encode((folder / name).read_bytes()).decode() for name in figures}


def _tables(folder: Path, names: list[str]) -> list[str]:
    frames = [pd.read_csv(folder / name) for name in names if name.endswith(".csv")]
    short = [readable(frame) for frame in frames if len(frame) <= _TABLE_ROWS]
    return [frame.to_html(index=False, border=0) for frame in short]
