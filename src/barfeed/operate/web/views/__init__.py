"""What each part of the page is told: one module a view, each an answer made of what is stored and what was run."""
