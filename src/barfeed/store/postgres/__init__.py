"""A PostgreSQL database as a store: one history, whose key decides who of any number of feeders was first."""
