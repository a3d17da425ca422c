"""What the replay exchange plays: klines, from files or made up."""
