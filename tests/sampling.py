"""Which cases of a test with many are run where there is no time for all of them."""

from collections import defaultdict
from collections.abc import Iterable
from random import Random


def sampled(names: Iterable[str], cases: int, seed: str) -> set[str]:
    """At most `cases` names of each test, `PATH::NAME[CASE]`: the same for the same seed, whatever else there is."""
    tests = defaultdict(list)
    for name in names:
        tests[name.partition("[")[0]].append(name)
    return {
        name for test, some in tests.items() for name in Random(f"{seed} {test}").sample(some, min(cases, len(some)))
    }
