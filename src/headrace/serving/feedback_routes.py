"""The HTTP door of feedback at control: what callers say, what gateways bring, and what came of it."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.serving import feedback
from headrace.serving.feedback_form import checked
from headrace.serving.feedback_nouns import Feedback, FeedbackState, Stored, Submitted, Taken, Tally


@post("/api/v1/feedback", status_code=200)
async def send_feedback(
    data: JSONBody[Feedback | list[Feedback]], transactions: NamedDependency[Transactions]
) -> Taken:
    """Say what became of predictions: one item, or a list of them. Sending it again changes nothing."""
    items = checked(data)
    return await transactions.write(lambda tx: feedback.take(tx, items))


@post("/api/v1/feedback/journal", status_code=200)
async def bring_feedback(data: JSONBody[list[Submitted]], transactions: NamedDependency[Transactions]) -> Taken:
    """Take what a gateway has taken down."""
    return await transactions.write(lambda tx: feedback.record(tx, data))


@get("/api/v1/feedback")
async def feedback_state(transactions: NamedDependency[Transactions]) -> FeedbackState:
    """How much feedback has found its predictions, and how much waits."""
    return await transactions.read(feedback.state)


@get("/api/v1/feedback/batches/{batch:int}")
async def get_batch(batch: FromPath[int], transactions: NamedDependency[Transactions]) -> list[Stored]:
    """Feedback whose predictions a worker is to find."""
    return await transactions.read(lambda tx: feedback.batch(tx, batch))


@get("/api/v1/feedback/predictions/{prediction_id:str}")
async def get_feedback(prediction_id: FromPath[str], transactions: NamedDependency[Transactions]) -> list[Stored]:
    """All that was said of one prediction, in the order in which it came."""
    return await transactions.read(lambda tx: feedback.of_prediction(tx, prediction_id))


@get("/api/v1/models/{name:str}/feedback")
async def model_feedback(
    name: FromPath[str],
    transactions: NamedDependency[Transactions],
    release_id: FromQuery[str | None] = None,
) -> list[Tally]:
    """What counts of a model's feedback, added up by version and name."""
    return await transactions.read(lambda tx: feedback.tallies(tx, name, release_id=release_id))


HANDLERS = [send_feedback, bring_feedback, feedback_state, get_batch, get_feedback, model_feedback]

AUTHORIZATION = {
    "POST /api/v1/feedback": Role.VIEWER,
    "POST /api/v1/feedback/journal": Role.SYSTEM,
    "GET /api/v1/feedback": Role.VIEWER,
    "GET /api/v1/feedback/batches/{batch}": Role.SYSTEM,
    "GET /api/v1/feedback/predictions/{prediction_id}": Role.VIEWER,
    "GET /api/v1/models/{name}/feedback": Role.VIEWER,
}
"""Whoever may ask for predictions may say what came of them; an item names who sent it."""
