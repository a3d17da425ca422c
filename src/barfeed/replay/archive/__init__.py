"""The public archive as the replay exchange serves it: zips by month and day, checksums, and what is wrong in them."""
