"""A comparison that runs models' programs: under isolation, which its record names, or not at all."""

import pytest

from analyses.comparison import analysis as comparison
from analyses.comparison.config import ComparisonConfig
from lm_merge.evaluation.sandbox import SandboxUnavailable, bubblewrap, isolation_in_use
from lm_merge.runs.record import read_record, start_run


def test_programs_that_cannot_be_isolated_are_refused_before_anything_is_generated(
    monkeypatch, tmp_path
):
    def generated(*_: object, **__: object) -> None:
        raise AssertionError("a system was asked")

    bubblewrap.isolation.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("analyses.comparison.analysis.all_answers", generated)
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap"):
        comparison.run(ComparisonConfig(run_code=True))


def test_a_record_names_the_isolation(tmp_path):
    systems = {"host": "tiny-instruct", "donor": "tiny-thinker"}
    small = {"systems": systems, "pairs": (("host", "donor"),), "n_per_category": 1, "seeds": (0,)}
    config = ComparisonConfig(**small, run_code=True)
    try:
        isolation = isolation_in_use()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    with start_run("comparison", config, root=tmp_path) as record:
        comparison.run(config, record)
    assert isolation in " ".join(read_record(record.folder).notes)
