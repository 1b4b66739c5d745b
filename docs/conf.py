"""Sphinx configuration: python -m sphinx -W --keep-going -b html docs docs/_build/html."""

from importlib.metadata import version as installed_version

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import inspect

import elastic_ot.sklearn  # noqa: F401 - before PyTorch is a mock, which SciPy takes for the real one when it is imported

project = "elastic_ot"
author = "elastic_ot developers"
copyright = "2026, elastic_ot developers"
release = version = installed_version("elastic-ot")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.bibtex",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_inventories", "_templates", "gallery"]
# Links where there is something to link to; a parameter in single quotes stays what it is.
default_role = "autolink"
nitpicky = True

html_theme = "pydata_sphinx_theme"
html_title = "elastic_ot"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_end": [],
}
html_sidebars = {page: [] for page in ("index", "benchmarks", "design", "contributing", "references")}
html_math_renderer = "mathml"
html_show_sourcelink = False

autosummary_generate = True
autodoc_typehints = "none"
autodoc_mock_imports = ["jax", "torch"]
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # link these words and no others
numpydoc_xref_aliases = {
    "bool": "bool",
    "ndarray": "numpy.ndarray",
    "sequence": "collections.abc.Sequence",
    "array_like": "numpy.typing.ArrayLike",
    "Solution": "elastic_ot.Solution",
    "Assignment": "elastic_ot.Assignment",
    "ExactSolution": "elastic_ot.ExactSolution",
    "Divergence": "elastic_ot.Divergence",
    "DivergenceGradients": "elastic_ot.DivergenceGradients",
    "Status": "elastic_ot.Status",
    "History": "elastic_ot.History",
    "ConvergenceError": "elastic_ot.ConvergenceError",
    "ConvergenceWarning": "elastic_ot.ConvergenceWarning",
    "InfeasibleError": "elastic_ot.InfeasibleError",
}

# The inventories lie in the repository, so that the build needs no network.
intersphinx_mapping = {
    name: (url, f"_inventories/{name}.inv")
    for name, url in {
        "python": "https://docs.python.org/3",
        "numpy": "https://numpy.org/doc/stable",
        "scipy": "https://docs.scipy.org/doc/scipy",
        "matplotlib": "https://matplotlib.org/stable",
        "sklearn": "https://scikit-learn.org/stable",
        "pot": "https://pythonot.github.io",
    }.items()
}

copybutton_prompt_text = r">>> |\.\.\. |\$ "  # what is copied has no prompts, and no output
copybutton_prompt_is_regexp = True

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

SECTIONS = "first_steps", "images", "clouds", "matching", "learning", "studies"
# Plain strings, which Sphinx can compare with the last build; functions would make every build a full one.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_examples",
    "subsection_order": [f"gallery/{name}" for name in SECTIONS],
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": False,
    "download_all_examples": False,
    "show_signature": False,
    "doc_module": ("elastic_ot",),
    "backreferences_dir": "generated/backreferences",
}


def visit_math(translator, node):
    """Formulas as MathML, which browsers draw themselves: pages need neither scripts nor the network."""
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def visit_math_block(translator, node):
    translator.body.append(f"<p>{tex2mathml(node.astext(), as_block=True)}</p>")
    raise nodes.SkipNode


def without_results(app, docname, source):
    """Build in a checkout where the benchmark was never run."""
    if docname == "benchmarks" and not (app.srcdir.parent / "benchmarks/results/iterations.rst").exists():
        source[0] = source[0].partition(".. include::")[0] + "No results are stored in this checkout.\n"


def signature_of_module(app, what, name, obj, options, signature, returns):
    """PyTorch is a mock here, whose own signature would stand in the place of that of a module."""
    if what == "class" and name.startswith("elastic_ot.torch."):
        found = inspect.signature(obj.__init__, bound_method=True)
        return inspect.stringify_signature(found, show_annotation=False, show_return_annotation=False), None
    return None


def setup(app):
    app.connect("autodoc-process-signature", signature_of_module)
    app.connect("source-read", without_results)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
