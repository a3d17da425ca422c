"""What a person types: settings, commands, and the feed put together from them."""
