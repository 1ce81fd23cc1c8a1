"""The text of pages and the records of studies, for tests that compare them."""

import functools
from pathlib import Path

from studies.records import store

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"


def measured(study, metric, settings, method=None):
    """A metric of test images, of each complete run with these settings."""
    return [record["metrics"]["test"][metric] for record in complete(study, settings, method)]


def complete(study, settings, method=None):
    return [
        record
        for record in records(study)
        if record["status"] == "complete"
        and (record["method"] or {}).get("name") == method
        and all(
            record["config"][section][name] == value
            for (section, name), value in ((key.split("."), value) for key, value in settings.items())
        )
    ]


@functools.cache
def records(study):
    good, refused = store.read_all(RESULTS / study)
    assert not refused
    return [record.model_dump(mode="json") for record in good]


def text_of(page):
    return " ".join(page.read_text(encoding="utf-8").split())


readme = functools.partial(text_of, ROOT / "README.md")
findings = functools.partial(text_of, ROOT / "docs" / "results.md")


def short(number, decimals=3):
    """Decimals without the zero before them."""
    return f"{number:.{decimals}f}".replace("0.", ".", 1)


shorter = functools.partial(short, decimals=2)
