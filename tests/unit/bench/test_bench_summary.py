"""The figures of a benchmark: against hand-computed cases, and against the client's own sums of a real run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpubox.bench import plot, result, summary, table
from gpubox.errors import Failed

FIXTURES = Path(__file__).parent / "fixtures"
CASES = sorted((FIXTURES / "levels").glob("*.yml"))


def load(path: Path) -> tuple[dict[str, Any], summary.Level]:
    case: dict[str, Any] = yaml.safe_load(path.read_text())
    return case, summary.level(case["record"], case["entry"], output_len=case["output_len"])


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_figures_by_hand(path: Path) -> None:
    case, level = load(path)
    found = level.as_dict()
    assert found.keys() == case["expected"].keys()
    for name, expected in case["expected"].items():
        assert found[name] == (pytest.approx(expected) if isinstance(expected, int | float | dict) else expected), name


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([5], 99, 5), ([1, 2], 50, 1.5), ([4, 1, 3, 2], 25, 1.75), (list(range(1, 101)), 99, 99.01), ([1, 2, 3], 100, 3)],
)
def test_percentiles_are_interpolated_linearly(values: list[float], share: float, expected: float) -> None:
    assert summary.percentile(values, share) == pytest.approx(expected)


def test_a_real_run_agrees_with_the_clients_own_sums() -> None:
    found = result.read(FIXTURES / "real")
    client = json.loads((FIXTURES / "real" / "c2.json").read_text())
    (level,) = found.levels
    assert (level.failed, level.server) == (0, "same")
    assert level.output_tokens == client["total_output_tokens"]
    assert level.input_tokens == client["total_input_tokens"]
    for ours, theirs in ((level.ttft_ms, "ttft"), (level.tpot_ms, "tpot"), (level.e2e_ms, "e2el")):
        assert ours is not None
        assert ours.mean == pytest.approx(client[f"mean_{theirs}_ms"])
        for share in (50, 90, 99):
            assert getattr(ours, f"p{share}") == pytest.approx(client[f"p{share}_{theirs}_ms"])
    # The client's clock runs a little longer than the requests.
    assert level.seconds <= client["duration"]
    assert level.output_tokens_per_s == pytest.approx(client["output_throughput"], rel=0.02)


def test_figures_with_failures_are_refused() -> None:
    _, failed = load(FIXTURES / "levels" / "overlapping-and-one-failed.yml")
    with pytest.raises(Failed, match="1 of 3 requests at concurrency 2 failed: ClientError: 500"):
        summary.refuse_failures([failed], where="here")
    _, lying = load(FIXTURES / "levels" / "one-token-answers-and-a-lying-record.yml")
    with pytest.raises(Failed, match="counted less"):
        summary.refuse_failures([lying], where="here")
    _, good = load(FIXTURES / "levels" / "two-requests-by-hand.yml")
    summary.refuse_failures([good], where="here")
    summary.refuse_failures([dataclasses.replace(good, server="more")], where="here")


@pytest.mark.parametrize("damage", ["missing", "shorter", "no number", "no file", "no json"])
def test_a_damaged_record_is_a_sentence(tmp_path: Path, damage: str) -> None:
    place = tmp_path / "run"
    shutil.copytree(FIXTURES / "real", place)
    record = json.loads((place / "c2.json").read_text())
    if damage == "missing":
        del record["ttfts"]
    elif damage == "shorter":
        record["latencies"].pop()
    elif damage == "no number":
        record["latencies"][0] = "soon"
    (place / "c2.json").write_text("{" if damage == "no json" else json.dumps(record))
    if damage == "no file":
        (place / "c2.json").unlink()
    with pytest.raises(Failed, match="record of the benchmark") as caught:
        result.read(place)
    assert "c2.json" in str(caught.value.where)


def test_the_table_and_its_remarks() -> None:
    found = result.read(FIXTURES / "real")
    head, rows = table.level_rows(found)
    assert len(rows) == 1
    assert len(rows[0]) == len(head)
    assert rows[0][:3] == ("2", "6", "0")
    _, failed = load(FIXTURES / "levels" / "overlapping-and-one-failed.yml")
    _, lumpy = load(FIXTURES / "levels" / "a-cut-answer-is-a-failure.yml")
    _, nothing = load(FIXTURES / "levels" / "nothing-came.yml")
    many = dataclasses.replace(found, levels=(failed, lumpy, nothing))
    text = table.markdown(many)
    assert "1 of 3 requests failed: ClientError: 500" in text
    assert "tokens arrived 2 at a time" in text
    assert "somebody else used the engine" in text
    assert text.count("\n| ") == 5
    assert "| - |" in text


def test_the_picture(tmp_path: Path) -> None:
    _, nothing = load(FIXTURES / "levels" / "nothing-came.yml")
    found = result.read(FIXTURES / "real")
    found = dataclasses.replace(found, levels=(*found.levels, nothing))
    plot.draw(found, tmp_path / "bench.png")
    data = (tmp_path / "bench.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == 1800


def test_json_shape() -> None:
    found = result.read(FIXTURES / "real").as_dict()
    assert list(found) == ["run", "results", "model", "input_len", "output_len", "levels"]
    assert json.loads(json.dumps(found)) == found
