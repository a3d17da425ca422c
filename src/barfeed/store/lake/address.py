"""Where a lake is, as people write it: a folder, or `s3://bucket/prefix`. Pure."""

import re

from barfeed.domain.errors import UsageError

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.=-]+)*/?", re.ASCII)


def is_bucket(address: str) -> bool:
    """Whether it is no folder."""
    return address.startswith("s3:")


def checked(address: str) -> str:
    """That of a bucket, where it is one; `UsageError`."""
    if not _BUCKET.fullmatch(address):
        raise UsageError(f"{address[:120]!r} is not an address like s3://bucket/prefix")
    return address
