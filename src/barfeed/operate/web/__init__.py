"""The page that shows whether the feed can be trusted today; it only reads, and holds the store for a query at most."""
