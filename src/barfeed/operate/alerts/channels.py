"""Messages to people, over any channel that apprise knows. The only module that knows apprise."""

from importlib.util import find_spec

from barfeed.domain.errors import UsageError
from barfeed.operate.alerts.troubles import Message


def require_apprise() -> None:
    """Return where the library is installed; it is not imported for it."""
    if find_spec("apprise") is None:
        raise UsageError("--alert needs the extra `alerts`", hint="pip install 'barfeed[alerts]'")


class Channel:
    """One address; its name tells which, and nothing of what is secret in it."""

    def __init__(self, number: int, address: str) -> None:
        self.name = f"channel {number} ({address.partition('://')[0].lower()})"
        self._address = address

    def send(self, message: Message) -> str:
        """Send it; why it was not taken, or nothing where it was. Takes as long as the channel does."""
        try:
            return self._send(message)
        except Exception as problem:
            # Over a hundred plugins, and whatever they use: its type is all that surely holds no secret.
            return f"apprise failed with {type(problem).__name__}"

    def _send(self, message: Message) -> str:
        # Imported only here: it takes longer than an hour's work, and most hours have nothing to tell.
        from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType  # noqa: PLC0415

        # In memory: it would keep a folder of its own in the user's home.
        asset = AppriseAsset(app_id="barfeed", storage_mode="memory", async_mode=False)
        apprise = Apprise(asset=asset)
        if not apprise.add(self._address):
            return "apprise cannot use its address"
        taken = apprise.notify(
            body=message.body,
            title=message.title,
            notify_type=NotifyType(message.level),
            body_format=NotifyFormat.TEXT,
        )
        return "" if taken else "it did not take the message"


def channels(addresses: tuple[str, ...]) -> list[Channel]:
    """A channel for each address, numbered as they stand."""
    return [Channel(number, address) for number, address in enumerate(addresses, 1)]
