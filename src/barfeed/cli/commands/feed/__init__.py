"""The commands that feed: the hour, and a word to those who are alerted."""
