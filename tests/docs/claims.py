"""Which test answers for a fenced block, and which commands no test can run.

A block that nobody claims fails `test_docs_blocks`. What a page needs to be runnable stands in `sandbox.py`.
"""

import re

from docs.pages import Block

# Lived in the page's sandbox, in the page's order: `test_docs_sessions`.
LIVED = {"console", "sh", "python", "sql", "json", "text"}

# Answered for by their kind alone.
BY_KIND = {
    "toml": "test_docs_examples.py",
    "cron": "test_docs_stated.py",
    "bat": "test_install_page.py",
    "ini": "test_units.py",
    "promql": "test_metering_deploy.py",
    "{include}": "test_docs_site.py",
    "{toctree}": "test_docs_site.py",
}

# Blocks of a page that a test of their own proves, and better than a sandbox could.
BY_PAGE = {
    ("README.md", "text"): "test_docs_stated.py",
    ("docs/alerts.md", "console"): "test_alerts_docs.py",
    ("docs/alerts.md", "text"): "test_alerts_docs.py",
    ("docs/cli.md", "text"): "test_docs_generated.py",
    ("docs/doctor.md", "text"): "test_doctor.py",
    ("docs/hosts.md", "console"): "test_docs_hosts.py",
    ("docs/hosts.md", "python"): "test_docs_hosts.py",
    ("docs/inference.md", "text"): "test_docs_stated.py",
    ("docs/lake.md", "python"): "test_engines.py",
    ("docs/lake.md", "sql"): "test_engines.py",
    ("docs/logs.md", "json"): "test_logs.py",
    ("docs/market.md", "console"): "test_docs_market.py",
    ("docs/market.md", "sql"): "test_docs_market.py",
    ("docs/market.md", "text"): "test_docs_market.py",
    ("docs/monitoring.md", "json"): "test_metering_deploy.py",
    ("docs/operating.md", "text"): "test_docs_messages.py",
    ("docs/recipes.md", "console"): "test_recipes.py",
    ("docs/recipes.md", "python"): "test_recipes.py",
    ("docs/web.md", "text"): "test_docs_stated.py",
}

# Commands that are not run, each with why; what can be told of them without is told in `test_docs_sessions`.
NOT_RUN = {
    r"make \w+": "sets up a .venv from the network; that the target exists is tested",
    r"(\S*/)?pip install .*": "takes packages from the network; that the extras exist is tested",
    r"python3 -m venv .*": "the same",
    r"systemd-sysusers .*": "makes users on this machine; that the file exists is tested",
    r"systemctl .*": "changes this machine's services",
    r"launchctl .*": "the same, on a Mac",
    r"cp deploy/.* /(etc|Library)/.*": "writes to the machine's own folders; that the files exist is tested",
    r"mkdir -p /usr/local/.*": "the same",
    r"docker .*": "needs an engine, and images from the network; tests/packaging proves the image's files",
    r".*\b_BARFEED_COMPLETE=.*": "each is for its own shell; tests/packaging runs bash's, and asks as the others do",
}


def why_not_run(command: str) -> str:
    """The reason, empty for a command that is run."""
    return next((why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, command)), "")


def claimed_by(block: Block) -> str:
    """The file that answers for a block, empty where none does."""
    own = BY_PAGE.get((block.page, block.kind)) or BY_KIND.get(block.kind)
    return own or ("test_docs_sessions.py" if block.kind in LIVED else "")
