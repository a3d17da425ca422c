"""Kinds of series by REST: rows of the wire, and asking for them within the limit that each counts against."""
