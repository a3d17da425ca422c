"""The replay exchange's stream, from frames to the socket."""
