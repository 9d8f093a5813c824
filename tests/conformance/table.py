"""What was found: cases by tool and side, the table of them, and whether all is well."""

import threading
from dataclasses import dataclass, field

SIDES = ("lbd", "nginx")


@dataclass
class Tool:
    """The cases of one tool: for each side, what each case came to; None is a pass."""

    name: str
    found: dict = field(default_factory=lambda: {side: {} for side in SIDES})

    def count(self, side):
        cases = self.found[side].values()
        return sum(fault is None for fault in cases), len(cases)

    def fraction(self, side):
        passed, total = self.count(side)
        return f"{passed:,}/{total:,}" if total else "-"


class Table:
    """All tools. `reasons` says why a case of lbd may fail: (tool, case) -> why."""

    def __init__(self, reasons):
        self.tools, self.notes, self.reasons = {}, [], reasons
        self.lock = threading.Lock()

    def add(self, tool, side, case, fault=None):
        """Puts down that `case` passed, or with a `fault` how it failed."""
        with self.lock:
            found = self.tools.setdefault(tool, Tool(tool)).found[side]
            if case in found:
                raise AssertionError(f"two cases of {tool} are called {case}")
            found[case] = None if fault is None else " ".join(str(fault).split())[:300]

    def attempt(self, tool, side, case, check):
        """Runs `check`: it passes unless it raises, or returns what is wrong."""
        try:
            fault = check()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the finding)
            fault = f"{type(error).__name__}: {error}"
        self.add(tool, side, case, fault)

    def note(self, text):
        """Puts down a figure that is neither pass nor failure."""
        with self.lock:
            self.notes.append(text)

    def verdict(self):
        """What is wrong, as lines; empty if all is well."""
        wrong = []
        for tool in self.tools.values():
            for case, fault in tool.found["lbd"].items():
                if fault is not None and (tool.name, case) not in self.reasons:
                    wrong.append(f"{tool.name}: {case}: {fault}")
            lbd, nginx = ({c for c, f in tool.found[s].items() if f is None} for s in SIDES)
            excused = {case for case in nginx - lbd if (tool.name, case) in self.reasons}
            if len(lbd) + len(excused) < len(nginx):
                wrong.append(f"{tool.name}: lbd passes {len(lbd)} cases, nginx {len(nginx)}")
        return wrong

    def differences(self):
        """Every case that does not pass on both sides, as lines."""
        for tool in self.tools.values():
            for case in dict.fromkeys([*tool.found["lbd"], *tool.found["nginx"]]):
                for side in SIDES:
                    fault = tool.found[side].get(case)
                    if fault is not None:
                        reason = self.reasons.get((tool.name, case)) if side == "lbd" else None
                        yield f"  {side:5}  {tool.name}: {case}: {fault}" + (
                            f"\n         accepted: {reason}" if reason else ""
                        )

    def text(self):
        rows = [("tool", "lbd passed/total", "nginx passed/total")]
        rows += [(t.name, t.fraction("lbd"), t.fraction("nginx")) for t in self.tools.values()]
        widths = [max(len(row[n]) for row in rows) for n in range(3)]
        lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        differences = list(self.differences())
        if differences:
            lines += ["", "What does not pass:", *differences]
        if self.notes:
            lines += ["", "Figures:", *(f"  {note}" for note in self.notes)]
        return "\n".join(lines)
