"""How Sphinx builds the documentation site: ``make docs``. It reads the repository alone, never the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

import mpcvit

ROOT = Path(__file__).resolve().parents[1]
#: Files outside docs/ that the site has a page of.
PAGES = {ROOT / "CHANGELOG.md": "changelog", ROOT / "CONTRIBUTING.md": "contributing"}

project = "mpcvit"
project_copyright = "the mpcvit authors"
release = version = mpcvit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"mpcvit {version}"
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "description"


class RepositoryLinks(SphinxPostTransform):
    """Resolves links to what lies outside docs/: to the site's page of it, or else to plain text.

    Whatever does not exist is left to MyST, which warns, and ``make docs`` fails on warnings.
    """

    default_priority = 8  # before MyST's own resolver

    def run(self, **kwargs: Any) -> None:
        """Replace the links of one page."""
        for node in list(self.document.findall(pending_xref)):
            if node["reftype"] == "myst" and node["reftarget"] not in self.env.all_docs:
                self._resolve(node)

    def _resolve(self, node: pending_xref) -> None:
        here = node.get("refdoc", self.env.docname)
        target = node["reftarget"].partition("#")[0]
        folders = [self.env.doc2path(here).parent, ROOT]
        names = [target, f"{target}.md"] if target else []  # MyST takes the suffix off
        found = [path for folder in folders for name in names if (path := folder / name).exists()]
        if not found:
            return
        content: Element = node[0].deepcopy()
        page = PAGES.get(found[0].resolve())
        node.replace_self(make_refnode(self.app.builder, here, page, None, content) if page else content)


def setup(app: Sphinx) -> None:
    """Add what is defined here to Sphinx."""
    app.add_post_transform(RepositoryLinks)
