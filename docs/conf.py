"""Configuration of the documentation site; `nox -s docs` builds it into docs/_build/html."""

import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp())
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
os.environ["TTY_COMPATIBLE"] = "0"  # rich then draws no bars into pages
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the examples are small, and their numbers must not change
DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

# Examples call `moevae` as in a shell, in this environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

import moevae  # noqa: E402  # first: it prepares the environment of torch
from moevae.data import idx  # noqa: E402

project = "moevae"
author = "the moevae developers"
copyright = author
version = release = moevae.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "extensions.mathml",
    "extensions.generate",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
smartquotes = False  # two hyphens begin an option
default_role = "code"  # docstrings are Markdown: a single backtick is code

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = True

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
# The official files of MNIST may be absent: then the stored output of this notebook is shown.
nb_execution_excludepatterns = (
    [] if idx.is_available("mnist", idx.data_root(None)) else ["tutorial/mnist.ipynb"]
)

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Warns"]

html_theme = "furo"
html_title = f"moevae {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
html_use_index = False
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "friendly"
copybutton_exclude = ".linenos, .gp, .go"

warnings.filterwarnings("ignore", category=DeprecationWarning)
