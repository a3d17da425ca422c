"""Which of many long tests are run where there is no time for all of them."""

from collections.abc import Collection, Iterable
from random import Random


def sampled(names: Iterable[str], count: int, seed: str, always: Collection[str] = ()) -> set[str]:
    """At most `count` tests of each file, one case of each, `PATH::TEST[CASE]`, by chance; and what is `always` run.

    The same for the same seed, whatever else there is in other files. What is always run without a case named is run
    with every one.
    """
    kept, cases, tests = set[str](), dict[str, str](), dict[str, list[str]]()
    for name in sorted(names, key=lambda name: Random(f"{seed} {name}").random()):
        test = name.partition("[")[0]
        if name in always or test in always:
            kept.add(name)
        elif test not in cases:
            cases[test] = name
            tests.setdefault(name.partition("::")[0], []).append(test)
    return kept.union(cases[test] for some in tests.values() for test in some[:count])
