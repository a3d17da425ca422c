import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("lightgbm", reason="needs the extra `inference`")

import numpy as np

from lgbm_inference import model, tree_text
from lgbm_inference.errors import ModelUnusable, UsageError


@pytest.fixture(scope="module")
def content(model_root: Path) -> bytes:
    return (model_root / "run_20240210_140000" / "model.txt").read_bytes()


def test_a_run_folder_and_its_model_txt_mean_the_same(model_root: Path) -> None:
    run = model_root / "run_20240210_140000"
    assert model.model_file(run, None) == (run / "model.txt").resolve()
    assert model.model_file(run / "model.txt", None) == (run / "model.txt").resolve()


def test_the_newest_run_is_the_last_by_name(tmp_path: Path) -> None:
    for name in ("run_20240301_000000", "run_20240210_140000", "other_9"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.txt").touch()
    (tmp_path / "run_20250101_000000").mkdir()
    assert model.model_file(None, tmp_path) == (tmp_path / "run_20240301_000000" / "model.txt").resolve()


def test_a_link_is_the_run_it_leads_to(model_root: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(model_root / "run_20240210_140000")
    assert model.model_file(link, None) == (model_root / "run_20240210_140000" / "model.txt").resolve()


def test_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--model-path: .*absent does not exist, expected a run folder or"):
        model.model_file(tmp_path / "absent", None)
    with pytest.raises(UsageError, match=r"holds no run_\*/model.txt"):
        model.model_file(None, tmp_path)
    for path in (None, tmp_path):
        with pytest.raises(UsageError, match="expected one of --model-path and --model-root"):
            model.model_file(path, path)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("a", "b"), "not the model's 3: 1 missing: c"),
        (("a", "b", "c", "d", "e"), "not the model's 3: 2 extra: d, e"),
        (("a", "x", "c"), "1 missing: b; 1 extra: x"),
        (("a", "c", "b"), "reordered from column 1 on: c, where the model expects b"),
    ],
)
def test_names_that_are_not_the_models_are_named(given: tuple[str, ...], says: str) -> None:
    with pytest.raises(ModelUnusable) as refused:
        model.check_names(["a", "b", "c"], given)
    assert says in str(refused.value)


def test_names_that_are_the_models_are_fine() -> None:
    model.check_names(["a", "b"], ("a", "b"))


def test_a_whole_model_has_no_damage(content: bytes) -> None:
    assert tree_text.damage(content) == ""


def test_a_model_cut_anywhere_is_damaged(content: bytes) -> None:
    end = content.rindex(b"end of parameters")
    for length in [*range(0, end, 997), *range(end - 50, end)]:
        assert tree_text.damage(content[:length]), length


Edit = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda _text: b"\x00\x01\x02" * 1000, "does not begin as a LightGBM model"),
        (lambda _text: b"", "does not begin as a LightGBM model"),
        (lambda text: text.replace(b"\nthreshold=", b"\nthresh0ld=", 1), "it cannot be read: threshold is missing"),
        (lambda text: text.replace(b"leaf_value=", b"leaf_value=x", 1), "could not convert string to float: 'x-?0"),
        (lambda text: text.replace(b"left_child=1", b"left_child=0", 1), "left_child leads nowhere"),
        (lambda text: text.replace(b"Tree=1\n", b"Tree=7\n", 1), "tree 1 of .* is not where it should be"),
        (lambda text: text.replace(b"max_feature_idx=143", b"max_feature_idx=0", 1), "split_feature is outside 0 .. 0"),
        (lambda text: text.replace(b"\nsplit_gain=", b"\nsplit_gain+", 1), "it cannot be read: 'split_gain"),
        (
            lambda text: text.replace(b"[max_bin: 255]", b"[max_bin:\n255]", 1),
            "a parameter cannot be read: b'.max_bin:'",
        ),
        (lambda text: text.replace(b"tree_sizes=", b"tree_sizes=x", 1), "it cannot be read: invalid literal for int"),
        (lambda text: text.replace(b"\xff", b"").replace(b"tree_sizes", b"tree\xffsizes"), "cannot be read"),
    ],
)
def test_a_damaged_model_is_told_before_lightgbm_reads_it(content: bytes, edit: Edit, says: str) -> None:
    assert edit(content) != content
    assert re.search(says, tree_text.damage(edit(content)))


def test_a_model_changed_since_training_is_refused(model_root: Path, tmp_path: Path) -> None:
    run = shutil.copytree(model_root / "run_20240210_140000", tmp_path / "run")
    text = (run / "model.txt").read_text()
    (run / "model.txt").write_text(text.replace("[learning_rate: 0.01]", "[learning_rate: 0.02]"))
    with pytest.raises(ModelUnusable, match=r"its sha256 is \w{12}, run_metadata.json says \w{12}"):
        model.load(run / "model.txt")
    (run / "run_metadata.json").unlink()
    assert model.load(run / "model.txt").booster.num_feature() == 144


def test_a_model_of_several_values_is_refused(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    random = np.random.default_rng(1)
    rows = lightgbm.Dataset(random.normal(size=(300, 2)), random.integers(0, 3, 300))
    settings = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    lightgbm.train(settings, rows, 2).save_model(tmp_path / "model.txt")
    with pytest.raises(ModelUnusable, match="gives 3 values a bar, expected 1"):
        model.load(tmp_path / "model.txt")
