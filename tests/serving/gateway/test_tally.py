"""What a killed process had not written is counted by the next one."""

from pathlib import Path

from headrace.serving.gateway.tally import Tally


def test_what_was_not_settled_is_lost_and_adds_up_over_lives(tmp_path: Path) -> None:
    for life, (handed_in, settled, lost) in enumerate([(10, 7, 3), (5, 5, 0), (4, 0, 4)]):
        tally = Tally(tmp_path / "gateway-1" / "tally")
        tally.restore()
        tally.hand_in(handed_in)
        tally.settle(settled)
        again = Tally(tmp_path / "gateway-1" / "tally")
        assert again.restore() == lost
        assert again.lost == (3, 3, 7)[life]


def test_without_a_place_to_keep_it_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tally = Tally(tmp_path / "file" / "tally")
    assert tally.restore() == 0
    tally.hand_in(1)
    tally.settle(1)
    assert tally.lost == 0
