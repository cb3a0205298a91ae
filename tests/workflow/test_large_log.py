"""The same sessions in memory, by way of files, and in shards."""

import polars as pl
from polars.testing import assert_frame_equal

from tests.workflow.conftest import TINY, Workflow, configure


def test_sessions_are_the_same_in_memory_by_way_of_files_and_in_shards(checkout, tmp_path):
    configure(tmp_path, TINY)
    workflow = Workflow(checkout, tmp_path)
    made = {}
    for way, arguments in {
        "memory": [],
        "files": ["--set-resources", "sessionize_events:mem_mb=1"],
        "shards": ["--set-scatter", "shard=3"],
    }.items():
        done = workflow.run("--cores", "2", *arguments, "--", "results/sessions/summary.json")
        assert ("sessionize_shard" in done.stderr) == (way == "shards")
        sessions = workflow.results("sessions")
        assert sorted(path.name for path in sessions.iterdir()) == ["catalogue.parquet", "sessions.parquet", "summary.json"]
        made[way] = sessions.rename(tmp_path / way)
    for way in ("files", "shards"):
        assert (made[way] / "summary.json").read_bytes() == (made["memory"] / "summary.json").read_bytes()
        for name in ("sessions.parquet", "catalogue.parquet"):
            assert_frame_equal(pl.read_parquet(made[way] / name), pl.read_parquet(made["memory"] / name))
    assert (made["files"] / "sessions.parquet").read_bytes() == (made["shards"] / "sessions.parquet").read_bytes()
    assert (made["files"] / "sessions.parquet").read_bytes() != (made["memory"] / "sessions.parquet").read_bytes()
