"""How the pages of this folder become a site: `make site`. Every warning is an error there."""

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from barfeed import __version__

project = "barfeed"
version = release = __version__

extensions = ["myst_parser"]
# Headings become anchors by the same names as on the repository's host, so a link works in both.
myst_heading_anchors = 4
# A link to nowhere is a warning, and so an error.
nitpicky = True
# Two dashes begin a flag: nothing is made of them, or of quotes.
smartquotes = False
exclude_patterns = ["**/.*"]

html_theme = "furo"
html_title = "barfeed"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
# Shells and logs; a block whose language is told has its own.
highlight_language = "none"


def setup(app: Sphinx) -> None:
    """A line of a crontab is text to Pygments, too."""
    app.add_lexer("cron", TextLexer)
