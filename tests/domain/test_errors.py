import re

import pytest

from barfeed.domain import errors
from barfeed.domain.errors import BarfeedError


def family(root: type[BarfeedError]) -> list[type[BarfeedError]]:
    return [root, *(each for child in root.__subclasses__() for each in family(child))]


# The design's table: by whose move is next.
EXIT_CODES = {
    "LakeUnusable": 4,
    "ValidationFailed": 1,
    "StoreEmpty": 1,
    "MissedBars": 1,
    "StoreAhead": 1,
    "Mismatch": 1,
    "Unrepaired": 1,
    "WindowGap": 1,
    "UsageError": 2,
    "ExchangeUnavailable": 3,
    "BarLate": 3,
    "KindLate": 3,
    "SymbolNotTrading": 3,
    "ExchangeBlocked": 3,
    "LocalError": 4,
    "StoreUnusable": 4,
    "ArtifactsUnusable": 4,
    "ExchangeRefused": 5,
    "SymbolGone": 5,
    "ContractBroken": 5,
}


def test_every_error_has_the_exit_code_of_the_documented_table() -> None:
    assert {each.__name__: each.exit_code for each in family(BarfeedError)[1:]} == EXIT_CODES


def drawn() -> list[tuple[int, str, int | None]]:
    """Depth, name and exit code of each line of the tree at the top of the module."""
    lines = re.findall(r"^([│├└─ ]*)([A-Z]\w+)(?:\s+(\d))?\b", errors.__doc__ or "", re.MULTILINE)
    return [(len(branch) // 4, name, int(code) if code else None) for branch, name, code in lines if name in KNOWN]


KNOWN = {each.__name__ for each in family(BarfeedError)}


def test_the_drawn_tree_lists_every_error_once() -> None:
    assert sorted(name for _, name, _ in drawn()) == sorted(KNOWN)


def test_the_drawn_tree_is_the_real_one() -> None:
    parents: list[str] = []
    for depth, name, code in drawn():
        parents[depth:] = [name]
        cls = getattr(errors, name)
        if depth:
            assert cls.__base__.__name__ == parents[depth - 1]
        if depth == 1:
            assert cls.exit_code == code


@pytest.mark.parametrize("cls", family(BarfeedError)[1:])
def test_an_error_carries_its_message_its_hint_and_its_findings(cls: type[BarfeedError]) -> None:
    error = cls("what happened", hint="do this", findings=["one", "two"])
    assert (str(error), error.hint, error.findings) == ("what happened", "do this", ("one", "two"))
    assert cls("what happened").hint == cls.default_hint
    assert cls("what happened").findings == ()


@pytest.mark.parametrize(
    ("cls", "status"),
    [
        (errors.WindowGap, "window_gap"),
        (errors.Mismatch, "mismatch"),
        (errors.BarLate, "bar_late"),
        (errors.ExchangeUnavailable, "exchange_unavailable"),
    ],
)
def test_an_error_has_a_name_for_scripts(cls: type[BarfeedError], status: str) -> None:
    assert cls("x").status == status


def test_how_long_the_exchange_wants_to_be_left_alone_is_a_fact_of_its_own() -> None:
    assert errors.ExchangeBlocked("x", retry_after_sec=30.0).retry_after_sec == 30.0
    assert errors.Mismatch("x").retry_after_sec is None


def test_a_bug_and_a_signal_have_an_exit_code_of_their_own() -> None:
    assert errors.INTERRUPTED_EXIT_CODE not in {0, *EXIT_CODES.values()}
