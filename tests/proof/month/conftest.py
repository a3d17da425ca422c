"""A webhook for alerts and heartbeats."""

from collections.abc import Iterator

import pytest

from operate.alerts.webhook import Webhook, serving


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with serving() as made:
        yield made
