"""Made-up names are told from the id alone."""

import re

from headrace.kernel.ids import new_hex
from headrace.tracking.names import run_name


def test_names_are_words_and_a_number() -> None:
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d{1,3}", run_name(new_hex()))


def test_names_follow_the_id() -> None:
    assert run_name("0" * 32) == run_name("0" * 32) != run_name("0" * 31 + "1")
