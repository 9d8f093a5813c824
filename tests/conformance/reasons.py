"""Why lbd may fail a case: (tool, case) -> the reason."""

REASONS = {}
