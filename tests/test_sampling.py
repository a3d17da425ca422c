from collections import Counter

from sampling import sampled

NAMES = [f"tests/a.py::test_many[{number}]" for number in range(40)] + [
    "tests/a.py::test_one",
    "tests/b.py::test_one[x]",
]


def of_each(names: set[str]) -> Counter[str]:
    return Counter(name.partition("[")[0] for name in names)


def test_of_each_test_some_cases_are_kept_and_none_is_lost_altogether() -> None:
    kept = sampled(NAMES, 3, "a seed")
    assert of_each(kept) == {"tests/a.py::test_many": 3, "tests/a.py::test_one": 1, "tests/b.py::test_one": 1}


def test_a_seed_has_its_sample_whatever_else_is_collected() -> None:
    assert sampled(NAMES, 3, "a seed") == sampled(NAMES[:40], 3, "a seed") | {*NAMES[40:]}
    assert len({frozenset(sampled(NAMES, 3, f"seed {number}")) for number in range(20)}) > 10


def test_in_time_every_case_has_its_turn() -> None:
    assert set[str]().union(*(sampled(NAMES, 3, f"seed {number}") for number in range(200))) == {*NAMES}
