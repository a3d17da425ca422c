"""A lake's table in a bucket of S3, or of whatever speaks its language. Needs the extra `s3`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import obstore
from obstore import exceptions
from obstore.store import S3Store

from barfeed.domain.errors import LakeUnusable
from barfeed.machine.clock import Clock
from barfeed.machine.locks import WAIT_SEC

if TYPE_CHECKING:
    from obstore import PutMode

_LOCK, _PROBE = "_lock", "_probe"
_LOOK_EVERY_SEC = 0.25
# Longer than any export goes on: who has held the lock since was killed.
_ABANDONED_AFTER = timedelta(minutes=15)
# In all three: an export that waits for a bucket is not done, and the next pass does it.
_CONNECT, _REQUEST, _RETRY = timedelta(seconds=5), timedelta(seconds=30), timedelta(seconds=15)
_RETRIES = 2

_NO_BUCKET = "NoSuchBucket"
# Words of the server's or the library's, and ours.
_TOLD = (
    (_NO_BUCKET, "there is no such bucket"),
    # Where no key is given, the machine's own is asked for at this address.
    ("169.254.169.254", "there are no credentials for it"),
    ("InvalidAccessKeyId", "it does not know these credentials"),
    ("SignatureDoesNotMatch", "it does not know these credentials"),
    ("403 Forbidden", "these credentials may not do that"),
    ("301 Moved Permanently", "it is in another region"),
    ("error sending request", "nobody answers"),
)
_HINT = (
    "the bucket is found, as by S3's own tools, by AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY; the next pass writes what is missing"
)

_log = logging.getLogger(__name__)


class Bucket:
    """See `Files`; the address and the credentials are those of the environment, as S3's own tools take them."""

    def __init__(self, bucket: str, prefix: str, clock: Clock) -> None:
        self.address = f"s3://{bucket}/{prefix}"
        self._clock = clock
        with self._told():
            self._store = S3Store(
                bucket, prefix=prefix,
                client_options={"connect_timeout": _CONNECT, "timeout": _REQUEST, "allow_http": True},
                retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY},
            )  # fmt: skip

    @contextmanager
    def exporting(self) -> Iterator[bool]:
        """Hold the lock, an object that only one can make."""
        with self._told():
            version = self._taken()
        try:
            yield version is not None
        finally:
            if version:
                with self._told():
                    self._release(version)

    def folders(self) -> set[str]:
        """Common prefixes, by one request a thousand."""
        with self._told():
            found = obstore.list_with_delimiter(self._store)["common_prefixes"]
        return {str(each).rstrip("/").rpartition("/")[2] for each in found}

    def names(self) -> set[str]:
        """Every object that a glob finds."""
        with self._told():
            found = [each["path"] for page in obstore.list(self._store) for each in page]
        return {name for name in found if name.endswith(".parquet")}

    def read(self, name: str) -> bytes | None:
        """An object's content."""
        with self._told():
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError as missing:
                if _NO_BUCKET in str(missing):
                    raise
                return None

    def save(self, name: str, content: bytes) -> None:
        """Put an object, by one request."""
        with self._told():
            obstore.put(self._store, name, content, use_multipart=False)

    @contextmanager
    def placing(self, name: str) -> Iterator[Path]:
        """A temporary file, which is then put as an object, by one request."""
        with TemporaryDirectory(prefix="barfeed-") as folder:
            path = Path(folder) / Path(name).name
            yield path
            with self._told():
                obstore.put(self._store, name, path, use_multipart=False)

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path | None]:
        """A temporary copy."""
        content = self.read(name)
        if content is None:
            yield None
            return
        with TemporaryDirectory(prefix="barfeed-") as folder:
            path = Path(folder) / Path(name).name
            path.write_bytes(content)
            yield path

    def remove(self, name: str) -> None:
        """Delete an object."""
        with self._told():
            obstore.delete(self._store, name)

    def _taken(self) -> str | None:
        """The lock's version, once it is ours; None where somebody has it for longer than can be waited."""
        end_sec = self._clock.steady_sec() + WAIT_SEC
        while (version := self._made() or self._taken_over()) is None and self._clock.steady_sec() < end_sec:
            self._clock.sleep(_LOOK_EVERY_SEC)
        return version

    def _made(self) -> str | None:
        with suppress(exceptions.AlreadyExistsError, exceptions.PreconditionError):
            return self._put_lock("create")
        return None

    def _taken_over(self) -> str | None:
        """The lock of a process that was killed."""
        with suppress(FileNotFoundError, exceptions.PreconditionError):
            held = obstore.head(self._store, _LOCK)
            if self._now() - held["last_modified"] > _ABANDONED_AFTER:  # never by this machine's own clock
                return self._put_lock({"e_tag": held["e_tag"]})
        return None

    def _put_lock(self, mode: "PutMode") -> str:
        # Another content each time: by it the versions are told apart.
        return str(obstore.put(self._store, _LOCK, uuid4().hex.encode(), mode=mode, use_multipart=False)["e_tag"])

    def _release(self, version: str) -> None:
        with suppress(FileNotFoundError):
            if obstore.head(self._store, _LOCK)["e_tag"] == version:
                obstore.delete(self._store, _LOCK)

    def _now(self) -> datetime:
        """What time it is for the server, which dates its objects."""
        obstore.put(self._store, _PROBE, b"", use_multipart=False)
        return obstore.head(self._store, _PROBE)["last_modified"]

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.BaseError, OSError) as problem:
            _log.debug("%s failed", self.address, exc_info=True)
            said = str(problem)
            what = next((told for words, told in _TOLD if words in said), "it failed")
            raise LakeUnusable(f"{self.address} cannot be used: {what}", hint=_HINT) from problem
