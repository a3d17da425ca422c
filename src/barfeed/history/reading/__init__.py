"""Reading what is stored: any span of it, as a table of whatever library; the way in from Python."""
