from sampling import sampled

NAMES = [f"tests/a.py::test_many[{number}]" for number in range(40)] + [
    "tests/a.py::test_another",
    "tests/a.py::test_one",
    "tests/b.py::test_one[x]",
]


def of_each(names: set[str]) -> list[str]:
    return sorted(name.partition("[")[0] for name in names)


def test_of_each_file_some_tests_are_kept_with_one_case_and_none_is_lost_altogether() -> None:
    kept = of_each(sampled(NAMES, 2, "a seed"))
    assert kept in (
        ["tests/a.py::test_another", "tests/a.py::test_many", "tests/b.py::test_one"],
        ["tests/a.py::test_another", "tests/a.py::test_one", "tests/b.py::test_one"],
        ["tests/a.py::test_many", "tests/a.py::test_one", "tests/b.py::test_one"],
    )
    assert of_each(sampled(NAMES, 9, "a seed")) == sorted({name.partition("[")[0] for name in NAMES})


def test_a_seed_has_its_sample_whatever_other_files_there_are() -> None:
    assert sampled(NAMES, 2, "a seed") == sampled(NAMES[:42], 2, "a seed") | {NAMES[42]}
    assert len({frozenset(sampled(NAMES, 2, f"seed {number}")) for number in range(20)}) > 10


def test_in_time_every_case_of_every_test_has_its_turn() -> None:
    assert set[str]().union(*(sampled(NAMES, 1, f"seed {number}") for number in range(1000))) == {*NAMES}


def test_what_is_always_run_is_run_besides() -> None:
    once = sampled(NAMES, 1, "a seed", {NAMES[7]})
    assert NAMES[7] in once
    assert len(once - {NAMES[7]}) == 2
    assert {*NAMES[:40]} < sampled(NAMES, 1, "a seed", {"tests/a.py::test_many"})
