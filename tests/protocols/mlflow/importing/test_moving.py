"""What is written in one request."""

from headrace.protocols.mlflow.importing.moving import fitting


def test_records_go_together_as_far_as_they_fit() -> None:
    texts = ["a" * 8, "b" * 8, "c" * 8, "d" * 98, "e" * 8]  # and two quotes
    assert list(fitting(texts, 20)) == [texts[:2], texts[2:3], texts[3:4], texts[4:]]
    assert list(fitting([], 20)) == []
