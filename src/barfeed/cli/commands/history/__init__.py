"""The commands of the history: fill, prove, mend and hand it on."""
