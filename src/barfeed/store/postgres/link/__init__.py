"""The way to a database: its address, the connection, which server it is, and what is wrong."""
