"""How far a long piece of work is, as it is told."""

import pytest

from barfeed.cli.progress import Lines, shown
from world import SteppingClock, ms


@pytest.mark.parametrize(("counted", "what"), [((), "bars"), (("rows",), "rows")])
def test_a_line_counts_what_comes(counted: tuple[str, ...], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    clock = SteppingClock(ms(2024, 2, 10))
    meter = shown("history", clock, *counted)
    assert isinstance(meter, Lines)
    meter.start(100)
    clock.sleep(5)
    meter.reached(50, ms(2024, 2, 9, 13), 7)
    said = f"history: 50 of 100 {what}, up to 2024-02-09 13:00, 10 {what}/s, 5 s left, weight 7\n"
    assert capsys.readouterr().err == said
