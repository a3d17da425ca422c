"""What is shipped is built, installed in clean environments, and runs there."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from email import message_from_string
from functools import cache
from pathlib import Path

import pytest

from barfeed import __version__
from operate.alerts.webhook import Webhook, serving
from process import ROOT, Machine, machine
from world import ms

pytestmark = pytest.mark.long

# Packages that must not be needed unless somebody asks for them.
HEAVY = ("apprise", "prometheus_client", "lightgbm", "numpy", "pandas", "pytest")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel made from it, so that the sdist is proven too."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, ROOT], capture_output=True, timeout=120, check=True
    )
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Callable[[str], Path]:
    """The folder of programs of a clean environment that has the wheel with an extra, or with none."""

    @cache
    def install(extra: str) -> Path:
        folder = tmp_path_factory.mktemp("environment")
        # With this one's pip, and none of its own; what is never imported there is not compiled.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], timeout=120, check=True)
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        subprocess.run(
            [*pip(folder / "bin"), "install", "--quiet", "--no-compile", wanted], env=clean(), timeout=300, check=True
        )
        return folder / "bin"

    return install


def pip(programs: Path) -> list[str]:
    """The beginning of a command of pip's on another environment."""
    return [sys.executable, "-m", "pip", "--python", str(programs / "python"), "--disable-pip-version-check"]


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("BARFEED_", "PYTHON"))}


def run(program: Path, *words: object, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(program), *map(str, words)],
        cwd=folder,
        env=clean() | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path, ms(2024, 2, 10, 13)) as each:
        yield each


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with serving() as made:
        yield made


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    information = f"barfeed-{__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"barfeed", "lgbm_inference", information}
    assert {"barfeed/py.typed", "lgbm_inference/py.typed", f"{information}/licenses/LICENSE"} <= set(names)
    shipped = {name for name in names if name.endswith(".py")}
    assert shipped == {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}


def test_the_wheel_holds_the_page_and_what_it_is_made_of(wheel: Path) -> None:
    archive, page = zipfile.ZipFile(wheel), ROOT / "src" / "barfeed" / "operate" / "web" / "static"
    files = {str(path.relative_to(ROOT / "src")): path for path in page.rglob("*") if path.is_file()}
    assert {name for name in archive.namelist() if "/static/" in name} == set(files)
    for name, path in files.items():
        assert archive.read(name) == path.read_bytes(), name


def test_the_wheel_tells_what_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    told = message_from_string(archive.read(f"barfeed-{__version__}.dist-info/METADATA").decode())
    assert (told["Version"], told["License-Expression"], told["Requires-Python"]) == (__version__, "MIT", ">=3.11")
    assert told.get_payload().startswith("# barfeed\n")  # type: ignore[union-attr] # one part, and a text
    assert {"alerts", "metrics", "inference"} <= set(told.get_all("Provides-Extra", ()))
    entries = archive.read(f"barfeed-{__version__}.dist-info/entry_points.txt").decode()
    assert "barfeed = barfeed.__main__:main" in entries


