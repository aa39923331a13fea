"""`hr.feedback(...)`: one line where an outcome becomes known."""

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from headrace.sdk.connect import connect
from headrace.serving.feedback_nouns import LABEL, Taken, Value


def feedback(
    prediction_id: str,
    value: Value,
    *,
    name: str = LABEL,
    at: datetime | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Taken:
    """Say what became of one prediction, to the platform that `hr.connect()` finds.

    For many of them, keep a connection: `hr.connect().feedback.send([...])`.

    Raises:
        InvalidInput: a field cannot be kept as it is.
        Unavailable: no platform answers.
    """
    with closing(connect()) as platform:
        return platform.feedback.say(prediction_id, value, name=name, at=at, metadata=metadata)
