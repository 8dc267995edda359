"""Model cards: the JSON beside a saved model, told to people as Markdown."""

from __future__ import annotations

from typing import Any

from kerasunet.metrics import METRICS, POLICY


def as_markdown(facts: dict[str, Any]) -> str:
    """Renders the card of a saved model.

    Args:
        facts: The values of `NAME.json`, as `kerasunet.zoo.save` writes them.

    Returns:
        Markdown text.
    """
    return "\n".join(
        [
            f"# {facts['name']}: {facts['title']}",
            "",
            "Research use only; not a medical device.",
            "",
            "```python",
            "import keras",
            f'model = keras.models.load_model("saved_models/{facts["name"]}.keras")',
            "```",
            "",
            "Input: grey levels 0 to 255, `(batch, height, width, "
            f"{facts['architecture']['channels']})`, any float or uint8, height and width "
            f"multiples of {2 ** facts['architecture']['depth']}. Standardisation is inside. "
            "Output: foreground probability of the same height and width.",
            "",
            *_facts_table(facts),
            "",
            "## Held-out cases",
            "",
            *_metrics_table(facts["metrics"]),
            "",
            *_other_evaluations(facts.get("evaluations", [])),
            POLICY,
            "",
            "## Data",
            "",
            *_data_notes(facts),
            "",
        ]
    )


def _facts_table(facts: dict[str, Any]) -> list[str]:
    rows = {
        "trained layers": f"`{facts['strategy']}`",
        "initial weights": f"`{facts['init']}`",
        "training cases": facts["training_cases"],
        "image size": f"{facts['image_size']}×{facts['image_size']}",
        "threshold": facts["threshold"],
        "parameters": f"{facts['parameters']:,}",
        "split (SHA-256)": f"`{facts['split'][:16]}`" if facts["split"] else "whole data sets",
        "file (SHA-256)": f"`{facts['sha256']}`",
        "storage": facts.get("storage", "float32"),
        "versions": ", ".join(f"{name} {number}" for name, number in facts["versions"].items()),
    }
    return ["| | |", "|---|---|"] + [f"| {name} | {value} |" for name, value in rows.items()]


def _metrics_table(summary: dict[str, Any]) -> list[str]:
    lines = ["| metric | mean | 95 % interval |", "|---|---|---|"]
    for name, metric in METRICS.items():
        interval = summary[name]
        unit = f" ({summary['unit']})" if metric.is_distance else ""
        lines.append(
            f"| {metric.label}{unit} | {interval['mean']:.3f} | "
            f"{interval['low']:.3f} to {interval['high']:.3f} |"
        )
    counts = (
        f"{summary['n']} cases; {summary['missed']} objects missed, {summary['false_alarm']} "
        f"false alarms, {summary['empty_truth']} cases without an object."
    )
    return [*lines, "", counts]


def _other_evaluations(evaluations: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for found in evaluations:
        side = found["image_size"]
        looks = ", with mirror images" if found.get("mirrored") else ""
        lines += [f"## On `{found['data']['name']}`, none of which was trained on{looks}", ""]
        lines += [*_metrics_table(found["metrics"]), ""]
        lines += [f"At {side}×{side} pixels, threshold {found['threshold']}.", ""]
    return lines


def _data_notes(facts: dict[str, Any]) -> list[str]:
    notes = [("Trained on", facts["data"]), ("Evaluated on", facts["evaluation_data"])]
    others = {found["data"]["name"]: found["data"] for found in facts.get("evaluations", [])}
    notes += [("Evaluated on", data) for data in others.values()]
    return [
        f"- {role} `{note['name']}` ({note['cases']} cases in the set). Terms: {note['terms']}. "
        f"{note['citation']}".rstrip()
        for role, note in notes
    ]
