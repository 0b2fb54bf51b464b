"""Makes the Grafana dashboards: `python deploy/observe/dashboards.py` writes them to the folder `dashboards` beside it.

Each panel has a title, a unit of Grafana's and its queries. `$model` is chosen on the dashboard; all are chosen at first.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${source}"}
RATE = "$__rate_interval"
M = 'model=~"$model"'
WIDTH, HEIGHT, ACROSS = 12, 8, 2  # of a panel in Grafana's grid, and how many stand side by side

Query = tuple[str, str]  # the expression, and the legend
Panel = tuple[str, str, list[Query]]  # title, unit, queries


def rate(metric: str, by: str, where: str = M) -> str:
    """Events a second, by these labels."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[{RATE}]))"


def quantile(share: float, metric: str, by: str = "model", where: str = M) -> str:
    """A quantile of a histogram, by these labels."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', f'{by}, le', where)})"


def gauge(metric: str, by: str, where: str = M) -> str:
    """The sum of a gauge, by these labels."""
    return f"sum by ({by}) ({metric}{{{where}}})"


def quantiles(metric: str, by: str = "model", where: str = M) -> list[Query]:
    """The median and the 95th percentile."""
    label = f"{{{{{by}}}}}"
    return [
        (quantile(0.5, metric, by, where), f"{label} p50"),
        (quantile(0.95, metric, by, where), f"{label} p95"),
    ]


OVERVIEW: list[Panel] = [
    ("Waiting requests", "short", [(gauge("kingpost_queued_requests", "model"), "{{model}}")]),
    (
        "Oldest waiting request",
        "s",
        [
            (
                f"max by (model, level) (kingpost_oldest_request_age_seconds{{{M}}})",
                "{{model}} level {{level}}",
            )
        ],
    ),
    (
        "Finished requests",
        "reqps",
        [(rate("kingpost_requests_finished_total", "model, status"), "{{model}} {{status}}")],
    ),
    ("Submission to end", "s", quantiles("kingpost_request_duration_seconds")),
    (
        "Slots in use",
        "percentunit",
        [
            (
                f"{gauge('kingpost_busy_slots', 'model')} / ({gauge('kingpost_slots', 'model')} > 0)",
                "{{model}}",
            )
        ],
    ),
    ("Replicas", "short", [(gauge("kingpost_replicas", "model, state"), "{{model}} {{state}}")]),
]
MODEL: list[Panel] = [
    (
        "Submitted, by level",
        "reqps",
        [(rate("kingpost_requests_submitted_total", "level"), "level {{level}}")],
    ),
    (
        "Ended, by status and error",
        "reqps",
        [
            (
                rate("kingpost_requests_finished_total", "status, error_code"),
                "{{status}} {{error_code}}",
            )
        ],
    ),
    ("Time in the queue", "s", quantiles("kingpost_request_queue_seconds")),
    ("Time in the model", "s", quantiles("kingpost_request_run_seconds")),
    ("Time to load", "s", quantiles("kingpost_load_seconds")),
    (
        "Loads, cold starts and wakes",
        "reqps",
        [
            (rate("kingpost_loads_total", "result"), "load {{result}}"),
            (rate("kingpost_cold_starts_total", "model"), "cold start"),
            (rate("kingpost_wakes_total", "model"), "wake"),
        ],
    ),
    (
        "Attempts that were repeated",
        "reqps",
        [(f"{rate('kingpost_attempts_repeated_total', 'reason')}", "{{reason}}")],
    ),
    (
        "Webhooks: attempts",
        "reqps",
        [
            (
                f"{rate('kingpost_webhook_attempts_total', 'verdict, code_class')}",
                "{{verdict}} {{code_class}}",
            )
        ],
    ),
]
MACHINES: list[Panel] = [
    ("GPU memory in use", "bytes", [("kingpost_gpu_memory_used_bytes", "{{node}} {{gpu}}")]),
    ("GPUs at work", "percentunit", [("kingpost_gpu_utilization_ratio", "{{node}} {{gpu}}")]),
    ("Temperature of GPUs", "celsius", [("kingpost_gpu_temperature_celsius", "{{node}} {{gpu}}")]),
    (
        "Uncorrected errors of GPU memory",
        "short",
        [("kingpost_gpu_ecc_errors_total", "{{node}} {{gpu}}")],
    ),
    ("Clocks of nodes", "s", [("kingpost_node_clock_offset_seconds", "{{node}}")]),
    ("Free slots of nodes", "short", [("kingpost_node_free_slots", "{{node}}")]),
    ("Time since a node reported", "s", [("kingpost_node_report_age_seconds", "{{node}}")]),
    ("Time since maintenance finished a round", "s", [("kingpost_maintenance_age_seconds", "")]),
    ("Models that made room", "reqps", [(f"rate(kingpost_switches_total[{RATE}])", "switches")]),
]
STORE: list[Panel] = [
    (
        "Memory",
        "bytes",
        [("kingpost_store_memory_bytes", "used"), ("kingpost_store_max_memory_bytes", "limit")],
    ),
    ("Round trip", "s", quantiles("kingpost_store_round_trip_seconds", "instance", "")),
    (
        "HTTP requests",
        "reqps",
        [(rate("kingpost_http_requests_total", "route, code", ""), "{{route}} {{code}}")],
    ),
    ("Time to the first byte", "s", quantiles("kingpost_http_first_byte_seconds", "route", "")),
    (
        "CPU of API processes",
        "percentunit",
        [(f"rate(process_cpu_seconds_total[{RATE}])", "{{instance}}")],
    ),
    (
        "Webhooks",
        "short",
        [("kingpost_webhooks_pending", "pending"), ("kingpost_webhooks_exhausted", "given up")],
    ),
]
DASHBOARDS: dict[str, tuple[str, list[Panel]]] = {
    "overview": ("Kingpost: overview", OVERVIEW),
    "model": ("Kingpost: a model", MODEL),
    "machines": ("Kingpost: machines", MACHINES),
    "store": ("Kingpost: store and API", STORE),
}


def dashboard(uid: str, title: str, panels: list[Panel]) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    variables = [
        {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "model",
            "label": "Model",
            "type": "query",
            "datasource": SOURCE,
            "query": "label_values(kingpost_queued_requests, model)",
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]
    return {
        "uid": f"kingpost-{uid}",
        "title": title,
        "tags": ["kingpost"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": [_panel(number, *panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, title: str, unit: str, queries: list[Query]) -> dict[str, Any]:
    place = {
        "x": number % ACROSS * WIDTH,
        "y": number // ACROSS * HEIGHT,
        "w": WIDTH,
        "h": HEIGHT,
    }
    targets = [
        {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for n, (query, legend) in enumerate(queries)
    ]
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def files() -> dict[str, str]:
    """The files by name, as they have to be."""
    return {
        f"{uid}.json": json.dumps(dashboard(uid, title, panels), indent=2) + "\n"
        for uid, (title, panels) in DASHBOARDS.items()
    }


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
