"""Whether a `model.txt` is whole, told before LightGBM reads it: on a broken one it ends the process.

A model's text is a head of `key=value` lines, `tree_sizes` among them, then the trees of those sizes,
then `end of trees` and what the trainer noted.
"""

import re
from collections.abc import Mapping, Sequence

_BEGINNING = b"tree\n"
_NEEDED = ("num_cat", "leaf_value", "split_feature", "threshold", "decision_type", "left_child", "right_child")
_OF_LEAVES = {"leaf_value", "leaf_weight", "leaf_count"}
_OF_NODES = {*_NEEDED[2:], "split_gain", "internal_value", "internal_weight", "internal_count"}


def damage(content: bytes) -> str:
    """What is wrong with a model's text, in words; empty where nothing is."""
    if not content.startswith(_BEGINNING):
        return "it does not begin as a LightGBM model does"
    head, found, rest = content.removeprefix(_BEGINNING).partition(b"\n\nTree=0\n")
    try:
        told = _pairs(head)
        sizes = [int(size) for size in told["tree_sizes"].split()]
        return _damage_after_head(found.lstrip(b"\n") + rest, sizes, int(told["max_feature_idx"]) + 1)
    except (ValueError, KeyError) as problem:
        return f"it cannot be read: {problem}"


def _damage_after_head(body: bytes, sizes: list[int], features: int) -> str:
    start = 0
    for number, size in enumerate(sizes):
        tree = body[start : start + size]
        if not tree.startswith(b"Tree=%d\n" % number) or len(tree) != size:
            return f"tree {number} of {len(sizes)} is not where it should be: the file is cut or was edited"
        _check_tree(_pairs(tree), features)
        start += size
    return _damage_of_tail(body[start:]) if sizes else "it has no trees"


def _damage_of_tail(tail: bytes) -> str:
    notes, found, _ = tail.partition(b"\nparameters:")[2].partition(b"\nend of parameters")
    if not (tail.startswith(b"end of trees\n") and found):
        return "it ends too early: the file is cut"
    broken = [line for line in notes.splitlines() if line and not re.fullmatch(rb"\[\w+: .*\]", line)]
    return f"a parameter cannot be read: {broken[0][:60]!r}" if broken else ""


def _check_tree(text: Mapping[str, str], features: int) -> None:
    leaves = int(text["num_leaves"])
    tree = {key: _numbers(key, values, leaves) for key, values in text.items() if key.isidentifier() and key != "Tree"}
    if missing := [key for key in _NEEDED[: 2 if leaves == 1 else None] if key not in tree]:
        raise ValueError(f"{missing[0]} is missing")
    if leaves > 1:
        _check_nodes(tree, leaves, features)


def _check_nodes(tree: Mapping[str, Sequence[float]], leaves: int, features: int) -> None:
    if not all(0 <= feature < features for feature in tree["split_feature"]):
        raise ValueError(f"split_feature is outside 0 .. {features - 1}")
    for key in ("left_child", "right_child"):
        # A child that is not a leaf stands behind its parent: what is no tree could be walked for ever.
        if not all(-leaves <= child < 0 or node < child < leaves - 1 for node, child in enumerate(tree[key])):
            raise ValueError(f"{key} leads nowhere")


def _numbers(key: str, values: str, leaves: int) -> list[float]:
    numbers = [float(value) for value in values.split()]
    expected = leaves if key in _OF_LEAVES else leaves - 1 if key in _OF_NODES else len(numbers)
    # A single leaf is written short.
    if len(numbers) != expected and leaves > 1:
        raise ValueError(f"{key} has {len(numbers)} values, expected {expected}")
    return numbers


def _pairs(text: bytes) -> dict[str, str]:
    pairs = [line.partition("=") for line in text.decode("utf-8").splitlines() if line]
    if alone := [key for key, found, _ in pairs if not found]:
        raise ValueError(f"{alone[0][:40]!r} stands alone")
    return {key: value for key, _, value in pairs}
