#!/usr/bin/env python3
"""Draws what the last runs of `make bench-load` and `make bench-peers` found, as SVG beside this file.

Each bar is a row of bench/results/*.jsonl: its value, or that of what it is compared with. Of rows that were measured
several times the last counts.
"""

import json
import sys
from dataclasses import dataclass
from html import escape
from math import log10
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"

WIDTH, LEFT, RIGHT = 760, 300, 90
BAR, GAP, GROUP_GAP = 16, 4, 16
OURS, THEIRS = "#0b7285", "#adb5bd"


@dataclass
class Bar:
    """One figure, with its name."""

    name: str
    value: float
    ours: bool


def rows(file: str) -> dict[str, dict]:
    """The last row of each name."""
    path = RESULTS / f"{file}.jsonl"
    if not path.exists():
        sys.exit(f"{path} is missing: make bench-{file}")
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {line["bench"]: line for line in lines}


def svg(title: str, unit: str, groups: list[tuple[str, list[Bar]]], logarithmic: bool) -> str:
    """Groups of horizontal bars on one scale."""
    bars = [bar.value for _, group in groups for bar in group]
    most, least = max(bars), min(bars)
    room = WIDTH - LEFT - RIGHT

    def length(value: float) -> float:
        if not logarithmic:
            return room * value / most
        # One step more, so that the least is seen, too.
        low = log10(least) - 0.5
        return room * (log10(value) - low) / (log10(most) - low)

    scale = f"{unit}, logarithmic" if logarithmic else unit
    parts = [f'<text x="8" y="22" class="title">{escape(title)} ({escape(scale)})</text>']
    y = 40.0
    for name, group in groups:
        parts.append(f'<text x="8" y="{y + 12:.0f}" class="group">{escape(name)}</text>')
        for bar in group:
            end = length(bar.value)
            colour = OURS if bar.ours else THEIRS
            figure = f"{bar.value:,.0f}" if bar.value >= 100 else f"{bar.value:.3g}"
            parts += [
                f'<text x="{LEFT - 8}" y="{y + 12:.0f}" class="name">{escape(bar.name)}</text>',
                f'<rect x="{LEFT}" y="{y:.0f}" width="{end:.1f}" height="{BAR}" fill="{colour}"/>',
                f'<text x="{LEFT + end + 6:.1f}" y="{y + 12:.0f}">{figure}</text>',
            ]
            y += BAR + GAP
        y += GROUP_GAP
    style = (
        "text{font:12px sans-serif;fill:#212529}.title{font-weight:bold;font-size:14px}"
        ".group{font-weight:bold}.name{text-anchor:end}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" width="{WIDTH}">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def load() -> None:
    """Throughput, beside the floors."""
    found = rows("load")
    groups = []
    for method in ["evaluate", "check"]:
        for socket in ["tcp", "uds"]:
            row = f"grpc.{method}.{socket}.c50"
            group = [Bar("caed", found[row]["value"], True)]
            for name in [row, f"{row}.stock", f"{row}.h2"]:
                group.append(Bar(found[name]["baseline"], found[name]["baseline_value"], False))
            groups.append((f"{method}, {socket}", group))
    row = found["forward_auth.c50"]
    ours, theirs = Bar("caed", row["value"], True), Bar(row["baseline"], row["baseline_value"], False)
    groups.append(("forward auth", [ours, theirs]))
    title = "Answers on one core, 50 at once; caed decides, the others don't"
    (HERE / "load.svg").write_text(svg(title, "answers/s", groups, False), encoding="utf-8")


def peers() -> None:
    """Each peer beside caed, on one scale."""
    found = rows("peers")
    for file, wanted, title in [
        ("peers-throughput", "throughput", "Answers on one core, 50 at once"),
        ("peers-latency", "one.p50", "One question at a time, median"),
    ]:
        groups = []
        unit = ""
        for name, row in found.items():
            _, peer, way, *figure = name.split(".")
            if ".".join(figure[1:]) == wanted:
                question = figure[0]
                unit = row["unit"]
                ours, theirs = row["value"], row["baseline_value"]
                bars = [Bar("caed", ours, True), Bar(peer, theirs, False)]
                groups.append((f"{peer}, {way}: {question}", bars))
        drawing = svg(title, unit, groups, True)
        (HERE / f"{file}.svg").write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    load()
    peers()
