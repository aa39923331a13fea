"""What a worker counts of a release: each unit once, by its first prediction, with what that brought in time."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.predictions import table_of
from tests.serving.gateway.test_prediction_log import MAY

from headrace.delivery.experiment_nouns import ArmRewards, MeasureRequest
from headrace.delivery.measuring import count
from headrace.kernel.lake import Lake
from headrace.serving.log.compaction import predictions_table
from headrace.serving.log.feedback_join import feedback_table
from headrace.serving.nouns import Arm, PredictionRecord, Purpose

DAY = timedelta(days=1)
REQUEST = MeasureRequest(
    release_id="rel_1", model="churn", reward="purchase", low=0.0, high=1.0, missing=None, matures_after_s=86_400.0
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def predicted(
    prediction_id: str, arm: Arm, unit: int | None, *, step: int | None = 0, at: datetime = MAY, **changes: Any
) -> PredictionRecord:
    facts: dict[str, Any] = {
        "prediction_id": prediction_id,
        "business_at": at,
        "at": at,
        "model": "churn",
        "version": 2 if arm is Arm.CHALLENGER else 1,
        "arm": arm,
        "propensity": 0.5,
        "release_id": "rel_1",
        "step": step,
        "entity": None,
        "names": ("x",),
        "features": (1.0,),
        "output": 0.5,
        "latency_us": 1,
        "fault": None,
        "purpose": Purpose.LIVE,
        "unit": unit,
    }
    return PredictionRecord(**(facts | changes))


def log(lake: Lake, *records: PredictionRecord) -> None:
    append(lake, predictions_table("churn"), table_of(list(records)))


def append(lake: Lake, table: str, rows: pa.Table) -> None:
    lake.append(table, rows, operation="test", sequence=(lake.sequence(table, "test") or 0) + 1)


def say(
    lake: Lake, *told: tuple[str, float | None, timedelta], name: str = "purchase", made: datetime = MAY
) -> None:
    """What became of predictions, and how long after they were made."""
    rows = [
        {
            "sequence": place,
            "prediction_id": prediction_id,
            "name": name,
            "number": number,
            "at": made + after,
            "predicted_at": made,
        }
        for place, (prediction_id, number, after) in enumerate(told)
    ]
    instant = pa.timestamp("us", tz="UTC")
    kinds = [("sequence", pa.int64()), ("prediction_id", pa.string()), ("name", pa.string())]
    kinds += [("number", pa.float64()), ("at", instant), ("predicted_at", instant)]
    append(lake, feedback_table("churn"), pa.Table.from_pylist(rows, pa.schema(kinds)))


def counted(
    lake: Lake, tmp_path: Path, *, until: datetime = MAY, **changes: Any
) -> dict[tuple[int, bool], ArmRewards]:
    request = MeasureRequest(**({name: getattr(REQUEST, name) for name in REQUEST.__struct_fields__} | changes))
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    found: Sequence[ArmRewards] = count(lake, request, until, scratch)
    return {(arm.step, arm.challenger): arm for arm in found}


def test_what_was_given_for_certain_compares_nothing_and_leaves_the_unit_to_the_test(
    lake: Lake, tmp_path: Path
) -> None:
    log(
        lake,
        predicted("prd_1", Arm.CHAMPION, 7, propensity=1.0),  # in the step of a shadow
        predicted("prd_2", Arm.CHAMPION, 8, step=1, propensity=1.0),  # while the breaker was open
        predicted("prd_3", Arm.CHALLENGER, 7, step=1),
        predicted("prd_4", Arm.CHAMPION, 9, step=1),
    )
    found = counted(lake, tmp_path, until=MAY + DAY)
    assert {place: arm.units for place, arm in found.items()} == {(1, True): 1, (1, False): 1}


def test_nothing_is_counted_where_nothing_was_predicted(lake: Lake, tmp_path: Path) -> None:
    assert counted(lake, tmp_path) == {}


def test_a_unit_counts_once_by_its_first_prediction(lake: Lake, tmp_path: Path) -> None:
    log(
        lake,
        predicted("prd_1", Arm.CHALLENGER, 7),
        predicted("prd_2", Arm.CHALLENGER, 7),
        predicted("prd_3", Arm.CHAMPION, 7, step=1),  # a bandit lowered its share
        predicted("prd_4", Arm.CHAMPION, 8, step=1),
        predicted("prd_5.0", Arm.CHAMPION, None, step=1),  # one request without a unit, two rows
        predicted("prd_5.1", Arm.CHAMPION, None, step=1),
        predicted("prd_6", Arm.CHAMPION, None, step=1),
    )
    say(lake, ("prd_1", 0.0, DAY), ("prd_2", 1.0, DAY), ("prd_3", 1.0, DAY), ("prd_5.0", 1.0, DAY))
    found = counted(lake, tmp_path)
    assert set(found) == {(0, True), (1, False)}
    first, second = found[0, True], found[1, False]
    assert (first.units, first.arrived, first.total) == (1, 1, 0.0)
    assert (second.units, second.arrived, second.total) == (3, 1, 1.0)


def test_other_releases_purposes_and_pinned_requests_are_left_out(lake: Lake, tmp_path: Path) -> None:
    log(
        lake,
        predicted("prd_1", Arm.CHALLENGER, 1, release_id="rel_2"),
        predicted("prd_2", Arm.PINNED, 2, release_id=None),
        predicted("prd_3", Arm.CHALLENGER, 3, purpose=Purpose.STAGING),
        predicted("prd_4.shadow", Arm.SHADOW, 4, purpose=Purpose.SHADOW),
        predicted("prd_5", Arm.FALLBACK, 5, release_id=None),
        predicted("prd_6", Arm.CHAMPION, 6),
    )
    found = counted(lake, tmp_path)
    assert set(found) == {(0, False)}
    assert found[0, False].units == 1


def test_what_failed_counts_where_it_was_given_with_what_its_caller_got(lake: Lake, tmp_path: Path) -> None:
    log(
        lake,
        predicted("prd_1~1", Arm.CHALLENGER, 1, output=None, fault="ModelFault"),
        predicted("prd_1", Arm.FALLBACK, None, release_id=None, step=None),
        predicted("prd_2.0~1", Arm.CHALLENGER, None, output=None, fault="ModelFault"),
        predicted("prd_2.1~1", Arm.CHALLENGER, None, output=None, fault="ModelFault"),
        predicted("prd_3~1", Arm.CHALLENGER, 3, output=None, purpose=Purpose.REPLACED),
        predicted("prd_3", Arm.FALLBACK, None, release_id=None, step=None),
    )
    say(lake, ("prd_1", 1.0, DAY), ("prd_2.0", 1.0, DAY), ("prd_3", 0.5, DAY))
    arm = counted(lake, tmp_path)[0, True]
    assert (arm.units, arm.arrived, arm.total) == (3, 3, 2.5)


def test_only_what_is_mature_counts_and_only_what_came_in_time(lake: Lake, tmp_path: Path) -> None:
    log(
        lake,
        predicted("prd_1", Arm.CHALLENGER, 1),
        predicted("prd_2", Arm.CHALLENGER, 2, at=MAY + timedelta(seconds=1)),  # not mature
        predicted("prd_3", Arm.CHALLENGER, 3),
        predicted("prd_4", Arm.CHALLENGER, 4),
    )
    late = DAY + timedelta(seconds=1)
    say(lake, ("prd_1", 1.0, DAY), ("prd_2", 1.0, DAY), ("prd_3", 1.0, late), ("prd_1", 0.0, late))
    arm = counted(lake, tmp_path)[0, True]
    assert (arm.units, arm.mature, arm.arrived, arm.rewards, arm.total) == (4, 3, 1, 1, 1.0)
    assert arm.ahead == 0
    valued = counted(lake, tmp_path, missing=0.0)[0, True]
    assert (valued.mature, valued.arrived, valued.rewards, valued.total, valued.ends) == (3, 1, 3, 1.0, 3)
    longer = counted(lake, tmp_path, matures_after_s=2 * 86_400.0)[0, True]
    assert (longer.arrived, longer.total) == (2, 1.0)  # of prd_1 the correction, of prd_3 what was too late above


def test_what_was_asked_before_the_clock_was_set_back_is_told_apart(lake: Lake, tmp_path: Path) -> None:
    now = MAY + DAY  # a reward matures within a day
    times = (now, now + timedelta(seconds=1))
    log(lake, *(predicted(f"prd_{place}", Arm.CHALLENGER, place, at=at) for place, at in enumerate(times)))
    arm = counted(lake, tmp_path)[0, True]
    assert (arm.units, arm.mature, arm.ahead) == (2, 0, 1)


def test_the_last_word_counts_and_a_text_is_no_number(lake: Lake, tmp_path: Path) -> None:
    log(lake, predicted("prd_1", Arm.CHAMPION, 1), predicted("prd_2", Arm.CHAMPION, 2))
    hour = timedelta(hours=1)
    say(lake, ("prd_1", 0.0, 2 * hour), ("prd_1", 1.0, hour), ("prd_2", 1.0, hour), ("prd_2", None, 2 * hour))
    say(lake, ("prd_1", 1.0, 3 * hour), name="label")
    arm = counted(lake, tmp_path)[0, False]
    assert (arm.arrived, arm.total) == (1, 0.0)


def test_rewards_are_parts_of_their_range_and_what_is_beyond_is_its_end(lake: Lake, tmp_path: Path) -> None:
    log(lake, *(predicted(f"prd_{place}", Arm.CHAMPION, place) for place in range(5)))
    told = [(f"prd_{place}", value, DAY) for place, value in enumerate([-10.0, 0.0, 30.0, 400.0])]
    say(lake, *told)
    arm = counted(lake, tmp_path, low=-10.0, high=90.0, missing=-10.0)[0, False]
    assert (arm.rewards, arm.arrived, arm.beyond, arm.ends) == (5, 4, 1, 3)
    assert arm.total == pytest.approx(0.0 + 0.1 + 0.4 + 1.0 + 0.0)
    assert arm.squares == pytest.approx(0.01 + 0.16 + 1.0)


def test_rewards_that_take_longer_on_one_arm_are_no_difference_at_any_time(lake: Lake, tmp_path: Path) -> None:
    """The champion's come at once and the challenger's just in time: who did not wait would see fewer of those."""
    hours = range(0, 96, 6)
    for hour in hours:
        made = MAY + timedelta(hours=hour)
        names = {arm: f"prd_{hour:02d}_{arm.value}" for arm in (Arm.CHALLENGER, Arm.CHAMPION)}
        log(lake, *(predicted(name, arm, None, at=made) for arm, name in names.items()))
        say(lake, (names[Arm.CHAMPION], 1.0, timedelta(0)), (names[Arm.CHALLENGER], 1.0, DAY), made=made)
    for hour in hours:
        found = counted(lake, tmp_path, until=MAY + timedelta(hours=hour), missing=0.0)
        mine, theirs = found[0, True], found[0, False]
        assert (mine.mature, mine.total) == (theirs.mature, theirs.total) == (hour // 6 + 1, hour / 6 + 1)


def test_rewards_that_are_delivered_late_are_missing_until_they_come_and_then_are_not(
    lake: Lake, tmp_path: Path
) -> None:
    log(lake, predicted("prd_1", Arm.CHALLENGER, 1), predicted("prd_2", Arm.CHAMPION, 2))
    say(lake, ("prd_2", 1.0, DAY / 2))
    before = counted(lake, tmp_path, missing=0.0)
    assert [(arm.mature, arm.arrived, arm.total) for arm in (before[0, True], before[0, False])] == [
        (1, 0, 0.0),
        (1, 1, 1.0),
    ]
    say(lake, ("prd_1", 1.0, DAY / 2))  # it was told days later, and says when it was
    after = counted(lake, tmp_path, missing=0.0)
    assert [(arm.arrived, arm.total) for arm in (after[0, True], after[0, False])] == [(1, 1.0), (1, 1.0)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_units_that_cross_arms_are_counted_as_somebody_would_by_hand(lake: Lake, tmp_path: Path, seed: int) -> None:
    """Shares that rise and fall, units that come again, attempts that failed, and a log in any order."""
    draw = random.Random(seed)
    shares = (0.5, 0.8, 0.3, 0.95, 0.3)
    buckets = {unit: draw.random() for unit in range(60)}
    first: dict[object, tuple[int, bool, str]] = {}
    rewards: dict[str, float] = {}
    records = []
    for place in range(400):
        step = place * len(shares) // 400
        unit = draw.choice([None, *buckets])
        challenger = (draw.random() if unit is None else buckets[unit]) < shares[step]
        name, arm = f"prd_{place:04d}", Arm.CHALLENGER if challenger else Arm.CHAMPION
        failed = draw.random() < 0.1
        attempt: dict[str, Any] = {"output": None, "fault": "ModelFault"} if failed else {}
        part = shares[step] if challenger else 1.0 - shares[step]
        records.append(predicted(name + "~1" * failed, arm, unit, step=step, propensity=part, **attempt))
        if failed:
            records.append(predicted(name, Arm.FALLBACK, unit, step=None, release_id=None))
        first.setdefault(name if unit is None else unit, (step, challenger, name))
        if draw.random() < 0.7:
            rewards[name] = draw.choice([0.0, 0.5, 0.5, 1.0])
    draw.shuffle(records)
    for start in range(0, len(records), 90):
        log(lake, *records[start : start + 90])
    say(lake, *((name, reward, DAY) for name, reward in rewards.items()))
    found = counted(lake, tmp_path)
    for step, challenger in {(step, challenger) for step, challenger, _ in first.values()}:
        mine = [name for *where, name in first.values() if where == [step, challenger]]
        told = [rewards[name] for name in mine if name in rewards]
        kept = found[step, challenger]
        assert (kept.units, kept.mature, kept.rewards, kept.arrived) == (len(mine), len(mine), len(told), len(told))
        assert (kept.total, kept.squares) == (sum(told), sum(reward**2 for reward in told))
        assert kept.ends == sum(reward != 0.5 for reward in told)
    assert sum(each.units for each in found.values()) == len(first)
