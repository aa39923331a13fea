"""The comparison itself: which requests make a pair, which outcomes count, and that each unit counts once."""

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from tests.monitoring.conftest import SOURCE_PATH, Bench, declare
from tests.predictions import table_of

from headrace.delivery import class_losses, pairing
from headrace.delivery.paired_nouns import PairedRequest, PairedResult
from headrace.features.nouns import ObjectDetails
from headrace.kernel.blobs import open_blob_store
from headrace.kernel.lake import Lake
from headrace.project.paired import Loss, PairedLoss
from headrace.serving.loading.predictor import INVALID_OUTPUTS
from headrace.serving.log.compaction import predictions_table
from headrace.serving.log.feedback_join import _SCHEMA, feedback_table
from headrace.serving.nouns import Arm, PredictionRecord, Purpose
from headrace.statistics.paired import capital

T = datetime(1997, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TOLD = PairedLoss("error", 0.1, feedback="label", matures_after="10d")


class Shop:
    """A release in shadow: what both versions answered, and what became of it.

    The business clock of its worker stands at 1997-09-01.
    """

    def __init__(self, directory: Path) -> None:
        self.bench = Bench(directory=directory, lake=Lake(directory / "lake"), blobs=open_blob_store(directory))
        self.records: list[PredictionRecord] = []
        self.rows: list[dict[str, Any]] = []
        self.written = self.said = 0

    def log(self, prediction_id: str, at: datetime, version: int, output: Any, **more: Any) -> None:
        fields: dict[str, Any] = {
            "prediction_id": prediction_id,
            "business_at": at,
            "at": at,
            "model": "churn",
            "version": version,
            "arm": Arm.CHAMPION,
            "propensity": 1.0,
            "release_id": "rel_1",
            "step": 0,
            "entity": None,
            "names": ("recency",),
            "features": (1.0,),
            "output": output,
            "latency_us": 1,
            "fault": None if output is not None else "ValueError",
            "purpose": Purpose.LIVE,
        }
        self.records.append(PredictionRecord(**(fields | more)))

    def pair(self, prediction_id: str, at: datetime, champion: Any, challenger: Any, **more: Any) -> None:
        """A request that production and the shadow answered; None is a fault."""
        self.log(prediction_id, at, 1, champion, **more)
        copy = more | {"purpose": Purpose.SHADOW, "arm": Arm.SHADOW}
        self.log(f"{prediction_id}.shadow", at + timedelta(seconds=1), 2, challenger, **copy)

    def say(self, prediction_id: str, value: float | str, *, name: str = "label", at: datetime = T) -> None:
        self.said += 1
        row: dict[str, Any] = {
            "sequence": self.said,
            "prediction_id": prediction_id,
            "name": name,
            "value": msgspec.json.encode(value).decode(),
            "number": None if isinstance(value, str) else value,
            "at": at,
            "received_at": at,
            "by": "ana",
            "metadata": "{}",
            "version": 1,
            "predicted_at": at,
        }
        self.rows.append(row)

    def write(self) -> None:
        """Bring what was logged and said into the lake."""
        self.written += 1
        for name, table in (
            (predictions_table("churn"), table_of(self.records)),
            (feedback_table("churn"), pa.Table.from_pylist(self.rows, _SCHEMA)),
        ):
            if table.num_rows:
                self.bench.lake.append(name, table, operation="test", sequence=self.written)
        self.records, self.rows = [], []

    def compare(self, quality: PairedLoss = TOLD) -> PairedResult:
        request = PairedRequest(
            release_id="rel_1",
            number=3,
            model="churn",
            champion=1,
            challenger=2,
            step=0,
            quality=quality,
            label=declare([]).label,
            alpha=0.05,
        )
        self.write()
        context = self.bench.context()
        back = pairing.run(context, msgspec.json.decode(msgspec.json.encode(request), type=PairedRequest))
        return msgspec.json.decode(msgspec.json.encode(back), type=PairedResult)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def customer(number: int) -> dict[str, int]:
    return {"customer_id": number}


def test_nothing_is_compared_where_nothing_was_answered(shop: Shop) -> None:
    found = shop.compare()
    assert (found.release_id, found.number, found.pairs, found.units) == ("rel_1", 3, 0, 0)
    assert (found.low, found.high, capital(found.not_worse)) == (-1.0, 1.0, 1.0)


def test_losses_of_both_on_the_same_requests_add_up(shop: Shop) -> None:
    shop.pair("prd_1", T, 0.9, 0.2)
    shop.pair("prd_2", T + DAY, 0.2, 0.9)
    shop.pair("prd_3", T + 2 * DAY, 0.9, 0.8)
    for number in (1, 2, 3):
        shop.say(f"prd_{number}", 1)
    found = shop.compare()
    assert (found.units, found.champion, found.challenger, found.squares) == (3, 1.0, 1.0, 2.0)
    assert (found.first_at, found.last_at) == (T, T + 2 * DAY)
    brier = shop.compare(PairedLoss("brier", 0.1, feedback="label", matures_after="10d"))
    assert [brier.champion, brier.challenger] == pytest.approx([0.66, 0.69])
    shop.say("prd_1", 0, at=T + DAY)  # a correction
    assert shop.compare().challenger == 0.0


def test_what_only_one_answered_or_belongs_elsewhere_makes_no_pair(shop: Shop) -> None:
    shop.pair("prd_1", T, 0.9, None)
    shop.pair("prd_2", T, None, 0.9)
    shop.pair("prd_3", T, 17.0, 0.9)  # no probability
    shop.pair("prd_4", T, 0.9, 0.9, release_id="rel_0")
    shop.pair("prd_5", T, 0.9, 0.9, step=1)
    shop.log("prd_6", T, 1, 0.9)  # the shadow had no room
    shop.log("prd_7.shadow", T, 2, 0.9, purpose=Purpose.SHADOW)  # production's answer is not in the lake yet
    shop.pair("prd_8", T, 0.9, 0.9)
    for number in range(1, 9):
        shop.say(f"prd_{number}", 1)
    found = shop.compare()
    assert (found.pairs, found.incomplete, found.units) == (1, 4, 1)


def test_only_outcomes_that_are_final_count_however_early_they_are_known(shop: Shop) -> None:
    now = shop.bench.context().business_now
    for number, age in enumerate((12, 11, 9, 3)):
        shop.pair(f"prd_{number}", now - age * DAY, 0.9, 0.9)
    for number in (0, 2, 3):
        shop.say(f"prd_{number}", 1)
    found = shop.compare()
    assert (found.units, found.unlabelled, found.waiting) == (1, 1, 2)
    assert found.next_at == now + DAY
    assert found.final_through == now - 10 * DAY


def test_what_was_asked_before_the_clock_was_set_back_is_told_apart(shop: Shop) -> None:
    now = shop.bench.context().business_now
    shop.pair("prd_1", now, 0.9, 0.9)
    shop.pair("prd_2", now + DAY, 0.9, 0.9)
    assert (shop.compare().waiting, shop.compare().ahead) == (2, 1)


def test_a_unit_counts_once_with_its_first_request(shop: Shop) -> None:
    shop.pair("prd_4", T + DAY, 0.9, 0.9, entity=customer(1))
    shop.pair("prd_5", T, 0.9, 0.1, entity=customer(1))
    shop.pair("prd_6", T + DAY, 0.9, 0.9, entity=customer(2))
    shop.pair("prd_7.0", T, 0.9, 0.9)  # two rows of a request that names no unit
    shop.pair("prd_7.1", T, 0.9, 0.1)
    for name in ("4", "5", "6", "7.0", "7.1"):
        shop.say(f"prd_{name}", 1)
    found = shop.compare()
    assert (found.pairs, found.units, found.champion, found.challenger) == (5, 3, 0.0, 1.0)


def test_a_first_request_without_an_outcome_is_not_replaced_by_a_later_one(shop: Shop) -> None:
    shop.pair("prd_1", T, 0.9, 0.9, entity=customer(1))
    shop.pair("prd_2", T + DAY, 0.9, 0.9, entity=customer(1))
    shop.say("prd_2", 1)
    assert (shop.compare().units, shop.compare().unlabelled) == (0, 1)


def test_feedback_under_another_name_is_another_outcome(shop: Shop) -> None:
    shop.pair("prd_1", T, 40.0, 55.0)
    shop.pair("prd_2", T, 0.9, 0.9)
    shop.say("prd_1", 50.0, name="spend")
    shop.say("prd_2", 1)
    quality = PairedLoss("absolute_error", 1.0, feedback="spend", matures_after="10d", at_most=8)
    found = shop.compare(quality)
    assert (found.units, found.champion, found.challenger, found.unlabelled) == (1, 8.0, 5.0, 1)


def test_what_is_no_outcome_of_a_probability_is_none(shop: Shop) -> None:
    shop.pair("prd_1", T, 0.9, 0.9)
    shop.say("prd_1", 0.5)
    assert (shop.compare().units, shop.compare().unlabelled) == (0, 1)


def test_the_model_s_label_is_computed_and_final_when_it_says(shop: Shop) -> None:
    declared = PairedLoss("error", 0.1)
    shop.pair("prd_1", T, 0.9, 0.2, entity=customer(1))  # does not come back within 30 days
    shop.pair("prd_2", T, 0.9, 0.2, entity=customer(2))  # does
    shop.pair("prd_3", T + 2 * DAY, 0.9, 0.2, entity=customer(3))
    shop.bench.put_source({2: [T + 5 * DAY]}, T + 32 * DAY)
    found = shop.compare(declared)
    assert (found.units, found.champion, found.challenger, found.waiting) == (2, 1.0, 1.0, 1)
    assert found.final_through == T + DAY  # 31 days before the source ends
    shop.say("prd_2", 1)  # somebody knows better
    assert shop.compare(declared).champion == 0.0


def test_nothing_is_final_before_the_source_was_read(shop: Shop) -> None:
    shop.pair("prd_1", T, 0.9, 0.2, entity=customer(1))
    shop.bench.control.answers[SOURCE_PATH] = ObjectDetails(versions=())
    found = shop.compare(PairedLoss("error", 0.1))
    assert (found.units, found.waiting, found.final_through) == (0, 1, None)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_is_what_somebody_would_count_by_hand(shop: Shop, seed: int) -> None:
    """Units that come again, faults, copies that were dropped, early, late, missing and corrected feedback."""
    draw = random.Random(seed)
    now = shop.bench.context().business_now
    said: dict[str, float] = {}
    first: dict[str, tuple[datetime, str, float, float]] = {}
    for number in range(200):
        prediction_id, at = f"prd_{number:03d}", now - draw.randint(0, 40) * DAY
        who = draw.choice([None, None, customer(1), customer(2), customer(3)])
        champion, challenger = (draw.choice([None, 0.1, 0.4, 0.6, 0.9]) for _ in range(2))
        if draw.random() < 0.2:
            shop.log(prediction_id, at, 1, champion, entity=who)
        else:
            shop.pair(prediction_id, at, champion, challenger, entity=who)
            if champion is not None and challenger is not None:
                unit = prediction_id if who is None else str(who)
                first[unit] = min(first.get(unit, (now + DAY, "", 0, 0)), (at, prediction_id, champion, challenger))
        for _ in range(draw.choice([0, 1, 1, 2])):
            said[prediction_id] = draw.choice([0.0, 1.0])
            shop.say(prediction_id, said[prediction_id])
    final = [each for each in first.values() if each[0] <= now - 10 * DAY]
    counted = [(champion, challenger, said[each]) for _, each, champion, challenger in final if each in said]
    wrong = [((old >= 0.5) != truth, (new >= 0.5) != truth) for old, new, truth in counted]
    found = shop.compare()
    assert found.units == len(counted) > 20
    assert (found.waiting, found.unlabelled) == (len(first) - len(final), len(final) - len(counted))
    assert (found.champion, found.challenger) == (sum(old for old, _ in wrong), sum(new for _, new in wrong))
    assert found.squares == sum(old != new for old, new in wrong)


def test_a_unit_that_the_log_names_counts_once_whatever_entities_it_asks_about(shop: Shop) -> None:
    shop.pair("prd_1", T, 0.9, 0.2, unit=7)
    shop.pair("prd_2", T + DAY, 0.9, 0.9, unit=7, entity=customer(1))
    shop.pair("prd_3", T + DAY, 0.9, 0.9, unit=8)
    shop.pair("prd_4", T + DAY, 0.9, 0.9)
    for number in (1, 2, 3, 4):
        shop.say(f"prd_{number}", 1)
    found = shop.compare()
    assert (found.units, found.challenger) == (3, 1.0)


def of_classes(loss: Loss, classes: Sequence[str | int], margin: float = 0.1) -> PairedLoss:
    return PairedLoss(loss, margin, feedback="label", matures_after="10d", classes=classes)


KINDS = ("cat", "dog", "bird")


def test_several_classes_are_compared_by_their_probabilities(shop: Shop) -> None:
    shop.pair("prd_1", T, [0.7, 0.2, 0.1], [0.1, 0.2, 0.7])
    shop.pair("prd_2", T + DAY, [0.2, 0.2, 0.6], [0.0, 0.5, 0.5])
    shop.say("prd_1", "cat")
    shop.say("prd_2", "dog")
    by_error = shop.compare(of_classes("error", KINDS))
    assert (by_error.units, by_error.champion, by_error.challenger) == (2, 1.0, 1.0)  # of equals the first
    by_log = shop.compare(of_classes("log_loss", KINDS))
    assert by_log.champion == pytest.approx(-math.log(0.7) - math.log(0.2))
    assert by_log.challenger == pytest.approx(-math.log(0.1) - math.log(0.5))
    by_brier = shop.compare(of_classes("brier", KINDS))
    assert by_brier.champion == pytest.approx((0.3**2 + 0.2**2 + 0.1**2 + 0.2**2 + 0.8**2 + 0.6**2) / 2)
    shop.say("prd_2", "bird", at=T + DAY)  # a correction
    assert shop.compare(of_classes("error", KINDS)).champion == 0.0


def test_by_the_error_a_class_is_compared_with_probabilities_and_otherwise_is_not(shop: Shop) -> None:
    shop.pair("prd_1", T, "cat", [0.1, 0.8, 0.1])
    shop.pair("prd_2", T, "dog", "fish")  # a class that nobody declared is as wrong as any
    shop.pair("prd_3", T, {"kind": "cat"}, "cat")
    shop.pair("prd_4", T, 2, "cat")
    for number in (1, 2, 3, 4):
        shop.say(f"prd_{number}", "dog")
    found = shop.compare(of_classes("error", KINDS))
    assert (found.pairs, found.incomplete, found.champion, found.challenger) == (2, 2, 1.0, 1.0)
    assert shop.compare(of_classes("brier", KINDS)).pairs == 0


@pytest.mark.parametrize("became", [0, 1])
@pytest.mark.parametrize("answer", [17.0, -0.1, math.nan, math.inf, "no idea", [0.9], {"none": 1}])
@pytest.mark.parametrize(
    ("quality", "bound"),
    [
        (TOLD, 1.0),
        (PairedLoss("log_loss", 0.1, feedback="label", matures_after="10d"), math.log(100)),
    ],
)
def test_a_version_that_leaves_out_what_is_hard_pays_the_most_for_it(
    shop: Shop, answer: Any, quality: PairedLoss, bound: float, became: int
) -> None:
    shop.pair("prd_1", T, 0.1 + 0.8 * became, answer)
    shop.pair("prd_2", T, answer, 0.9)
    for number in (1, 2):
        shop.say(f"prd_{number}", became)
    found = shop.compare(quality)
    assert (found.pairs, found.incomplete, found.units) == (1, 1, 1)
    assert found.challenger == pytest.approx(bound)
    assert found.champion < 0.2


@pytest.mark.parametrize("nonsense", sorted(INVALID_OUTPUTS))
def test_an_answer_that_the_gateway_takes_for_nonsense_costs_the_most_too(shop: Shop, nonsense: str) -> None:
    shop.log("prd_1", T, 1, 0.9)
    shop.log("prd_1.shadow", T, 2, None, fault=nonsense, purpose=Purpose.SHADOW, arm=Arm.SHADOW)
    shop.say("prd_1", 0)
    found = shop.compare()
    assert (found.units, found.incomplete, found.champion, found.challenger) == (1, 0, 1.0, 1.0)


def test_what_is_no_number_costs_the_most_that_an_error_of_numbers_may(shop: Shop) -> None:
    shop.pair("prd_1", T, 40.0, "many")
    shop.say("prd_1", 41.0)
    found = shop.compare(PairedLoss("absolute_error", 1.0, feedback="label", matures_after="10d", at_most=8))
    assert (found.units, found.champion, found.challenger) == (1, 1.0, 8.0)


def test_what_failed_counts_for_neither_also_of_several_classes(shop: Shop) -> None:
    shop.pair("prd_1", T, "cat", None)
    shop.say("prd_1", "cat")
    found = shop.compare(of_classes("error", KINDS))
    assert (found.pairs, found.incomplete) == (0, 1)


def test_classes_may_be_numbers(shop: Shop) -> None:
    shop.pair("prd_1", T, 7, [0.6, 0.3, 0.1])
    shop.pair("prd_2", T, 9, 3)
    shop.pair("prd_3", T, 0.5, 3)  # no class
    shop.pair("prd_4", T, "7", 3)
    shop.say("prd_1", 3.0)
    shop.say("prd_2", 9)
    found = shop.compare(of_classes("error", (3, 7, 9)))
    assert (found.pairs, found.units, found.champion, found.challenger) == (2, 2, 1.0, 1.0)


def test_what_are_no_probabilities_of_the_classes_costs_the_version_the_most_and_of_production_makes_no_pair(
    shop: Shop,
) -> None:
    good = [0.2, 0.3, 0.5]
    odd = [[0.5, 0.5], [0.1, 0.2, 0.3, 0.4], [0.9, 0.9, 0.9], [1.2, -0.1, -0.1], [], 0.4, "dog"]
    for number, answer in enumerate(odd):
        shop.pair(f"prd_{number}", T, good, answer)
        shop.pair(f"prd_1{number}", T, answer, good)
        shop.say(f"prd_{number}", "dog")
        shop.say(f"prd_1{number}", "dog")
    shop.pair("prd_9", T, good, [0.3333, 0.3333, 0.3333])  # rounded
    shop.say("prd_9", "dog")
    found = shop.compare(of_classes("log_loss", KINDS))
    assert (found.pairs, found.incomplete, found.units) == (len(odd) + 1, len(odd), len(odd) + 1)
    assert found.challenger == pytest.approx(len(odd) * math.log(100) - math.log(0.3333))


def test_what_is_none_of_the_classes_is_no_outcome(shop: Shop) -> None:
    others: list[float | str] = ["fish", 1, "1", 0.0, ""]
    for number, said in enumerate(others):
        shop.pair(f"prd_{number}", T, "cat", "cat")
        shop.say(f"prd_{number}", said)
    found = shop.compare(of_classes("error", KINDS))
    assert (found.pairs, found.units, found.unlabelled) == (5, 0, 5)
    numbers = of_classes("error", (0, 1, 2))
    shop.pair("prd_5", T, 1, 1)
    shop.say("prd_5", value=True)
    assert shop.compare(numbers).units == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_several_classes_are_what_somebody_would_count_by_hand(shop: Shop, seed: int) -> None:
    draw = random.Random(seed)
    now = shop.bench.context().business_now
    said: dict[str, str] = {}
    first: dict[str, tuple[datetime, str, list[float], list[float]]] = {}
    answers = [None, [0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7], [0.5, 0.5]]
    for number in range(300):
        prediction_id, at = f"prd_{number:03d}", now - draw.randint(0, 40) * DAY
        who = draw.choice([None, None, customer(1), customer(2)])
        champion, challenger = (draw.choice(answers) for _ in range(2))
        shop.pair(prediction_id, at, champion, challenger, entity=who)
        if number % 50 == 49:
            shop.write()  # several files
        if champion is not None and challenger is not None and len(champion) == 3:
            unit = prediction_id if who is None else str(who)
            first[unit] = min(first.get(unit, (now + DAY, "", [], [])), (at, prediction_id, champion, challenger))
        for _ in range(draw.choice([0, 1, 1, 2])):
            said[prediction_id] = draw.choice([*KINDS, "fish"])
            shop.say(prediction_id, said[prediction_id])
    final = [each for each in first.values() if each[0] <= now - 10 * DAY]
    counted = [(old, new, KINDS.index(said[each])) for _, each, old, new in final if said.get(each) in KINDS]
    found = shop.compare(of_classes("log_loss", KINDS))
    assert found.units == len(counted) > 10
    assert (found.waiting, found.unlabelled) == (len(first) - len(final), len(final) - len(counted))
    assert found.champion == pytest.approx(sum(-math.log(old[truth]) for old, _, truth in counted))
    assert found.challenger == pytest.approx(
        sum(-math.log(new[truth] if len(new) == 3 else 0.01) for _, new, truth in counted)
    )


def test_what_became_of_a_release_s_requests_is_looked_up_once_however_many_files_the_log_has(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[int] = []
    read: list[int] = []
    truths, of_answers = class_losses.truths, class_losses.of_answers

    def counted_truths(prediction_ids: pa.ChunkedArray, outcomes: pa.Table) -> class_losses.Places:
        looked_up.append(len(prediction_ids))
        return truths(prediction_ids, outcomes)

    def counted_answers(rows: pa.Table, *rest: Any) -> pa.Array:
        read.append(rows.num_rows)
        return of_answers(rows, *rest)

    monkeypatch.setattr(class_losses, "truths", counted_truths)
    monkeypatch.setattr(class_losses, "of_answers", counted_answers)
    for number in range(12):
        release = "rel_1" if number % 4 == 0 else "rel_0"
        shop.pair(f"prd_{number}", T, [0.7, 0.2, 0.1], [0.1, 0.2, 0.7], release_id=release)
        shop.say(f"prd_{number}", "cat" if number % 8 == 0 else "bird")
        shop.write()
    found = shop.compare(of_classes("error", KINDS))
    assert (found.units, found.champion, found.challenger) == (3, 1.0, 2.0)
    assert (looked_up, read) == ([6], [2, 2, 2])
