"""The evaluation report: one self-contained HTML page, made from the same values that go to report.json."""
