"""What was measured, as a table, as JSON and as a chart."""

import json
import statistics
from html import escape

BEST_OF = ("nginx", "haproxy", "envoy")
COLOURS = {"nginx": "#2f855a", "haproxy": "#2b6cb0", "envoy": "#b7791f", "relay": "#718096"}


def spread(values):
    """Median and extremes."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(samples, mine="lbd"):
    """lbd's value over each peer's, of the same round."""
    found = {}
    for name, rows in samples.items():
        if name in (mine, "direct"):
            continue
        pairs = zip(samples.get(mine, []), rows)
        each = [a["value"] / b["value"] for a, b in pairs if a["value"] > 0 and b["value"] > 0]
        if each:
            found[name] = spread(each)
    return found


def verdicts(case, against):
    """What became of each target: how much it asks, how much it is, and whether that is enough."""
    found = {}
    for whom, limit in case.targets.items():
        names = [name for name in BEST_OF if name in against] if whom == "best" else [whom]
        # The best peer is the one that lbd compares worst with.
        values = [against[name]["median"] for name in names if name in against]
        if values:
            found[whom] = {"limit": limit, "ratio": max(values), "met": max(values) <= limit}
    return found


def summary(case, samples):
    against = ratios(samples)
    return {"title": case.title, "unit": case.unit, "samples": samples, "lbd_to": against,
            "targets": verdicts(case, against),
            "values": {name: spread([row["value"] for row in rows]) for name, rows in samples.items()}}


def table(name, result):
    lines = [f"{name}: {result['title']}"]
    if result.get("note"):
        lines.append(f"  {result['note']}")
    head = ("", result["unit"], "lbd ÷ peer", "", "")
    rows = [head]
    for peer, value in result["values"].items():
        against = result["lbd_to"].get(peer)
        rows.append((
            peer,
            f"{figure(value['median'])} ({figure(value['min'])}–{figure(value['max'])})",
            ratio_cell(against),
            "; ".join(details(result["samples"][peer])),
            "",
        ))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
              for row in rows]
    for whom, target in result["targets"].items():
        said = "met" if target["met"] else "missed"
        lines.append(f"  target: at most {target['limit']:.2f} of {whom}: {said} ({target['ratio']:.2f})")
    return "\n".join(lines)


def figure(number):
    digits = 0 if abs(number) >= 100 else 1 if abs(number) >= 1 else 2
    return f"{number:.{digits}f}"


def details(rows):
    """What else there is to say of a peer's samples, in medians."""
    def of(key):
        return statistics.median(row[key] for row in rows)

    first = rows[0]
    if "rate" in first:
        yield f"{of('rate'):.0f} requests/s on {100 * of('busy'):.0f} % of its core"
    if "p50" in first:
        yield f"p50 {of('p50'):.0f}, p99 {of('p99'):.0f}, p99.9 {of('p999'):.0f} µs"
        if any(row["added_p99"] for row in rows):
            yield f"added p50 {of('added_p50'):.0f}, p99.9 {of('added_p999'):.0f} µs"
        if "waited" in first:
            waited = f"waited {100 * of('waited'):.0f} % of the time for it"
            yield f"{100 * of('cpu'):.0f} % of its core, {waited}"
        yield f"sent late by {of('lag_p50'):.0f}, p99 {of('lag_p99'):.0f} µs"
    if "at_rest_mib" in first:
        yield f"{of('at_rest_mib'):.1f} MiB at rest"
    if "calls" in first:
        yield f"{of('all'):.2f} calls in all"
        calls = sorted(first["calls"].items(), key=lambda item: -item[1])
        yield ", ".join(f"{call} {count:.2f}" for call, count in calls if count >= 0.01)
    errors = sum(row["errors"] for row in rows)
    if errors:
        yield f"{errors} ERRORS"


def write(folder, run, results):
    """Puts results.json, table.txt, ratios.md and ratios.svg into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({**run, "cases": results}, indent=1) + "\n")
    tables = "\n\n".join(table(name, result) for name, result in results.items())
    (folder / "table.txt").write_text(f"{run['command']}\n{run['date']}\n\n{tables}\n")
    (folder / "ratios.md").write_text(ratio_table(results))
    (folder / "ratios.svg").write_text(chart(run, results))


def ratio_table(results):
    """The table that the README quotes: ratios only, since times are the machine's."""
    peers = ("nginx", "haproxy", "envoy", "relay")
    lines = ["| lbd ÷ | nginx | HAProxy | Envoy | relay |", "|---|---|---|---|---|"]
    for result in results.values():
        against = result["lbd_to"]
        # Response times of a machine that did other work are not for quoting.
        if against and (result["targets"] or "added" not in result["unit"]):
            cells = [ratio_cell(against.get(name)) for name in peers]
            lines.append(f"| {result['title']}: {result['unit']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def ratio_cell(ratio):
    return f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})" if ratio else ""


def chart(run, results):
    """Bars of lbd's ratio to each peer, case by case; shorter is better, the line is 1."""
    left, width, bar, top = 190, 560, 13, 70
    shown = [(name, result) for name, result in results.items() if result["lbd_to"]]
    longest = max([r["median"] for _, result in shown for r in result["lbd_to"].values()], default=1)
    scale = width / max(1.25, min(longest, 4) * 1.08)
    parts, y = [], top
    for name, result in shown:
        middle = y + len(result["lbd_to"]) * bar / 2 + 4
        parts.append(f'<text x="{left - 8}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>')
        for peer, ratio in result["lbd_to"].items():
            long = min(ratio["median"] * scale, width)
            parts.append(f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{bar - 2}" '
                         f'fill="{COLOURS.get(peer, "#999")}"><title>{peer}</title></rect>')
            parts.append(f'<text x="{left + long + 4:.1f}" y="{y + bar - 3}" class="small">'
                         f'{ratio["median"]:.2f}</text>')
            y += bar
        y += 9
    one = left + scale
    legend = "".join(
        f'<rect x="{left + 100 * i}" y="40" width="11" height="11" fill="{colour}"/>'
        f'<text x="{left + 100 * i + 16}" y="50">{peer}</text>'
        for i, (peer, colour) in enumerate(COLOURS.items()))
    style = "text { font: 12px sans-serif; fill: #222 } .small { font-size: 10px }"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{y + 20}">\n'
        f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="{left}" y="22">lbd ÷ peer, medians; below 1 lbd needs less '
        f'({escape(run["date"])})</text>\n{legend}\n'
        + "\n".join(parts)
        + f'\n<line x1="{one:.1f}" x2="{one:.1f}" y1="{top - 8}" y2="{y}" stroke="#222" '
        'stroke-dasharray="4 3"/>\n</svg>\n')
