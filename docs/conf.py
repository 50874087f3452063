"""How Sphinx builds these pages: MyST, furo, and ctllib's own docstrings."""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from colony import __version__  # noqa: E402

project = "colony"
author = "The colony authors"
copyright = "2026, The colony authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "colony"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
default_role = "py:obj"
# Other people's names have no page here.
nitpick_ignore_regex = [("py:.*", r"(?!colony\.).*")]
