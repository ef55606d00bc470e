"""How Sphinx makes pages of this folder: `make docs`. Nothing is fetched, and the pages load nothing from elsewhere."""

project = "recsys-nas"
extensions = ["myst_parser"]
exclude_patterns = ["_build", "README.md"]  # README.md is the front page, by way of index.rst
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # the front page begins below the title that index.rst gives it
html_theme = "furo"
html_title = "recsys-nas"
html_copy_source = False
html_show_sphinx = False