def test_the_sdist_holds_what_the_tests_need(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    # How this project's own host runs CI is nobody else's.
    wanted = {name for name in listed.stdout.split() if not name.startswith(".ci/")}
    assert wanted - names == set()


def test_a_bare_environment_lives_an_hour(installed: Callable[[str], Path], feeding: Machine, tmp_path: Path) -> None:
    barfeed = installed("") / "barfeed"
    assert run(barfeed, "--version", folder=tmp_path).stdout == f"barfeed, version {__version__}\n"
    for words in (["--help"], ["run", "--help"], ["doctor", "--help"]):
        assert run(barfeed, *words, folder=tmp_path).returncode == 0
    program, *words = pip(barfeed.parent)
    present = run(Path(program), *words, "list", "--format=json", folder=tmp_path).stdout
    assert {each["name"].replace("-", "_") for each in json.loads(present)}.isdisjoint(HEAVY)
    hour = ["run", "--catch-up", "--base-url", feeding.url, "--max-skew-sec", "1e10"]
    done = run(barfeed, *hour, folder=tmp_path)
    assert (done.returncode, "appended=726" in done.stdout) == (0, True), done.stderr
    assert run(barfeed, *hour, folder=tmp_path).stdout.startswith("pulled=6 validated=6 appended=0")


def test_a_bare_environment_has_its_own_exchange(installed: Callable[[str], Path], tmp_path: Path) -> None:
    barfeed = installed("") / "barfeed"
    command = [str(barfeed), "replay", "--generate", "BTCUSDT-1h", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=clean(), stdout=subprocess.PIPE, text=True) as exchange:
        assert exchange.stdout is not None
        url = next(line for line in exchange.stdout if "listens" in line).split()[-1]
        done = run(barfeed, "run", "--catch-up", "--base-url", url, "--max-skew-sec", "1e10", folder=tmp_path)
        exchange.terminate()
        exchange.communicate(timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.proof
@pytest.mark.parametrize(
    ("extra", "flags"), [("alerts", ["--alert", "json://127.0.0.1:1"]), ("metrics", ["--listen", "127.0.0.1:0"])]
)
def test_an_absent_extra_is_told_with_how_to_install_it(
    installed: Callable[[str], Path], feeding: Machine, tmp_path: Path, extra: str, flags: list[str]
) -> None:
    words = ["doctor", "--json", "--base-url", feeding.url, "--max-skew-sec", "1e10", *flags]
    for name, state in (("", "bad"), (extra, "good")):
        done = run(installed(name) / "barfeed", *words, folder=tmp_path)
        (told,) = (each for each in json.loads(done.stdout)["checks"] if each["name"] == f"extra {extra}")
        assert told["state"] == state
        assert (f"pip install 'barfeed[{extra}]'" in told["fix"]) == (state == "bad")


@pytest.mark.proof
def test_the_extra_alerts_tells_people(installed: Callable[[str], Path], webhook: Webhook, tmp_path: Path) -> None:
    done = run(installed("alerts") / "barfeed", "alert", "test", "--alert", webhook.channel, folder=tmp_path)
    assert (done.returncode, webhook.titles) == (0, ["barfeed BTCUSDT 1h: test"]), done.stderr


@pytest.mark.proof
def test_the_extra_metrics_measures_an_hour(installed: Callable[[str], Path], feeding: Machine, tmp_path: Path) -> None:
    hour = ["run", "--catch-up", "--base-url", feeding.url, "--max-skew-sec", "1e10", "--metrics-file", "feed.prom"]
    done = run(installed("metrics") / "barfeed", *hour, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, f"INFO {tmp_path}/data/ohlcv.duckdb is a new store\n")
    told = (tmp_path / "feed.prom").read_text()
    assert 'barfeed_bars_appended_total{interval="1h",symbol="BTCUSDT"} 726.0' in told


@pytest.mark.proof
def test_the_extra_inference_learns_from_a_history_and_predicts(
    installed: Callable[[str], Path], feeding: Machine, tmp_path: Path
) -> None:
    programs, exchange = installed("inference"), ("--base-url", feeding.url)
    for words in (["run", "--catch-up", "--max-skew-sec", "1e10"], ["backfill", "--from", "2024-01-01"]):
        done = run(programs / "barfeed", *words, *exchange, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    consumer = (programs / "python", "-W", "error::ImportWarning", "-m", "lgbm_inference")
    train = ["train", "--source", "data/ohlcv.duckdb", "--horizon-hours", "1", "--rounds", "5", "--timeframes", "1H"]
    latest = "data/feed/BINANCE_BTCUSDT.P_60/latest_for_inference.csv"
    infer = ["infer", "--input-csv", latest, "--model-root", "data/models", "--timeframes", "1H"]
    for words in (train, infer):
        done = run(*consumer, *words, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert "@ 2024-02-10 13:00 -> y_pred=" in done.stdout
