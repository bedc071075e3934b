"""The report: one HTML file that needs nothing else: tables, plots, what failed, how it was measured."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from utils.evaluation.codecs import OURS
from utils.evaluation.plots import Plot
from utils.evaluation.rows import Row
from utils.evaluation.tables import Table, data_sets

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def report_html(rows: list[Row], tables: list[Table], plots: list[Plot]) -> str:
    """The page. `rows` as `shown_rows` gives them."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["data_uri"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    sets = ", ".join(
        f"{name} ({len({row.image for row in rows if row.data_set == name})} images)" for name in data_sets(rows)
    )
    return environment.get_template(TEMPLATE.name).render(
        title="P59: lossless image codecs compared",
        summary=f"Data sets: {sets or 'none yet'}. Every file was decoded and compared before it counted.",
        failures=[row for row in rows if row.error],
        tables=tables,
        plots=plots,
        provenance=provenance(rows),
        ours=OURS,
    )


def provenance(rows: list[Row]) -> dict[str, str]:
    """What a reader needs to repeat the measurements: each name with all its values."""
    ours = [row for row in rows if row.codec == OURS]
    values = {
        "commit": [row.commit for row in rows],
        "models": [f"{row.order} {row.model}" for row in ours if row.model],
        "machine": [f"{row.device}: {row.machine}" for row in rows],
        "images at a time, threads each": [f"{row.workers}, {row.threads}" for row in rows if not row.is_timing],
        "versions": [f"{row.codec} ({row.versions})" for row in rows if row.versions],
    }
    return {name: "; ".join(dict.fromkeys(found)) for name, found in values.items() if found}
